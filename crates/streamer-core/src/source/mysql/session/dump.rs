//! The commands that make a server send its log.
//!
//! Sources: MySQL internals, "COM_REGISTER_SLAVE", "COM_BINLOG_DUMP", "COM_BINLOG_DUMP_GTID"; MariaDB's knowledge base,
//! "Replica Registration" and "GTID: Connecting with GTID" (`@slave_connect_state`).

use std::time::Duration;

use super::super::link::{Flavor, Link, quote_text};
use super::server::Server;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::Offset;

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// End the dump at the end of the log instead of waiting.
const FLAG_NON_BLOCK: u16 = 1;
/// The GTIDs decide where the dump begins.
const FLAG_THROUGH_GTID: u16 = 4;
/// The first event of a file stands behind its magic number.
const FIRST_OFFSET: u64 = 4;

/// How a reader shows itself to the server.
#[derive(Debug, Clone)]
pub struct DumpIdentity {
    /// Replica id.
    pub server_id: u32,
    /// A uuid of ours: a server ends an earlier dump of the same one, so that a half-open connection leaves no ghost.
    pub uuid: String,
}

impl DumpIdentity {
    /// A fresh one. Without a configured id, a random one that no registered replica uses, and that is not the
    /// server's own.
    ///
    /// # Errors
    /// `ERR_STREAMER_SERVER_ID_TAKEN` where the configured id is in use.
    pub async fn choose(link: &mut Link, server: &Server, configured: Option<u32>) -> Result<Self> {
        let mut taken = replica_ids(link, server).await;
        taken.push(server.server_id());
        let server_id = match configured {
            Some(id) if taken.contains(&id) => {
                return Err(Error::new(
                    Code::ServerIdTaken,
                    format!("The replica id {id} is in use by the server or by another replica."),
                )
                .with_advice("Leave `serverId` out to get a free one, or choose another."));
            }
            Some(id) => id,
            None => loop {
                // The upper half, where nobody numbers servers by hand.
                let id = fastrand::u32(1 << 31..);
                if !taken.contains(&id) {
                    break id;
                }
            },
        };
        let bits = fastrand::u128(..);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let uuid = format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        );
        Ok(Self { server_id, uuid })
    }
}

/// Whether a replica with an id is registered, as far as the account may see it.
pub async fn is_registered(link: &mut Link, server: &Server, id: u32) -> bool {
    replica_ids(link, server).await.contains(&id)
}

/// Ids of the registered replicas, as far as the account may see them.
async fn replica_ids(link: &mut Link, server: &Server) -> Vec<u32> {
    let statement = match server.flavor {
        Flavor::Mysql if server.version >= (8, 0, 22) => "SHOW REPLICAS",
        _ => "SHOW SLAVE HOSTS",
    };
    let Ok(rows) = link.query(statement).await else {
        return Vec::new();
    };
    rows.rows
        .iter()
        .filter_map(|row| row.first()?.as_deref()?.parse().ok())
        .collect()
}

/// Registers as a replica and asks for the log from `from` on. With `to_end`, the dump ends at the end of the log;
/// without, the server waits and sends a heartbeat each `heartbeat`.
///
/// # Errors
/// `ERR_STREAMER_GRANT_MISSING` without REPLICATION SLAVE; else the server's refusal by class.
pub async fn begin_dump(
    link: &mut Link,
    server: &Server,
    identity: &DumpIdentity,
    from: &Offset,
    heartbeat: Duration,
    to_end: bool,
) -> Result<()> {
    prepare_session(link, server, identity, from, heartbeat).await?;
    register(link, identity).await?;
    let flags = if to_end { FLAG_NON_BLOCK } else { 0 };
    let command = match from {
        Offset::MysqlGtid(set) => {
            let gtids = set.encode();
            let mut command = vec![COM_BINLOG_DUMP_GTID];
            command.extend((flags | FLAG_THROUGH_GTID).to_le_bytes());
            command.extend(identity.server_id.to_le_bytes());
            command.extend(0_u32.to_le_bytes()); // no file name
            command.extend(FIRST_OFFSET.to_le_bytes());
            command.extend((gtids.len() as u32).to_le_bytes());
            command.extend(gtids);
            command
        }
        Offset::MysqlFile { file, offset, .. } => plain_dump(identity, flags, file, *offset),
        Offset::MariadbGtid(_) => plain_dump(identity, flags, "", FIRST_OFFSET),
        Offset::Mongodb(_) | Offset::Sqlite(_) | Offset::Poll(_) => {
            let sentence = "A position of a MySQL or MariaDB source was expected, one of another was found.";
            return Err(Error::new(Code::PositionInvalid, sentence));
        }
    };
    link.send_command(&command).await
}

/// Asks for a file of the log from a place on, to its present end, without registering as a replica.
///
/// # Errors
/// Those of a query; what the server says of the place comes with the first packet.
pub(super) async fn begin_file(
    link: &mut Link,
    server: &Server,
    identity: &DumpIdentity,
    file: &str,
    offset: u64,
) -> Result<()> {
    let from = Offset::MysqlFile {
        server: server.identity(),
        file: file.into(),
        offset,
    };
    prepare_session(link, server, identity, &from, Duration::ZERO).await?;
    let command = plain_dump(identity, FLAG_NON_BLOCK, file, offset);
    link.send_command(&command).await
}

/// The command holds 32 bits of offset: beyond them the file is read from its beginning, and the caller passes over
/// what lies before its place.
fn plain_dump(identity: &DumpIdentity, flags: u16, file: &str, offset: u64) -> Vec<u8> {
    let mut command = vec![COM_BINLOG_DUMP];
    let offset = u32::try_from(offset).unwrap_or(FIRST_OFFSET as u32);
    command.extend(offset.to_le_bytes());
    command.extend(flags.to_le_bytes());
    command.extend(identity.server_id.to_le_bytes());
    command.extend(file.as_bytes());
    command
}

async fn prepare_session(
    link: &mut Link,
    server: &Server,
    identity: &DumpIdentity,
    from: &Offset,
    heartbeat: Duration,
) -> Result<()> {
    let period = heartbeat.as_nanos();
    let uuid = quote_text(&identity.uuid);
    let mut settings = vec![
        "@master_binlog_checksum = @@global.binlog_checksum".to_owned(),
        "@source_binlog_checksum = @@global.binlog_checksum".to_owned(),
        format!("@master_heartbeat_period = {period}"),
        format!("@source_heartbeat_period = {period}"),
        format!("@slave_uuid = {uuid}"),
        format!("@replica_uuid = {uuid}"),
    ];
    if server.flavor == Flavor::Mariadb {
        settings.push("@mariadb_slave_capability = 4".to_owned());
    }
    if let Offset::MariadbGtid(list) = from {
        settings.push(format!(
            "@slave_connect_state = {}",
            quote_text(&list.to_string())
        ));
        settings.push("@slave_gtid_strict_mode = 0".to_owned());
        settings.push("@slave_gtid_ignore_duplicates = 0".to_owned());
    }
    link.query(&format!("SET {}", settings.join(", "))).await?;
    // A slow application must not make the server give up before TCP does.
    link.query("SET SESSION net_write_timeout = 600")
        .await
        .map(|_| ())
}

/// Shows the reader to the server as a replica.
///
/// # Errors
/// `ERR_STREAMER_GRANT_MISSING` without REPLICATION SLAVE.
pub(super) async fn register(link: &mut Link, identity: &DumpIdentity) -> Result<()> {
    let mut command = vec![COM_REGISTER_SLAVE];
    command.extend(identity.server_id.to_le_bytes());
    command.extend([0, 0, 0]); // host, user, password: shown to administrators only
    command.extend([0; 2]); // port
    command.extend([0; 4]); // rank
    command.extend([0; 4]); // the server fills in its own id
    link.send_command(&command).await?;
    let range = link.next_packet().await?;
    let packet = link.packet(&range);
    match link.refusal(packet) {
        None => Ok(()),
        Some(error) => {
            let number = error.details().get("errno").and_then(serde_json::Value::as_u64);
            if matches!(number, Some(1045 | 1142 | 1227)) {
                return Err(Error::new(
                    Code::GrantMissing,
                    "The account lacks REPLICATION SLAVE, which reading the binlog needs.",
                )
                .with_advice("Run `GRANT REPLICATION SLAVE ON *.* TO <the account>`.")
                .with_detail("grant", "REPLICATION SLAVE"));
            }
            Err(error)
        }
    }
}
