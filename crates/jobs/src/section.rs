//! `[queues.<name>]` of the project file.

use std::collections::BTreeMap;

use base::{EnvironmentId, Slug};
use config::SectionSchema;
use db::SystemTx;
use ports::{ApplyError, Change, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;

use crate::{Engine, Error, ManagedBy, QueueKey, QueueSettings};

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema = SectionSchema { key: "queues", schema: shape::schema_of::<Queues>, check };

/// Queues of one environment: more are a name per tenant, which jobs' tenants do without.
const QUEUES_MAX: usize = 1_000;

/// `[queues]`: where jobs wait, by name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Queues(BTreeMap<String, QueueSettings>);

fn check(section: &Value, whole: &Value) -> Vec<Fault> {
    let Some(queues) = section.as_object() else { return Vec::new() };
    let mut faults = Vec::new();
    if queues.len() > QUEUES_MAX {
        faults.push(Fault::new(
            "",
            format!("{} queues", queues.len()),
            format!("at most {QUEUES_MAX} are allowed"),
        ));
    }
    for (name, settings) in queues {
        if let Some(fault) = ports::name_fault::<Slug>(name) {
            faults.push(fault);
            continue;
        }
        // What cannot be read was told with the schema.
        let Ok(settings) = serde_json::from_value::<QueueSettings>(settings.clone()) else { continue };
        let pointer = shape::below("", name);
        faults.extend(fault_of(&settings, whole).map(|fault| fault.under(&pointer)));
    }
    faults
}

/// The first thing that is wrong with the settings, within the file as a whole.
fn fault_of(settings: &QueueSettings, whole: &Value) -> Option<Fault> {
    if let Err(Error::Invalid { pointer, detail }) = settings.check() {
        return Some(Fault::new(pointer, "this value", detail));
    }
    let service = &settings.push.as_ref()?.service;
    let services = whole.get("services").and_then(Value::as_object);
    let names = || services.into_iter().flat_map(serde_json::Map::keys).map(String::as_str);
    if names().any(|name| name == service) {
        return None;
    }
    let fault = Fault::new("/push/service", format!("{service:?}"), "a service of this file is expected");
    Some(fault.or_nearest(base::nearest(service, names())))
}

/// Applies `[queues]` to an environment.
pub struct QueuesApply {
    /// Whose queues.
    pub engine: Engine,
}

impl SectionApply for QueuesApply {
    fn key(&self) -> &'static str {
        "queues"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let wanted: Queues = ports::read_section(self.key(), section)?;
        let mut changes = Vec::new();
        for (name, settings) in &wanted.0 {
            let refused = |error| refused(name, error);
            let slug = Slug::parse(name).map_err(|error| {
                refused(Error::Invalid { pointer: String::new(), detail: error.to_string() })
            })?;
            let key = QueueKey::of(environment, slug);
            let put = self.engine.put_queue_in(tx, &key, settings, ManagedBy::File).map_err(refused)?;
            changes.extend(put.map(|(_, new)| {
                let what = format!("queue {name}");
                if new { Change::created(what) } else { Change::changed(what) }
            }));
        }
        changes.extend(self.remove_others(tx, environment, &wanted, prune)?);
        Ok(changes)
    }
}

impl QueuesApply {
    /// Removes the file's queues that it names no more; all that hold jobs are told at once.
    fn remove_others(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        wanted: &Queues,
        prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let all = self.engine.queues_in(tx, environment).map_err(|error| refused("", error))?;
        let gone = all.into_iter().filter(|view| {
            view.managed_by == ManagedBy::File && !wanted.0.contains_key(view.key.name.as_str())
        });
        let (mut changes, mut holding) = (Vec::new(), Vec::new());
        for view in gone {
            let what = format!("queue {}", view.key.name);
            match self.engine.delete_queue_in(tx, &view.key, ManagedBy::File, prune) {
                Ok(()) => changes.push(Change::removed(what)),
                Err(Error::HoldsJobs { jobs, .. }) => holding.push(format!("{what} ({jobs} jobs)")),
                Err(error) => return Err(refused(view.key.name.as_str(), error)),
            }
        }
        if holding.is_empty() { Ok(changes) } else { Err(ApplyError::HoldsData(holding)) }
    }
}

fn refused(name: &str, error: Error) -> ApplyError {
    let said = error.to_string();
    match error {
        Error::ManagedByApi(name) => ApplyError::ManagedByApi(format!("queue {name}")),
        Error::Store(error) => ApplyError::Store(error),
        Error::Invalid { pointer, detail } => {
            ApplyError::Invalid(vec![Fault::new(format!("/queues/{name}{pointer}"), "this value", detail)])
        }
        _ => ApplyError::Invalid(vec![Fault::new(format!("/queues/{name}"), "this queue", said)]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(section: &Value, whole: &Value) -> Vec<String> {
        check(section, whole).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn all_queues_are_checked() {
        let whole = json!({"services": {"web": {}}});
        let section = json!({
            "Not A Name": {},
            "slow": {"lease": "2h"},
            "runs": {"concurrency": 10, "retry": {"attempts": 3, "base": "1s", "max": "1h"}},
            "pushed": {"push": {"service": "wbe"}},
            "fine": {"push": {"service": "web", "path": "/jobs"}}
        });
        assert_eq!(pointers(&section, &whole), ["/Not A Name", "/pushed/push/service", "/slow/lease"]);
        assert!(pointers(&json!({}), &whole).is_empty());
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let section = json!({"runs": {
            "concurrency": 10,
            "per_tenant": {"concurrency": 2, "rate": "100/min"},
            "retry": {"attempts": 3, "backoff": "exponential", "base": "1s", "max": "1h"}
        }});
        let queues: Queues = shape::parse(section).expect("all of it is known");
        let runs = &queues.0["runs"];
        assert_eq!(
            (runs.concurrency, runs.per_tenant.concurrency, runs.retry.attempts),
            (Some(10), Some(2), 3)
        );
    }
}
