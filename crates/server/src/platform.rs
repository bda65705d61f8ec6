//! One running Switchyard: from settings to sockets, and its orderly end.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base::{SharedClock, SystemClock, SystemRandom};
use config::{LogFormat, ServerSettings};
use db::{Db, FolderLock};
use identity::OperatorKey;
use lifecycle::{Listeners, Readiness, Signal, Signals, Supervisor, TaskKind};
use module::{CliError, ControlClient, Health, HealthCheck, Module, Output};
use outbound::Control;
use telemetry::{LogConfig, LogHandle, Metrics};
use tokio::sync::Mutex;
use web::{ApiInfo, Routes, ServerDeps, Surface};

use crate::build::{self, Built, Ground};
use crate::error::failed;
use crate::health::{self, Seeing, StoreFigures};
use crate::links::Places;
use crate::member::{self, MembersOnly};
use crate::roles::Roles;
use crate::sockets::Sockets;
use crate::{service_port, status, store};

/// How long the last lines of the log may take to get out.
const LOG_FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// A platform that serves.
pub(crate) struct Platform {
    supervisor: Supervisor,
    readiness: Readiness,
    signals: Mutex<Signals>,
    grace: Duration,
    gateway: Option<SocketAddr>,
    control: SocketAddr,
    operator_key: String,
    setup_link: Option<String>,
    api: web::Server,
    services: deployments::Handle,
    metrics: Metrics,
    log: Option<LogHandle>,
    // Removes its file when the platform is dropped.
    _listeners: Listeners,
    _folder: Option<FolderLock>,
}

impl Platform {
    /// Starts the chosen roles and comes back when they are ready.
    ///
    /// # Errors
    /// Whatever stands in the way, with its name and the next step; nothing is left running then.
    pub(crate) async fn start(
        settings: &ServerSettings,
        roles: Roles,
        output: &Output,
    ) -> Result<Platform, CliError> {
        let signals = Signals::install().map_err(|e| failed("handle signals", &e))?;
        let clock = SystemClock::shared();
        let random = SystemRandom::shared();
        let (db, vault) = store::open(settings, &clock, &random).await?;
        let folder = store::own_folder(settings, roles)?;
        let sockets = Sockets::bind(settings, roles).await?;
        let held = Arc::new(sockets.held()?);
        let metrics = Metrics::new();
        let logs = logs::Logs::new(&settings.data_dir, logs::Config::default(), clock.clone(), &metrics);
        let log = start_log(settings, &clock, roles.has_api().then_some(&logs), output);
        let service_addr = sockets.service.as_ref().map_or(Ok(settings.service_addr), local)?;
        let places = Places {
            gateway: sockets.gateway.first().map_or(Ok(settings.gateway_addr), local)?,
            control: local(&sockets.control)?,
            member: sockets.member.as_ref().map(local).transpose()?,
        };
        let ground = Ground {
            settings: settings.clone(),
            db,
            vault,
            clock: clock.clone(),
            vouch: member::vouch(&*random),
            random,
            metrics: metrics.clone(),
            logs,
            places,
            held,
            service_url: service_port::url(service_addr),
        };
        let built = build::build(&ground).await?;
        let services = built.services.clone();
        let supervisor = Supervisor::new(clock.clone());
        let starting = Starting { settings, roles, ground: &ground, supervisor: &supervisor };
        let started = starting.run(built, sockets).await;
        match started {
            Ok(parts) => Ok(Platform {
                supervisor,
                readiness: parts.readiness,
                signals: Mutex::new(signals),
                grace: settings.grace,
                gateway: parts.gateway,
                control: parts.control,
                operator_key: parts.operator_key,
                setup_link: parts.setup_link,
                api: parts.api,
                services,
                metrics,
                log,
                _listeners: parts.listeners,
                _folder: folder,
            }),
            Err(error) => {
                if services.has_taken_over() {
                    // They ran before, and go on for whoever starts next: the one of before, where this was an upgrade.
                    supervisor.leave();
                }
                // The start's own error is the one to tell.
                let _ = supervisor.stop(settings.grace).await;
                Err(error)
            }
        }
    }

    /// Where the gateway listens, if this process has one.
    pub(crate) fn gateway_addr(&self) -> Option<SocketAddr> {
        self.gateway
    }

    /// Where the control API listens.
    pub(crate) fn control_addr(&self) -> SocketAddr {
        self.control
    }

    /// The one-time link by which the first owner makes an account; `None` once there is one.
    pub(crate) fn setup_link(&self) -> Option<&str> {
        self.setup_link.as_deref()
    }

    /// The description of the API.
    pub(crate) fn document(&self) -> serde_json::Value {
        self.api.document()
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A client of this platform with the operator's key.
    pub(crate) fn client(&self) -> ControlClient {
        let base = format!("http://{}", self.control);
        match Control::new(&base, Some(&base::Secret::new(self.operator_key.clone()))) {
            Ok(control) => ControlClient::new(control),
            Err(error) => ControlClient::unavailable(error.into()),
        }
    }

    /// Resolves when a signal asks to stop, or to leave to a successor.
    pub(crate) async fn asked_to_stop(&self) {
        let mut signals = self.signals.lock().await;
        loop {
            match signals.next().await {
                Signal::Reload => {}
                Signal::Leave => return self.supervisor.leave(),
                Signal::Stop | Signal::SecondSignal => return,
            }
        }
    }

    /// Whether services ran here already when this process started.
    pub(crate) fn has_taken_over(&self) -> bool {
        self.services.has_taken_over()
    }

    /// Serves until a signal or a failure, then stops in order.
    ///
    /// # Errors
    /// When the end was not orderly: what failed, or what was cut.
    pub(crate) async fn run(&self) -> Result<(), CliError> {
        let mut signals = self.signals.lock().await;
        let ended = self.supervisor.run(&mut signals, &self.readiness, self.grace, || {}).await;
        self.flush();
        ended.map_err(|exit| failed("stop", &exit))
    }

    /// Stops in order; a signal meanwhile ends it at once.
    ///
    /// # Errors
    /// What was cut after the grace period, or by the signal.
    pub(crate) async fn stop(&self) -> Result<(), CliError> {
        self.readiness.stopping();
        let mut signals = self.signals.lock().await;
        let stopped = self.supervisor.stop_by(&mut signals, self.grace).await;
        self.flush();
        stopped.map_err(|cut| failed("stop", &cut))
    }

    fn flush(&self) {
        if let Some(log) = &self.log {
            log.flush(LOG_FLUSH_TIME_MAX);
        }
    }
}

/// What a start gives.
struct Parts {
    readiness: Readiness,
    gateway: Option<SocketAddr>,
    control: SocketAddr,
    operator_key: String,
    setup_link: Option<String>,
    api: web::Server,
    listeners: Listeners,
}

/// A start under way.
struct Starting<'a> {
    settings: &'a ServerSettings,
    roles: Roles,
    ground: &'a Ground,
    supervisor: &'a Supervisor,
}

impl Starting<'_> {
    async fn run(&self, built: Built, sockets: Sockets) -> Result<Parts, CliError> {
        let Built { mut modules, authenticate, environments, gateway, services, operator_key, links } = built;
        let readiness = Readiness::new();
        readiness.expect("store");
        self.start_store();
        self.close_sockets_at_the_end();
        let control = local(&sockets.control)?;
        let gateway_addr = sockets.gateway.first().map(local).transpose()?;
        let mut addresses = vec![("control", control)];
        addresses.extend(sockets.service.as_ref().map(local).transpose()?.map(|addr| ("service", addr)));
        addresses.extend(gateway_addr.map(|addr| ("gateway", addr)));
        let named = addresses.iter().map(|(name, addr)| ((*name).to_owned(), addr.to_string())).collect();
        let mut routes = vec![];
        let seeing = Arc::new(Seeing {
            clock: self.ground.clock.clone(),
            readiness: readiness.clone(),
            checks: checks(&self.ground.db, &modules),
            metrics: self.ground.metrics.clone(),
            store: StoreFigures::new(self.ground.db.clone(), &self.ground.metrics),
        });
        routes.push(health::routes(seeing));
        let of_modules: Vec<Routes> =
            modules.iter_mut().map(|m| std::mem::replace(&mut m.routes, Routes::new(m.name))).collect();
        let own_services = services.clone();
        if self.roles.has_api() {
            routes.push(status::routes(services, environments.clone(), named));
            routes.extend(of_modules.iter().cloned());
        }
        let server = |surface, routes| {
            web::Server::new(ServerDeps {
                routes,
                authenticate: match surface {
                    Surface::Member => Arc::new(MembersOnly(authenticate.clone())),
                    _ => authenticate.clone(),
                },
                environments: Some(environments.clone()),
                log: Some(self.ground.logs.clone()),
                metrics: &self.ground.metrics,
                clock: self.ground.clock.clone(),
                random: self.ground.random.clone(),
                surface,
                info: ApiInfo { title: "Switchyard", version: env!("CARGO_PKG_VERSION") },
            })
            .map_err(|e| failed("put the API together", &e))
        };
        let control_server = server(Surface::Operator, routes.clone())?;
        let service_server = server(Surface::Service, routes)?;
        let api = control_server.clone();
        self.listen("control", control_server, sockets.control);
        if let Some(socket) = sockets.service {
            self.listen("service", service_server, socket);
        }
        if let Some(socket) = sockets.member {
            let member_server = server(Surface::Member, of_modules)?;
            self.listen("member", member_server.behind_gateway(self.ground.vouch.clone()), socket);
        }
        self.start_tasks(modules);
        self.start_gateway(&gateway, &own_services, sockets.gateway).await?;
        readiness.set("store", Ok(()));
        let listeners = Listeners::new(&self.settings.data_dir);
        if self.roles.has_api() {
            // Others on the same folder are not what the command line looks for.
            listeners.set_all(&addresses).map_err(|e| failed("write listeners.json", &e))?;
        }
        self.warn_of_lost_key(&operator_key);
        let operator_key = read_operator_key(&operator_key)?;
        let setup_link = self.setup_link(&*links).await;
        Ok(Parts { readiness, gateway: gateway_addr, control, operator_key, setup_link, api, listeners })
    }

    fn warn_of_lost_key(&self, operator_key: &OperatorKey) {
        if let OperatorKey::Lost(path) = operator_key
            && self.roles.has_api()
        {
            tracing::warn!(
                path = %path.display(),
                "the operator's key is lost: the command line has no key; docs/runbooks/lost-operator-key.md tells how to make a new one"
            );
        }
    }

    /// A fresh link for the first owner, while there is none. A start does not fail for the want of it: a sealed store, or
    /// one that takes no changes now, has other worries.
    async fn setup_link(&self, links: &dyn ports::Links) -> Option<String> {
        let Ground { db, clock, random, .. } = self.ground;
        if !self.roles.control {
            return None;
        }
        let made = accounts::setup_link(db, clock, random, links).await;
        made.unwrap_or_else(|error| {
            tracing::warn!(%error, "the first owner's link is not made");
            None
        })
    }

    /// Who stops for good refuses connections at once: the keeper's hold on the sockets would let them wait. Who leaves to a
    /// successor lets them wait.
    fn close_sockets_at_the_end(&self) {
        let (held, stop) = (self.ground.held.clone(), self.supervisor.stop_of(TaskKind::Listener));
        self.supervisor.spawn(TaskKind::Listener, "listeners.close", async move {
            stop.stopped().await;
            if !stop.is_leaving() {
                held.close();
            }
            Ok(())
        });
    }

    fn start_store(&self) {
        let db = self.ground.db.clone();
        self.supervisor.restartable(TaskKind::Flusher, "db.sequencer", move |stop| {
            let db = db.clone();
            async move {
                db.run_sequencer(stop).await;
                Ok(())
            }
        });
        let db = self.ground.db.clone();
        self.supervisor.restartable(TaskKind::Worker, "db.clock", move |stop| {
            let db = db.clone();
            async move {
                db.run_clock(stop).await;
                Ok(())
            }
        });
    }

    fn listen(&self, name: &'static str, server: web::Server, socket: TcpListener) {
        let tasks = self.supervisor.tasks(TaskKind::Listener, format!("{name}.connections"));
        let stop = self.supervisor.stop_of(TaskKind::Listener);
        self.supervisor.spawn(TaskKind::Listener, format!("{name}.listener"), async move {
            server.serve(socket, tasks, stop).await.map_err(Into::into)
        });
    }

    /// The tasks of the roles that this process has.
    fn start_tasks(&self, modules: Vec<Module>) {
        for module in modules {
            for task in module.tasks.into_iter().filter(|task| self.roles.runs(module.name, task.name)) {
                let run = Arc::new(task.run);
                self.supervisor.restartable(task.kind, task.name, move |stop| run(stop));
            }
        }
    }

    /// Comes back when the gateway knows what it has to know, also of services that were taken over, and accepts.
    async fn start_gateway(
        &self,
        gateway: &gateway::Gateway,
        services: &deployments::Handle,
        sockets: Vec<TcpListener>,
    ) -> Result<(), CliError> {
        if sockets.is_empty() {
            return Ok(());
        }
        if self.roles.runtime {
            services.taken_over().await;
        }
        gateway.start(sockets, self.supervisor).await.map_err(|e| failed("start the gateway", &e))
    }
}

fn local(socket: &TcpListener) -> Result<SocketAddr, CliError> {
    socket.local_addr().map_err(|e| failed("read a listener's address", &e))
}

/// Starts the platform's own log. In one process it can be started once; a second platform (there is none outside tests)
/// would use the first one's.
fn start_log(
    settings: &ServerSettings,
    clock: &SharedClock,
    logs: Option<&Arc<logs::Logs>>,
    output: &Output,
) -> Option<LogHandle> {
    let terminal = std::io::stderr().is_terminal();
    let pretty = match settings.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let color = terminal && std::env::var_os("NO_COLOR").is_none();
    let format = if pretty { telemetry::LogFormat::Pretty { color } } else { telemetry::LogFormat::Json };
    let handle = telemetry::init(LogConfig {
        level: format!("{:?}", settings.log_level).to_lowercase(),
        format,
        sink: Box::new(output.lines()),
        clock: clock.clone(),
    })
    .ok()?;
    if let Some(logs) = logs.cloned() {
        handle.tap(move |record| ports::LogSink::append(&*logs, record));
    }
    Some(handle)
}

/// The store's own check, and those of the capabilities.
fn checks(db: &Db, modules: &[Module]) -> Vec<HealthCheck> {
    let db = db.clone();
    let store = HealthCheck::new("store", move || {
        let db = db.clone();
        async move {
            match (db.status(), db.probe().await) {
                (db::Status::Ok, Ok(latency)) => Health::healthy(Some(latency)),
                (db::Status::ReadOnly(why), Ok(_)) => Health::degraded(format!("read-only: {why}")),
                (db::Status::Fenced(why), _) => Health::unhealthy(format!("fenced: {why}")),
                (_, Err(error)) => Health::unhealthy(error.to_string()),
            }
        }
    });
    std::iter::once(store).chain(modules.iter().flat_map(|m| m.health.iter().cloned())).collect()
}

fn read_operator_key(key: &OperatorKey) -> Result<String, CliError> {
    let (OperatorKey::Made(path) | OperatorKey::Kept(path)) = key else { return Ok(String::new()) };
    let text = std::fs::read_to_string(path).map_err(|e| failed("read operator.key", &e))?;
    Ok(text.trim().to_owned())
}
