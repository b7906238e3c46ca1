//! What capture needs of a server: settings and grants, expected against found, in one error with the exact SQL.

use serde_json::{Value, json};

use super::super::link::{Flavor, Link};
use super::dump::{DumpIdentity, register};
use super::server::Server;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::source::poll::LOG_UNAVAILABLE;

/// Oldest MySQL whose log names each transaction.
const OLDEST_MYSQL: (u16, u16, u16) = (5, 7, 0);
/// Oldest MariaDB that logs optional metadata.
const OLDEST_MARIADB: (u16, u16, u16) = (10, 5, 0);

/// Something that must be different.
struct Finding {
    code: Code,
    subject: &'static str,
    expected: String,
    found: String,
    mend: String,
}

/// Checks settings and grants; what cannot be asked for is tried, so that roles and wildcards count as the server
/// counts them.
///
/// # Errors
/// One error with every finding: `ERR_STREAMER_SERVER_UNSUPPORTED`, `…_SERVER_SETTING_UNSUITABLE` or `…_GRANT_MISSING`, the
/// first of them that applies.
pub async fn check(link: &mut Link, server: &Server, identity: &DumpIdentity) -> Result<()> {
    version(server)?;
    let mut findings = settings(server);
    if server.is_on("log_bin") {
        findings.extend(grants(link, server, identity).await?);
    }
    report(server, &findings)
}

fn version(server: &Server) -> Result<()> {
    let oldest = match server.flavor {
        Flavor::Mysql => OLDEST_MYSQL,
        Flavor::Mariadb => OLDEST_MARIADB,
    };
    if server.version >= oldest {
        return Ok(());
    }
    Err(Error::new(
        Code::ServerUnsupported,
        format!(
            "{} {}.{} or later was expected, the server is {}.",
            server.flavor.name(),
            oldest.0,
            oldest.1,
            server.version_text
        ),
    )
    .with_advice("Upgrade the server."))
}

fn settings(server: &Server) -> Vec<Finding> {
    let setting = |subject: &'static str, expected: &str, mend: &str| Finding {
        code: Code::ServerSettingUnsuitable,
        subject,
        expected: expected.to_owned(),
        found: server.variable(subject).unwrap_or("not set").to_owned(),
        mend: mend.to_owned(),
    };
    let mut findings = Vec::new();
    if !server.is_on("log_bin") {
        findings.push(setting(
            "log_bin",
            "ON",
            "start the server with `--log-bin` (in my.cnf: `log_bin = binlog` under `[mysqld]`); it cannot be set while it runs",
        ));
        return findings;
    }
    if server
        .variable("binlog_format")
        .is_some_and(|format| format != "ROW")
    {
        let persist = match server.flavor {
            Flavor::Mysql => "PERSIST",
            Flavor::Mariadb => "GLOBAL",
        };
        findings.push(setting(
            "binlog_format",
            "ROW",
            &format!(
                "run `SET {persist} binlog_format = 'ROW'` (sessions that are open keep their own value)"
            ),
        ));
    }
    if server.server_id() == 0 {
        findings.push(setting(
            "server_id",
            "a number other than 0",
            "run `SET GLOBAL server_id = 1`",
        ));
    }
    findings
}

async fn grants(link: &mut Link, server: &Server, identity: &DumpIdentity) -> Result<Vec<Finding>> {
    let account = link
        .scalar("SELECT CURRENT_USER()")
        .await?
        .map_or_else(|| "the account".to_owned(), |account| quote_account(&account));
    let monitor = match server.flavor {
        Flavor::Mysql => "REPLICATION CLIENT",
        Flavor::Mariadb => "BINLOG MONITOR",
    };
    let monitor_probe = link.query("SHOW BINARY LOGS").await.map(|_| ());
    let replica_probe = register(link, identity).await;
    let mut findings = Vec::new();
    for (grant, probe) in [(monitor, monitor_probe), ("REPLICATION SLAVE", replica_probe)] {
        match probe {
            Err(error) if error.code() == Code::GrantMissing => findings.push(Finding {
                code: Code::GrantMissing,
                subject: grant,
                expected: "granted".to_owned(),
                found: "missing".to_owned(),
                mend: format!("run `GRANT {grant} ON *.* TO {account}`"),
            }),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
    Ok(findings)
}

/// `user@host` as SQL takes it.
fn quote_account(account: &str) -> String {
    match account.rsplit_once('@') {
        Some((user, host)) => format!("'{}'@'{}'", user.replace('\'', "''"), host.replace('\'', "''")),
        None => account.to_owned(),
    }
}

fn report(server: &Server, findings: &[Finding]) -> Result<()> {
    let Some(first) = findings.first() else {
        return Ok(());
    };
    let sentences: Vec<String> = findings
        .iter()
        .map(|finding| match finding.code {
            Code::GrantMissing => format!("the grant {} is missing", finding.subject),
            _ => format!(
                "{} must be {}, it is {}",
                finding.subject, finding.expected, finding.found
            ),
        })
        .collect();
    let remedies: Vec<&str> = findings.iter().map(|finding| finding.mend.as_str()).collect();
    let listed: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "subject": finding.subject,
                "expected": finding.expected,
                "found": finding.found,
                "remedy": finding.mend,
            })
        })
        .collect();
    Err(Error::new(
        first.code,
        format!(
            "The {} server is not ready for capture: {}.",
            server.flavor.name(),
            sentences.join("; ")
        ),
    )
    .with_advice(format!("To mend it, {}.", remedies.join("; ")))
    .with_detail("findings", listed)
    .with_detail(LOG_UNAVAILABLE, true))
}
