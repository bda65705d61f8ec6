//! THE list of capabilities. To add one: a line here, and a call in [`crate::build`]. To remove one: delete both.

use config::SectionSchema;
use db::MigrationSet;
use module::{Manifest, Verb};

/// Every capability, in the order in which their migrations run and their sections are applied.
pub(crate) static ALL: &[&Manifest] = &[
    &tenants::MANIFEST,
    &plans::MANIFEST,
    &usage::MANIFEST,
    &identity::MANIFEST,
    &issuers::MANIFEST,
    &accounts::MANIFEST,
    &oidc::MANIFEST,
    &deployments::MANIFEST,
    &gateway::MANIFEST,
    &jobs::MANIFEST,
    &schedules::MANIFEST,
    &logs::MANIFEST,
    &audit::MANIFEST,
    &billing::MANIFEST,
    &backups::MANIFEST,
];

/// Their verbs on the command line.
pub(crate) fn verbs() -> Vec<Verb> {
    [
        tenants::verbs(),
        plans::verbs(),
        usage::verbs(),
        identity::verbs(),
        issuers::verbs(),
        accounts::verbs(),
        oidc::verbs(),
        deployments::verbs(),
        gateway::verbs(),
        jobs::verbs(),
        schedules::verbs(),
        logs::verbs(),
        audit::verbs(),
        billing::verbs(),
        backups::verbs(),
    ]
    .concat()
}

/// Their tables.
pub(crate) fn migrations() -> Vec<MigrationSet> {
    ALL.iter().map(|manifest| manifest.migrations).collect()
}

/// Their sections of the project file.
pub(crate) fn sections() -> Vec<SectionSchema> {
    ALL.iter().flat_map(|manifest| manifest.sections.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_capabilities_share_a_name_a_section_an_event_or_a_verb() {
        let all_differ = |names: Vec<&str>| {
            let distinct: BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        };
        all_differ(ALL.iter().map(|m| m.name).collect());
        all_differ(sections().iter().map(|s| s.key).collect());
        all_differ(ALL.iter().flat_map(|m| m.events.iter().map(|e| e.kind)).collect());
        all_differ(verbs().iter().map(|v| v.name).collect());
    }

    #[test]
    fn a_table_bears_its_capabilitys_name() {
        for set in migrations() {
            let tables = set.tenant_tables.iter().copied().chain(set.system_tables.iter().map(|(t, _)| *t));
            for table in tables {
                assert!(table.starts_with(&format!("{}_", set.capability)), "{table}");
            }
        }
    }
}
