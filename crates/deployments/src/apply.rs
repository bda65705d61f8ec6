//! The section `services`, when a project file is applied.

use crate::{ops, section};
use base::{EnvironmentId, SharedClock, SharedRandom};
use db::SystemTx;
use ports::{ApplyError, Change, SectionApply};
use serde_json::Value;
use std::collections::BTreeMap;

/// Brings the services of an environment in line with the file.
pub(crate) struct Apply {
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
}

impl SectionApply for Apply {
    fn key(&self) -> &'static str {
        section::KEY
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let specs = match section {
            None => BTreeMap::new(),
            Some(section) => section::parse(section).map_err(|faults| {
                ApplyError::Invalid(faults.into_iter().map(|fault| fault.under("/services")).collect())
            })?,
        };
        let ambient = ops::Ambient { clock: &*self.clock, random: &*self.random };
        ops::apply(tx, environment, &specs, prune, ambient)
    }
}
