//! Switchyard's side of the keeper: finds or starts it, and stays connected.

use super::protocol::{Exit, Launch, Listed, MESSAGE_BYTES_MAX, Message, Op, Request, Stream, VERSION};
use super::{KEEPER, socket, sockets};
use crate::Config;
use base::Timestamp;
use lifecycle::HeldSockets;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that wait for being written.
const REQUESTS_WAITING_MAX: usize = 256;

/// Time that a request waits for the keeper to be there.
const KEEPER_WAIT_MAX: Duration = Duration::from_secs(15);

/// Time that a keeper has to answer a request.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Time between two attempts to reach a keeper.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Attempts to reach a keeper that was started, before another is.
const ATTEMPTS_EACH: u32 = 150;

/// Attempts to reach a keeper before that counts as failed.
const ATTEMPTS_MAX: u32 = 3 * ATTEMPTS_EACH;

/// Time before a keeper is started again after it could not be reached.
const RESTART_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes of `keeper.log` from which on it begins anew.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// Why a request to the keeper failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeeperError {
    /// It cannot be reached, or went away before it answered.
    #[error("the keeper of the processes cannot be reached; see keeper.log in the data folder")]
    Gone,
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// What is heard of a process while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard<'a> {
    /// A line of output.
    Line {
        /// Which output.
        stream: Stream,
        /// When it was read.
        at: Timestamp,
        /// Without its line end.
        text: &'a str,
    },
    /// Lines that were lost since they came faster than they were taken.
    Dropped(u64),
}

/// Takes what is heard of processes, by name. Must not wait.
pub(crate) type Listener = Arc<dyn Fn(&str, Heard<'_>) + Send + Sync>;

/// A connection to the keeper that is made again whenever it breaks.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    data_dir: PathBuf,
    program: Vec<OsString>,
    /// What the keeper holds for the next Switchyard.
    sockets: Arc<HeldSockets>,
    listener: Listener,
    link: Mutex<Link>,
    /// Number of the connection; 0 while there is none.
    connected: watch::Sender<u64>,
    /// Processes that this Switchyard started or claimed, and how they ended.
    known: Mutex<HashMap<String, watch::Sender<Option<Exit>>>>,
    /// Whether it was looked for a keeper that runs already.
    looked: watch::Sender<bool>,
    /// Whether a keeper is needed: not before there is something to run.
    wanted: watch::Sender<bool>,
    /// Whether the keeper was told to end.
    closing: watch::Sender<bool>,
    /// Whether nothing is started any more.
    full_stop: AtomicBool,
    /// What ran at the first look and was not claimed yet.
    adoptable: Mutex<Vec<Listed>>,
}

#[derive(Default)]
struct Link {
    requests: Option<mpsc::Sender<Request>>,
    waiting: HashMap<u64, oneshot::Sender<Result<Option<u32>, KeeperError>>>,
    last_id: u64,
}

impl Client {
    /// A client for the keeper of the configured data folder, which the configured program starts when it is not there.
    pub(crate) fn new(config: &Config, listener: Listener) -> Self {
        Self(Arc::new(Inner {
            data_dir: config.data_dir.clone(),
            program: config.keeper_program.clone(),
            sockets: Arc::clone(&config.sockets),
            listener,
            link: Mutex::default(),
            connected: watch::Sender::new(0),
            known: Mutex::default(),
            looked: watch::Sender::new(false),
            wanted: watch::Sender::new(false),
            closing: watch::Sender::new(false),
            full_stop: AtomicBool::new(false),
            adoptable: Mutex::default(),
        }))
    }

    /// Stays connected, until the keeper was told to end. Starts one as soon as there is something to run.
    pub(crate) async fn run(self) {
        if let Ok(stream) = socket::connect(&self.0.data_dir).await {
            self.meet(stream).await;
        }
        self.0.looked.send_replace(true);
        let mut wanted = self.0.wanted.subscribe();
        let _never_closed = wanted.wait_for(|wanted| *wanted).await.is_ok();
        let mut failed = false;
        while !*self.0.closing.borrow() {
            let met = match self.reach().await {
                Ok(stream) => self.meet(stream).await,
                Err(error) => {
                    if !failed {
                        tracing::error!(%error, "the keeper of the processes cannot be reached: trying again");
                    }
                    false
                }
            };
            failed = !met;
            if failed {
                tokio::time::sleep(RESTART_INTERVAL).await;
            }
        }
    }

    /// Greets a keeper and stays with it until the connection breaks. Whether the greeting was answered.
    async fn meet(&self, stream: UnixStream) -> bool {
        match self.greet(stream).await {
            Ok((lines, write)) => {
                if let Err(error) = sockets::hold(&self.0.data_dir, &self.0.sockets).await {
                    // As with a keeper of before this could be asked.
                    tracing::debug!(%error, "the keeper does not hold the sockets of the listeners");
                }
                self.0.looked.send_replace(true);
                self.0.wanted.send_replace(true);
                self.serve(lines, write).await;
                if !*self.0.closing.borrow() {
                    tracing::warn!("the connection to the keeper broke: connecting again");
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the keeper does not answer as it should: connecting again");
                false
            }
        }
    }

    /// What ran when this Switchyard first met its keeper. Each must be claimed or stopped. Waits for that.
    pub(crate) async fn adoptable(&self) -> Vec<Listed> {
        let mut looked = self.0.looked.subscribe();
        let _never_closed = looked.wait_for(|looked| *looked).await.is_ok();
        std::mem::take(&mut *self.0.adoptable.lock())
    }

    /// Takes a process over, so that [`Client::exit`] tells of its end.
    pub(crate) fn claim(&self, listed: &Listed) {
        self.0.known.lock().insert(listed.name.clone(), watch::Sender::new(listed.exit));
    }

    /// Starts a process, and gives the number of its guard.
    pub(crate) async fn start(
        &self,
        name: &str,
        meta: serde_json::Value,
        launch: Launch,
    ) -> Result<Option<u32>, KeeperError> {
        if self.0.full_stop.load(Ordering::Acquire) {
            // Nobody is told of a failure that is none: whoever wants the process ends with this Switchyard.
            return std::future::pending().await;
        }
        // Known only once there is a connection: whatever is known and not on the list of a new one counts as lost.
        self.connection().await?;
        self.0.known.lock().insert(name.to_owned(), watch::Sender::new(None));
        let op = Op::Start { name: name.to_owned(), meta, launch: Box::new(launch) };
        let started = self.request(op).await;
        if started.is_err() {
            self.0.known.lock().remove(name);
        }
        started
    }

    /// Waits for the end of a process that was started or claimed.
    pub(crate) async fn exit(&self, name: &str) -> Exit {
        let watched = self.0.known.lock().get(name).map(watch::Sender::subscribe);
        let Some(mut watched) = watched else { return Exit::Lost };
        match watched.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Lost),
            Err(_) => Exit::Lost,
        }
    }

    /// Asks a process to end, and ends it after `grace`.
    pub(crate) async fn stop(&self, name: &str, grace: Duration) -> Result<(), KeeperError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.request(Op::Stop { name: name.to_owned(), grace_ms }).await.map(drop)
    }

    /// Forgets an ended process, here and in the keeper.
    pub(crate) async fn forget(&self, name: &str) {
        self.0.known.lock().remove(name);
        // A keeper that is gone has forgotten it as well.
        let _gone = self.request(Op::Forget { name: name.to_owned() }).await;
    }

    /// From now on nothing is started: whoever asks waits for ever.
    pub(crate) fn start_no_more(&self) {
        self.0.full_stop.store(true, Ordering::Release);
    }

    /// Waits until a keeper is there and has what a successor needs; starts one where there is none. Whether it is.
    pub(crate) async fn ready_to_leave(&self) -> bool {
        let there = self.connection().await.is_ok();
        // Once more: it may have been too busy to take them when it was met.
        if there && let Err(error) = sockets::hold(&self.0.data_dir, &self.0.sockets).await {
            tracing::warn!(%error, "the keeper does not hold the sockets: connections are refused until the next Switchyard listens");
        }
        there
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        *self.0.connected.borrow() != 0
    }

    /// Ends all processes and the keeper, and waits until it is gone. One that cannot be reached ends itself soon.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.0.closing.send_replace(true);
        if !self.is_connected() {
            return;
        }
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let _gone_already = self.request(Op::Shutdown { grace_ms }).await;
        let mut connected = self.0.connected.subscribe();
        let gone = connected.wait_for(|number| *number == 0);
        if tokio::time::timeout(grace + ANSWER_MAX, gone).await.is_err() {
            tracing::error!("the keeper does not end: processes may be left");
        }
    }

    /// Waits until there is a connection.
    async fn connection(&self) -> Result<(), KeeperError> {
        self.0.wanted.send_replace(true);
        let mut connected = self.0.connected.subscribe();
        let there = connected.wait_for(|number| *number != 0);
        tokio::time::timeout(KEEPER_WAIT_MAX, there).await.map(drop).map_err(|_| KeeperError::Gone)
    }

    async fn request(&self, op: Op) -> Result<Option<u32>, KeeperError> {
        self.connection().await?;
        let (answer, answered) = oneshot::channel();
        let (id, requests) = {
            let mut link = self.0.link.lock();
            let requests = link.requests.clone().ok_or(KeeperError::Gone)?;
            link.last_id += 1;
            let id = link.last_id;
            link.waiting.insert(id, answer);
            (id, requests)
        };
        if requests.send(Request { id, op }).await.is_err() {
            return Err(KeeperError::Gone);
        }
        let result = tokio::time::timeout(ANSWER_MAX, answered).await;
        self.0.link.lock().waiting.remove(&id);
        result.map_err(|_| KeeperError::Gone)?.map_err(|_| KeeperError::Gone)?
    }
}

/// Connecting.
impl Client {
    async fn greet(&self, stream: UnixStream) -> io::Result<(Lines, OwnedWriteHalf)> {
        let (read, mut write) = stream.into_split();
        let mut lines = Lines { read, buffer: Vec::new() };
        let listed = tokio::time::timeout(ANSWER_MAX, greet(&mut lines, &mut write))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the keeper does not answer"))??;
        self.compare(listed, &mut write).await?;
        write_request(&mut write, 0, Op::Follow).await?;
        Ok((lines, write))
    }

    async fn reach(&self) -> io::Result<UnixStream> {
        if let Ok(stream) = socket::connect(&self.0.data_dir).await {
            return Ok(stream);
        }
        let mut failed = io::ErrorKind::TimedOut.into();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt % ATTEMPTS_EACH == 0 {
                self.spawn()?;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            match socket::connect(&self.0.data_dir).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn spawn(&self) -> io::Result<()> {
        let path = self.0.data_dir.join("keeper.log");
        let large = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX);
        let mut options = std::fs::OpenOptions::new();
        options.create(true).mode(0o600).write(true);
        let log = if large { options.truncate(true) } else { options.append(true) }.open(&path)?;
        let Some((program, leading)) = self.0.program.split_first() else {
            return Err(io::Error::other("no program for the keeper is configured"));
        };
        // Dropped unwatched: the keeper outlives this process, and the runtime reaps it when it does not.
        let _child = tokio::process::Command::new(program)
            .arg0("switchyard")
            .args(leading)
            .arg(KEEPER)
            .arg(&self.0.data_dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(false)
            .spawn()?;
        Ok(())
    }

    /// The keeper's list is the truth: what is believed to run and is not on it is lost; what nobody knows of
    /// came from a start whose answer was lost, and ends.
    async fn compare(&self, listed: Vec<Listed>, write: &mut OwnedWriteHalf) -> io::Result<()> {
        for (name, exit) in &*self.0.known.lock() {
            let now = listed.iter().find(|one| one.name == *name).map_or(Some(Exit::Lost), |one| one.exit);
            exit.send_if_modified(|exit| {
                let ended = exit.is_none() && now.is_some();
                if ended {
                    *exit = now;
                }
                ended
            });
        }
        let unknown: Vec<Listed> =
            listed.into_iter().filter(|one| !self.0.known.lock().contains_key(&one.name)).collect();
        if !*self.0.looked.borrow() {
            *self.0.adoptable.lock() = unknown;
            return Ok(());
        }
        let open: Vec<String> = self.0.adoptable.lock().iter().map(|one| one.name.clone()).collect();
        for one in unknown.into_iter().filter(|one| !open.contains(&one.name)) {
            let op = match one.exit {
                Some(_) => Op::Forget { name: one.name },
                None => Op::Stop { name: one.name, grace_ms: 0 },
            };
            write_request(write, 0, op).await?;
        }
        Ok(())
    }

    async fn serve(&self, mut lines: Lines, mut write: OwnedWriteHalf) {
        let (requests, mut queue) = mpsc::channel(REQUESTS_WAITING_MAX);
        let number = {
            let mut link = self.0.link.lock();
            link.requests = Some(requests);
            link.last_id += 1;
            link.last_id
        };
        self.0.connected.send_replace(number);
        let writing = async {
            while let Some(Request { id, op }) = queue.recv().await {
                if write_request(&mut write, id, op).await.is_err() {
                    return;
                }
            }
        };
        let reading = async {
            while let Some(message) = lines.next().await {
                self.hear(message);
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        self.0.connected.send_replace(0);
        let mut link = self.0.link.lock();
        link.requests = None;
        link.waiting.clear();
    }

    fn hear(&self, message: Message) {
        let answer = |id, result| {
            if let Some(waiting) = self.0.link.lock().waiting.remove(&id) {
                let _nobody_waits = waiting.send(result);
            }
        };
        match message {
            Message::Done { id, pid } => answer(id, Ok(pid)),
            // Sockets come on connections of their own.
            Message::Listed { id, .. } | Message::Sockets { id, .. } => answer(id, Ok(None)),
            Message::Refused { id, why } => answer(id, Err(KeeperError::Refused(why))),
            Message::Output { name, stream, at, line } => {
                (self.0.listener)(&name, Heard::Line { stream, at, text: &line });
            }
            Message::Dropped { name, lines } => (self.0.listener)(&name, Heard::Dropped(lines)),
            Message::Exited { name, exit, at: _ } => {
                if let Some(known) = self.0.known.lock().get(&name) {
                    known.send_replace(Some(exit));
                }
            }
        }
    }
}

async fn greet(lines: &mut Lines, write: &mut OwnedWriteHalf) -> io::Result<Vec<Listed>> {
    write_request(write, 0, Op::Hello { version: VERSION }).await?;
    match lines.next().await {
        Some(Message::Done { .. }) => {}
        Some(Message::Refused { why, .. }) => {
            // Of another version: it ends, with what it runs, and the next attempt starts one of ours.
            write_request(write, 0, Op::Shutdown { grace_ms: 5_000 }).await?;
            return Err(io::Error::other(why));
        }
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    write_request(write, 0, Op::List).await?;
    match lines.next().await {
        Some(Message::Listed { processes, .. }) => Ok(processes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn write_request(write: &mut OwnedWriteHalf, id: u64, op: Op) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&Request { id, op })?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

/// Messages of a connection; ends at the first that is none.
struct Lines {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Option<Message> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let end = searched + end;
                let message = serde_json::from_slice(&self.buffer[..end]).ok();
                self.buffer.drain(..=end);
                return message;
            }
            searched = self.buffer.len();
            if searched > MESSAGE_BYTES_MAX || self.read.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }
}
