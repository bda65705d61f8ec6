//! A project folder, the capability over it, and the means to kill and restart what a Switchyard would be.

use base::{DeploymentId, EnvironmentId, ReplicaId, Secret, ServiceId, SystemClock, SystemRandom};
use db::Kind;
use deployments::{Built, Config, DeploymentView, Deps, Handle, ServiceView};
use lifecycle::{Stop, StopHandle};
use module::Task;
use parking_lot::Mutex;
use ports::{LogSink, PushMessage, SectionApply, ServiceRecord, ServiceTokens};
use serde_json::Value;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{LogRecord, Metrics};
use testkit::{Client, Parts, Places, Store, TestApp};
use tokio::task::JoinSet;

/// Longer than anything awaited here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at something that does not tell of its changes.
const LOOK: Duration = Duration::from_millis(20);

/// A web server of a few lines, in Python, which every machine that builds this has.
pub(crate) const SERVER: &str = r#"
import http.server, os, signal, sys, time
if os.environ.get("SLOW_START"): time.sleep(float(os.environ["SLOW_START"]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = os.environ.get("SICK_FILE")
        status = 503 if sick and os.path.exists(sick) else 200
        body = (open("content").read() if os.path.exists("content") else "").encode()
        self.send_response(status); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
print("listening", flush=True)
server.serve_forever()
"#;

/// What one test works with.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) app: TestApp,
    pub(crate) client: Client,
    pub(crate) handle: Handle,
    pub(crate) environment: EnvironmentId,
    pub(crate) data_dir: PathBuf,
    pub(crate) project: PathBuf,
    pub(crate) logs: Arc<Lines>,
    section: Arc<dyn SectionApply>,
    task: Arc<Task>,
    running: Arc<Mutex<Option<Running>>>,
    _folder: Arc<tempfile::TempDir>,
}

struct Running {
    stop: StopHandle,
    heard: Stop,
    tasks: JoinSet<()>,
}

/// Keeps what was logged.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<LogRecord>>);

impl LogSink for Lines {
    fn append(&self, record: LogRecord) {
        self.0.lock().push(record);
    }
}

impl Lines {
    pub(crate) fn records(&self) -> Vec<LogRecord> {
        self.0.lock().clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.0.lock().iter().map(|record| record.message.clone()).collect()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.0.lock().iter().any(|record| record.message.contains(text))
    }
}

/// How a test's capability differs from the usual.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) drain: Duration,
    pub(crate) grace: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self { drain: Duration::from_millis(300), grace: Duration::from_secs(10) }
    }
}

/// Runs a test on both stores, each time with a project folder of its own. Nothing may be left running afterwards.
pub(crate) async fn worlds<F, T>(setup: Setup, test: F)
where
    F: Fn(World) -> T,
    T: Future<Output = ()>,
{
    let build = |store: Store| {
        let (ready, module, places) = Ready::new(&store, &setup);
        async move { (Parts::of(module).among(&places), ready) }
    };
    testkit::apps_with(&[deployments::MANIFEST.migrations], build, |app: TestApp, ready: Ready| {
        let world = ready.world(app);
        let test = test(world.clone());
        async move {
            world.start().await;
            test.await;
            world.stop().await;
            world.until("nothing is left over", async || world.processes().is_empty().then_some(())).await;
        }
    })
    .await;
}

/// What is built before the app is there.
struct Ready {
    handle: Handle,
    environment: EnvironmentId,
    data_dir: PathBuf,
    project: PathBuf,
    logs: Arc<Lines>,
    section: Arc<dyn SectionApply>,
    task: Arc<Task>,
    folder: Arc<tempfile::TempDir>,
}

/// Tokens that a test can tell: of no installation.
struct Tokens;

impl ServiceTokens for Tokens {
    fn mint(&self, deployment: DeploymentId) -> Option<Secret<String>> {
        Some(Secret::new(format!("sy_svc_canary_{deployment}")))
    }

    fn push_secret(&self, service: ServiceId) -> Option<Secret<String>> {
        Some(Secret::new(format!("whsec_canary_{service}")))
    }

    fn sign_push(&self, _: ServiceId, _: &PushMessage<'_>) -> Option<String> {
        None
    }
}

impl Ready {
    fn new(store: &Store, setup: &Setup) -> (Self, module::Module, Arc<Places>) {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let (data_dir, project) = (folder.path().join("data"), folder.path().join("project"));
        for dir in [&data_dir, &project] {
            std::fs::create_dir(dir).expect("create folder");
        }
        std::fs::set_permissions(&data_dir, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        // Health and restarts take real time; only the store's own clock stands still.
        let clock = SystemClock::shared();
        let places = Places::empty(clock.clone(), store.random.clone()).with("development", "localhost");
        let places = Arc::new(places);
        let logs = Arc::new(Lines::default());
        let mut variables: Vec<(String, String)> =
            std::env::vars().filter(|(name, _)| name != "PATH").collect();
        variables.push(("PATH".to_owned(), path()));
        variables.push(("SWITCHYARD_MASTER_KEY".to_owned(), "canary-of-the-platform".to_owned()));
        variables.push(("SWITCHYARD_DATABASE_URL".to_owned(), "canary-of-the-platform".to_owned()));
        let config = Config {
            keeper_program: vec![env!("CARGO_BIN_EXE_deployments-keeper").into()],
            environment: variables,
            drain: setup.drain,
            grace: setup.grace,
            ..Config::new(data_dir.clone(), project.clone(), "http://127.0.0.1:8082".to_owned())
        };
        let deps = Deps {
            db: store.db.clone(),
            clock,
            // The same ports in all tests would be taken from each other.
            random: SystemRandom::shared(),
            logs: Arc::clone(&logs) as Arc<dyn LogSink>,
            environments: places.clone(),
            tokens: Arc::new(Tokens),
            metrics: Metrics::new(),
        };
        let Built { mut module, handle } = deployments::build(config, deps);
        let task = Arc::new(module.tasks.remove(0));
        let section = Arc::clone(&module.sections[0]);
        let environment = places.environment();
        let ready = Self { handle, environment, data_dir, project, logs, section, task, folder };
        (ready, module, places)
    }

    fn world(self, app: TestApp) -> World {
        let Self { handle, environment, data_dir, project, logs, section, task, folder } = self;
        World {
            client: app.operator(),
            app,
            handle,
            environment,
            data_dir,
            project,
            logs,
            section,
            task,
            running: Arc::default(),
            _folder: folder,
        }
    }
}

/// The life of a Switchyard.
impl World {
    /// Starts the reconciler, as a start of Switchyard does.
    pub(crate) async fn start(&self) {
        let (stop_handle, stop) = Stop::pair();
        let task = Arc::clone(&self.task);
        let heard = stop.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            (task.run)(stop).await.expect("the reconciler does not fail");
        });
        *self.running.lock() = Some(Running { stop: stop_handle, heard, tasks });
        // Runs up to its first wait: what an earlier one knew is forgotten then.
        tokio::task::yield_now().await;
    }

    /// Ends it in order.
    pub(crate) async fn stop(&self) {
        let running = self.running.lock().take();
        if let Some(Running { stop, mut tasks, .. }) = running {
            stop.stop();
            let ended = async { while tasks.join_next().await.is_some() {} };
            tokio::time::timeout(PATIENCE, ended).await.expect("the reconciler ends when it is told to");
        }
    }

    /// Tells it to end, without waiting for that.
    pub(crate) fn begin_to_stop(&self) {
        self.running.lock().as_ref().expect("it runs").stop.stop();
    }

    /// What it waits for while it stops.
    pub(crate) fn awaited(&self) -> Vec<String> {
        self.running.lock().as_ref().map(|running| running.heard.awaited()).unwrap_or_default()
    }

    /// Ends it in the middle of its end, as a second signal does.
    pub(crate) async fn cut(&self) {
        let running = self.running.lock().take();
        let Running { stop, mut tasks, .. } = running.expect("it runs");
        stop.cut();
        let ended = async { while tasks.join_next().await.is_some() {} };
        tokio::time::timeout(lifecycle::CUT_TIME_MAX, ended).await.expect("it ends at once");
    }

    /// Ends it as `kill -9` does: nothing is told to anybody.
    pub(crate) async fn kill(&self) {
        let running = self.running.lock().take();
        if let Some(Running { mut tasks, .. }) = running {
            tasks.abort_all();
            while tasks.join_next().await.is_some() {}
        }
    }

    /// The keeper, if one runs.
    pub(crate) fn keeper(&self) -> Option<u32> {
        let data_dir = self.data_dir.display().to_string();
        find(|arguments| arguments.iter().any(|one| one == "keeper") && arguments.contains(&data_dir))
            .first()
            .copied()
    }

    /// All processes that belong to this test: the keeper, its guards, and whatever has a variable or argument that
    /// names the data folder.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let data_dir = self.data_dir.display().to_string();
        let own = std::process::id();
        pids()
            .filter(|pid| *pid != own)
            .filter(|pid| {
                let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let text = [read("environ"), read("cmdline")].concat();
                String::from_utf8_lossy(&text).contains(&data_dir)
            })
            .map(|pid| (pid, std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()))
            .collect()
    }
}

/// The project.
impl World {
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.project.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("create folders");
        std::fs::write(path, text).expect("write");
    }

    /// Applies the section `services`, as `up` does.
    pub(crate) async fn apply(&self, section: Value) {
        self.try_apply(Some(section), false).await.expect("apply");
    }

    pub(crate) async fn try_apply(
        &self,
        section: Option<Value>,
        prune: bool,
    ) -> Result<Vec<ports::Change>, ports::ApplyError> {
        let (apply, environment) = (Arc::clone(&self.section), self.environment);
        let ctx = self.app.store.system();
        let db = &self.app.store.db;
        let applied = db.write_system(&ctx, move |tx| {
            apply.apply(tx, environment, section.as_ref(), prune).map_err(Failed)
        });
        let changes = applied.await.map_err(|failed| failed.0)?;
        self.handle.nudge();
        Ok(changes)
    }

    /// Applies, and waits until all is settled.
    pub(crate) async fn up(&self, section: Value) -> Vec<ServiceView> {
        self.apply(section).await;
        self.settled().await
    }

    /// Waits until no service is about to change.
    pub(crate) async fn settled(&self) -> Vec<ServiceView> {
        self.until("services are settled", async || {
            let services = self.services().await;
            services.iter().all(|service| !service.pending).then_some(services)
        })
        .await
    }

    pub(crate) async fn services(&self) -> Vec<ServiceView> {
        let page = self.client.get("/api/v1/services").await.ok(200);
        serde_json::from_value(page["data"].clone()).expect("services")
    }

    pub(crate) async fn service(&self, name: &str) -> ServiceView {
        let service = self.client.get(&format!("/api/v1/services/{name}")).await.ok(200);
        serde_json::from_value(service).expect("a service")
    }

    /// The newest deployment of a service.
    pub(crate) async fn latest(&self, name: &str) -> DeploymentView {
        let id = self.service(name).await.latest.expect("it has a deployment").id;
        let deployment = self.client.get(&format!("/api/v1/deployments/{id}")).await.ok(200);
        serde_json::from_value(deployment).expect("a deployment")
    }

    /// The gateway's view of a service.
    pub(crate) fn record(&self, id: ServiceId) -> Option<ServiceRecord> {
        self.handle.directory().watch().borrow().iter().find(|record| record.id == id).cloned()
    }

    /// What a service answers to `GET /`, from any of its ready replicas.
    pub(crate) async fn get(&self, name: &str) -> Option<String> {
        let record = self.record(self.service(name).await.id)?;
        let endpoint = record.endpoints.iter().find(|one| one.ready && !one.draining)?;
        fetch(endpoint.addr).await
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok();
        assert!(found.is_some(), "{what}: not within {PATIENCE:?}; output: {:#?}", self.logs.messages());
        found.expect("as asserted")
    }

    /// Waits until a service has so many ready replicas, and gives their ids and processes.
    pub(crate) async fn ready(&self, name: &str, count: usize) -> Vec<(ReplicaId, u32)> {
        self.until("replicas are ready", async || {
            let replicas = self.service(name).await.replicas;
            let ready = replicas.iter().filter(|one| one.state == deployments::ReplicaState::Ready);
            let ready: Vec<_> = ready.filter_map(|one| Some((one.id?, one.pid?))).collect();
            (ready.len() == count && replicas.len() == count).then_some(ready)
        })
        .await
    }

    /// Whether this is the embedded store: tests about processes alone need one run.
    pub(crate) fn is_sqlite(&self) -> bool {
        self.app.store.kind() == Kind::Sqlite
    }
}

/// A GET, by hand.
pub(crate) async fn fetch(addr: std::net::SocketAddr) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.0 200").then(|| body.to_owned())
}

/// `PATH`, with the folder of the Python proper first: what is found otherwise may be a script that takes longer to
/// find it than it takes to start.
fn path() -> String {
    static PATH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let find = || {
        let command = ["-c", "import os, sys; print(os.path.dirname(sys.executable))"];
        let found = std::process::Command::new("python3").args(command).output().expect("python3 is there");
        let folder = String::from_utf8(found.stdout).expect("a path");
        format!("{}:{}", folder.trim(), std::env::var("PATH").expect("PATH is set"))
    };
    PATH.get_or_init(find).clone()
}

/// Carries the port's error through the store, which must be able to give its own.
struct Failed(ports::ApplyError);

impl From<db::Error> for Failed {
    fn from(error: db::Error) -> Self {
        Self(ports::ApplyError::Store(error))
    }
}

fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes whose arguments are so.
pub(crate) fn find(wanted: impl Fn(&[String]) -> bool) -> Vec<u32> {
    pids()
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let arguments: Vec<String> =
                line.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect();
            wanted(&arguments)
        })
        .collect()
}

/// `kill -<signal> <pid>`.
pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process number");
    rustix::process::kill_process(pid, signal).expect("kill");
}

/// Whether a process is there and no zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
