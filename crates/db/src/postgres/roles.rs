//! Roles, policies and grants: how PostgreSQL is made the second wall, and how that is proven.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio_postgres::Row;

use super::connect::{MIGRATION_ANSWER_MAX, Wire};
use crate::migrate::{OWN, tenant_tables};
use crate::session::Failure;
use crate::{Error, MigrationSet, OpenError};

const LIMIT: Duration = MIGRATION_ANSWER_MAX;

/// What a row's tenant must equal. After `SET LOCAL` the setting reads '' rather than NULL in the session's next
/// transaction, hence `nullif`.
const OWN_ROWS: &str = "tenant = nullif(current_setting('sy.tenant', true), '')";

/// The same as PostgreSQL prints it back.
const OWN_ROWS_PRINTED: &str = "(tenant = NULLIF(current_setting('sy.tenant'::text, true), ''::text))";

/// The roles that transactions run as. Roles belong to the whole server, so their names carry the database's number:
/// installations in one server never share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Sees the rows of the tenant in `sy.tenant`, and no system table.
    pub(crate) tenant: String,
    /// Sees everything, by a policy of its own.
    pub(crate) system: String,
}

impl Roles {
    pub(crate) fn of_database(wire: &mut Wire) -> Result<Self, Failure> {
        let rows = rows(wire, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()")?;
        let oid: i64 = rows.first().map_or(0, |row| row.get(0));
        Ok(Self { tenant: format!("sy_tenant_{oid}"), system: format!("sy_system_{oid}") })
    }
}

/// Makes roles, policies and grants as they must be. Runs in one transaction, under the migration lock.
pub(crate) fn establish(wire: &mut Wire, roles: &Roles, sets: &[MigrationSet]) -> Result<(), Failure> {
    let mut text = String::from("BEGIN;\n");
    for role in [&roles.tenant, &roles.system] {
        text.push_str(&format!(
            "DO $$ BEGIN
               IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                 CREATE ROLE {role} NOLOGIN NOINHERIT NOCREATEDB NOCREATEROLE;
               END IF;
               IF NOT pg_has_role(current_user, '{role}', 'MEMBER') THEN
                 EXECUTE format('GRANT {role} TO %I', current_user);
               END IF;
               EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema());
             END $$;\n"
        ));
    }
    let Roles { tenant, system } = roles;
    for table in tenant_tables(sets) {
        // A tenant adds to the log and never changes it.
        let rights = if table == "sy_events" { "SELECT, INSERT" } else { "SELECT, INSERT, UPDATE, DELETE" };
        text.push_str(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
             ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
             DROP POLICY IF EXISTS sy_tenant ON {table};
             DROP POLICY IF EXISTS sy_system ON {table};
             CREATE POLICY sy_tenant ON {table} TO {tenant} USING ({OWN_ROWS}) WITH CHECK ({OWN_ROWS});
             CREATE POLICY sy_system ON {table} TO {system} USING (true) WITH CHECK (true);
             REVOKE ALL ON {table} FROM PUBLIC, {tenant}, {system};
             GRANT {rights} ON {table} TO {tenant};
             GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {system};\n"
        ));
    }
    for (table, _) in std::iter::once(&OWN).chain(sets).flat_map(|set| set.system_tables) {
        let rights = if *table == "sy_migrations" { "SELECT" } else { "SELECT, INSERT, UPDATE, DELETE" };
        text.push_str(&format!(
            "REVOKE ALL ON {table} FROM PUBLIC, {tenant}, {system};
             GRANT {rights} ON {table} TO {system};\n"
        ));
    }
    text.push_str(&format!(
        "CREATE SEQUENCE IF NOT EXISTS sy_event_order;
         GRANT USAGE ON SEQUENCE sy_event_order TO {tenant}, {system};
         COMMIT;"
    ));
    wire.batch(&text, LIMIT).inspect_err(|_| drop(wire.batch("ROLLBACK", LIMIT)))
}

/// What is not as it must be; empty when all is well (TORTURE Z12).
pub(crate) fn faults(wire: &mut Wire, roles: &Roles, sets: &[MigrationSet]) -> Result<Vec<String>, Failure> {
    let mut faults = Vec::new();
    role_faults(wire, roles, &mut faults)?;
    if !faults.is_empty() {
        // Without its roles nothing else can be asked.
        return Ok(faults);
    }
    table_faults(wire, roles, sets, &mut faults)?;
    policy_faults(wire, roles, sets, &mut faults)?;
    bypass_faults(wire, sets, &mut faults)?;
    sequence_faults(wire, roles, &mut faults)?;
    Ok(faults)
}

fn role_faults(wire: &mut Wire, roles: &Roles, faults: &mut Vec<String>) -> Result<(), Failure> {
    let found: HashMap<String, bool> = rows(
        wire,
        "SELECT rolname::text, rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication
           OR NOT pg_has_role(current_user, oid, 'MEMBER')
         FROM pg_roles",
    )?
    .iter()
    .map(|row| (row.get(0), row.get(1)))
    .collect();
    for role in [&roles.tenant, &roles.system] {
        match found.get(role) {
            None => faults.push(format!("role {role} is missing")),
            Some(true) => {
                faults.push(format!("role {role} may do more than it should, or is not ours to take"))
            }
            Some(false) => {}
        }
    }
    Ok(())
}

fn table_faults(
    wire: &mut Wire,
    roles: &Roles,
    sets: &[MigrationSet],
    faults: &mut Vec<String>,
) -> Result<(), Failure> {
    let Roles { tenant, system } = roles;
    let text = format!(
        "SELECT relname::text, relrowsecurity AND relforcerowsecurity,
           has_table_privilege('{tenant}', oid, 'SELECT') AND has_table_privilege('{tenant}', oid, 'INSERT'),
           has_table_privilege('{tenant}', oid, 'TRUNCATE') OR has_table_privilege('{system}', oid, 'TRUNCATE'),
           has_table_privilege('{system}', oid, 'SELECT'),
           has_any_column_privilege('{tenant}', oid, 'SELECT, INSERT, UPDATE')
             OR has_table_privilege('{tenant}', oid, 'DELETE')
         FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
    );
    let found = rows(wire, &text)?;
    let tenants: HashSet<&str> = tenant_tables(sets).into_iter().collect();
    let systems: HashSet<&str> = std::iter::once(&OWN)
        .chain(sets)
        .flat_map(|set| set.system_tables)
        .map(|(table, _)| *table)
        .collect();
    let mut seen = HashSet::new();
    for row in &found {
        let table: String = row.get(0);
        let [secured, tenant_may, truncates, system_may, tenant_any] =
            [1, 2, 3, 4, 5].map(|i| row.get::<_, bool>(i));
        if tenants.contains(table.as_str()) {
            if !secured {
                faults.push(format!("row-level security is not forced on {table}"));
            }
            if !tenant_may || !system_may {
                faults.push(format!("a right on {table} is missing"));
            }
        } else if systems.contains(table.as_str()) {
            if tenant_any {
                faults.push(format!("tenants have rights on the system table {table}"));
            }
            if !system_may {
                faults.push(format!("a right on {table} is missing"));
            }
        } else if is_ours(&table, sets) {
            faults.push(format!("table {table} is declared neither a tenant's nor the system's"));
        }
        if truncates {
            faults.push(format!("TRUNCATE, which passes row-level security, is granted on {table}"));
        }
        seen.insert(table);
    }
    faults.extend(
        tenants
            .iter()
            .chain(&systems)
            .filter(|table| !seen.contains(**table))
            .map(|table| format!("table {table} is missing")),
    );
    Ok(())
}

fn policy_faults(
    wire: &mut Wire,
    roles: &Roles,
    sets: &[MigrationSet],
    faults: &mut Vec<String>,
) -> Result<(), Failure> {
    let found = rows(
        wire,
        "SELECT c.relname::text, p.polname::text, p.polpermissive AND p.polcmd = '*',
           array_to_string(ARRAY(SELECT pg_get_userbyid(r)::text FROM unnest(p.polroles) r), ','),
           coalesce(pg_get_expr(p.polqual, p.polrelid), ''), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')
         FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
         WHERE c.relnamespace = current_schema()::regnamespace",
    )?;
    let mut by_table: HashMap<String, Vec<[String; 4]>> = HashMap::new();
    for row in &found {
        let name = if row.get(2) { row.get(1) } else { String::new() };
        by_table.entry(row.get(0)).or_default().push([name, row.get(3), row.get(4), row.get(5)]);
    }
    let wanted =
        |name: &str, role: &String, rule: &str| [name.to_owned(), role.clone(), rule.into(), rule.into()];
    let expected =
        [wanted("sy_system", &roles.system, "true"), wanted("sy_tenant", &roles.tenant, OWN_ROWS_PRINTED)];
    for table in tenant_tables(sets) {
        let mut policies = by_table.remove(table).unwrap_or_default();
        policies.sort();
        if policies != expected {
            faults.push(format!("the policies of {table} are not the two that must be there"));
        }
    }
    Ok(())
}

/// Whatever reads tables with its owner's rights passes row-level security.
fn bypass_faults(wire: &mut Wire, sets: &[MigrationSet], faults: &mut Vec<String>) -> Result<(), Failure> {
    let found = rows(
        wire,
        "SELECT 'function ' || proname FROM pg_proc
         WHERE pronamespace = current_schema()::regnamespace AND prosecdef
         UNION ALL
         SELECT 'view ' || relname FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('v', 'm')",
    )?;
    for row in &found {
        let what: String = row.get(0);
        let name = what.split_once(' ').map_or("", |(_, name)| name);
        if what.starts_with("function") || is_ours(name, sets) {
            faults.push(format!("{what} reads with its owner's rights"));
        }
    }
    Ok(())
}

fn sequence_faults(wire: &mut Wire, roles: &Roles, faults: &mut Vec<String>) -> Result<(), Failure> {
    let Roles { tenant, system } = roles;
    let text = format!(
        "SELECT has_sequence_privilege('{tenant}', oid, 'USAGE') AND has_sequence_privilege('{system}', oid, 'USAGE')
         FROM pg_class WHERE oid = to_regclass('sy_event_order')"
    );
    if !rows(wire, &text)?.first().is_some_and(|row| row.get(0)) {
        faults.push("the sequence of events is missing, or a right on it".into());
    }
    Ok(())
}

/// Names of ours begin with a capability's name and `_`.
fn is_ours(name: &str, sets: &[MigrationSet]) -> bool {
    std::iter::once(&OWN)
        .chain(sets)
        .any(|set| name.strip_prefix(set.capability).is_some_and(|rest| rest.starts_with('_')))
}

/// Proves on real rows that a tenant sees its own and no other, whatever the connection's login may do.
pub(crate) fn prove(wire: &mut Wire, roles: &Roles) -> Result<(), OpenError> {
    let as_tenant =
        |tenant: &str| format!("BEGIN; SET LOCAL ROLE {}; SET LOCAL sy.tenant = '{tenant}'", roles.tenant);
    let mut seen = |prologue: &str| -> Result<Vec<String>, Failure> {
        wire.batch(prologue, LIMIT)?;
        let found = rows(wire, "SELECT tenant::text FROM sy_proof ORDER BY tenant");
        wire.batch("ROLLBACK", LIMIT)?;
        Ok(found?.iter().map(|row| row.get(0)).collect())
    };
    let cases = [
        (as_tenant("proof-a"), vec!["proof-a"]),
        (as_tenant("proof-b"), vec!["proof-b"]),
        (as_tenant(""), vec![]),
        (format!("BEGIN; SET LOCAL ROLE {}", roles.tenant), vec![]),
        (format!("BEGIN; SET LOCAL ROLE {}", roles.system), vec!["proof-a", "proof-b"]),
    ];
    for (prologue, wanted) in cases {
        let found = seen(&prologue).map_err(|failure| OpenError::Store(failure.error))?;
        if found != wanted {
            return Err(OpenError::Isolation(format!("a proof row is visible to the wrong one: {found:?}")));
        }
    }
    Ok(())
}

pub(crate) fn rows(wire: &mut Wire, text: &str) -> Result<Vec<Row>, Failure> {
    wire.link.drive(wire.client.query(text, &[]), LIMIT)
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}
