//! Everything that happens on a PostgreSQL database before it serves.

use tokio_postgres::Config;

use super::connect::{MIGRATION_ANSWER_MAX as LIMIT, Wire};
use super::roles::{establish, faults, prove, rows};
use super::{Roles, migrate};
use crate::{OpenError, Options};

/// The last position of the log.
pub(crate) const HEAD: &str = "SELECT coalesce(max(position), 0) FROM sy_events";

/// Of this crate, among the advisory locks of the database.
const MIGRATION_LOCK: i64 = 0x5359_4442_0000_0001;

/// First sound release of each major version. Before it, a plan made for one role could be used for another below a
/// subquery (CVE-2024-10976), which is how tenants see each other's rows.
const VERSIONS_MIN: [(i32, i32); 5] = [(13, 17), (14, 14), (15, 9), (16, 5), (17, 1)];

/// What opening a database answered.
pub(crate) struct Ready {
    pub(crate) roles: Roles,
    pub(crate) check: Option<Vec<u8>>,
    pub(crate) has_keys: bool,
    pub(crate) head: i64,
}

/// True while there is no store in the database.
pub(crate) fn is_empty(config: &Config) -> Result<bool, OpenError> {
    let mut wire = Wire::connect(config, LIMIT)?;
    let found = rows(&mut wire, "SELECT to_regclass('sy_meta') IS NULL")?;
    if found.first().is_none_or(|row| row.get(0)) {
        return Ok(true);
    }
    wire.batch("BEGIN", LIMIT)?;
    let found = rows(&mut wire, "SELECT count(*) = 0 FROM sy_meta WHERE name = 'vault.check'")?;
    Ok(found.first().is_none_or(|row| row.get(0)))
}

/// Checks the server, migrates under the lock, establishes and proves the isolation of tenants, and keeps `check` as the
/// master key's when the store has none. `config` is one without statement deadlines: migrations take their time.
pub(crate) fn prepare(options: &Options, config: &Config, check: Option<&[u8]>) -> Result<Ready, OpenError> {
    let mut wire = Wire::connect(config, LIMIT)?;
    check_version(&mut wire)?;
    wire.link.drive(wire.client.query("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]), LIMIT)?;
    // Released with the connection, whichever way this ends.
    migrate::migrate(&mut wire, options)?;
    let roles = Roles::of_database(&mut wire)?;
    if !faults(&mut wire, &roles, &options.sets)?.is_empty() {
        establish(&mut wire, &roles, &options.sets).map_err(|failure| {
            let Roles { tenant, system } = &roles;
            OpenError::Isolation(format!(
                "{}; let the role of SWITCHYARD_DATABASE_URL own the schema and give it CREATEROLE, or make the roles {tenant} and {system} and grant them to it",
                failure.error
            ))
        })?;
    }
    if let Some(fault) = faults(&mut wire, &roles, &options.sets)?.first() {
        return Err(OpenError::Isolation(fault.clone()));
    }
    prove(&mut wire, &roles)?;
    let ready = read(&mut wire, roles, check)?;
    Ok(ready)
}

fn read(wire: &mut Wire, roles: Roles, check: Option<&[u8]>) -> Result<Ready, OpenError> {
    wire.batch(&format!("BEGIN; SET LOCAL ROLE {}", roles.system), LIMIT)?;
    let has_keys = rows(wire, "SELECT count(*) > 0 FROM sy_keys")?.first().is_some_and(|row| row.get(0));
    let find = "SELECT value FROM sy_meta WHERE name = 'vault.check'";
    let mut stored: Option<Vec<u8>> = rows(wire, find)?.first().map(|row| row.get(0));
    if let (None, Some(check), false) = (&stored, check, has_keys) {
        let text = "INSERT INTO sy_meta (name, value) VALUES ('vault.check', $1)";
        wire.link.drive(wire.client.execute(text, &[&check]), LIMIT)?;
        stored = Some(check.to_vec());
    }
    let head = rows(wire, HEAD)?.first().map_or(0, |row| row.get(0));
    wire.batch("COMMIT", LIMIT)?;
    Ok(Ready { roles, check: stored, has_keys, head })
}

fn check_version(wire: &mut Wire) -> Result<(), OpenError> {
    let found = rows(wire, "SELECT current_setting('server_version_num')::int")?;
    let number: i32 = found.first().map_or(0, |row| row.get(0));
    match too_old(number) {
        None => Ok(()),
        Some(needed) => Err(OpenError::TooOld {
            engine: "PostgreSQL",
            found: format!("{}.{}", number / 10_000, number % 10_000),
            needed,
            why: "its row-level security can be passed (CVE-2024-10976)",
        }),
    }
}

fn too_old(number: i32) -> Option<String> {
    let (major, minor) = (number / 10_000, number % 10_000);
    match VERSIONS_MIN.iter().find(|(sound, _)| *sound == major) {
        Some((_, sound)) if minor >= *sound => None,
        Some((_, sound)) => Some(format!("{major}.{sound}")),
        None if major > 17 => None,
        None => Some("15.9".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_leak_are_refused() {
        assert_eq!(too_old(150_008), Some("15.9".into()));
        assert_eq!(too_old(120_022), Some("15.9".into()));
        assert_eq!(too_old(150_018), None);
        assert_eq!(too_old(180_000), None);
    }
}
