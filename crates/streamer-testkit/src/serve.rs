//! The kit for other languages: commands as JSON lines in, answers as JSON lines out. Everything ends with the input.
//!
//! | command | answer |
//! |---|---|
//! | `{"id", "do": "start", "server": "mysql", "args": [], "tls": false}` | name, port, socket, url, tls |
//! | `{"id", "do": "kill" / "stop" / "pause" / "resume", "name"}` | nothing |
//! | `{"id", "do": "restart", "name", "args"?}` | nothing |
//! | `{"id", "do": "proxy", "to": port}` | name, port |
//! | `{"id", "do": "fault", "name", "kind", "bytes"?}` | nothing |
//! | `{"id", "do": "counters", "name"}` | the proxy's counters |

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::{Fault, Flavor, Mysqld, Options, Proxy, Result};

#[derive(Default)]
struct Kit {
    servers: HashMap<String, Mysqld>,
    proxies: HashMap<String, Proxy>,
    count: usize,
}

/// Answers commands until the input ends. Servers are started on the calling thread: they die with it.
///
/// # Errors
/// Where input or output breaks.
pub fn serve(input: impl BufRead, mut output: impl Write) -> Result<()> {
    let mut kit = Kit::default();
    for line in input.lines() {
        let line = line.map_err(|error| error.to_string())?;
        let command: Value = serde_json::from_str(&line).map_err(|error| format!("No JSON: {error}"))?;
        let answer = match kit.answer(&command) {
            Ok(value) => json!({ "id": command["id"], "ok": value }),
            Err(error) => json!({ "id": command["id"], "error": error }),
        };
        writeln!(output, "{answer}").map_err(|error| error.to_string())?;
        output.flush().map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Kit {
    fn answer(&mut self, command: &Value) -> Result<Value> {
        match command["do"].as_str() {
            Some("start") => self.start(command),
            Some("kill") => self.server(command)?.kill().map(|()| Value::Null),
            Some("stop") => self.server(command)?.stop().map(|()| Value::Null),
            Some("pause") => self.server(command)?.pause().map(|()| Value::Null),
            Some("resume") => self.server(command)?.resume().map(|()| Value::Null),
            Some("restart") => {
                let args = command["args"].as_array().map(|args| texts(args));
                self.server(command)?.restart(args).map(|()| Value::Null)
            }
            Some("proxy") => self.proxy(command),
            Some("fault") => self.fault(command),
            Some("counters") => self.counters(command),
            _ => Err(format!("Unknown command {}.", command["do"])),
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}-{}", self.count)
    }

    fn start(&mut self, command: &Value) -> Result<Value> {
        let (flavor, scheme) = match command["server"].as_str() {
            Some("mysql") => (Flavor::Mysql, "mysql"),
            Some("mariadb") => (Flavor::Mariadb, "mariadb"),
            _ => return Err(format!("Unknown server {}.", command["server"])),
        };
        let server = Mysqld::start(Options {
            flavor,
            args: command["args"]
                .as_array()
                .map(|args| texts(args))
                .unwrap_or_default(),
            tls: command["tls"].as_bool().unwrap_or(false),
        })?;
        let name = self.name(scheme);
        let tls = server.certificates().map(|certificates| {
            json!({
                "ca": certificates.ca,
                "cert": certificates.cert,
                "key": certificates.key,
                "clientCert": certificates.client_cert,
                "clientKey": certificates.client_key,
            })
        });
        let answer = json!({
            "name": name,
            "port": server.port(),
            "socket": server.socket(),
            "url": format!("mysql://root@127.0.0.1:{}", server.port()),
            "tls": tls,
        });
        self.servers.insert(name, server);
        Ok(answer)
    }

    fn server(&mut self, command: &Value) -> Result<&mut Mysqld> {
        command["name"]
            .as_str()
            .and_then(|name| self.servers.get_mut(name))
            .ok_or_else(|| format!("No server is called {}.", command["name"]))
    }

    fn proxy(&mut self, command: &Value) -> Result<Value> {
        let to = command["to"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .ok_or("`to` is a port.")?;
        let proxy = Proxy::start(to)?;
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

    fn fault(&self, command: &Value) -> Result<Value> {
        let bytes = || command["bytes"].as_u64().ok_or("`bytes` is a number.");
        let fault = match command["kind"].as_str() {
            Some("heal") => Fault::Heal,
            Some("cut") => Fault::Cut,
            Some("blackhole") => Fault::Blackhole,
            Some("drip") => Fault::Drip,
            Some("throttle") => Fault::Throttle(bytes()?),
            Some("resetAfter") => Fault::ResetAfter(bytes()?),
            _ => return Err(format!("Unknown fault {}.", command["kind"])),
        };
        self.of_proxy(command)?.inject(fault);
        Ok(Value::Null)
    }

    fn counters(&self, command: &Value) -> Result<Value> {
        let counters = self.of_proxy(command)?.counters();
        Ok(json!({
            "connections": counters.connections.load(Ordering::Relaxed),
            "toServer": counters.to_server.load(Ordering::Relaxed),
            "toClient": counters.to_client.load(Ordering::Relaxed),
            "resets": counters.resets.load(Ordering::Relaxed),
            "held": counters.held.load(Ordering::Relaxed),
            "drips": counters.drips.load(Ordering::Relaxed),
        }))
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values
        .iter()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}
