//! The guard: parent of one process, and of all that descends from it.

use super::cgroup::Group;
use super::launch::Setup;
use super::protocol::{Launch, MESSAGE_BYTES_MAX};
use super::{LAUNCH, SELF, complain, procs};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process_group, set_child_subreaper, wait};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

/// What descendants get between SIGTERM and SIGKILL when the process proper ended by itself, or when the keeper
/// is gone.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(2);

/// Time between two looks for survivors of SIGKILL.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// Looks for survivors before giving up: a process that sleeps in the kernel cannot be killed until it wakes.
const SWEEPS_MAX: u32 = 500;

/// Added to the number of a signal, as shells do, to tell it by an exit code.
const SIGNAL_BASE: i32 = 128;

/// Reads a [`Launch`] from standard input, runs it, and returns its exit code. A line `stop <ms>` on standard
/// input ends it; so does the end of the input.
pub(super) fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            complain(format_args!("guard process: {error}"));
            ExitCode::from(126)
        }
    }
}

fn run() -> io::Result<i32> {
    let (name, launch) = read_launch()?;
    set_child_subreaper(Some(getpid()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let group = Group::create(&name, launch.limits);
    let code = runtime.block_on(guard(&launch, &group));
    group.remove();
    // The process must not linger on a thread that still reads.
    runtime.shutdown_background();
    code
}

/// `<length in ten digits> <name> <launch as JSON>`, read without a buffer: what follows belongs to [`Orders`].
fn read_launch() -> io::Result<(String, Launch)> {
    let mut input = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = [0; LENGTH_DIGITS];
    input.read_exact(&mut length)?;
    let length = std::str::from_utf8(&length).ok().and_then(|text| text.parse().ok());
    let length = length.filter(|length| *length <= MESSAGE_BYTES_MAX);
    let mut text = vec![0; length.ok_or_else(|| io::Error::other("no launch was given"))?];
    input.read_exact(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(io::Error::other)?;
    let (name, launch) = text.split_once(' ').ok_or_else(|| io::Error::other("no launch was given"))?;
    Ok((name.to_owned(), serde_json::from_str(launch)?))
}

/// Digits of the length that comes before a launch.
const LENGTH_DIGITS: usize = 10;

/// What the keeper writes to a guard's standard input at the start.
pub(super) fn encode_launch(name: &str, launch: &Launch) -> io::Result<Vec<u8>> {
    let body = format!("{name} {}", serde_json::to_string(launch)?);
    Ok(format!("{:0width$}{body}", body.len(), width = LENGTH_DIGITS).into_bytes())
}

async fn guard(launch: &Launch, group: &Group) -> io::Result<i32> {
    let mut children = signal(SignalKind::child())?;
    // The terminal's signals are for Switchyard, which then asks for an orderly stop.
    let (_int, _term, _hup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut orders = Orders::new()?;
    let main = start(launch, group)?;
    let mut watch = Watch { main, code: None };
    let grace = loop {
        watch.reap();
        if watch.code.is_some() {
            break LEFT_BEHIND_GRACE;
        }
        tokio::select! {
            _ = children.recv() => {}
            grace = orders.stop() => {
                if let Some(pid) = Pid::from_raw(main.cast_signed()) {
                    let _gone_already = kill_process_group(pid, Signal::TERM);
                }
                break grace;
            }
        }
    };
    watch.end_all(grace, group, (&mut children, &mut orders)).await;
    Ok(watch.code.unwrap_or(SIGNAL_BASE + Signal::KILL.as_raw()))
}

fn start(launch: &Launch, group: &Group) -> io::Result<u32> {
    let Launch { dir, command, env, limits } = launch;
    let setup = Setup {
        parent: getpid().as_raw_nonzero().get().cast_unsigned(),
        data_bytes_max: limits.memory_bytes.filter(|_| group.missing.memory),
        groups: group.members().collect(),
        command: command.into(),
    };
    if group.missing.memory {
        complain(format_args!("no cgroup limits the memory here: the limit holds for each process alone"));
    }
    if group.missing.cpu {
        complain(format_args!("no cgroup limits the CPU here: the limit is not enforced"));
    }
    let child = Command::new(SELF)
        .arg0("switchyard")
        .arg(LAUNCH)
        .args(setup.args())
        .current_dir(dir)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("start in {}: {error}", dir.display())))?;
    Ok(child.id())
}

/// The process and how it ended.
struct Watch {
    main: u32,
    code: Option<i32>,
}

impl Watch {
    /// Takes note of every child that ended: the process proper, and orphans that were handed to this subreaper.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid.as_raw_nonzero().get().cast_unsigned() != self.main {
                continue;
            }
            self.code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|number| SIGNAL_BASE + number));
        }
    }

    /// Waits for all to end within `grace`, SIGTERM being sent to those that the group did not reach once the
    /// process proper is gone; then kills until nobody is left. A later order can shorten the grace.
    async fn end_all(
        &mut self,
        grace: Duration,
        group: &Group,
        (children, orders): (&mut SignalStream, &mut Orders),
    ) {
        let own = std::process::id();
        let over = tokio::time::sleep(grace);
        tokio::pin!(over);
        let mut asked = false;
        loop {
            self.reap();
            let left = procs::descendants(own);
            if left.is_empty() {
                return;
            }
            if self.code.is_some() && !asked {
                left.iter().for_each(|pid| procs::signal(*pid, Signal::TERM));
                asked = true;
            }
            tokio::select! {
                () = &mut over => break,
                _ = children.recv() => {}
                grace = orders.stop() => {
                    let sooner = tokio::time::sleep(grace);
                    if sooner.deadline() < over.deadline() {
                        over.set(sooner);
                    }
                }
            }
        }
        for _ in 0..SWEEPS_MAX {
            group.kill();
            let left = procs::descendants(own);
            self.reap();
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|pid| procs::signal(*pid, Signal::KILL));
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }
}

/// What the keeper says after the launch.
struct Orders {
    input: pipe::Receiver,
    line: Vec<u8>,
    /// The keeper is gone, and says nothing more.
    over: bool,
}

impl Orders {
    fn new() -> io::Result<Self> {
        let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        Ok(Self { input, line: Vec::new(), over: false })
    }

    /// Waits for the next order to stop, or for the end of the keeper, and gives the grace. Cancel safe.
    async fn stop(&mut self) -> Duration {
        if self.over {
            return std::future::pending().await;
        }
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte).await {
                Ok(1) if byte[0] == b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let grace = std::str::from_utf8(&line)
                        .ok()
                        .and_then(|line| line.strip_prefix("stop "))
                        .and_then(|ms| ms.parse().ok());
                    if let Some(ms) = grace {
                        return Duration::from_millis(ms);
                    }
                }
                Ok(1) if self.line.len() < 64 => self.line.push(byte[0]),
                Ok(1) => self.line.clear(),
                Ok(_) | Err(_) => {
                    self.over = true;
                    return LEFT_BEHIND_GRACE;
                }
            }
        }
    }
}
