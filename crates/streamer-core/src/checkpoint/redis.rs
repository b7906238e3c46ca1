//! Checkpoints in Redis: a hash for each source, and beside it a key that says who has it.
//!
//! Redis cannot see whether a process lives, so possession is a lease ([`LEASE`]) that is renewed. Every write names its
//! owner and is compared on the server, in one script: a process that was frozen until another took its place is refused.
//! A Redis that comes back empty, or as a replica that lags, has at most an older position: changes are delivered
//! twice then, never skipped. Definitions are sent when they change, and whenever those that should be there are not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Script, ServerErrorKind};

use super::owner::{LEASE, Owner, taken};
use super::record::{Record, checksum};
use super::{Definitions, Saved, Store};
use crate::code::{Code, Retry};
use crate::config::Secret;
use crate::error::{Error, Result};

/// Longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes or keeps possession, also from an owner that has ended. Answers with the owner: ours where the argument is what it
/// returns.
const TAKE: &str = "
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] and owner ~= ARGV[3] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]";

/// The same, and where it is ours, sets fields of the hash: all of them together, or none where the definitions that should
/// be there are not.
const SAVE: &str = "
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[3] ~= '' and redis.call('HGET', KEYS[2], 'stored') ~= ARGV[3] then return '' end
redis.call('HSET', KEYS[2], unpack(ARGV, 4))
return ARGV[1]";

/// Gives free what is ours.
const LEAVE: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// Keeps checkpoints in Redis.
pub struct Redis {
    url: Secret,
    prefix: String,
    connection: Option<MultiplexedConnection>,
    sources: Vec<Source>,
}

/// Version and checksum of the definitions that are stored.
type Stored = Option<(u64, String)>;

/// A source whose checkpoint this process has.
struct Source {
    name: String,
    owner: String,
    definitions: Stored,
}

impl Redis {
    /// A store at a URL (`redis://`, `rediss://`) whose keys begin with `prefix`.
    pub fn new(url: Secret, prefix: &str) -> Self {
        Self {
            url,
            prefix: prefix.to_owned(),
            connection: None,
            sources: Vec::new(),
        }
    }

    fn key(&self, source: &str) -> String {
        format!("{}{source}", self.prefix)
    }

    fn owner_key(&self, source: &str) -> String {
        format!("{}{source}:owner", self.prefix)
    }

    /// The connection; a new one where the last broke.
    async fn connection(&mut self) -> Result<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = Client::open(self.url.reveal()).map_err(|error| failed(&error))?;
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| failed(&error))?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    /// What a command answered; a connection that broke is let go.
    fn settle<T>(&mut self, answer: redis::RedisResult<T>) -> Result<T> {
        answer.map_err(|error| {
            if !matches!(error.kind(), ErrorKind::Server(_)) {
                self.connection = None;
            }
            failed(&error)
        })
    }

    async fn take(&mut self, source: &str, owner: &str) -> Result<()> {
        let mut holder = self.try_to_take(source, owner, "").await?;
        // A process that was killed gives nothing free: where it is seen to have ended, nobody waits for its lease.
        if holder != owner && Owner::parse(&holder).is_some_and(|holder| holder.is_gone()) {
            holder = self.try_to_take(source, owner, &holder).await?;
        }
        if holder == owner {
            Ok(())
        } else {
            Err(taken(source, &holder))
        }
    }

    /// Answers with who has it then.
    async fn try_to_take(&mut self, source: &str, owner: &str, ended: &str) -> Result<String> {
        let mut connection = self.connection().await?;
        let answer = Script::new(TAKE)
            .key(self.owner_key(source))
            .arg(owner)
            .arg(lease_ms())
            .arg(ended)
            .invoke_async::<String>(&mut connection)
            .await;
        self.settle(answer)
    }

    async fn open_source(&mut self, source: &str) -> Result<Option<Saved>> {
        let owner = Owner::this().text();
        self.take(source, &owner).await?;
        self.sources.retain(|known| known.name != source);
        self.sources.push(Source {
            name: source.to_owned(),
            owner,
            definitions: None,
        });
        let mut connection = self.connection().await?;
        let key = self.key(source);
        let answer = redis::cmd("HMGET")
            .arg(&key)
            .arg("checkpoint")
            .arg("definitions")
            .query_async::<(Option<Vec<u8>>, Option<Vec<u8>>)>(&mut connection)
            .await;
        let (Some(checkpoint), definitions) = self.settle(answer)? else {
            return Ok(None);
        };
        let record = Record::decode(&checkpoint, source, &format!("{key} in Redis"))?;
        Ok(Some(Saved {
            definitions: definitions
                .filter(|bytes| record.definitions.as_deref() == Some(checksum(bytes).as_str())),
            position: record.position,
            witness: record.witness,
            snapshot: record.snapshot,
        }))
    }

    async fn save_source(
        &mut self,
        source: &str,
        position: &str,
        witness: Option<&str>,
        snapshot: Option<String>,
        definitions: Option<&dyn Definitions>,
    ) -> Result<()> {
        let Some(known) = self.sources.iter().find(|known| known.name == source) else {
            return Err(Error::new(
                Code::CheckpointFailed,
                "The checkpoint was not opened.",
            ));
        };
        let (owner, before) = (known.owner.clone(), known.definitions.clone());
        let kept = before.filter(|(version, _)| definitions.is_some_and(|new| new.version() == *version));
        let mut holder = String::new();
        let mut now = kept.clone();
        if kept.is_some() || definitions.is_none() {
            let record = record(source, position, witness, snapshot.clone(), &now);
            holder = self.write(source, &owner, &record, &now, None).await?;
        }
        // Never sent, another version, or gone.
        if holder.is_empty()
            && let Some(definitions) = definitions
        {
            let bytes = definitions.to_bytes();
            now = Some((definitions.version(), checksum(&bytes)));
            let record = record(source, position, witness, snapshot.clone(), &now);
            holder = self.write(source, &owner, &record, &now, Some(bytes)).await?;
        }
        if holder != owner {
            return Err(taken(source, &holder));
        }
        if let Some(known) = self.sources.iter_mut().find(|known| known.name == source) {
            known.definitions = now;
        }
        Ok(())
    }

    /// Writes a record, with its definitions or beside those that are there. Answers with who has the checkpoint; with nothing
    /// where the definitions are not there.
    async fn write(
        &mut self,
        source: &str,
        owner: &str,
        record: &Record,
        stored: &Stored,
        definitions: Option<Vec<u8>>,
    ) -> Result<String> {
        let mut connection = self.connection().await?;
        let checksum = stored.as_ref().map_or("", |(_, checksum)| checksum.as_str());
        let script = Script::new(SAVE);
        let mut call = script.key(self.owner_key(source));
        call.key(self.key(source))
            .arg(owner)
            .arg(lease_ms())
            .arg(if definitions.is_none() { checksum } else { "" })
            .arg("checkpoint")
            .arg(record.encode());
        if let Some(definitions) = definitions {
            call.arg("stored")
                .arg(checksum)
                .arg("definitions")
                .arg(definitions);
        }
        let answer = call.invoke_async::<String>(&mut connection).await;
        self.settle(answer)
    }

    async fn renew_all(&mut self) -> Result<()> {
        let owned: Vec<(String, String)> = self
            .sources
            .iter()
            .map(|source| (source.name.clone(), source.owner.clone()))
            .collect();
        for (source, owner) in owned {
            self.take(&source, &owner).await?;
        }
        Ok(())
    }

    async fn leave(&mut self) {
        for source in std::mem::take(&mut self.sources) {
            let Ok(mut connection) = self.connection().await else {
                return;
            };
            // Where it fails, the lease ends by itself.
            let _ = Script::new(LEAVE)
                .key(self.owner_key(&source.name))
                .arg(source.owner)
                .invoke_async::<i64>(&mut connection)
                .await;
        }
        self.connection = None;
    }
}

impl Store for Redis {
    fn open<'a>(&'a mut self, source: &'a str) -> BoxFuture<'a, Result<Option<Saved>>> {
        self.open_source(source).boxed()
    }

    fn save<'a>(
        &'a mut self,
        source: &'a str,
        position: &'a str,
        witness: Option<&'a str>,
        snapshot: Option<String>,
        definitions: Option<Arc<dyn Definitions>>,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            self.save_source(source, position, witness, snapshot, definitions.as_deref())
                .await
        }
        .boxed()
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<()>> {
        self.renew_all().boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.leave().boxed()
    }
}

fn record(
    source: &str,
    position: &str,
    witness: Option<&str>,
    snapshot: Option<String>,
    stored: &Stored,
) -> Record {
    let checksum = stored.as_ref().map(|(_, checksum)| checksum.clone());
    Record::new(source, position, witness, snapshot, checksum)
}

fn lease_ms() -> u64 {
    u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)
}

/// What went wrong, without what was sent: the URL may hold a password, and a key's text is the user's.
fn failed(error: &RedisError) -> Error {
    let why = match error.kind() {
        ErrorKind::AuthenticationFailed => "Redis refused the user or the password",
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "this Redis is a replica, and only reads",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "Redis is still loading its data",
        ErrorKind::Server(_) => match error.code() {
            Some("OOM") => "Redis has reached its maxmemory",
            Some("NOAUTH" | "WRONGPASS") => "Redis refused the user or the password",
            Some("NOPERM" | "NOPERMISSION") => "the user of Redis may not do this",
            Some("MISCONF") => "Redis cannot write to its own disk, and refuses writes",
            _ => "Redis refused the command",
        },
        ErrorKind::InvalidClientConfig => "the URL of Redis is not understood",
        _ if error.is_timeout() => "Redis did not answer in time",
        _ if error.is_connection_refusal() => "nothing listens at the address of Redis",
        _ => "the connection to Redis broke or could not be made",
    };
    let is_refusal = matches!(error.kind(), ErrorKind::AuthenticationFailed)
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    let failure = Error::new(
        Code::CheckpointFailed,
        format!("The checkpoint cannot be used: {why}."),
    );
    if is_refusal {
        failure.with_retry(Retry::Operator)
    } else {
        failure
    }
}
