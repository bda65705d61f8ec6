//! `[plans.<name>]` of the project file.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{EnvironmentId, Rate, SharedClock, Slug};
use config::SectionSchema;
use db::SystemTx;
use ports::{ApplyError, Change, PlanUse, ProjectOf, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;

use crate::error::Error;
use crate::meters::{self, MeterTerms};
use crate::model::Limits;
use crate::ops;
use crate::store::Place;

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema = SectionSchema { key: "plans", schema: shape::schema_of::<Plans>, check };

/// `[plans]`: named sets of limits. `free`, `starter`, `pro` and `enterprise` are there without being named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Plans(BTreeMap<String, PlanSection>);

/// `[plans.<name>]`: what tenants on the plan may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanSection {
    /// Requests through the gateway that each tenant may make, such as `60/min`.
    requests: Rate,
    /// What each tenant may use of meters, by their names: `{ agents = { max = 5 }, agent_minutes = { max = 1000, period =
    /// "month" } }`.
    #[serde(default)]
    meters: BTreeMap<String, MeterTerms>,
}

impl Plans {
    /// The plans by name; the names were checked with the section.
    pub(crate) fn limits(self) -> BTreeMap<Slug, Limits> {
        let limits =
            |plan: PlanSection| Limits { requests: plan.requests, meters: meters::named(&plan.meters) };
        ports::named(self.0).into_iter().map(|(name, plan)| (name, limits(plan))).collect()
    }
}

fn check(section: &Value, _whole: &Value) -> Vec<Fault> {
    let names = section.as_object().into_iter().flat_map(serde_json::Map::keys);
    let mut faults: Vec<Fault> = names.filter_map(|name| ports::name_fault::<Slug>(name)).collect();
    // What the schema refuses is told by it.
    if let Ok(plans) = serde_json::from_value::<Plans>(section.clone()) {
        for (name, plan) in &plans.0 {
            let terms = plan.meters.iter().map(|(meter, terms)| (meter.as_str(), Some(terms)));
            let place = shape::below(&shape::below("", name), "meters");
            faults.extend(meters::faults(terms).into_iter().map(|fault| fault.under(&place)));
        }
    }
    faults
}

/// Applies `[plans]` to an environment.
pub struct PlansApply {
    /// Where times come from.
    pub clock: SharedClock,
    /// Who is on a plan.
    pub census: Arc<dyn PlanUse>,
    /// Finds the project of an environment in the transaction.
    pub projects: Arc<dyn ProjectOf>,
}

impl SectionApply for PlansApply {
    fn key(&self) -> &'static str {
        "plans"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let plans: Plans = ports::read_section(self.key(), section)?;
        let project = self.projects.project_of(tx, environment)?.ok_or(db::Error::Busy)?;
        let place = Place { environment, project };
        ops::apply(tx, &*self.clock, place, &*self.census, &plans.limits()).map_err(refused)
    }
}

fn refused(error: Error) -> ApplyError {
    let said = error.to_string();
    let at = |name: &Slug, message: String| {
        ApplyError::Invalid(vec![Fault::new(format!("/plans/{name}"), "this change", message)])
    };
    match error {
        Error::Exists(name) => ApplyError::ManagedByApi(format!("plan {name}")),
        Error::InUse { name, users } => {
            let some: Vec<String> = users.examples.iter().map(ToString::to_string).collect();
            let message = format!("{said} ({}); put them on another plan first", some.join(", "));
            ApplyError::Invalid(vec![Fault::new("/plans", format!("no plan {name}"), message)])
        }
        Error::ManagedByFile(name) | Error::ComesAlong(name) => at(&name, said),
        Error::NotFound | Error::TooMany(_) | Error::TooManyMeters(_) | Error::Stale { .. } => {
            ApplyError::Invalid(vec![Fault::new("/plans", "these plans", said)])
        }
        Error::Store(error) => ApplyError::Store(error),
    }
}
