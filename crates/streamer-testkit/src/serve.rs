//! The kit for other languages: commands as JSON lines in, answers as JSON lines out. Everything ends with the input.
//!
//! | command | answer |
//! |---|---|
//! | `{"id", "do": "start", "server": "mysql", "args"?: [], "tls"?: false, "members"?: 1, "own"?: false}` | `name`, `port`, `socket`, `url`, `version`, `dataDir`, `tls`, `external` |
//! | `{"id", "do": "kill" / "stop" / "pause" / "resume" / "remove", "name"}` | nothing |
//! | `{"id", "do": "restart", "name", "args"?}` | nothing |
//! | `{"id", "do": "proxy", "to": port or "host:port"}` | `name`, `port` |
//! | `{"id", "do": "fault", "name", "kind", …}` | nothing |
//! | `{"id", "do": "lead", "name", "to": port or "host:port"}` | nothing; the proxy's new connections lead there |
//! | `{"id", "do": "counters", "name"}` | the proxy's counters |
//!
//! An answer is `{"id", "ok"}` or `{"id", "error"}`. Commands to one server are answered in their order; servers do not
//! wait for each other, so two start at the same time.
//!
//! Faults: `heal`; `cut` (`how`: `"rst"` or `"fin"`, `once`); `blackhole` (`direction`: `"both"`, `"toServer"` or
//! `"toClient"`); `throttle` (`bytes` a second); `drip`; `resetAfter` (`bytes`, `how`).

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::external::{External, Place};
use crate::{
    Certificates, Closing, Direction, Fault, Flavor, Mongod, MongodOptions, Mysqld, Options, Proxy, Redis,
    RedisOptions, Result, Server, place,
};

/// Longest that the end may take. Servers that a start still waits for then die with this process.
const END: Duration = Duration::from_secs(5);

type Output = Arc<Mutex<dyn Write + Send>>;

struct Kit {
    output: Output,
    servers: HashMap<String, Sender<Value>>,
    proxies: HashMap<String, Proxy>,
    count: usize,
    /// Held by each server's thread: gone when all are.
    busy: Sender<()>,
}

/// Answers commands until the input ends; then every server is killed and its data removed.
///
/// # Errors
/// Where input or output breaks.
pub fn serve(input: impl BufRead, output: impl Write + Send + 'static) -> Result<()> {
    let (busy, ended) = channel();
    let mut kit = Kit {
        output: Arc::new(Mutex::new(output)),
        servers: HashMap::new(),
        proxies: HashMap::new(),
        count: 0,
        busy,
    };
    let mut outcome = Ok(());
    for line in input.lines() {
        let command = match line {
            Ok(line) => serde_json::from_str(&line).unwrap_or(Value::Null),
            Err(error) => {
                outcome = Err(format!("The input breaks: {error}"));
                break;
            }
        };
        let id = command["id"].clone();
        if let Some(answer) = kit.take(command).transpose()
            && let Err(error) = answer_to(&kit.output, &id, answer)
        {
            outcome = Err(error);
            break;
        }
    }
    drop(kit);
    let end = Instant::now() + END;
    while let Ok(()) | Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(100)) {
        if Instant::now() > end {
            break;
        }
    }
    place::leave();
    outcome
}

fn answer_to(output: &Output, id: &Value, answer: Result<Value>) -> Result<()> {
    let line = match answer {
        Ok(value) => json!({ "id": id, "ok": value }),
        Err(error) => json!({ "id": id, "error": error }),
    };
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(|error| format!("The output breaks: {error}"))
}

impl Kit {
    /// Answers a command, or hands it to the thread of its server, which will.
    fn take(&mut self, command: Value) -> Result<Option<Value>> {
        match command["do"].as_str() {
            Some("start") => self.start(command).map(|()| None),
            Some("kill" | "stop" | "pause" | "resume" | "restart" | "remove") => {
                self.pass_on(command).map(|()| None)
            }
            Some("proxy") => self.proxy(&command).map(Some),
            Some("fault") => {
                let fault = fault(&command)?;
                self.of_proxy(&command)?.inject(fault).map(|()| Some(Value::Null))
            }
            Some("lead") => {
                let to = place_of(&command)?;
                self.of_proxy(&command)?.lead_to(&to).map(|()| Some(Value::Null))
            }
            Some("counters") => self.counters(&command).map(Some),
            _ => Err(format!("Unknown command {}.", command["do"])),
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}-{}", self.count)
    }

    fn start(&mut self, command: Value) -> Result<()> {
        let kind = command["server"].as_str().unwrap_or_default();
        let name = self.name(kind);
        let (sender, commands) = channel();
        sender.send(command).map_err(|error| error.to_string())?;
        self.servers.insert(name.clone(), sender);
        let (output, busy) = (self.output.clone(), self.busy.clone());
        std::thread::spawn(move || {
            let _busy = busy;
            attend(&name, &commands, &output)
        });
        Ok(())
    }

    fn pass_on(&mut self, command: Value) -> Result<()> {
        let name = command["name"].as_str().unwrap_or_default().to_owned();
        let unknown = || format!("No server is called {name:?}.");
        let sender = if command["do"] == "remove" {
            self.servers.remove(&name)
        } else {
            self.servers.get(&name).cloned()
        };
        // The thread of a server that did not start has ended.
        sender.ok_or_else(unknown)?.send(command).map_err(|_| unknown())
    }

    fn proxy(&mut self, command: &Value) -> Result<Value> {
        let proxy = Proxy::start_to(&place_of(command)?)?;
        let name = self.name("proxy");
        let answer = json!({ "name": name, "port": proxy.port() });
        self.proxies.insert(name, proxy);
        Ok(answer)
    }

    fn of_proxy(&self, command: &Value) -> Result<&Proxy> {
        command["name"]
            .as_str()
            .and_then(|name| self.proxies.get(name))
            .ok_or_else(|| format!("No proxy is called {}.", command["name"]))
    }

    fn counters(&self, command: &Value) -> Result<Value> {
        let counters = self.of_proxy(command)?.counters();
        Ok(json!({
            "connections": counters.connections,
            "open": counters.open,
            "toServer": counters.to_server,
            "toClient": counters.to_client,
            "resets": counters.resets,
            "refused": counters.refused,
            "held": counters.held,
            "drips": counters.drips,
            "throttled": counters.throttled,
        }))
    }
}

/// Where a proxy leads.
fn place_of(command: &Value) -> Result<String> {
    match &command["to"] {
        Value::String(to) => Ok(to.clone()),
        Value::Number(port) => Ok(format!("127.0.0.1:{port}")),
        other => Err(format!("`to` is a port or \"host:port\", not {other}.")),
    }
}

/// One server's life: its first command starts it, the others follow in their order. It ends with the commands.
fn attend(name: &str, commands: &Receiver<Value>, output: &Output) {
    let Ok(command) = commands.recv() else { return };
    let started = start(&command);
    let answer = match &started {
        Ok((server, answer)) => {
            let mut answer = answer.clone();
            answer["name"] = name.into();
            answer["port"] = server.port().into();
            answer["url"] = server.url().into();
            answer["version"] = server.version().into();
            answer["dataDir"] = json!(server.data_dir());
            Ok(answer)
        }
        Err(error) => Err(error.clone()),
    };
    let mut is_heard = answer_to(output, &command["id"], answer).is_ok();
    let Ok((mut server, _)) = started else { return };
    while is_heard && let Ok(command) = commands.recv() {
        let done = match command["do"].as_str() {
            Some("kill") => server.kill(),
            Some("stop") => server.stop(),
            Some("pause") => server.pause(),
            Some("resume") => server.resume(),
            Some("restart") => texts(&command["args"]).and_then(|args| server.restart(args)),
            _ => {
                drop(server);
                let _ = answer_to(output, &command["id"], Ok(Value::Null));
                return;
            }
        };
        is_heard = answer_to(output, &command["id"], done.map(|()| Value::Null)).is_ok();
    }
}

/// Starts a server; returns it with those parts of the answer that only its kind has.
fn start(command: &Value) -> Result<(Box<dyn Server>, Value)> {
    let kind = command["server"].as_str().unwrap_or_default();
    let args = texts(&command["args"])?.unwrap_or_default();
    let tls = command["tls"] == true;
    let is_any_good = args.is_empty() && !tls && command["own"] != true && command["members"].is_null();
    if is_any_good && let Some(place) = Place::named(kind)? {
        return Ok((Box::new(External(place)), json!({ "external": true })));
    }
    let flavor = match kind {
        "mysql" => Flavor::Mysql,
        "mariadb" => Flavor::Mariadb,
        "redis" | "mongodb" if tls => return Err(format!("The kit starts {kind} without TLS only.")),
        "redis" => {
            return Ok((
                Box::new(Redis::start(RedisOptions { args })?),
                json!({ "external": false }),
            ));
        }
        "mongodb" => {
            let members = command["members"].as_u64().unwrap_or(1);
            let members = usize::try_from(members).unwrap_or(usize::MAX);
            let set = Mongod::start(MongodOptions { members, args })?;
            return Ok((Box::new(set), json!({ "external": false })));
        }
        other => {
            return Err(format!(
                "Unknown server {other:?}: mariadb, mysql, mongodb or redis."
            ));
        }
    };
    let server = Mysqld::start(Options { flavor, args, tls })?;
    let answer = json!({
        "external": false,
        "socket": server.socket(),
        "tls": server.certificates().map(paths),
    });
    Ok((Box::new(server), answer))
}

fn paths(certificates: &Certificates) -> Value {
    json!({
        "ca": certificates.ca,
        "cert": certificates.cert,
        "key": certificates.key,
        "expiredCert": certificates.expired_cert,
        "clientCert": certificates.client_cert,
        "clientKey": certificates.client_key,
    })
}

fn fault(command: &Value) -> Result<Fault> {
    let bytes = || command["bytes"].as_u64().ok_or("`bytes` is a number.");
    let closing = match command["how"].as_str() {
        None | Some("rst") => Closing::Reset,
        Some("fin") => Closing::Fin,
        Some(other) => return Err(format!("`how` is \"rst\" or \"fin\", not {other:?}.")),
    };
    let direction = match command["direction"].as_str() {
        None | Some("both") => Direction::Both,
        Some("toServer") => Direction::ToServer,
        Some("toClient") => Direction::ToClient,
        Some(other) => {
            return Err(format!(
                "`direction` is \"both\", \"toServer\" or \"toClient\", not {other:?}."
            ));
        }
    };
    Ok(match command["kind"].as_str() {
        Some("heal") => Fault::Heal,
        Some("cut") => Fault::Cut {
            closing,
            is_once: command["once"] == true,
        },
        Some("blackhole") => Fault::Blackhole(direction),
        Some("drip") => Fault::Drip,
        Some("throttle") => Fault::Throttle(bytes()?),
        Some("resetAfter") => Fault::ResetAfter {
            bytes: bytes()?,
            closing,
        },
        _ => return Err(format!("Unknown fault {}.", command["kind"])),
    })
}

/// A list of texts; none where there is none.
fn texts(value: &Value) -> Result<Option<Vec<String>>> {
    let wrong = || format!("`args` is a list of texts, not {value}.");
    match value {
        Value::Null => Ok(None),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_>>()
            .map(Some),
        _ => Err(wrong()),
    }
}
