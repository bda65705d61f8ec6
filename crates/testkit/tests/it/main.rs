//! The test kit itself.

#![expect(clippy::panic, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use authority::{Role, permissions};
use db::{Migration, MigrationSet, Sql};
use module::Module;
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::{Parts, Store, TestApp};
use web::{Call, Problem, Reply, Routes, Spec};

const SET: MigrationSet = MigrationSet {
    capability: "notes",
    migrations: &[Migration {
        number: 1,
        name: "notes",
        sql: "CREATE TABLE notes_notes (tenant TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tenant, id));",
    }],
    tenant_tables: &["notes_notes"],
    system_tables: &[],
};

const ADD: Sql = Sql::One("INSERT INTO notes_notes (tenant, id) VALUES ($1, $2)");
const COUNT: Sql = Sql::One("SELECT CAST(count(*) AS BIGINT) FROM notes_notes WHERE tenant = $1");

async fn count(store: &Store, ctx: &authority::TenantCtx) -> i64 {
    store
        .db
        .read(ctx, |tx| tx.query_one(&COUNT, &[])?.get::<i64>(0))
        .await
        .unwrap_or_else(|error: db::Error| panic!("{error}"))
}

#[tokio::test]
async fn both_stores_start_empty_and_keep_tenants_apart() {
    testkit::stores(&[SET], |store| async move {
        let (one, two) = (store.tenant(), store.tenant());
        assert_eq!(count(&store, &one).await, 0);
        store
            .db
            .write(&one, |tx| tx.execute(&ADD, &["a".into()]).map(drop))
            .await
            .unwrap_or_else(|error: db::Error| panic!("{error}"));
        assert_eq!((count(&store, &one).await, count(&store, &two).await), (1, 0));
    })
    .await;
}

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
struct Who {
    principal: String,
}

async fn who(_: Arc<()>, call: Call<(), ()>) -> Result<Reply<Who>, Problem> {
    tracing::warn!("somebody asks");
    Ok(Reply::ok(Who { principal: call.caller.principal().to_string() }))
}

fn parts(_: Store) -> std::future::Ready<Parts> {
    let spec = Spec::get("/api/v1/who", permissions::TENANTS_READ).summary("Who asks");
    std::future::ready(Parts::of(Module::new("notes", Routes::new("notes").route(spec, Arc::new(()), who))))
}

#[tokio::test]
async fn clients_are_who_they_say() {
    testkit::apps(&[SET], parts, |app: TestApp| async move {
        let tenant = app.store.tenant().tenant();
        let body = app.operator().get("/api/v1/who").await.ok(200);
        assert_eq!(body["principal"], "operator");
        assert!(app.member(tenant, Role::Viewer).get("/api/v1/who").await.status.as_u16() < 500);
        app.nobody().get("/api/v1/who").await.problem(&base::codes::UNAUTHENTICATED);
        app.operator().post("/api/v1/who", json!({})).await.problem(&base::codes::METHOD_NOT_ALLOWED);
        app.expect_record("somebody asks");
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "does not expect")]
async fn an_unexpected_warning_fails_the_test() {
    testkit::apps(&[SET], parts, |app: TestApp| async move {
        app.operator().get("/api/v1/who").await.ok(200);
    })
    .await;
}
