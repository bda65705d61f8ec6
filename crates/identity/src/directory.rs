//! Keys for the gateway, and the rows that go with a tenant.

use authority::SystemCtx;
use base::{EnvironmentId, KeyId, TenantId};
use db::{Db, SystemTx};
use ports::{BoxFuture, KeyDirectory, KeyRecord, TenantRows, Unavailable};

use crate::model::{KEYS_MAX, Key};
use crate::store::{keys, members};

/// Most keys of one page: a closure of the store stays well below its 50 ms.
const PAGE_MAX: u32 = 2_000;

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
            let read =
                self.db.read_system(&ctx, move |tx| keys::of_environment(tx, environment, &after, limit));
            read.await.map(records).map_err(unavailable)
        })
    }

    fn of_tenant(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Vec<KeyRecord>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("directory of keys").for_tenant(tenant);
            let read = self.db.read(&ctx, move |tx| keys::page(tx, environment, false, "", KEYS_MAX));
            read.await.map(records).map_err(unavailable)
        })
    }
}

fn records(keys: Vec<Key>) -> Vec<KeyRecord> {
    let record = |key: Key| KeyRecord {
        id: key.id,
        hash: key.hash,
        tenant: key.tenant,
        environment: key.environment,
        role: key.role,
        scopes: key.scopes,
        expires_at: key.expires_at,
        name: key.name,
    };
    keys.into_iter().map(record).collect()
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
