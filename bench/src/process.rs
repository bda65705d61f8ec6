//! Processes that are measured: their CPU and memory, with all that they started.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Kernel ticks a second in `/proc`: 100 on every Linux that is in use.
const TICKS_PER_SECOND: f64 = 100.0;
/// Pause between two looks, and their number: 30 s.
const POLL: Duration = Duration::from_millis(5);
const POLLS_MAX: u32 = 6_000;

/// A process that ends with this value: asked at first, then killed.
pub(crate) struct Process {
    child: Child,
    name: String,
}

/// What a process and its descendants used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
}

impl Process {
    /// Starts a command; what it writes goes to a file in `folder`.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> Result<Process, String> {
        let log = fs::File::create(folder.join(format!("{name}.log")))
            .map_err(|error| format!("make a log: {error}"))?;
        let errors = log.try_clone().map_err(|error| format!("make a log: {error}"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot run {name}: {error}"))?;
        Ok(Process { child, name: name.to_owned() })
    }

    /// Waits until something accepts connections at the port.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> Result<(), String> {
        self.wait(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// Waits until `is_there` says so.
    pub(crate) fn wait(&mut self, mut is_there: impl FnMut() -> bool) -> Result<(), String> {
        for _ in 0..POLLS_MAX {
            if is_there() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended ({status}) before it was ready", self.name));
            }
            std::thread::sleep(POLL);
        }
        Err(format!("{} is not ready after {} s", self.name, POLL.as_secs_f64() * f64::from(POLLS_MAX)))
    }

    /// CPU and memory of the process and all below it.
    pub(crate) fn usage(&self) -> Usage {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if let Some((parent, _)) = stat(id) {
                children.entry(parent).or_default().push(id);
            }
        }
        let mut usage = Usage { cpu_seconds: 0.0, rss_bytes: 0 };
        let mut open = vec![self.child.id()];
        while let Some(id) = open.pop() {
            usage.cpu_seconds += stat(id).map_or(0.0, |(_, ticks)| ticks as f64 / TICKS_PER_SECOND);
            usage.rss_bytes += rss_bytes(id);
            open.extend(children.remove(&id).unwrap_or_default());
        }
        usage
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        for _ in 0..POLLS_MAX / 10 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _killed = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Parent and CPU ticks (own and of ended children) of a process.
fn stat(id: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields follow the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, number(11)? + number(12)?))
}

fn rss_bytes(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}
