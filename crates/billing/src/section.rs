//! `[billing.<name>]` of the project file.

use std::collections::BTreeMap;

use base::{EnvironmentId, Slug};
use config::SectionSchema;
use db::SystemTx;
use ports::{ApplyError, Change, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;

use crate::error::Error;
use crate::model::Definition;
use crate::ops::{Tools, sinks};

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema = SectionSchema { key: "billing", schema: shape::schema_of::<Sinks>, check };

/// `[billing]`: where usage is sent. Secrets are not in the file: `switchyard billing secret NAME`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Sinks(BTreeMap<String, Definition>);

fn check(section: &Value, _whole: &Value) -> Vec<Fault> {
    let Ok(Sinks(all)) = shape::parse::<Sinks>(section.clone()) else { return Vec::new() };
    let mut faults = Vec::new();
    for (name, definition) in &all {
        let pointer = shape::below("", name);
        faults.extend(ports::name_fault::<Slug>(name));
        faults.extend(definition.faults().into_iter().map(|fault| fault.under(&pointer)));
    }
    faults
}

/// Applies `[billing]` to an environment.
pub struct BillingApply {
    /// What operations work with.
    pub tools: Tools,
}

impl SectionApply for BillingApply {
    fn key(&self) -> &'static str {
        "billing"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let wanted: Sinks = ports::read_section(self.key(), section)?;
        sinks::apply(tx, &self.tools, environment, &ports::named(wanted.0), prune).map_err(|refused| {
            match refused {
                sinks::ApplyError::HoldsData(what) => ApplyError::HoldsData(what),
                sinks::ApplyError::One(name, error) => one(&name, error),
            }
        })
    }
}

fn one(name: &Slug, error: Error) -> ApplyError {
    let pointer = format!("/billing/{name}");
    match error {
        Error::Store(error) => ApplyError::Store(error),
        Error::ManagedByApi(name) => ApplyError::ManagedByApi(format!("billing sink {name}")),
        Error::Wrong(faults) => {
            ApplyError::Invalid(faults.into_iter().map(|fault| fault.under(&pointer)).collect())
        }
        other => ApplyError::Invalid(vec![Fault::new(pointer, "this sink", other.to_string())]),
    }
}
