//! A small capability to test with: notes of tenants, and a system table.

use authority::TenantCtx;
use db::{Db, Error, Migration, MigrationSet, NewEvent, Sql, TenantTx, params};

pub(crate) const SET: MigrationSet = MigrationSet {
    capability: "notes",
    migrations: &[
        Migration {
            number: 1,
            name: "notes",
            sql: "CREATE TABLE notes_notes (
                    tenant TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, size BIGINT NOT NULL,
                    done BOOLEAN NOT NULL, weight DOUBLE PRECISION, raw BLOB,
                    PRIMARY KEY (tenant, id)
                  );
                  CREATE INDEX notes_size ON notes_notes (tenant, size);",
        },
        Migration {
            number: 2,
            name: "counters",
            sql: "CREATE TABLE notes_counters (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);
                  INSERT INTO notes_counters (name, value) VALUES ('all', 0);",
        },
    ],
    tenant_tables: &["notes_notes"],
    system_tables: &[("notes_counters", "one row for the whole installation")],
};

pub(crate) const INSERT: Sql = Sql::One(
    "INSERT INTO notes_notes (tenant, id, body, size, done, weight, raw) VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
pub(crate) const COUNT: Sql = Sql::One("SELECT count(*) FROM notes_notes WHERE tenant = $1");
pub(crate) const COUNT_ALL: Sql = Sql::One("SELECT count(*) FROM notes_notes");

pub(crate) fn put(tx: &mut TenantTx<'_>, id: &str, body: &str) -> Result<(), Error> {
    let size = body.len() as i64;
    tx.execute(&INSERT, &params![id, body, size, true, 0.5, b"raw".to_vec()]).map(drop)
}

pub(crate) async fn write(db: &Db, ctx: &TenantCtx, id: &str) -> Result<(), Error> {
    let id = id.to_owned();
    db.write(ctx, move |tx| put(tx, &id, "a note")).await
}

pub(crate) async fn write_with_event(db: &Db, ctx: &TenantCtx, id: &str) -> Result<(), Error> {
    let id = id.to_owned();
    db.write(ctx, move |tx| {
        put(tx, &id, "a note")?;
        tx.emit(created(&id)).map(drop)
    })
    .await
}

pub(crate) fn created(id: &str) -> NewEvent {
    NewEvent {
        kind: "note.created",
        subject: id.to_owned(),
        environment: None,
        before: None,
        after: Some(serde_json::json!({ "id": id })),
    }
}

pub(crate) async fn count(db: &Db, ctx: &TenantCtx) -> i64 {
    db.read(ctx, |tx| tx.query_one(&COUNT, &[])?.get(0)).await.expect("count notes")
}
