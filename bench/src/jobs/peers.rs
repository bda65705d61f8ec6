//! Queues of others: each run is a process of its own, through the library that its users use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Access;
use super::ours::Outcome;
use super::{Latency, Scenario};
use crate::peers::find;
use crate::process::{Process, free_port};

const SCRIPTS: &str = "bench/peers";
/// Jobs of one process run: none of them gets through more in the time, and adding them takes longer.
const JOBS_MAX: usize = 60_000;

/// A queue of others.
pub(super) struct Peer {
    pub(super) name: &'static str,
    script: PathBuf,
    url: String,
    /// For ours alone.
    token: Option<String>,
    /// The server that belongs to it alone.
    server: Option<Process>,
}

/// BullMQ on a Redis of its own, which writes its log as `fsync` says.
pub(super) fn bullmq(folder: &Path, name: &'static str, fsync: &str) -> Result<Option<Peer>, String> {
    let (Some(program), Some(script)) = (find("redis-server"), script("bullmq.mjs")) else { return Ok(None) };
    let port = free_port()?;
    let dir = folder.join(fsync);
    std::fs::create_dir_all(&dir).map_err(|error| format!("make a folder: {error}"))?;
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", fsync]).arg("--dir").arg(&dir);
    let mut server = Process::start(&format!("redis-{fsync}"), command, folder)?;
    server.wait_for_port(port)?;
    Ok(Some(Peer {
        name,
        script,
        url: format!("redis://127.0.0.1:{port}"),
        token: None,
        server: Some(server),
    }))
}

/// A library on a database of a PostgreSQL that runs.
pub(super) fn on_postgres(name: &'static str, file: &str, url: String) -> Option<Peer> {
    Some(Peer { name, script: script(file)?, url, token: None, server: None })
}

/// Our own queues through the TypeScript package.
pub(super) fn through_the_package(name: &'static str, access: &Access) -> Option<Peer> {
    let (url, token) = (format!("http://{}", access.address), Some(access.token.clone()));
    Some(Peer { name, script: script("switchyard.mjs")?, url, token, server: None })
}

fn script(name: &str) -> Option<PathBuf> {
    let folder = Path::new(SCRIPTS);
    (find("node").is_some() && folder.join("node_modules").is_dir()).then(|| folder.join(name))
}

impl Peer {
    /// Runs one scenario, with what must be there before it.
    pub(super) fn run(&self, scenario: &Scenario, span: Duration) -> Result<Outcome, String> {
        let mut asked = match scenario {
            Scenario::Enqueue { connections } => json!({ "do": "enqueue", "connections": connections }),
            Scenario::Bulk => json!({ "do": "bulk" }),
            Scenario::Process { workers, jobs, .. } => {
                json!({ "do": "process", "concurrency": workers, "jobs": jobs.min(&JOBS_MAX) })
            }
            Scenario::Backlog { workers, .. } => json!({ "do": "backlog", "concurrency": workers }),
            Scenario::Latency { rate, fair: None } => json!({ "do": "latency", "rate": rate }),
            Scenario::Latency { rate, fair: Some(fair) } => json!({
                "do": "latency", "rate": rate,
                "fair": { "backlog": fair.backlog, "job_ms": fair.job_time.as_millis() as u64 },
            }),
        };
        asked["seconds"] = span.as_secs_f64().into();
        let answer = self.ask(asked)?;
        if let Some(rate) = answer["per_second"].as_f64() {
            return Ok(Outcome::PerSecond(rate));
        }
        let all = answer["percentiles"].as_array().map(Vec::as_slice).unwrap_or_default();
        let values: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
        let percentiles_ms =
            values.try_into().map_err(|_| format!("{} answers without figures: {answer}", self.name))?;
        Ok(Outcome::Latency(Latency { percentiles_ms }))
    }

    /// Adds jobs that stay.
    pub(super) fn load(&self, jobs: usize) -> Result<(), String> {
        self.ask(json!({ "do": "load", "jobs": jobs })).map(drop)
    }

    /// Memory of its own server, where it has one.
    pub(super) fn rss_mb(&self) -> Option<f64> {
        self.server.as_ref().map(|server| server.usage().rss_bytes as f64 / 1e6)
    }

    fn ask(&self, mut asked: Value) -> Result<Value, String> {
        asked["url"] = self.url.clone().into();
        asked["token"] = self.token.clone().into();
        let output = Command::new("node")
            .arg(&self.script)
            .arg(asked.to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run node: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        line.ok_or_else(|| format!("{} says: {text}{}", self.name, String::from_utf8_lossy(&output.stderr)))
    }
}
