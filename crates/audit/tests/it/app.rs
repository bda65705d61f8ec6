//! What the tests of this crate serve: the log over a stand-in for tenants, with events written by hand.

use std::future::Future;

use audit::Deps;
use authority::{Caller, Origin, TenantCtx};
use base::TenantId;
use db::{MigrationSet, NewEvent};
use serde_json::Value;
use testkit::{Parts, Places, Store, TestApp};

/// An app with its stand-in: tenants `acme` and `globex`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
}

/// A table is needed for a store to have migrations of a capability at all; the log itself is the store's.
const NOTHING: MigrationSet =
    MigrationSet { capability: "audit", migrations: &[], tenant_tables: &[], system_tables: &[] };

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[NOTHING],
        |store: Store| async move {
            let places = Places::of(&store);
            let module = audit::build(Deps { db: store.db.clone(), tenants: places.clone() });
            (Parts::of(module), places)
        },
        |app, places| test(App { acme: places.tenant("acme"), globex: places.tenant("globex"), app }),
    )
    .await;
}

/// An operator called `name`, whose client calls itself `agent`.
pub(crate) fn operator(name: &str, agent: &str) -> Caller {
    let origin = Origin { agent: Some(agent.to_owned()), ..Origin::default() };
    testkit::callers::named_operator(name, origin)
}

pub(crate) fn event(kind: &'static str, subject: &str, after: Value) -> NewEvent {
    NewEvent { kind, subject: subject.to_owned(), environment: None, before: None, after: Some(after) }
}

impl App {
    /// Writes an event of a tenant as whoever the context says.
    pub(crate) async fn write(&self, ctx: &TenantCtx, event: NewEvent) {
        let write = self.app.store.db.write(ctx, move |tx| tx.emit(event.clone()));
        write.await.unwrap();
    }
}
