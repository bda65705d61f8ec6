//! One place of a deployment for a replica: starts it, asks for its health, starts it again, and ends it.

use super::{Work, end, kill_lost};
use crate::keeper::client::KeeperError;
use crate::keeper::protocol::{Exit, Listed};
use crate::model::{Health, HealthSpec, Next, Probe, ReplicaState, Restarts, Turn, Verdict};
use crate::output::Tag;
use crate::probe::{self, Question};
use crate::processes::Names;
use crate::runtime::ReplicaView;
use crate::store::{self, DeploymentRow, ReplicaRow};
use base::ReplicaId;
use futures_util::future::join_all;
use parking_lot::Mutex;
use ports::Endpoint;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time that a replica without a health check has to stay up to count as started, when it does not listen.
const SETTLE: Duration = Duration::from_secs(3);

/// Time that a replica without a health check has to begin to listen, when those before it listened.
const LISTEN_WITHIN: Duration = Duration::from_secs(30);

/// The first wait between two questions to a replica that was never healthy; it grows to the interval.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// The longest wait between two questions to a replica that was never healthy.
const STARTING_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The longest wait between two looks whether a replica without a health check listens.
const LISTEN_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Ends of a replica that was never healthy after which its deployment is given up.
const FIRST_ENDS_MAX: u32 = 3;

/// What a shell returns for a command that it does not find.
const EXIT_NOT_FOUND: i32 = 127;

/// What a slot is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Keep a replica running.
    Run,
    /// Let it finish what it has, then end it.
    Drain,
    /// End it.
    Stop,
}

/// What became of a slot's first replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum First {
    /// Not known yet.
    Open,
    /// It was healthy.
    Healthy,
    /// It will not be, for this reason.
    Failed(String),
}

/// A slot, as its service holds it.
pub(super) struct Slot {
    pub(super) deployment: Arc<DeploymentRow>,
    pub(super) ordinal: u32,
    pub(super) id: ReplicaId,
    pub(super) port: watch::Receiver<Option<u16>>,
    order: watch::Sender<Order>,
    first: watch::Receiver<First>,
    ended: watch::Receiver<bool>,
}

/// How a slot begins.
pub(super) struct Start {
    pub(super) deployment: Arc<DeploymentRow>,
    pub(super) ordinal: u32,
    /// A replica that runs already.
    pub(super) adopt: Option<(Listed, Tag)>,
    /// Whether it has to listen, since its predecessors did.
    pub(super) must_listen: bool,
}

impl Slot {
    /// Begins a slot.
    pub(super) fn start(work: &Arc<Work>, start: Start) -> Self {
        let Start { deployment, ordinal, adopt, must_listen } = start;
        let adopted = adopt.as_ref().and_then(|(_, tag)| ReplicaId::parse(&tag.replica).ok());
        let id = adopted.unwrap_or_else(|| ReplicaId::new(&*work.rt.clock, &*work.rt.random));
        let (order, orders) = watch::channel(Order::Run);
        let (first_sender, first) = watch::channel(First::Open);
        let (ended_sender, ended) = watch::channel(false);
        let (port_sender, port) = watch::channel(None);
        let policy = Restarts::new(deployment.spec.restart, deployment.spec.restart_retries_max);
        let runner = Runner {
            work: Arc::clone(work),
            deployment: Arc::clone(&deployment),
            ordinal,
            id,
            must_listen,
            orders,
            first: first_sender,
            port: port_sender,
            restarts: policy,
            runs: 0,
            restarted: 0,
            last_exit: None,
        };
        work.hands.add(async move {
            runner.run(adopt).await;
            ended_sender.send_replace(true);
        });
        Self { deployment, ordinal, id, port, order, first, ended }
    }

    /// Gives an order. An order that was given is not taken back.
    pub(super) fn order(&self, order: Order) {
        self.order.send_if_modified(|current| {
            let further = order > *current;
            if further {
                *current = order;
            }
            further
        });
    }

    /// Waits until it is known what becomes of the first replica.
    pub(super) async fn first(&self) -> Result<(), String> {
        let mut first = self.first.clone();
        let known = first.wait_for(|first| *first != First::Open).await.map(|first| first.clone());
        match known {
            Ok(First::Healthy) => Ok(()),
            Ok(First::Failed(why)) => Err(why),
            Ok(First::Open) | Err(_) => Err("the replica was given up".to_owned()),
        }
    }

    /// Whether the replica is gone.
    pub(super) fn is_gone(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the replica is gone, after [`Order::Drain`] or [`Order::Stop`].
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.clone();
        let _runner_is_gone = ended.wait_for(|ended| *ended).await.is_err();
    }
}

/// Runs a slot.
struct Runner {
    work: Arc<Work>,
    deployment: Arc<DeploymentRow>,
    ordinal: u32,
    id: ReplicaId,
    must_listen: bool,
    orders: watch::Receiver<Order>,
    first: watch::Sender<First>,
    port: watch::Sender<Option<u16>>,
    restarts: Restarts,
    runs: u32,
    restarted: u32,
    last_exit: Option<String>,
}

/// A process of a slot.
struct Running {
    name: String,
    port: u16,
    since: Duration,
}

/// Why a run of a replica is over.
enum Over {
    Exit(Exit),
    Unhealthy(String),
    Ordered,
}

impl Runner {
    async fn run(mut self, adopt: Option<(Listed, Tag)>) {
        let mut adopt = adopt;
        loop {
            let started = match adopt.take() {
                Some((listed, tag)) => Ok(self.adopt(&listed, &tag)),
                None => self.launch().await,
            };
            let mut ready_for = Duration::ZERO;
            let verdict = match started {
                Ok(running) => match self.watch(&running, &mut ready_for).await {
                    Over::Ordered => return self.wind_up(&running).await,
                    Over::Exit(exit) => {
                        if *self.work.stopping.borrow() {
                            // The keeper was told to end all: this is no end of its own.
                            self.clear(&running).await;
                            self.erase().await;
                        }
                        self.work.unless_stopping().await;
                        self.note_exit(&running, exit).await
                    }
                    Over::Unhealthy(why) => self.note_unhealthy(&running, why).await,
                },
                Err(why) => {
                    self.fail_first(&why);
                    self.last_exit = Some(why);
                    Verdict::Failure
                }
            };
            if !self.wait_for_next(verdict, ready_for).await {
                return self.vanish().await;
            }
        }
    }

    /// After an end: waits for the time of the next start, or for the order to end. Whether to start again.
    async fn wait_for_next(&mut self, verdict: Verdict, ready_for: Duration) -> bool {
        self.work.unless_stopping().await;
        match self.restarts.ended(verdict, ready_for) {
            Next::Restart { after, looping } if !self.gave_up_first() => {
                let state = if looping { ReplicaState::CrashLooping } else { ReplicaState::Waiting };
                if looping {
                    tracing::warn!(
                        service = %self.deployment.service_name, replica.id = %self.id,
                        last_exit = self.last_exit.as_deref().unwrap_or("unknown"),
                        "a replica ends again and again; next start in {}", base::HumanDuration(after),
                    );
                }
                self.note(state, None, None).await;
                let ordered = self.orders.wait_for(|order| *order != Order::Run);
                if tokio::time::timeout(after, ordered).await.is_ok() {
                    return false;
                }
                self.restarted = self.restarted.saturating_add(1);
                self.work.rt.metrics.replica_restarts.inc();
                true
            }
            next => {
                let state =
                    if next == Next::Complete { ReplicaState::Completed } else { ReplicaState::Failed };
                if next == Next::GiveUp {
                    let why = self.last_exit.clone().unwrap_or_default();
                    self.fail_first(&format!("a replica ended ({why}) and is not started again"));
                }
                self.note(state, None, None).await;
                let _never_closed = self.orders.wait_for(|order| *order != Order::Run).await.is_ok();
                false
            }
        }
    }

    fn gave_up_first(&self) -> bool {
        matches!(*self.first.borrow(), First::Failed(_))
    }

    fn fail_first(&self, why: &str) {
        self.first.send_if_modified(|first| {
            let open = *first == First::Open;
            if open {
                *first = First::Failed(why.to_owned());
            }
            open
        });
    }

    fn pass_first(&self) {
        self.first.send_if_modified(|first| {
            let open = *first == First::Open;
            if open {
                *first = First::Healthy;
            }
            open
        });
    }
}

/// Starting and ending.
impl Runner {
    fn adopt(&mut self, listed: &Listed, tag: &Tag) -> Running {
        let run = listed.name.rsplit('.').next().and_then(|run| run.parse().ok());
        self.runs = run.unwrap_or(0);
        self.work.rt.processes.keep_port(tag.port);
        self.port.send_replace(Some(tag.port));
        // It was healthy, or would have been found not to be; its next answer decides over traffic.
        let view = self.view(ReplicaState::Starting, Some(tag.port), listed.pid);
        self.work.rt.replicas.lock().insert(self.id, view);
        Running { name: listed.name.clone(), port: tag.port, since: self.work.rt.clock.monotonic() }
    }

    async fn launch(&mut self) -> Result<Running, String> {
        let work = Arc::clone(&self.work);
        let (rt, row) = (&work.rt, &self.deployment);
        let port = rt.processes.take_port().ok_or("no free port was found on the loopback interface")?;
        self.runs += 1;
        let name = format!("{}.{}", self.id, self.runs);
        let replica = self.id.to_string();
        let (project, environment) = rt.names(row.environment);
        let names = Names { project: &project, environment: &environment, replica: &replica };
        let launch = rt.processes.replica(row, &names, &name, port);
        let tag = Tag {
            service: row.service_name.to_string(),
            service_id: row.service.to_string(),
            environment: environment.clone(),
            deployment: row.id,
            replica: replica.clone(),
            ordinal: self.ordinal,
            port,
        };
        rt.outputs.tag(&name, tag.clone());
        self.port.send_replace(Some(port));
        let folders = rt.processes.folders_of(row, &name);
        let made = lifecycle::blocking(move || folders.make()).await;
        let started = match made {
            Some(Ok(())) => {
                let meta = serde_json::to_value(&tag).unwrap_or_default();
                self.work.keeper.start(&name, meta, launch).await
            }
            Some(Err(error)) => Err(KeeperError::Refused(format!("make its folders: {error}"))),
            None => Err(KeeperError::Refused("make its folders".to_owned())),
        };
        match started {
            Ok(guard) => {
                self.work.note_started(&tag.service_id);
                self.note(ReplicaState::Starting, Some(port), guard).await;
                Ok(Running { name, port, since: self.work.rt.clock.monotonic() })
            }
            Err(error) => {
                self.clear(&Running { name, port, since: Duration::ZERO }).await;
                Err(format!("a replica cannot be started: {error}"))
            }
        }
    }

    async fn note_exit(&mut self, running: &Running, exit: Exit) -> Verdict {
        self.last_exit = Some(exit.to_string());
        if exit == Exit::Lost {
            // Its guard may be about to end it; whatever is left must not meet its successor.
            let replica = vec![self.id.to_string()];
            let _panicked = lifecycle::blocking(move || kill_lost("SWITCHYARD_REPLICA", &replica)).await;
        }
        self.clear(running).await;
        if self.runs >= FIRST_ENDS_MAX || exit == Exit::Code(EXIT_NOT_FOUND) {
            self.fail_first(&self.describe_end(exit));
        }
        if exit.is_success() {
            if self.deployment.spec.healthcheck.is_none() && !self.must_listen {
                // A service that has done what it was to do.
                self.pass_first();
            } else {
                self.fail_first(
                    "the program ended with exit code 0 before it was healthy: `start` has to keep running",
                );
            }
            return Verdict::Success;
        }
        Verdict::Failure
    }

    fn describe_end(&self, exit: Exit) -> String {
        let last = self.work.rt.outputs.last_lines(self.deployment.id);
        let command = &self.deployment.spec.start;
        match exit {
            Exit::Code(EXIT_NOT_FOUND) => {
                let said = if last.is_empty() { command.clone() } else { last };
                format!(
                    "command not found: {said}. Install it, add a `build`, or correct `start` (it is `{command}`)"
                )
            }
            _ if last.is_empty() => {
                format!("the program ended with {exit} before it was healthy, without a word of output")
            }
            _ => format!("the program ended with {exit} before it was healthy; its last output: {last}"),
        }
    }

    async fn note_unhealthy(&mut self, running: &Running, why: String) -> Verdict {
        tracing::warn!(
            service = %self.deployment.service_name, replica.id = %self.id, %why,
            "a replica is unhealthy and is started again"
        );
        self.endpoint(running.port, false, true);
        self.note(ReplicaState::Unhealthy, Some(running.port), None).await;
        self.fail_first(&why);
        self.last_exit = Some(why);
        self.finish(running).await;
        Verdict::Failure
    }

    /// Ends the process by an order.
    async fn wind_up(&mut self, running: &Running) {
        self.endpoint(running.port, false, true);
        if *self.orders.borrow() == Order::Drain {
            self.note(ReplicaState::Draining, Some(running.port), None).await;
            tokio::select! {
                () = tokio::time::sleep(self.work.rt.config.drain) => {}
                _ = self.work.keeper.exit(&running.name) => {}
                _ = self.orders.wait_for(|order| *order == Order::Stop) => {}
            }
        }
        self.note(ReplicaState::Stopping, Some(running.port), None).await;
        self.finish(running).await;
        self.vanish().await;
    }

    /// Ends the process and waits until it is gone with all its descendants.
    async fn finish(&self, running: &Running) {
        let grace = self.work.rt.config.grace;
        if self.work.keeper.stop(&running.name, grace).await.is_err() {
            // The keeper is gone, and with it, soon, the process: the wait below is for that.
            tracing::debug!(process = %running.name, "the keeper could not be asked to end a process");
        }
        self.work.keeper.exit(&running.name).await;
        self.clear(running).await;
    }

    /// Forgets an ended process.
    async fn clear(&self, running: &Running) {
        let rt = &self.work.rt;
        rt.directory.remove_replica(self.deployment.service, self.id);
        rt.heard_of(self.id);
        rt.processes.give_port_back(running.port);
        self.work.keeper.forget(&running.name).await;
        rt.outputs.untag(&running.name);
        let temporary = rt.folders.temporary(&running.name);
        let _panicked = lifecycle::blocking(move || crate::folders::remove(&temporary)).await;
    }

    /// The slot itself ends.
    async fn vanish(&self) {
        self.fail_first("the replica was ended");
        self.erase().await;
    }

    /// Forgets the replica: in the store, then here.
    async fn erase(&self) {
        let row = self.row(ReplicaState::Ended, None);
        let gone =
            self.work.rt.db.write_system(&self.work.ctx, move |tx| store::delete_replica(tx, &row)).await;
        if let Err(error) = gone {
            tracing::warn!(replica.id = %self.id, %error, "a replica that ended could not be forgotten");
        }
        self.work.rt.replicas.lock().remove(&self.id);
    }
}

/// Watching.
impl Runner {
    /// Watches a process until it ends, is found unhealthy, or is ordered to end.
    async fn watch(&mut self, running: &Running, ready_for: &mut Duration) -> Over {
        let keeper = self.work.keeper.clone();
        let mut orders = self.orders.clone();
        let ready_at = Mutex::new(None);
        let over = {
            let asking = self.ask(running, &ready_at);
            tokio::select! {
                biased;
                exit = keeper.exit(&running.name) => Over::Exit(exit),
                _ = orders.wait_for(|order| *order != Order::Run) => Over::Ordered,
                why = asking => Over::Unhealthy(why),
            }
        };
        if let Some(at) = *ready_at.lock() {
            *ready_for = self.work.rt.clock.monotonic().saturating_sub(at);
        }
        over
    }

    /// Asks for the health until it is bad for good, and gives the reason.
    async fn ask(&self, running: &Running, ready_at: &Mutex<Option<Duration>>) -> String {
        match self.deployment.spec.healthcheck.clone() {
            Some(spec) => self.ask_health(running, &spec, ready_at).await,
            None => self.ask_whether_it_listens(running, ready_at).await,
        }
    }

    async fn ask_health(
        &self,
        running: &Running,
        spec: &HealthSpec,
        ready_at: &Mutex<Option<Duration>>,
    ) -> String {
        let clock = &self.work.rt.clock;
        let mut health = Health::new(spec.retries, spec.start_period);
        let mut interval = FIRST_INTERVAL.min(spec.interval);
        loop {
            let question =
                Question { addr: address(running.port), path: spec.path.as_deref(), timeout: spec.timeout };
            let probe = probe::ask(question).await;
            match health.probed(probe, clock.monotonic().saturating_sub(running.since)) {
                Turn::Healthy => {
                    *ready_at.lock() = Some(clock.monotonic());
                    self.now_ready(running.port).await;
                }
                Turn::Unhealthy => return self.describe_unhealthy(running, spec, &health),
                Turn::None => {}
            }
            self.work.rt.heard_of(self.id);
            interval = if health.has_passed() {
                spec.interval
            } else {
                (interval * 3 / 2).min(STARTING_INTERVAL_MAX).min(spec.interval)
            };
            tokio::time::sleep(interval).await;
        }
    }

    fn describe_unhealthy(&self, running: &Running, spec: &HealthSpec, health: &Health) -> String {
        let asked = match &spec.path {
            Some(path) => format!("GET {path} on port {}", running.port),
            None => format!("a connection to port {}", running.port),
        };
        let why = health.last_failure().unwrap_or("it does not answer");
        if health.has_passed() {
            return format!("its health check ({asked}) failed {} times in a row: {why}", spec.retries);
        }
        let last = self.work.rt.outputs.last_lines(self.deployment.id);
        let last = if last.is_empty() { String::new() } else { format!(" Its last output: {last}") };
        format!(
            "the health check ({asked}) never passed within {} and {} more attempts: {why}. The program has to listen \
             on 127.0.0.1 at $PORT.{last}",
            base::HumanDuration(spec.start_period),
            spec.retries,
        )
    }

    /// Without a health check, a replica that accepts connections gets requests, and one that stays up counts
    /// as started.
    async fn ask_whether_it_listens(&self, running: &Running, ready_at: &Mutex<Option<Duration>>) -> String {
        let clock = &self.work.rt.clock;
        let mut interval = FIRST_INTERVAL;
        let mut settled = false;
        loop {
            let question =
                Question { addr: address(running.port), path: None, timeout: Duration::from_secs(1) };
            if probe::ask(question).await == Probe::Passed {
                if !settled {
                    *ready_at.lock() = Some(clock.monotonic());
                }
                self.now_ready(running.port).await;
                return std::future::pending().await;
            }
            self.work.rt.heard_of(self.id);
            let up = clock.monotonic().saturating_sub(running.since);
            if self.must_listen && up >= LISTEN_WITHIN && *self.first.borrow() == First::Open {
                return format!(
                    "nothing listens on 127.0.0.1:{} after {}, where the deployment before did: the program has to \
                     listen at $PORT",
                    running.port,
                    base::HumanDuration(LISTEN_WITHIN),
                );
            }
            if !self.must_listen && up >= SETTLE && !std::mem::replace(&mut settled, true) {
                *ready_at.lock() = Some(clock.monotonic());
                self.note(ReplicaState::Ready, Some(running.port), None).await;
                self.pass_first();
            }
            interval = (interval * 3 / 2).min(if settled { LISTEN_INTERVAL_MAX } else { SETTLE / 6 });
            tokio::time::sleep(interval).await;
        }
    }

    async fn now_ready(&self, port: u16) {
        self.endpoint(port, true, false);
        self.note(ReplicaState::Ready, Some(port), None).await;
        self.pass_first();
    }
}

/// Telling.
impl Runner {
    fn endpoint(&self, port: u16, ready: bool, draining: bool) {
        let endpoint = Endpoint { replica: Some(self.id), addr: address(port), ready, draining };
        self.work.rt.directory.put_replica(self.deployment.service, endpoint);
        self.work.rt.heard_of(self.id);
    }

    fn view(&self, state: ReplicaState, port: Option<u16>, guard: Option<u32>) -> ReplicaView {
        ReplicaView {
            id: self.id,
            service: self.deployment.service,
            deployment: self.deployment.id,
            ordinal: self.ordinal,
            state,
            port,
            guard,
            restarts: self.restarted,
            last_exit: self.last_exit.clone(),
        }
    }

    fn row(&self, state: ReplicaState, port: Option<u16>) -> ReplicaRow {
        ReplicaRow {
            deployment: self.deployment.id,
            ordinal: self.ordinal,
            id: self.id,
            environment: self.deployment.environment,
            service: self.deployment.service,
            state,
            port,
            restarts: self.restarted,
            last_exit: self.last_exit.clone(),
            updated_at: self.work.rt.clock.now(),
        }
    }

    /// Notes the state, in memory and in the store. `guard` of `None` keeps what is known.
    async fn note(&self, state: ReplicaState, port: Option<u16>, guard: Option<u32>) {
        {
            let mut replicas = self.work.rt.replicas.lock();
            let known = replicas.get(&self.id).and_then(|view| view.guard).filter(|_| port.is_some());
            replicas.insert(self.id, self.view(state, port, guard.or(known)));
        }
        let row = self.row(state, port);
        let noted =
            self.work.rt.db.write_system(&self.work.ctx, move |tx| store::put_replica(tx, &row)).await;
        if let Err(error) = noted {
            // What runs does not depend on it: the keeper's list is what is adopted from.
            tracing::warn!(replica.id = %self.id, %error, "the state of a replica could not be stored");
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Ends processes that were adopted and are not wanted, and waits until they are gone. Replicas get the time to end
/// by themselves; builds and the like have nobody waiting for them.
pub(super) async fn end_adopted(work: &Work, adopted: Vec<(Listed, Tag)>) {
    let ended = adopted.into_iter().map(|(listed, tag)| {
        work.rt.gave_up(&tag.replica);
        let grace = if tag.port == 0 { Duration::ZERO } else { work.rt.config.grace };
        end(work.keeper.clone(), listed.name, grace)
    });
    join_all(ended).await;
}
