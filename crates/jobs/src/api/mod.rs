//! The HTTP API of queues and jobs.
//!
//! Whoever calls acts on an account ([`Scope`]): a tenant's key on its own; an operator or a service on all tenants of the
//! environment, or on the one that `Switchyard-Tenant` names. What is another's does not exist. What producers and workers
//! call all the time are hot routes; their bodies are read straight from the text, and payloads are never parsed.

mod ask;
mod drafts;
mod enqueue;
mod events;
mod job;
mod json;
mod many;
mod problem;
mod queues;
mod routes;
mod socket;
mod status;
mod views;
mod work;

use std::collections::HashMap;
use std::sync::Arc;

use base::{ProjectId, SharedClock, Slug, TenantId, codes};
use db::Db;
use ports::{EnvironmentDirectory, TenantDirectory, TenantStatus};
use web::{Call, Problem, Recall};

use crate::{Engine, QueueKey, Scope};

pub use ask::{
    ClaimBody, CompleteBody, CompleteMany, Done, EventsQuery, FailBody, FilterBody, Held, JobQuery,
    LeaseBody, Leases, MoveBody, ProgressBody, QueuesQuery, RemoveQuery, RetryDead, WaitQuery,
};
pub use drafts::{ChildFailure, Duplicate, Enqueue, NewJob, UniqueKey, UniqueRules};
pub use json::Lease;
pub use queues::SettingsPatch;
pub(crate) use routes::routes;
pub use status::QueuesStatus;
pub use views::{
    Child, ClaimedJob, Count, Detail, Happened, Job, Made, Outcomes, PastAttempt, Percentiles, Progress,
    Queue, Refusal,
};
pub use work::{ClaimedJobs, Completed, JobOutcomes, JobState, LeaseOutcome, LeaseOutcomes, LeaseState};

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) db: Db,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    names: Recall<(ProjectId, String), Option<TenantId>>,
}

impl State {
    pub(crate) fn new(
        engine: Engine,
        db: Db,
        clock: &SharedClock,
        tenants: Arc<dyn TenantDirectory>,
        environments: Arc<dyn EnvironmentDirectory>,
    ) -> Self {
        Self { engine, db, tenants, environments, names: Recall::new(Arc::clone(clock)) }
    }

    /// On whose account a call acts.
    ///
    /// # Errors
    /// `not_found` for a tenant that there is not, or is another's.
    pub(crate) async fn scope<B, Q>(&self, call: &Call<B, Q>) -> Result<Scope, Problem> {
        let environment = call.environment()?;
        let named = match call.request.tenant.as_deref() {
            // Authentication has narrowed a service already.
            Some(name) if !call.caller.is_service() => {
                let found = self.tenant(environment.project, name).await?;
                Some(found.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?)
            }
            _ => None,
        };
        match (call.caller.tenant_id(), named) {
            (Some(own), Some(named)) if own != named => Err(Problem::new(&codes::NOT_FOUND)),
            (Some(tenant), _) | (None, Some(tenant)) => Ok(Scope::Tenant(environment.id, tenant)),
            (None, None) => {
                // Only operators, and services that act for all, reach more than one tenant.
                call.caller.environment_ctx(environment.id, "act on all jobs of an environment")?;
                Ok(Scope::Environment(Some(environment.id)))
            }
        }
    }

    /// The tenant of a project that an id or slug names; one that was cancelled is no more.
    async fn tenant(&self, project: ProjectId, name: &str) -> Result<Option<TenantId>, Problem> {
        let changes = self.db.changes();
        let key = (project, name.to_owned());
        if let Some(known) = self.names.get(&key, changes) {
            return Ok(known);
        }
        let found = self.tenants.find(name, Some(project)).await?.filter(|tenant| match tenant.status {
            TenantStatus::Active | TenantStatus::Suspended => tenant.project == project,
            TenantStatus::Cancelled => false,
        });
        let id = found.map(|tenant| tenant.id);
        self.names.put(key, id, changes);
        Ok(id)
    }

    /// The tenants of these names that a scope reaches.
    async fn tenants_named(
        &self,
        project: ProjectId,
        scope: Scope,
        names: &[&str],
    ) -> Result<HashMap<String, TenantId>, Problem> {
        let mut found = HashMap::new();
        for name in names {
            if found.contains_key(*name) {
                continue;
            }
            if let Some(tenant) = self.tenant(project, name).await?
                && scope.tenant().is_none_or(|own| own == tenant)
            {
                found.insert((*name).to_owned(), tenant);
            }
        }
        Ok(found)
    }

    /// The queue of a call's path and the account. An operator reaches the installation's own queues by their names, where
    /// the environment has none of the name.
    ///
    /// # Errors
    /// `queue_unknown`, and those of [`State::scope`].
    async fn queue<B, Q>(&self, call: &Call<B, Q>) -> Result<(QueueKey, Scope), Problem> {
        let scope = self.scope(call).await?;
        let name = call.path.get("q")?;
        let slug = Slug::parse(name).map_err(|_| unknown_queue(name))?;
        let key = QueueKey { environment: scope.environment(), name: slug };
        match self.engine.queue(&key) {
            Ok(_) => Ok((key, scope)),
            Err(refused) => {
                let own = QueueKey { environment: None, name: key.name };
                if call.caller.is_operator() && scope.tenant().is_none() && self.engine.queue(&own).is_ok() {
                    return Ok((own, Scope::Environment(None)));
                }
                Err(refused.into())
            }
        }
    }
}

/// What is no name at all is no queue's.
fn unknown_queue(name: &str) -> Problem {
    crate::Error::QueueUnknown { name: name.chars().take(63).collect(), nearest: None }.into()
}
