//! Keys for the gateway, and the rows that go with a tenant.

use authority::SystemCtx;
use base::{EnvironmentId, KeyId, TenantId};
use db::{Db, SystemTx};
use ports::{BoxFuture, KeyDirectory, KeyRecord, TenantRows, Unavailable};

use crate::model::KEYS_MAX;
use crate::store::{keys, members};

/// Most keys of one page: a closure of the store stays well below its 50 ms.
const PAGE_MAX: u32 = 5_000;

/// Reads keys for the gateway.
#[derive(Clone)]
pub struct Directory {
    db: Db,
}

impl Directory {
    /// A directory over the store.
    pub fn new(db: Db) -> Directory {
        Directory { db }
    }
}

impl KeyDirectory for Directory {
    fn page(
        &self,
        environment: EnvironmentId,
        after: Option<KeyId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>> {
        Box::pin(async move {
            let after = after.map(|id| id.to_string()).unwrap_or_default();
            let limit = limit.min(PAGE_MAX);
            let ctx = SystemCtx::because("directory of keys");
            let read = self.db.read_system(&ctx, move |tx| keys::records(tx, environment, &after, limit));
            read.await.map_err(unavailable)
        })
    }

    fn of_tenant(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("directory of keys").for_tenant(tenant);
            let now = self.db.store_now();
            let read = self.db.read(&ctx, move |tx| keys::records_of_tenant(tx, environment, now, KEYS_MAX));
            read.await.map_err(unavailable)
        })
    }
}

fn unavailable(error: db::Error) -> Unavailable {
    tracing::warn!(%error, "the directory of keys cannot be read");
    Unavailable::new("keys")
}

/// Removes a deleted tenant's keys and members.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rows;

impl TenantRows for Rows {
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error> {
        let mut own = tx.for_tenant(tenant);
        keys::delete_all(&mut own)?;
        members::delete_all(&mut own)
    }
}
