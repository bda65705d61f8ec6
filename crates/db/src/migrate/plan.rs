//! What is to be applied, given what was applied.

use ring::digest::{SHA256, digest};

use super::{Migration, MigrationSet, OWN};
use crate::OpenError;

/// A row of `sy_migrations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) capability: String,
    pub(crate) number: u32,
    pub(crate) checksum: Vec<u8>,
    /// Version of the binary that applied it.
    pub(crate) applied_by: String,
    /// Oldest binary that works with it; `None` when only those that know it do.
    pub(crate) works_with: Option<String>,
}

/// A migration to be applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) capability: &'static str,
    pub(crate) migration: Migration,
    pub(crate) checksum: Vec<u8>,
    pub(crate) works_with: Option<String>,
}

/// The steps still missing, in order; or why this binary must not touch the schema.
pub(crate) fn plan(
    sets: &[MigrationSet],
    applied: &[Applied],
    version: &str,
) -> Result<Vec<Step>, OpenError> {
    let known: Vec<Step> = std::iter::once(&OWN).chain(sets).flat_map(steps).collect();
    for row in applied {
        match known
            .iter()
            .find(|step| step.capability == row.capability && step.migration.number == row.number)
        {
            Some(step) if step.checksum == row.checksum => {}
            Some(step) => {
                return Err(OpenError::Checksum {
                    capability: step.capability.into(),
                    number: step.migration.number,
                });
            }
            None if row.works_with.as_deref().is_some_and(|oldest| at_least(version, oldest)) => {}
            None => {
                return Err(OpenError::Newer {
                    capability: row.capability.clone(),
                    number: row.number,
                    applied_by: row.applied_by.clone(),
                    this: version.into(),
                });
            }
        }
    }
    let is_applied = |step: &Step| {
        applied.iter().any(|row| row.capability == step.capability && row.number == step.migration.number)
    };
    Ok(known.into_iter().filter(|step| !is_applied(step)).collect())
}

/// The migrations of a set, as rows that will be recorded.
pub(crate) fn steps(set: &MigrationSet) -> impl Iterator<Item = Step> {
    let capability = set.capability;
    set.migrations.iter().map(move |migration| Step {
        capability,
        migration: *migration,
        checksum: digest(&SHA256, migration.sql.as_bytes()).as_ref().to_vec(),
        works_with: works_with(migration.sql),
    })
}

/// The version in a first line `-- works with: 0.1.0`.
fn works_with(text: &str) -> Option<String> {
    text.lines().next()?.trim().strip_prefix("-- works with:").map(|version| version.trim().to_owned())
}

/// Compares `major.minor.patch` by number; what cannot be read counts as 0.
fn at_least(version: &str, oldest: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        let core = text.split(['-', '+']).next().unwrap_or("");
        core.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    numbers(version) >= numbers(oldest)
}

/// All tenant tables, this crate's first.
pub(crate) fn tenant_tables(sets: &[MigrationSet]) -> Vec<&'static str> {
    std::iter::once(&OWN).chain(sets).flat_map(|set| set.tenant_tables).copied().collect()
}

/// All declared tables with their kind, in the order of their creation: rows put in in this order find their parents.
pub(crate) fn tables_in_order(sets: &[MigrationSet]) -> Vec<&'static str> {
    let mut tables = Vec::new();
    for set in std::iter::once(&OWN).chain(sets) {
        let text: String = set.migrations.iter().map(|migration| migration.sql).collect();
        let declared =
            set.tenant_tables.iter().copied().chain(set.system_tables.iter().map(|(table, _)| *table));
        let mut own: Vec<_> = declared.map(|table| (created_at(&text, table), table)).collect();
        own.sort_unstable();
        tables.extend(own.into_iter().map(|(_, table)| table));
    }
    tables
}

/// A set as it was when it had its first `count` migrations. What it holds lives for the rest of the process: only an
/// import needs it, once.
pub(crate) fn prefix(set: &MigrationSet, count: usize) -> MigrationSet {
    let migrations = &set.migrations[..count.min(set.migrations.len())];
    let text: String = migrations.iter().map(|migration| migration.sql).collect();
    let made = |table: &str| created_at(&text, table) != usize::MAX;
    let tenant_tables: Vec<_> = set.tenant_tables.iter().copied().filter(|table| made(table)).collect();
    let system_tables: Vec<_> = set.system_tables.iter().copied().filter(|(table, _)| made(table)).collect();
    MigrationSet {
        migrations,
        tenant_tables: tenant_tables.leak(),
        system_tables: system_tables.leak(),
        ..*set
    }
}

fn created_at(text: &str, table: &str) -> usize {
    let made = format!("CREATE TABLE {table}");
    text.match_indices(&made)
        .find(|(at, found)| !text[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map_or(usize::MAX, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(number: u32, sql: &str, works_with: Option<&str>) -> Applied {
        Applied {
            capability: "notes".into(),
            number,
            checksum: digest(&SHA256, sql.as_bytes()).as_ref().to_vec(),
            applied_by: "0.9.0".into(),
            works_with: works_with.map(Into::into),
        }
    }

    const NOTES: MigrationSet = MigrationSet {
        capability: "notes",
        migrations: &[
            Migration { number: 1, name: "one", sql: "CREATE TABLE notes_b (a TEXT)" },
            Migration { number: 2, name: "two", sql: "-- works with: 0.1.0\nCREATE TABLE notes_a (a TEXT)" },
        ],
        tenant_tables: &["notes_a"],
        system_tables: &[("notes_b", "why not")],
    };

    #[test]
    fn what_is_missing_is_planned_in_order() {
        let steps = plan(&[NOTES], &[applied(1, NOTES.migrations[0].sql, None)], "0.1.0").expect("plan");
        let numbers: Vec<_> = steps.iter().map(|step| (step.capability, step.migration.number)).collect();
        assert_eq!(numbers, [("sy", 1), ("notes", 2)]);
        assert_eq!(steps[1].works_with.as_deref(), Some("0.1.0"));
        assert!(tables_in_order(&[NOTES]).ends_with(&["notes_b", "notes_a"]));
    }

    #[test]
    fn a_newer_schema_is_refused_unless_it_says_otherwise() {
        let refused = plan(&[NOTES], &[applied(3, "x", None)], "0.1.0");
        assert!(matches!(refused, Err(OpenError::Newer { number: 3, .. })));
        assert!(plan(&[NOTES], &[applied(3, "x", Some("0.2.0"))], "0.1.9").is_err());
        assert!(plan(&[NOTES], &[applied(3, "x", Some("0.2.0"))], "0.10.0").is_ok());
    }

    #[test]
    fn an_edited_migration_is_refused() {
        let refused = plan(&[NOTES], &[applied(1, "CREATE TABLE other (a TEXT)", None)], "0.1.0");
        assert!(matches!(refused, Err(OpenError::Checksum { number: 1, .. })));
    }
}
