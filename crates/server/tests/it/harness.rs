//! Runs the real binary in a folder of its own and speaks plain HTTP to it, as a user would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for anything before it fails: far above what is needed on a busy two-core machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is promised within a second, on a machine that does nothing else, has to come true within this here.
pub const A_SECOND_HERE: Duration = Duration::from_secs(5);

/// More of a project file, where rates are not what is tested: a fast machine uses up those of any plan.
pub const UNLIMITED: &str = "[plans.free]\nrequests = \"1000000/s\"\n";

/// The path of the worker in `examples/job_worker.rs`, built beside the tests.
pub fn job_worker() -> PathBuf {
    echo_app().with_file_name("job_worker")
}

/// The path of the app in `examples/echo_app.rs`, built beside the tests.
pub fn echo_app() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_switchyard"));
    let target = binary.parent().expect("the binary is in the target folder");
    target.join("examples/echo_app")
}

/// A project file with one service `web` (the echo app) and a route for every host.
pub fn echo_project(extra: &str) -> String {
    format!(
        r#"schema = 1
[project]
name = "echo"
[tenants]
resolve = ["subdomain", "api-key"]
base_domain = "localhost"
default_plan = "free"
[services.web]
start = "{}"
healthcheck = {{ path = "/health", interval = "200ms", timeout = "1s", start_period = "10s" }}
replicas = {{ min = 2, max = 2 }}
[[routes]]
host = "*.localhost"
path = "/"
service = "web"
limits = true
{extra}
"#,
        echo_app().display()
    )
}

/// A project folder, and the Switchyard that may be running in it.
pub struct Project {
    dir: TempDir,
    /// What `up` prints goes beside the project: a file in it would be a change of its source.
    out: TempDir,
    child: Option<Child>,
    pub database_url: Option<String>,
}

impl Project {
    pub fn new(file: &str) -> Project {
        let dir = tempfile::Builder::new().prefix("sy").tempdir().expect("make a project folder");
        let out = tempfile::Builder::new().prefix("syout").tempdir().expect("make a folder for output");
        let project = Project { dir, out, child: None, database_url: None };
        project.write("switchyard.toml", file);
        project
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join(".switchyard")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("write a file of the project");
    }

    /// The command `switchyard` in this folder, on free ports and without colours.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command
            .current_dir(self.path())
            .args(args)
            .env("SWITCHYARD_GATEWAY_ADDR", "127.0.0.1:0")
            .env("SWITCHYARD_CONTROL_ADDR", "127.0.0.1:0")
            .env("SWITCHYARD_SERVICE_ADDR", "127.0.0.1:0")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        if let Some(url) = &self.database_url {
            command.env("SWITCHYARD_DATABASE_URL", url);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run switchyard")
    }

    /// Runs a command that must succeed, and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "switchyard {args:?}: {}\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("switchyard {args:?} --json: {e}: {out}"))
    }

    /// Starts `switchyard up` and waits until every service serves.
    pub fn up(&mut self) {
        self.spawn_up();
        self.wait_ready();
    }

    /// Starts it with its output going elsewhere; `wait_ready` has nothing to read then.
    pub fn spawn_with(&mut self, args: &[&str], out: impl Into<Stdio>, errors: impl Into<Stdio>) {
        assert!(self.child.is_none(), "one Switchyard a project");
        let child = self.command(args).stdout(out).stderr(errors).spawn().expect("start switchyard");
        self.child = Some(child);
    }

    pub fn spawn_up(&mut self) {
        let log = std::fs::File::create(self.out.path().join("up.log")).expect("make the log");
        let errors = log.try_clone().expect("share the log");
        self.spawn_with(&["up"], log, errors);
    }

    /// Waits until `up` says that all is ready: the control listener answers `/readyz` and each service is live.
    pub fn wait_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().expect("look at the child")) {
                panic!("switchyard up ended early: {status}\n{}", self.up_log());
            }
            if self.is_serving() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "switchyard up is not ready:\n{}", self.up_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_serving(&self) -> bool {
        self.up_log().contains("Ready") && self.try_listener("control").is_some()
    }

    pub fn up_log(&self) -> String {
        std::fs::read_to_string(self.out.path().join("up.log")).unwrap_or_default()
    }

    pub fn try_listener(&self, name: &str) -> Option<SocketAddr> {
        let text = std::fs::read_to_string(self.data_dir().join("listeners.json")).ok()?;
        let listeners: Value = serde_json::from_str(&text).ok()?;
        listeners.get(name)?.as_str()?.parse().ok()
    }

    pub fn listener(&self, name: &str) -> SocketAddr {
        self.try_listener(name).unwrap_or_else(|| panic!("no listener {name}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("switchyard runs").id()
    }

    /// `kill -9` of Switchyard.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("switchyard runs");
        child.kill().expect("kill switchyard");
        child.wait().expect("reap switchyard");
        let _ = std::fs::remove_file(self.data_dir().join("listeners.json"));
    }

    /// Stops with SIGTERM and gives the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        self.wait()
    }

    /// Waits until it has ended and gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("switchyard runs");
        child.wait().expect("reap switchyard").code()
    }

    pub fn operator_key(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("operator.key")).expect("operator key").trim().to_owned()
    }

    /// A request through the gateway for a tenant's subdomain.
    pub fn get(&self, tenant: &str, path: &str) -> Response {
        self.gateway(tenant, path, &[]).expect("the gateway answers")
    }

    pub fn gateway(&self, tenant: &str, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
        request(self.listener("gateway"), "GET", (&format!("{tenant}.localhost"), path), headers, "")
    }

    /// A call of the control API as the operator.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Response {
        let key = format!("Bearer {}", self.operator_key());
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        request(self.listener("control"), method, ("localhost", path), &headers, &body)
            .expect("the control API answers")
    }

    pub fn make_tenant(&self, slug: &str, plan: &str) {
        let body = serde_json::json!({
            "slug": slug, "name": slug, "email": format!("owner@{slug}.example"), "plan": plan
        });
        let made = self.api("POST", "/api/v1/tenants", &body);
        assert_eq!(made.status, 201, "{}", made.body);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "TERM");
            let start = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(15) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("--- up.log\n{}", self.up_log());
            }
        }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One HTTP/1.1 request on a connection of its own.
pub fn request(
    addr: SocketAddr,
    method: &str,
    (host, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut raw = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut piece)?;
        raw.extend_from_slice(&piece[..read]);
        // A stream of records has no end to wait for: its head tells all that a test asks.
        if read == 0 || is_endless(&raw) {
            break;
        }
    }
    parse(&raw).ok_or_else(|| std::io::Error::other(format!("no whole answer: {}", text(&raw))))
}

/// Whether this is the head of an answer that goes on as long as the connection.
fn is_endless(raw: &[u8]) -> bool {
    let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = text(&raw[..end]);
    ["text/event-stream", "application/x-ndjson"].iter().any(|kind| head.contains(kind))
}

fn parse(raw: &[u8]) -> Option<Response> {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = text(&raw[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let rest = &raw[end + 4..];
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked");
    let body = if is_endless(raw) {
        Vec::new()
    } else if chunked {
        unchunk(rest)?
    } else {
        rest.to_vec()
    };
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok());
    if length.is_some_and(|l: usize| l != body.len()) {
        return None;
    }
    Some(Response { status, headers, body: text(&body) })
}

fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = raw.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(raw.get(end + 2..end + 2 + size)?);
        raw = raw.get(end + 4 + size..)?;
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

pub fn is_alive(pid: u32) -> bool {
    // A zombie still has its folder: it is not alive.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z"))
}

/// A variable of a replica of the project's service `web`, as its process has it.
pub fn variable(project: &Project, name: &str) -> String {
    variable_of(replica_pid(project, "web"), name)
}

/// The process of one of a service's replicas.
pub fn replica_pid(project: &Project, service: &str) -> u32 {
    let shown = project.api("GET", &format!("/api/v1/services/{service}"), &Value::Null).json();
    let pid = shown["replicas"][0]["pid"].as_u64().unwrap_or_else(|| panic!("a replica's process: {shown}"));
    u32::try_from(pid).expect("a process id")
}

/// A variable of a process.
pub fn variable_of(pid: u32, name: &str) -> String {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("the process's variables");
    let environ = text(&environ);
    let found = environ.split('\0').find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("process {pid} has no {name}")).to_owned()
}

/// Waits until what is promised within a second holds; names it when it does not.
pub fn within_a_second(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < A_SECOND_HERE, "not within a second: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a condition holds; names it when it does not.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
