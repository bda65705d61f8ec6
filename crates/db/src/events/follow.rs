use authority::{SystemCtx, TenantCtx};
use base::{Page, PageRequest, TenantId};

use crate::{Db, Error, Event, EventFilter, VerifyReport};

/// Reads the event log. Cloning shares it.
#[derive(Debug, Clone)]
pub struct EventLog {
    db: Db,
}

impl EventLog {
    pub(crate) fn new(db: Db) -> Self { Self { db } }

    /// Events beyond a position, in order, at most `limit` (and at most 1,000).
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn after(&self, _position: i64, _limit: u32) -> Result<Vec<Event>, Error> { let _ = &self.db; todo!() }

    /// The last position; 0 while there is none.
    #[must_use]
    pub fn head(&self) -> i64 { todo!() }

    /// Waits until the head is beyond a position; answers the head. On PostgreSQL at the latest 500 ms after another
    /// process moved it. Never ends by itself: race it against a stop.
    pub async fn wait_beyond(&self, _position: i64) -> i64 { todo!() }

    /// A tenant's events, newest first.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn of_tenant(&self, _ctx: &TenantCtx, _page: &PageRequest, _filter: &EventFilter) -> Result<Page<Event>, Error> { todo!() }

    /// All events, newest first.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn list(&self, _ctx: &SystemCtx, _page: &PageRequest, _filter: &EventFilter) -> Result<Page<Event>, Error> { todo!() }

    /// Recomputes every chain (or one tenant's) and compares.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn verify(&self, _ctx: &SystemCtx, _tenant: Option<TenantId>) -> Result<VerifyReport, Error> { todo!() }
}
