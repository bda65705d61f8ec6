//! `[meters.<name>]` of the project file.

use std::collections::BTreeMap;

use base::{EnvironmentId, MeterName};
use config::SectionSchema;
use db::{NewEvent, SystemTx};
use ports::{ApplyError, Change, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use shape::Fault;

use crate::store::limits::{self, Meter};

/// Most meters that a project file declares: as many as a plan may name.
const METERS_MAX: usize = 100;

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema =
    SectionSchema { key: "meters", schema: shape::schema_of::<Sections>, check };

/// `[meters]`: what is counted. A meter that a plan names needs no section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Sections(BTreeMap<String, MeterSection>);

/// `[meters.<name>]`: what is counted under the name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MeterSection {
    /// In what it is measured, for people, such as `minutes`.
    #[schemars(length(max = 32))]
    unit: String,
    /// Whether events may take away, such as those that correct earlier ones; `false` by default.
    negative: bool,
}

fn check(section: &Value, _whole: &Value) -> Vec<Fault> {
    let names: Vec<&String> = section.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    let mut faults: Vec<Fault> =
        names.iter().filter_map(|name| ports::name_fault::<MeterName>(name)).collect();
    if names.len() > METERS_MAX {
        let found = format!("{} meters", names.len());
        faults.push(Fault::new("", found, format!("at most {METERS_MAX} are allowed")));
    }
    faults
}

/// Applies `[meters]` to an environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetersApply;

impl SectionApply for MetersApply {
    fn key(&self) -> &'static str {
        "meters"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let wanted: Sections = ports::read_section(self.key(), section)?;
        let meter = |MeterSection { unit, negative }| Meter { unit, negative };
        let wanted = ports::named(wanted.0).into_iter().map(|(name, section)| (name, meter(section)));
        Ok(apply(tx, environment, &wanted.collect())?)
    }
}

fn apply(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    wanted: &BTreeMap<MeterName, Meter>,
) -> Result<Vec<Change>, db::Error> {
    let mut changes = Vec::new();
    let now = limits::meters(tx, environment)?;
    for (name, before) in now.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        limits::remove_meter(tx, environment, name)?;
        emit(tx, environment, "meter.removed", name, (Some(before), None))?;
        changes.push(Change::removed(format!("meter {name}")));
    }
    for (name, meter) in wanted {
        let before = now.get(name);
        if before == Some(meter) {
            continue;
        }
        limits::set_meter(tx, environment, name, meter)?;
        emit(tx, environment, "meter.set", name, (before, Some(meter)))?;
        let what = format!("meter {name}");
        changes.push(if before.is_some() { Change::changed(what) } else { Change::created(what) });
    }
    Ok(changes)
}

fn emit(
    tx: &mut SystemTx,
    environment: EnvironmentId,
    kind: &'static str,
    name: &MeterName,
    (before, after): (Option<&Meter>, Option<&Meter>),
) -> Result<(), db::Error> {
    let view = |meter: &Meter| json!({ "unit": meter.unit, "negative": meter.negative });
    let (before, after) = (before.map(view), after.map(view));
    tx.emit(
        None,
        NewEvent { kind, subject: name.to_string(), environment: Some(environment), before, after },
    )?;
    Ok(())
}
