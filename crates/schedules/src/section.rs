//! `[schedules.<name>]` of the project file.

use std::collections::BTreeMap;

use base::{EnvironmentId, ScheduleId, Slug, Timestamp};
use config::SectionSchema;
use db::SystemTx;
use ports::{ApplyError, Change, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;

use crate::error::Error;
use crate::model::{Definition, Zones};
use crate::ops::{Tools, change};

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema =
    SectionSchema { key: "schedules", schema: shape::schema_of::<Schedules>, check };

/// `[schedules]`: crons and intervals that make jobs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Schedules(BTreeMap<String, Definition>);

fn check(section: &Value, _whole: &Value) -> Vec<Fault> {
    let Ok(Schedules(all)) = shape::parse::<Schedules>(section.clone()) else { return Vec::new() };
    let mut faults = Vec::new();
    for (name, definition) in &all {
        let pointer = shape::below("", name);
        if let Some(message) = name_fault(name) {
            faults.push(Fault::new(&pointer, format!("{name:?}"), message));
        }
        if definition.tenant.is_some() {
            let message = "tenants are not known to the file; set schedules of tenants by API";
            faults.push(Fault::new(format!("{pointer}/tenant"), "a tenant", message));
        }
        // Which id and moment are taken does not matter for what is right.
        let (id, now) = (ScheduleId::from_uuid_bytes([0; 16]), Timestamp::EPOCH);
        if let Err(wrong) = definition.check(&Zones::system(), id, now) {
            faults.extend(wrong.list().into_iter().map(|fault| fault.under(&pointer)));
        }
    }
    faults
}

/// Why a text cannot be a schedule's name.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    match Slug::parse(name) {
        Err(error) => Some(error.to_string()),
        // Its path is the one that shows firings without saving.
        Ok(_) if name == "preview" => Some("another name is expected; the API uses this one".to_owned()),
        Ok(_) => None,
    }
}

/// Applies `[schedules]` to an environment.
pub struct SchedulesApply {
    /// What operations work with.
    pub tools: Tools,
}

impl SectionApply for SchedulesApply {
    fn key(&self) -> &'static str {
        "schedules"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let schedules: Schedules = ports::read_section(self.key(), section)?;
        change::apply(tx, &self.tools, environment, &ports::named(schedules.0))
            .map_err(|(name, error)| refused(&name, error))
    }
}

fn refused(name: &Slug, error: Error) -> ApplyError {
    let pointer = format!("/schedules/{name}");
    match error {
        Error::Store(error) => ApplyError::Store(error),
        Error::ManagedByApi(name) => ApplyError::ManagedByApi(format!("schedule {name}")),
        Error::Wrong(faults) => {
            ApplyError::Invalid(faults.list().into_iter().map(|fault| fault.under(&pointer)).collect())
        }
        Error::QueueUnknown(queue) => {
            let message = format!("there is no such queue; declare it: [queues.{queue}]");
            ApplyError::Invalid(vec![Fault::new(format!("{pointer}/queue"), format!("{queue:?}"), message)])
        }
        other => ApplyError::Invalid(vec![Fault::new(pointer, "this schedule", other.to_string())]),
    }
}
