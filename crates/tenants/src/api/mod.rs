//! Requests, replies and routes of tenants, their domains, projects, environments and configuration.

mod configuration;
mod domains;
mod environments;
mod health;
mod onboarding;
mod tenants;

use std::sync::Arc;

use base::{ProjectId, codes};
use config::SectionSchema;
use db::Db;
use ports::{
    EnvironmentDirectory, PlanLookup, SectionApply, SharedEnqueue, TenantDirectory, TenantHealth, TenantRows,
};
use web::{Call, ETag, Problem, Routes};

use crate::directory::Environments;
use crate::error::Error;
use crate::model::FieldFault;
use crate::ops::Sources;
use crate::proofs::Proofs;

pub use configuration::{Configuration, ConfigurationReply};
pub use domains::{AddDomain, DomainRecord, DomainView};
pub use environments::{EnvironmentView, ProjectView};
pub use health::{Health, HealthView, SignView};
pub use onboarding::{OnboardingView, StepView};
pub use tenants::{CreateTenant, PatchTenant, TenantView};

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) sources: Sources,
    pub(crate) plans: Arc<dyn PlanLookup>,
    pub(crate) enqueue: SharedEnqueue,
    pub(crate) rows: Vec<Arc<dyn TenantRows>>,
    pub(crate) sections: Vec<Arc<dyn SectionApply>>,
    pub(crate) schemas: Vec<SectionSchema>,
    pub(crate) environments: Arc<Environments>,
    pub(crate) directory: Arc<dyn TenantDirectory>,
    pub(crate) proofs: Proofs,
    pub(crate) health: Vec<Arc<dyn TenantHealth>>,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    tenants::routes(state)
        .and(domains::routes(state))
        .and(onboarding::routes(state))
        .and(health::routes(state))
        .and(environments::routes(state))
        .and(configuration::routes(state))
}

impl State {
    /// The project that a call is about: that of its environment, else the only one there is.
    fn project<B, Q>(&self, call: &Call<B, Q>) -> Result<ProjectId, Problem> {
        if let Some(environment) = &call.environment {
            return Ok(environment.project);
        }
        let all = self.environments.all();
        match all.first() {
            Some(first) if all.iter().all(|one| one.project == first.project) => Ok(first.project),
            _ => Ok(call.environment()?.project),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::SlugReserved(slug) => Problem::new(&codes::INVALID)
                .fault("/slug", format!("`{slug}` is a name of the platform's own; choose another")),
            Error::Taken(faults) => with(Problem::new(&codes::CONFLICT), &faults)
                .detail("Another tenant of the project has it already; choose another."),
            Error::Invalid(faults) => with(Problem::new(&codes::INVALID), &faults),
            Error::PlanUnknown(plan) => Problem::new(&codes::INVALID)
                .fault("/plan", format!("there is no plan `{plan}`; `switchyard plans list` shows all")),
            Error::Status(_) => Problem::new(&codes::CONFLICT).detail(format!(
                "{said}: it stays cancelled; delete it and make a new one if the customer comes back."
            )),
            Error::NotCancelled => Problem::new(&codes::CONFLICT)
                .detail("Only a cancelled tenant can be deleted; set its status to `cancelled` first (`switchyard tenants cancel`)."),
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::DomainTaken(_) => {
                Problem::new(&codes::CONFLICT).fault("/host", "a tenant has this domain already")
            }
            Error::DomainRests { .. } => Problem::new(&codes::CONFLICT).fault("/host", said),
            Error::DomainUnderBase { host, base } => Problem::new(&codes::CONFLICT)
                .fault("/host", format!("`{host}` lies under `{base}`, whose subdomains are tenants")),
            Error::TooManyDomains(_) => Problem::new(&codes::CONFLICT)
                .detail(format!("{said}; remove one that is not used any more.")),
            Error::Store(error) => error.into(),
        }
    }
}

fn with(problem: Problem, faults: &[FieldFault]) -> Problem {
    faults.iter().fold(problem, |problem, fault| problem.fault(fault.pointer, fault.detail.as_str()))
}
