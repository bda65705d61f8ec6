//! The keeper proper: one for a data folder.

use super::protocol::{Exit, Launch, Listed, MESSAGE_BYTES_MAX, Message, Op, Request, Stream, VERSION};
use super::ring::{Line, Ring, Splitter};
use super::sockets::{self, Kept};
use super::{Crew, GUARD, Hands, LONELY_MAX, SELF, complain, guard, procs, socket};
use base::{SharedClock, SystemClock, Timestamp};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, setsid, waitpid};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, watch};

/// Processes that one keeper runs and remembers.
const PROCESSES_MAX: usize = 2_000;

/// Replies that wait, and lines of one process that are put into one write.
const BATCH: usize = 64;

/// Bytes of lines of one process that are put into one write.
const BATCH_BYTES: usize = 64 * 1024;

/// Bytes that one read of output takes. Whoever fills it floods.
const READ_BYTES: usize = 16 * 1024;

/// Pause after a read that was filled: a flood goes on at 8 MiB/s at most, and leaves the CPU to others.
const FLOOD_PAUSE: Duration = Duration::from_millis(2);

/// Time that output may take to end after its process did.
const OUTPUT_END_MAX: Duration = Duration::from_secs(1);

/// Time that processes get when nobody asks for them any more.
const LONELY_GRACE: Duration = Duration::from_secs(5);

/// Time between two looks at something that has no way to tell.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// Looks for strays before giving up.
const SWEEPS_MAX: u32 = 500;

/// Attempts to take the lock, [`SWEEP_INTERVAL`] apart.
const LOCK_ATTEMPTS: u32 = 50;

/// Time beyond the grace after which the keeper goes although a process could not be ended.
const STUCK_MAX: Duration = Duration::from_secs(15);

/// `keeper <data-dir>`: keeps until it is told to end, or is alone for too long.
pub(super) fn main(args: &[OsString]) -> ExitCode {
    let [data_dir] = args else {
        complain(format_args!("`keeper` is started by Switchyard, not by people"));
        return ExitCode::from(2);
    };
    match run(Path::new(data_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("keep processes of {}: {error}", Path::new(data_dir).display()));
            ExitCode::FAILURE
        }
    }
}

fn run(data_dir: &Path) -> io::Result<()> {
    // Fails when this is a session's first process already, which is as good.
    let _leads_already = setsid();
    set_child_subreaper(Some(getpid()))?;
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(data_dir.join("keeper.lock"))?;
    if !take(&lock) {
        // Another one keeps already, and will answer.
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = socket::listen(data_dir)?;
        let mut crew = Crew::new();
        let keeper = Arc::new(Keeper::new(crew.hands()));
        let _ignored = ignore_terminal()?;
        crew.hands().add(Arc::clone(&keeper).accept(listener));
        crew.hands().add(Arc::clone(&keeper).watch_loneliness());
        crew.hands().add(Arc::clone(&keeper).watch_signals());
        let ending = Arc::clone(&keeper);
        crew.work(ending.ended()).await;
        Ok(())
    })
}

/// Takes the keeper's lock. One that was just killed may hold it for a moment after its connections broke.
fn take(lock: &std::fs::File) -> bool {
    (0..LOCK_ATTEMPTS).any(|attempt| {
        if attempt > 0 {
            std::thread::sleep(SWEEP_INTERVAL);
        }
        flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()
    })
}

/// Interrupts of the terminal are for Switchyard.
fn ignore_terminal() -> io::Result<[tokio::signal::unix::Signal; 2]> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?])
}

struct Keeper {
    state: Mutex<State>,
    /// Something waits to be sent.
    output: Notify,
    /// Number of the connection in charge; 0 when there is none.
    connection: watch::Sender<u64>,
    /// The grace with which all is to end, once that was decided.
    ending: watch::Sender<Option<Duration>>,
    /// The number of running processes.
    running: watch::Sender<usize>,
    hands: Hands,
    clock: SharedClock,
}

#[derive(Default)]
struct State {
    processes: BTreeMap<String, Process>,
    connections: u64,
    /// Whether the connection in charge takes output.
    followed: bool,
    /// What Switchyard listens on.
    sockets: Kept,
}

struct Process {
    meta: serde_json::Value,
    guard: Option<u32>,
    started_at: Timestamp,
    input: Option<ChildStdin>,
    ring: Ring,
    exit: Option<(Exit, Timestamp)>,
    /// Whether the Switchyard in charge was told of the exit.
    told: bool,
}

impl Keeper {
    fn new(hands: Hands) -> Self {
        Self {
            state: Mutex::new(State::default()),
            output: Notify::new(),
            connection: watch::Sender::new(0),
            ending: watch::Sender::new(None),
            running: watch::Sender::new(0),
            hands,
            clock: SystemClock::shared(),
        }
    }

    async fn accept(self: Arc<Self>, listener: UnixListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of files, for instance: wait instead of spinning.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if socket::is_own(&stream) {
                let keeper = Arc::clone(&self);
                self.hands.add(async move { keeper.serve(stream).await });
            }
        }
    }

    /// Ends all when nobody was connected for [`LONELY_MAX`].
    async fn watch_loneliness(self: Arc<Self>) {
        let mut connection = self.connection.subscribe();
        loop {
            let _never_closed = connection.wait_for(|number| *number == 0).await.is_ok();
            let back = connection.wait_for(|number| *number != 0);
            if tokio::time::timeout(LONELY_MAX, back).await.is_err() {
                complain(format_args!("nobody asked for the processes for {LONELY_MAX:?}: ending them"));
                self.end(LONELY_GRACE);
                return;
            }
        }
    }

    async fn watch_signals(self: Arc<Self>) {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            term.recv().await;
            self.end(LONELY_GRACE);
        }
    }

    /// Decides to end all. Who decided already is only ever hurried.
    fn end(&self, grace: Duration) {
        self.ending.send_if_modified(|ending| {
            let sooner = ending.is_none_or(|decided| grace < decided);
            if sooner {
                *ending = Some(grace);
            }
            sooner
        });
        self.state.lock().sockets.clear();
    }

    /// Waits for the decision to end, then for the end of all processes.
    async fn ended(self: Arc<Self>) {
        let mut ending = self.ending.subscribe();
        let _never_closed = ending.wait_for(Option::is_some).await.is_ok();
        let mut running = self.running.subscribe();
        loop {
            let grace = ending.borrow_and_update().unwrap_or(LONELY_GRACE);
            let names: Vec<String> = self.state.lock().processes.keys().cloned().collect();
            for name in names {
                let _ended_already = self.stop(&name, grace).await;
            }
            let gone = running.wait_for(|count| *count == 0);
            tokio::select! {
                _gone_or_stuck = tokio::time::timeout(grace + STUCK_MAX, gone) => break,
                _ = ending.changed() => {}
            }
        }
        // The last exits are told before the connection closes.
        let told = async {
            while *self.connection.borrow() != 0 && self.state.lock().processes.values().any(|one| !one.told)
            {
                tokio::time::sleep(SWEEP_INTERVAL).await;
            }
        };
        let _nobody_listens = tokio::time::timeout(OUTPUT_END_MAX, told).await;
    }
}

/// Connections.
impl Keeper {
    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let Some(first) = sockets::first_line(&stream).await else { return };
        let Ok(Request { id, op }) = serde_json::from_slice(&first.line) else { return };
        // Whoever does not begin with a greeting of the same version is answered, but never takes over.
        let version = match op {
            Op::Hello { version } => version,
            Op::HoldSockets { purposes } => return self.hold(stream, id, (purposes, first.sockets)).await,
            Op::TakeSockets => return self.give(stream, id).await,
            _ => return,
        };
        let (read, write) = stream.into_split();
        let (replies, waiting) = tokio::sync::mpsc::channel(BATCH);
        let mut reader = Reader { read, buffer: first.rest };
        if version != VERSION {
            let why = format!("this keeper speaks version {VERSION}, not {version}");
            let mut write = write;
            let _gone = send(&mut write, &[Message::Refused { id, why }]).await;
            if let Some(Request { op: Op::Shutdown { grace_ms }, .. }) = reader.next().await {
                self.end(Duration::from_millis(grace_ms));
            }
            return;
        }
        let number = {
            let mut state = self.state.lock();
            state.connections += 1;
            state.processes.values_mut().for_each(|process| process.told = false);
            state.followed = false;
            state.connections
        };
        self.connection.send_replace(number);
        let mut replaced = self.connection.subscribe();
        let _sent = replies.try_send(Message::Done { id, pid: None });
        tokio::select! {
            () = self.write(write, waiting) => {}
            () = self.read(reader, replies) => {}
            _ = replaced.wait_for(|current| *current != number) => {}
        }
        self.connection.send_if_modified(|current| {
            let was_in_charge = *current == number;
            if was_in_charge {
                *current = 0;
            }
            was_in_charge
        });
    }

    /// Holds sockets for the next Switchyard, unless all is about to end.
    async fn hold(&self, stream: UnixStream, id: u64, (purposes, sockets): (Vec<String>, Vec<OwnedFd>)) {
        let held = match *self.ending.borrow() {
            Some(_) => Err("the keeper is ending".to_owned()),
            None => self.state.lock().sockets.replace(purposes, sockets),
        };
        let (_, mut write) = stream.into_split();
        let _gone = send(&mut write, &[answer(id, held.map(|()| None))]).await;
    }

    /// Gives the sockets to the next Switchyard: to nobody as long as there is one, which accepts on them.
    async fn give(&self, mut stream: UnixStream, id: u64) {
        let copies = match *self.connection.borrow() {
            0 => self.state.lock().sockets.copies().map_err(|error| error.to_string()),
            _ => Err("a Switchyard is connected".to_owned()),
        };
        match copies {
            Ok(copies) => sockets::give(&mut stream, id, copies).await,
            Err(why) => {
                let (_, mut write) = stream.into_split();
                let _gone = send(&mut write, &[Message::Refused { id, why }]).await;
            }
        }
    }

    async fn read(self: &Arc<Self>, mut reader: Reader, replies: tokio::sync::mpsc::Sender<Message>) {
        while let Some(Request { id, op }) = reader.next().await {
            let reply = match op {
                Op::Hello { .. } => Message::Done { id, pid: None },
                Op::HoldSockets { .. } | Op::TakeSockets => {
                    Message::Refused { id, why: "sockets have a connection of their own".to_owned() }
                }
                Op::Follow => {
                    self.state.lock().followed = true;
                    self.output.notify_one();
                    Message::Done { id, pid: None }
                }
                Op::Start { name, meta, launch } => answer(id, self.start(name, meta, &launch).await),
                Op::Stop { name, grace_ms } => {
                    answer(id, self.stop(&name, Duration::from_millis(grace_ms)).await.map(|()| None))
                }
                Op::List => Message::Listed { id, processes: self.list() },
                Op::Forget { name } => answer(id, self.forget(&name).map(|()| None)),
                Op::Shutdown { grace_ms } => {
                    self.end(Duration::from_millis(grace_ms));
                    Message::Done { id, pid: None }
                }
            };
            if replies.send(reply).await.is_err() {
                return;
            }
        }
    }

    async fn write(&self, mut write: OwnedWriteHalf, mut replies: tokio::sync::mpsc::Receiver<Message>) {
        loop {
            let mut batch = self.take_batch();
            if batch.is_empty() {
                tokio::select! {
                    reply = replies.recv() => match reply {
                        Some(reply) => batch.push(reply),
                        None => return,
                    },
                    () = self.output.notified() => continue,
                }
            }
            while let Ok(reply) = replies.try_recv() {
                batch.push(reply);
            }
            if send(&mut write, &batch).await.is_err() {
                return;
            }
        }
    }

    /// The next messages about processes: some output of each, so that a flood of one does not hold up others,
    /// and the exits of those with no output left.
    fn take_batch(&self) -> Vec<Message> {
        let mut state = self.state.lock();
        let mut batch = Vec::new();
        if !state.followed {
            return batch;
        }
        for (name, process) in &mut state.processes {
            let lines = process.ring.take_dropped();
            if lines > 0 {
                batch.push(Message::Dropped { name: name.clone(), lines });
            }
            let mut bytes = 0;
            for _ in 0..BATCH {
                let Some(Line { stream, at, text }) = process.ring.pop() else { break };
                bytes += text.len();
                batch.push(Message::Output { name: name.clone(), stream, at, line: text });
                if bytes >= BATCH_BYTES {
                    break;
                }
            }
            if let Some((exit, at)) = process.exit
                && process.ring.is_empty()
                && !std::mem::replace(&mut process.told, true)
            {
                batch.push(Message::Exited { name: name.clone(), exit, at });
            }
        }
        batch
    }
}

fn answer(id: u64, result: Result<Option<u32>, String>) -> Message {
    match result {
        Ok(pid) => Message::Done { id, pid },
        Err(why) => Message::Refused { id, why },
    }
}

async fn send(write: &mut OwnedWriteHalf, batch: &[Message]) -> io::Result<()> {
    let mut bytes = Vec::new();
    for message in batch {
        serde_json::to_writer(&mut bytes, message)?;
        bytes.push(b'\n');
    }
    write.write_all(&bytes).await
}

/// Requests of a connection; ends at the first that is none.
struct Reader {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Reader {
    async fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return serde_json::from_slice(&line[..end]).ok();
            }
            if self.buffer.len() > MESSAGE_BYTES_MAX || self.read.read_buf(&mut self.buffer).await.ok()? == 0
            {
                return None;
            }
        }
    }
}

/// Processes.
impl Keeper {
    async fn start(
        self: &Arc<Self>,
        name: String,
        meta: serde_json::Value,
        launch: &Launch,
    ) -> Result<Option<u32>, String> {
        if self.ending.borrow().is_some() {
            return Err("the keeper is ending".to_owned());
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        {
            return Err(format!("{name:?} is no name for a process"));
        }
        {
            let state = self.state.lock();
            if state.processes.get(&name).is_some_and(|process| process.exit.is_none()) {
                return Err(format!("{name} runs already"));
            }
            if state.processes.len() >= PROCESSES_MAX {
                return Err(format!("{PROCESSES_MAX} processes run already"));
            }
        }
        let spawned = Command::new(SELF)
            .arg0("switchyard")
            .args([GUARD, &name])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = spawned.map_err(|error| format!("start guard: {error}"))?;
        let (Some(mut input), Some(out), Some(err)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("start guard: its pipes are missing".to_owned());
        };
        let body = guard::encode_launch(&name, launch).map_err(|error| error.to_string())?;
        input.write_all(&body).await.map_err(|error| format!("write to guard: {error}"))?;
        let pid = child.id();
        let process = Process {
            meta,
            guard: pid,
            started_at: self.clock.now(),
            input: Some(input),
            ring: Ring::default(),
            exit: None,
            told: false,
        };
        self.state.lock().processes.insert(name.clone(), process);
        self.running.send_modify(|count| *count += 1);
        self.hands.add(Arc::clone(self).follow(name, child, out, err));
        Ok(pid)
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<(), String> {
        let input = {
            let mut state = self.state.lock();
            let process = state.processes.get_mut(name).ok_or_else(|| format!("there is no {name}"))?;
            if process.exit.is_some() {
                return Ok(());
            }
            process.input.take()
        };
        let Some(mut input) = input else { return Ok(()) };
        let order = format!("stop {}\n", grace.as_millis());
        let written =
            input.write_all(order.as_bytes()).await.map_err(|error| format!("stop {name}: {error}"));
        // Kept open: its end would mean that the keeper is gone, and cut the grace short.
        if let Some(process) = self.state.lock().processes.get_mut(name) {
            process.input = Some(input);
        }
        written
    }

    fn list(&self) -> Vec<Listed> {
        let state = self.state.lock();
        let listed = |(name, process): (&String, &Process)| Listed {
            name: name.clone(),
            meta: process.meta.clone(),
            pid: process.guard,
            started_at: process.started_at,
            exit: process.exit.map(|(exit, _)| exit),
        };
        state.processes.iter().map(listed).collect()
    }

    fn forget(&self, name: &str) -> Result<(), String> {
        let mut state = self.state.lock();
        match state.processes.get(name) {
            Some(process) if process.exit.is_none() => Err(format!("{name} still runs")),
            _ => {
                state.processes.remove(name);
                Ok(())
            }
        }
    }
}

/// Output and ends.
impl Keeper {
    /// Takes the output of a process until it and all that descends from it are gone.
    async fn follow(self: Arc<Self>, name: String, mut child: Child, out: ChildStdout, err: ChildStderr) {
        let exit = {
            let output = async {
                tokio::join!(
                    self.collect(&name, Stream::Stdout, out),
                    self.collect(&name, Stream::Stderr, err)
                );
            };
            tokio::pin!(output);
            let (status, open) = tokio::select! {
                status = child.wait() => (status, true),
                () = &mut output => (child.wait().await, false),
            };
            let exit = self.note_end(&name, status).await;
            if open {
                let _held_open_elsewhere = tokio::time::timeout(OUTPUT_END_MAX, output).await;
            }
            exit
        };
        let at = self.clock.now();
        if let Some(process) = self.state.lock().processes.get_mut(&name) {
            process.exit = Some((exit, at));
        }
        self.running.send_modify(|count| *count -= 1);
        self.output.notify_one();
    }

    /// Takes note that a guard ended, and ends what it left when it was killed.
    async fn note_end(&self, name: &str, status: io::Result<std::process::ExitStatus>) -> Exit {
        let exit = match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Lost,
            },
            Err(_) => Exit::Lost,
        };
        if let Some(process) = self.state.lock().processes.get_mut(name) {
            process.guard = None;
            process.input = None;
        }
        if !matches!(exit, Exit::Code(_)) {
            self.end_strays().await;
        }
        exit
    }

    async fn collect(&self, name: &str, stream: Stream, mut from: impl AsyncRead + Unpin) {
        let mut splitter = Splitter::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let at = self.clock.now();
            if let Some(process) = self.state.lock().processes.get_mut(name) {
                splitter.feed(&buffer[..read], |text| process.ring.push(Line { stream, at, text }));
            }
            self.output.notify_one();
            if read == READ_BYTES {
                tokio::time::sleep(FLOOD_PAUSE).await;
            }
        }
        if let (Some(text), Some(process)) = (splitter.finish(), self.state.lock().processes.get_mut(name)) {
            process.ring.push(Line { stream, at: self.clock.now(), text });
        }
    }

    /// Kills what a guard left behind that was killed itself: it is this subreaper's now.
    async fn end_strays(&self) {
        for _ in 0..SWEEPS_MAX {
            let guards: Vec<u32> =
                self.state.lock().processes.values().filter_map(|process| process.guard).collect();
            let mut kept: Vec<u32> = guards.iter().flat_map(|guard| procs::descendants(*guard)).collect();
            kept.extend(guards);
            let strays: Vec<u32> = procs::descendants(std::process::id())
                .into_iter()
                .filter(|pid| !kept.contains(pid))
                .collect();
            for pid in &strays {
                procs::signal(*pid, Signal::KILL);
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
            for pid in strays.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
                let _not_a_child = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            if strays.is_empty() {
                return;
            }
        }
    }
}
