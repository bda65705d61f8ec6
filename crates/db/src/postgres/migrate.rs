//! The migration runner on PostgreSQL. An advisory lock makes it the only one.

use tokio_postgres::types::ToSql;

use super::connect::{MIGRATION_ANSWER_MAX as LIMIT, Wire};
use super::roles::rows;
use crate::migrate::{Applied, Step, changes_rows, plan, statements, to_postgres};
use crate::session::Failure;
use crate::{OpenError, Options};

const BOOTSTRAP: &str = "CREATE TABLE IF NOT EXISTS sy_migrations (
  capability TEXT COLLATE \"C\" NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, checksum BYTEA NOT NULL,
  applied_by TEXT NOT NULL, applied_at BIGINT NOT NULL, works_with TEXT, PRIMARY KEY (capability, number))";

/// Applies what is missing.
pub(crate) fn migrate(wire: &mut Wire, options: &Options) -> Result<(), OpenError> {
    wire.batch(BOOTSTRAP, LIMIT)?;
    let applied = applied(wire)?;
    for step in plan(&options.sets, &applied, options.version)? {
        apply(wire, options, &step).map_err(|failure| OpenError::Migration {
            capability: step.capability.into(),
            number: step.migration.number,
            source: failure.error,
        })?;
        tracing::info!(capability = step.capability, number = step.migration.number, "migration applied");
    }
    Ok(())
}

pub(crate) fn applied(wire: &mut Wire) -> Result<Vec<Applied>, Failure> {
    let found = rows(
        wire,
        "SELECT capability::text, number, checksum, applied_by, works_with FROM sy_migrations
         ORDER BY capability, number",
    )?;
    Ok(found
        .iter()
        .map(|row| Applied {
            capability: row.get(0),
            number: u32::try_from(row.get::<_, i64>(1)).unwrap_or(u32::MAX),
            checksum: row.get(2),
            applied_by: row.get(3),
            works_with: row.get(4),
        })
        .collect())
}

fn apply(wire: &mut Wire, options: &Options, step: &Step) -> Result<(), Failure> {
    wire.batch("BEGIN", LIMIT)?;
    let done = run(wire, options, step).and_then(|()| wire.batch("COMMIT", LIMIT));
    done.inspect_err(|_| drop(wire.batch("ROLLBACK", LIMIT)))
}

fn run(wire: &mut Wire, options: &Options, step: &Step) -> Result<(), Failure> {
    let statements = statements(step.migration.sql);
    let tables = options
        .sets
        .iter()
        .filter(|set| set.capability == step.capability)
        .flat_map(|set| set.tenant_tables)
        .copied();
    // Forced row-level security binds the owner too: a change of rows would silently touch none.
    let unforced: Vec<String> = if statements.iter().any(|statement| changes_rows(statement)) {
        existing(wire, tables)?
    } else {
        Vec::new()
    };
    for table in &unforced {
        wire.batch(&format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"), LIMIT)?;
    }
    for statement in &statements {
        options.reached("migrate.statement");
        wire.batch(&to_postgres(statement), LIMIT)?;
    }
    for table in existing(wire, unforced.iter().map(String::as_str))? {
        wire.batch(&format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"), LIMIT)?;
    }
    options.reached("migrate.record");
    record(wire, options, step)?;
    options.reached("migrate.commit");
    Ok(())
}

fn record(wire: &mut Wire, options: &Options, step: &Step) -> Result<(), Failure> {
    let number = i64::from(step.migration.number);
    let now = options.clock.now().micros();
    let Wire { client, link, .. } = wire;
    let params: [&(dyn ToSql + Sync); 7] = [
        &step.capability,
        &number,
        &step.migration.name,
        &step.checksum,
        &options.version,
        &now,
        &step.works_with,
    ];
    let insert = client.execute(
        "INSERT INTO sy_migrations (capability, number, name, checksum, applied_by, applied_at, works_with)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &params,
    );
    link.drive(insert, LIMIT).map(drop)
}

/// Those of the tables that are there.
fn existing<'a>(wire: &mut Wire, tables: impl Iterator<Item = &'a str>) -> Result<Vec<String>, Failure> {
    let found = rows(
        wire,
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relforcerowsecurity",
    )?;
    let forced: Vec<String> = found.iter().map(|row| row.get(0)).collect();
    Ok(tables.filter(|table| forced.iter().any(|found| found == table)).map(str::to_owned).collect())
}
