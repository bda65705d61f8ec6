//! A gateway over directories in memory, scripted upstreams that record raw bytes, and a client of raw bytes.

use base::{ManualClock, SystemRandom, Timestamp};
use gateway::metrics::Metrics;
use gateway::testing::{KeptLog, Memory, NoLog, PlainSigner};
use gateway::{Config, Gateway, Parts};
use lifecycle::Supervisor;
use parking_lot::Mutex;
use ports::{RouteMeters, TokenCheck};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What a test waits for at most. Reached only when it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "tests have no supervisor for what they script")]
fn background(run: impl FnOnce() + Send + 'static) {
    std::thread::spawn(run);
}

/// What a gateway may go without.
#[derive(Default)]
pub(crate) struct Doors {
    pub(crate) tokens: Option<Arc<dyn TokenCheck>>,
    pub(crate) meters: Option<Arc<dyn RouteMeters>>,
}

/// A running gateway.
pub(crate) struct TestGateway {
    pub(crate) memory: Memory,
    pub(crate) clock: ManualClock,
    pub(crate) log: KeptLog,
    pub(crate) metrics: telemetry::Metrics,
    pub(crate) gateway: Gateway,
    pub(crate) addr: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    supervisor: Supervisor,
}

impl TestGateway {
    /// With tenants `acme` (pro) and `beta` (pro), and a route from `*.localhost/` to service `web`.
    pub(crate) fn new(upstream: &[SocketAddr]) -> Self {
        Self::with(Config::default(), upstream, &[json!({ "host": "*.localhost", "service": "web" })])
    }

    pub(crate) fn with(config: Config, upstream: &[SocketAddr], routes: &[serde_json::Value]) -> Self {
        let memory = Memory::new();
        memory.tenant("acme", "pro");
        memory.tenant("beta", "pro");
        memory.routes(routes);
        memory.service("web", upstream, "");
        Self::over(memory, config)
    }

    pub(crate) fn over(memory: Memory, config: Config) -> Self {
        Self::with_doors(memory, config, Doors::default())
    }

    pub(crate) fn with_doors(memory: Memory, config: Config, doors: Doors) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_795_194_000_000_000));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (log, metrics) = (KeptLog::default(), telemetry::Metrics::new());
        let gateway = Gateway::new(Parts {
            config,
            directories: memory.directories(),
            signer: Arc::new(PlainSigner),
            log: Arc::new(log.clone()),
            key_use: Some(Arc::new(NoLog)),
            tokens: doors.tokens,
            meters: doors.meters,
            metrics: Metrics::new(&metrics, telemetry::TenantLabels::new(10)),
            clock: clock.shared(),
            random: SystemRandom::shared(),
        });
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = lifecycle::bind_reuseport(loopback, 2, "gateway", "gateway_addr").unwrap();
        let addr = listeners[0].local_addr().unwrap();
        let supervisor = runtime.block_on(async { Supervisor::new(base::SystemClock::shared()) });
        runtime.block_on(gateway.start(listeners, &supervisor)).unwrap();
        Self { memory, clock, log, metrics, gateway, addr, runtime: Some(runtime), supervisor }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, head: &str) -> Response {
        let mut client = self.connect();
        client.send(head);
        client.response()
    }

    pub(crate) fn get(&self, host: &str, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// Asks until the answer has this status: for changes, which take effect within a second.
    pub(crate) fn get_until(&self, host: &str, path: &str, status: u16) -> Response {
        eventually(&format!("{host}{path} answers {status}"), || {
            let response = self.get(host, path);
            (response.status == status).then_some(response)
        })
    }

    /// Runs housekeeping (health checks) until the gateway is dropped.
    pub(crate) fn keep(&self) {
        let (gateway, stop) = (self.gateway.clone(), self.supervisor.stop_of(lifecycle::TaskKind::Worker));
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(async {
            self.supervisor.spawn(lifecycle::TaskKind::Worker, "keep", async move {
                gateway.keep(stop).await;
                Ok(())
            });
        });
    }

    /// Stops as a process that is told to would: soft, then hard.
    pub(crate) fn stop(&mut self, grace: Duration) -> Result<(), lifecycle::Cut> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(self.supervisor.stop(grace)),
            None => Ok(()),
        }
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        let _ = self.stop(Duration::from_millis(200));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Tries until there is a value.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let clock = base::SystemClock::shared();
    let begun = clock.monotonic();
    while clock.monotonic() - begun < PATIENCE {
        if let Some(value) = attempt() {
            return value;
        }
        std::thread::yield_now();
    }
    panic!("not within {PATIENCE:?}: {what}");
}

/// A client that sends what it is told, byte by byte.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).into_iter().next()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or("no code").to_owned()
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have answered and closed already.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(bytes) => {
                self.buffer.extend_from_slice(&piece[..bytes]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("read from the gateway: {error}"),
        }
    }

    /// The head of the next answer; `None` when the connection ends instead.
    pub(crate) fn try_head(&mut self) -> Option<Response> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
                let status = head[9..12].parse().unwrap();
                return Some(Response { status, head, body: Vec::new() });
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next answer to a request that was not a HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("the gateway answers")
    }

    pub(crate) fn try_response(&mut self) -> Option<Response> {
        let mut response = self.try_head()?;
        if response.status < 200 || matches!(response.status, 204 | 304) {
            return Some(response);
        }
        response.body = if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().unwrap();
            self.exactly(length)
        } else if response.header("transfer-encoding") == Some("chunked") {
            self.chunks()
        } else {
            self.rest()
        };
        Some(response)
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "the connection ends within a body");
        }
        self.buffer.drain(..length).collect()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.fill(), "the connection ends within a line");
        }
    }

    /// The next chunk; empty for the last.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let chunk = self.exactly(size);
        assert_eq!(self.line(), "");
        chunk
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// All that comes until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the gateway ends the connection within a time; what comes is collected.
    pub(crate) fn has_ended_within(&mut self, time: Duration, came: &mut Vec<u8>) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => true,
            Ok(bytes) => {
                came.extend_from_slice(&piece[..bytes]);
                false
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Whether the gateway has ended the connection, without having sent more.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.rest().is_empty()
    }
}

/// A request as an upstream got it.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).into_iter().next()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// What an upstream does with a request.
pub(crate) enum Act {
    /// Sends bytes and goes on.
    Send(Vec<u8>),
    /// Sends bytes whenever it is told to; ends the connection when told no more.
    SendWhenTold(Receiver<Vec<u8>>),
    /// Ends the connection.
    Close,
    /// Breaks the connection.
    Reset,
    /// Answers no more, and keeps the connection.
    Hang,
    /// Sends back whatever comes.
    Echo,
}

pub(crate) fn ok(body: &str) -> Vec<Act> {
    vec![Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

pub(crate) fn raw(bytes: &str) -> Vec<Act> {
    vec![Act::Send(bytes.as_bytes().to_vec())]
}

type Script = dyn Fn(&Got) -> Vec<Act> + Send + Sync;

/// A server that does what it is scripted to, and records every byte that it got.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    /// Raw bytes by connection.
    raw: Arc<Mutex<Vec<Vec<u8>>>>,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    listener: Arc<Mutex<Option<TcpListener>>>,
}

impl Upstream {
    pub(crate) fn new(script: impl Fn(&Got) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(&Got) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let upstream = Self {
            addr: listener.local_addr().unwrap(),
            raw: Arc::default(),
            got: Arc::default(),
            connections: Arc::default(),
            listener: Arc::new(Mutex::new(Some(listener.try_clone().unwrap()))),
        };
        let (this, script): (_, Arc<Script>) = (upstream.clone(), Arc::new(script));
        background(move || {
            while let Ok((stream, _)) = listener.accept() {
                if this.listener.lock().is_none() {
                    return;
                }
                let number = {
                    let mut raw = this.raw.lock();
                    raw.push(Vec::new());
                    raw.len() - 1
                };
                stream.set_nodelay(true).unwrap();
                this.connections.lock().push(stream.try_clone().unwrap());
                let (this, script) = (this.clone(), script.clone());
                background(move || this.serve(stream, number, &*script));
            }
        });
        upstream
    }

    /// Answers everything with 200 and the path.
    pub(crate) fn echo_path() -> Self {
        Self::new(|got| ok(got.path()))
    }

    /// All that came in, in whatever connection.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.raw.lock().concat()
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.raw.lock().len()
    }

    /// Dies as a process that is killed: nothing is accepted any more and every connection breaks.
    pub(crate) fn kill(&self) {
        if let Some(listener) = self.listener.lock().take() {
            drop(listener);
            // The accepting thread wakes, sees that there is no listener any more, and drops the socket.
            let _ = TcpStream::connect(self.addr);
        }
        for connection in self.connections.lock().drain(..) {
            let _ = socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO));
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections, as a server does when they were idle for too long.
    pub(crate) fn end_connections(&self) {
        for connection in self.connections.lock().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut stream: TcpStream, number: usize, script: &Script) {
        let mut buffer = Vec::new();
        while let Some(got) = self.request(&mut stream, &mut buffer, number) {
            self.got.lock().push(got.clone());
            for act in script(&got) {
                match act {
                    Act::Send(bytes) => {
                        if stream.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                    Act::SendWhenTold(told) => {
                        for bytes in told {
                            if stream.write_all(&bytes).is_err() {
                                return;
                            }
                        }
                        let _ = stream.shutdown(Shutdown::Both);
                        return;
                    }
                    Act::Close => {
                        let _ = stream.shutdown(Shutdown::Both);
                        return;
                    }
                    Act::Reset => {
                        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                        self.connections
                            .lock()
                            .retain(|other| other.peer_addr().ok() != stream.peer_addr().ok());
                        return;
                    }
                    Act::Hang => {
                        while self.read(&mut stream, &mut buffer, number) {}
                        return;
                    }
                    Act::Echo => loop {
                        let _ = stream.write_all(&std::mem::take(&mut buffer));
                        if !self.read(&mut stream, &mut buffer, number) {
                            let _ = stream.shutdown(Shutdown::Both);
                            return;
                        }
                    },
                }
            }
        }
    }

    fn read(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>, number: usize) -> bool {
        let mut piece = [0; 16 * 1024];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => false,
            Ok(bytes) => {
                self.raw.lock()[number].extend_from_slice(&piece[..bytes]);
                buffer.extend_from_slice(&piece[..bytes]);
                true
            }
        }
    }

    /// Reads one request as plainly as can be, so that what the gateway sends is judged by another reader.
    fn request(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Got> {
        let end = loop {
            match buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.read(stream, buffer, connection) => {}
                None => return None,
            }
        };
        let head = String::from_utf8_lossy(&buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
        let mut got = Got { head, body: Vec::new() };
        if got.header("transfer-encoding").is_some() {
            loop {
                let line = loop {
                    match buffer.windows(2).position(|window| window == b"\r\n") {
                        Some(end) => break buffer.drain(..end + 2).collect::<Vec<u8>>(),
                        None if self.read(stream, buffer, connection) => {}
                        None => return None,
                    }
                };
                let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
                while buffer.len() < size + 2 {
                    if !self.read(stream, buffer, connection) {
                        return None;
                    }
                }
                got.body.extend(buffer.drain(..size));
                buffer.drain(..2);
                if size == 0 {
                    return Some(got);
                }
            }
        }
        let length: usize = got.header("content-length").map_or(0, |length| length.parse().unwrap());
        // What takes a body before it came whole says so by its path.
        if got.path().starts_with("/early") {
            return Some(got);
        }
        while buffer.len() < length {
            if !self.read(stream, buffer, connection) {
                return None;
            }
        }
        got.body = buffer.drain(..length).collect();
        Some(got)
    }
}

/// A sender and what `Act::SendWhenTold` needs.
pub(crate) fn told() -> (Sender<Vec<u8>>, Receiver<Vec<u8>>) {
    channel()
}
