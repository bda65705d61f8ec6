//! What a capability wants to run.

use lifecycle::{Stop, TaskError, TaskKind};
use ports::{BoxFuture, JobHandler, SectionApply, TenantRows};
use serde::Serialize;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use web::Routes;

/// A built capability.
pub struct Module {
    /// Its name.
    pub name: &'static str,
    /// Its part of the API.
    pub routes: Routes,
    /// What runs as long as the process does.
    pub tasks: Vec<Task>,
    /// What `/api/health` asks.
    pub health: Vec<HealthCheck>,
    /// Its parts of the project file.
    pub sections: Vec<Arc<dyn SectionApply>>,
    /// What to remove with a tenant.
    pub tenant_rows: Vec<Arc<dyn TenantRows>>,
    /// What works off built-in queues.
    pub handlers: Vec<Arc<dyn JobHandler>>,
}

impl Module {
    /// One with routes and nothing else yet.
    #[must_use]
    pub fn new(name: &'static str, routes: Routes) -> Self {
        Self {
            name,
            routes,
            tasks: Vec::new(),
            health: Vec::new(),
            sections: Vec::new(),
            tenant_rows: Vec::new(),
            handlers: Vec::new(),
        }
    }

    /// Adds a task.
    #[must_use]
    pub fn task(mut self, task: Task) -> Self {
        self.tasks.push(task);
        self
    }

    /// Adds a health check.
    #[must_use]
    pub fn health(mut self, check: HealthCheck) -> Self {
        self.health.push(check);
        self
    }

    /// Adds a part of the project file.
    #[must_use]
    pub fn section(mut self, section: Arc<dyn SectionApply>) -> Self {
        self.sections.push(section);
        self
    }

    /// Adds rows that go with their tenant.
    #[must_use]
    pub fn rows(mut self, rows: Arc<dyn TenantRows>) -> Self {
        self.tenant_rows.push(rows);
        self
    }

    /// Adds what works off a built-in queue.
    #[must_use]
    pub fn handler(mut self, handler: Arc<dyn JobHandler>) -> Self {
        self.handlers.push(handler);
        self
    }
}

/// Makes one run of a task.
type Run = Box<dyn Fn(Stop) -> BoxFuture<'static, Result<(), TaskError>> + Send + Sync>;

/// Something that runs as long as the process does. When it fails, the supervisor runs it again after a pause.
pub struct Task {
    /// When it is stopped.
    pub kind: TaskKind,
    /// `<capability>.<what>`, for logs.
    pub name: &'static str,
    /// One run of it.
    pub run: Run,
}

impl Task {
    /// A task of this kind and name. `run` is called again after a failure.
    pub fn new<F, Fut>(kind: TaskKind, name: &'static str, run: F) -> Self
    where
        F: Fn(Stop) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        Self { kind, name, run: Box::new(move |stop| Box::pin(run(stop))) }
    }
}

/// How a part of the platform is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// As it should be.
    Healthy,
    /// It serves, but not as it should.
    Degraded,
    /// It does not serve.
    Unhealthy,
}

/// What a health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub state: HealthState,
    /// How long the question took, where that tells something.
    pub latency: Option<Duration>,
    /// What is wrong, in words that anybody may read.
    pub error: Option<String>,
}

impl Health {
    /// As it should be.
    #[must_use]
    pub fn healthy(latency: Option<Duration>) -> Self {
        Self { state: HealthState::Healthy, latency, error: None }
    }

    /// It serves, but not as it should.
    #[must_use]
    pub fn degraded(error: impl Into<String>) -> Self {
        Self { state: HealthState::Degraded, latency: None, error: Some(error.into()) }
    }

    /// It does not serve.
    #[must_use]
    pub fn unhealthy(error: impl Into<String>) -> Self {
        Self { state: HealthState::Unhealthy, latency: None, error: Some(error.into()) }
    }
}

/// Asks how a part of the platform is.
#[derive(Clone)]
pub struct HealthCheck {
    /// The part's name in `/api/health`.
    pub name: &'static str,
    /// The question; its asker bounds its time.
    pub check: Arc<dyn Fn() -> BoxFuture<'static, Health> + Send + Sync>,
}

impl HealthCheck {
    /// A check of this name.
    pub fn new<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Health> + Send + 'static,
    {
        Self { name, check: Arc::new(move || Box::pin(check())) }
    }
}
