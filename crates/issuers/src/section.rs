//! `[issuers.<name>]` of the project file.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{EnvironmentId, Slug};
use config::SectionSchema;
use db::SystemTx;
use ports::{ApplyError, Change, ProjectOf, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;

use crate::error::Error;
use crate::model::Definition;
use crate::ops::{self, Sources};

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema =
    SectionSchema { key: "issuers", schema: shape::schema_of::<Issuers>, check };

/// `[issuers]`: whose tokens are trusted in this environment, and by whom people sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Issuers(BTreeMap<String, Definition>);

fn check(section: &Value, _whole: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, value) in section.as_object().into_iter().flatten() {
        let place = shape::below("", name);
        faults.extend(ports::name_fault::<Slug>(name));
        // What is not of the shape is told by the schema.
        let Ok(definition) = serde_json::from_value::<Definition>(value.clone()) else { continue };
        for fault in definition.faults() {
            let found = value.pointer(fault.pointer).map_or_else(|| "nothing".to_owned(), shape::shown);
            faults.push(Fault::new(format!("{place}{}", fault.pointer), found, fault.message));
        }
    }
    faults
}

/// Applies `[issuers]` to an environment.
pub struct IssuersApply {
    /// Times, ids, and whom to tell.
    pub sources: Sources,
    /// Finds the project of an environment in the transaction.
    pub projects: Arc<dyn ProjectOf>,
}

impl SectionApply for IssuersApply {
    fn key(&self) -> &'static str {
        "issuers"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let issuers: Issuers = ports::read_section(self.key(), section)?;
        let project = self.projects.project_of(tx, environment)?.ok_or(db::Error::Busy)?;
        let wanted: BTreeMap<Slug, Definition> = ports::named(issuers.0);
        ops::apply(tx, &self.sources, (project, environment), &wanted).map_err(refused)
    }
}

fn refused(error: Error) -> ApplyError {
    let said = error.to_string();
    match error {
        Error::Exists(name) => ApplyError::ManagedByApi(format!("issuer {name}")),
        Error::Store(error) => ApplyError::Store(error),
        Error::Invalid(faults) => ApplyError::Invalid(
            faults
                .into_iter()
                .map(|fault| Fault::new(format!("/issuers{}", fault.pointer), "this value", fault.message))
                .collect(),
        ),
        Error::NotFound
        | Error::Everywhere(_)
        | Error::ManagedByFile(_)
        | Error::TooMany(_)
        | Error::Stale { .. } => ApplyError::Invalid(vec![Fault::new("/issuers", "these issuers", said)]),
    }
}
