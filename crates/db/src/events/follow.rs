//! Reading the log: by position, as a list, waiting for more.

use authority::{SystemCtx, TenantCtx};
use base::{EnvironmentId, EventId, Page, PageRequest, TenantId, Timestamp};

use super::chain::{Stored, stored_columns};
use super::emit::{Payload, payload_aad};
use super::verify;
use crate::tx::{Core, SYSTEM_SCOPE};
use crate::{Anchor, Db, Error, Event, EventFilter, Row, Sql, Value, VerifyReport, keys};

/// Events in one answer of [`EventLog::after`]: a batch that follows in about 10 ms.
const AFTER_MAX: u32 = 1_000;

/// What stands for the actor of an event whose key was destroyed.
const ERASED: &str = "(erased)";
/// And of one whose payload was altered: followers go on, the verifier names it.
const UNREADABLE: &str = "(unreadable)";

const AFTER: Sql = Sql::One(concat!(
    "SELECT ",
    stored_columns!(),
    ", position, chain_index, hash FROM sy_events WHERE position > $1 ORDER BY position LIMIT $2"
));

/// Filters that are not set are NULL. The casts give PostgreSQL the types of such parameters; SQLite takes them as they
/// are. `_` and `%` in a kind are no wildcards: kinds hold letters, dots and underscores, so a prefix is compared.
const LIST: Sql = Sql::One(concat!(
    "SELECT ",
    stored_columns!(),
    ", position, chain_index, hash FROM sy_events
     WHERE position < $1
       AND (CAST($2 AS TEXT) IS NULL OR tenant = $2)
       AND (CAST($3 AS TEXT) IS NULL OR kind = $3)
       AND (CAST($4 AS TEXT) IS NULL OR substr(kind, 1, length($4)) = $4)
       AND (CAST($5 AS TEXT) IS NULL OR subject = $5)
       AND (CAST($6 AS BIGINT) IS NULL OR at >= $6)
       AND (CAST($7 AS BIGINT) IS NULL OR at < $7)
     ORDER BY position DESC LIMIT $8"
));

/// The same for one tenant, along its chain, so that its index serves however long the log is.
const LIST_OF_TENANT: Sql = Sql::One(concat!(
    "SELECT ",
    stored_columns!(),
    ", position, chain_index, hash FROM sy_events
     WHERE tenant = $1 AND chain_index < $2
       AND (CAST($3 AS TEXT) IS NULL OR kind = $3)
       AND (CAST($4 AS TEXT) IS NULL OR substr(kind, 1, length($4)) = $4)
       AND (CAST($5 AS TEXT) IS NULL OR subject = $5)
       AND (CAST($6 AS BIGINT) IS NULL OR at >= $6)
       AND (CAST($7 AS BIGINT) IS NULL OR at < $7)
     ORDER BY chain_index DESC LIMIT $8"
));

/// Reads the event log. Cloning shares it.
#[derive(Debug, Clone)]
pub struct EventLog {
    db: Db,
}

impl EventLog {
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Events beyond a position, in order, at most `limit` (and at most 1,000).
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn after(&self, position: i64, limit: u32) -> Result<Vec<Event>, Error> {
        let limit = limit.min(AFTER_MAX);
        self.db
            .read_core(move |mut core| {
                let rows = core.query(&AFTER, &[position.into(), limit.into()])?;
                rows.iter().map(|row| event(&mut core, row)).collect()
            })
            .await
    }

    /// The last position; 0 while there is none.
    #[must_use]
    pub fn head(&self) -> i64 {
        self.db.0.head.get()
    }

    /// Waits until the head is beyond a position; answers the head. On PostgreSQL at the latest 500 ms after another
    /// process moved it. Never ends by itself: race it against a stop.
    pub async fn wait_beyond(&self, position: i64) -> i64 {
        self.db.0.head.beyond(position).await
    }

    /// A tenant's events, newest first. The filter's `tenant` is not looked at.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn of_tenant(
        &self,
        ctx: &TenantCtx,
        page: &PageRequest,
        filter: &EventFilter,
    ) -> Result<Page<Event>, Error> {
        let (request, filter) = (page.clone(), filter.clone());
        let events = self
            .db
            .read(ctx, move |tx| {
                let scope = tx.tenant().into();
                list(&mut tx.core, &LIST_OF_TENANT, [scope, before(&request)], &request, &filter)
            })
            .await?;
        Ok(Page::of(events, page, |event: &Event| event.chain_index.to_string()))
    }

    /// All events, newest first.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn list(
        &self,
        ctx: &SystemCtx,
        page: &PageRequest,
        filter: &EventFilter,
    ) -> Result<Page<Event>, Error> {
        let (request, filter) = (page.clone(), filter.clone());
        let events = self
            .db
            .read_system(ctx, move |tx| {
                let tenant = filter.tenant.into();
                list(&mut tx.core, &LIST, [before(&request), tenant], &request, &filter)
            })
            .await?;
        Ok(Page::of(events, page, |event: &Event| event.position.to_string()))
    }

    /// Recomputes every chain (or one tenant's) and compares it with what is stored. Reads in batches; events that come
    /// meanwhile are left for the next time.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn verify(&self, ctx: &SystemCtx, tenant: Option<TenantId>) -> Result<VerifyReport, Error> {
        tracing::info!(reason = ctx.reason(), actor = %ctx.principal(), "verify the event log");
        verify::verify(&self.db, tenant, None).await
    }

    /// Verifies the whole log as [`EventLog::verify`] does, and that it is the one of this anchor grown longer.
    ///
    /// # Errors
    /// [`Error`] of the store.
    pub async fn verify_against(&self, ctx: &SystemCtx, anchor: Anchor) -> Result<VerifyReport, Error> {
        tracing::info!(reason = ctx.reason(), actor = %ctx.principal(), %anchor, "verify the event log");
        verify::verify(&self.db, None, Some(anchor)).await
    }
}

/// The cursor's place; without one, beyond all.
fn before(page: &PageRequest) -> Value {
    page.after().and_then(|key| key.parse().ok()).unwrap_or(i64::MAX).into()
}

fn list(
    core: &mut Core<'_>,
    sql: &Sql,
    place: [Value; 2],
    page: &PageRequest,
    filter: &EventFilter,
) -> Result<Vec<Event>, Error> {
    let prefix = filter.kind.as_deref().and_then(|kind| kind.strip_suffix('*'));
    let exact = filter.kind.as_deref().filter(|_| prefix.is_none());
    let [first, second] = place;
    let params = [
        first,
        second,
        exact.into(),
        prefix.into(),
        filter.subject.as_deref().into(),
        filter.since.into(),
        filter.until.into(),
        page.fetch().into(),
    ];
    let rows = core.query(sql, &params)?;
    rows.iter().map(|row| event(core, row)).collect()
}

/// Reads an event and opens its payload.
fn event(core: &mut Core<'_>, row: &Row) -> Result<Event, Error> {
    let stored = Stored::read(row)?;
    let (payload, nobody) = match open(core, &stored) {
        Ok(payload) => (payload, ERASED),
        Err(Error::Decode(_)) => (None, UNREADABLE),
        Err(error) => return Err(error),
    };
    let malformed = |what: &str| Error::Decode(format!("an event's {what} is malformed"));
    let environment = stored.environment.as_deref().map(EnvironmentId::parse).transpose();
    Ok(Event {
        position: row.get(7)?,
        id: EventId::parse(&stored.id).map_err(|_| malformed("id"))?,
        tenant: tenant_of(&stored.tenant)?,
        environment: environment.map_err(|_| malformed("environment"))?,
        kind: stored.kind,
        subject: stored.subject,
        actor: payload.as_ref().map_or_else(|| nobody.into(), |payload| payload.actor.clone()),
        reason: payload.as_ref().and_then(|payload| payload.reason.clone()),
        at: Timestamp::from_micros(stored.at),
        ip: payload.as_ref().and_then(|payload| payload.ip),
        agent: payload.as_ref().and_then(|payload| payload.agent.clone()),
        before: payload.as_ref().and_then(|payload| payload.before.clone()),
        after: payload.and_then(|payload| payload.after),
        chain_index: row.get(8)?,
        hash: row.get(9)?,
    })
}

pub(crate) fn tenant_of(scope: &str) -> Result<Option<TenantId>, Error> {
    if scope == SYSTEM_SCOPE {
        return Ok(None);
    }
    TenantId::parse(scope).map(Some).map_err(|_| Error::Decode("an event's tenant is malformed".into()))
}

/// The payload; `None` when the tenant's key was destroyed.
pub(crate) fn open(core: &mut Core<'_>, stored: &Stored) -> Result<Option<Payload>, Error> {
    let Some(key) = keys::find(core, &stored.tenant)? else { return Ok(None) };
    let aad = payload_aad(&stored.tenant, &stored.id);
    let payload = key.open(&aad, &stored.payload).map_err(keys::error)?;
    serde_json::from_slice(&payload)
        .map(Some)
        .map_err(|error| Error::Decode(format!("an event's payload: {error}")))
}
