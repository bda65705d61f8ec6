//! The installation's own schedules: there whenever a version has them, paused when somebody paused them.

use db::SystemTx;

use super::{Tools, Wanted, change};
use crate::error::Error;
use crate::model::{CatchUp, Definition, ManagedBy, Overlap, SCHEDULES_MAX};
use crate::store;

/// A schedule that comes along, on the clock of UTC. One run after a downtime stands for all; none overlaps the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name: a slug.
    pub name: &'static str,
    /// Its cron.
    pub cron: &'static str,
    /// The built-in queue that it fills.
    pub queue: &'static str,
}

/// Brings the installation's own schedules in line with this version. Those of other versions go.
///
/// # Errors
/// As [`change::put`].
pub fn ensure(tx: &mut SystemTx, tools: &Tools) -> Result<(), Error> {
    for one in tools.built_in {
        let slug =
            |text: &str| base::Slug::parse(text).expect("names of built-in schedules and queues are slugs");
        let definition = Definition {
            cron: Some(one.cron.to_owned()),
            payload: serde_json::json!({}),
            catch_up: CatchUp::Once,
            overlap: Overlap::Skip,
            ..Definition::for_queue(slug(one.queue))
        };
        let by = ManagedBy::BuiltIn;
        let wanted = Wanted { environment: None, name: slug(one.name), definition, tenant: None, by };
        change::put(tx, tools, &wanted, |_| true)?;
    }
    for schedule in store::page(tx, None, "", SCHEDULES_MAX)? {
        if !tools.built_in.iter().any(|one| one.name == schedule.name.as_str()) {
            store::delete(tx, schedule.id)?;
        }
    }
    Ok(())
}
