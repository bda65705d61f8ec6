//! What a closure works on: [`TenantTx`] sees one tenant, [`SystemTx`] the whole installation.

use std::borrow::Cow;

use authority::{SystemCtx, TenantCtx};
use base::{EventId, TenantId, Timestamp};

use crate::session::Session;
use crate::shared::{Effects, Shared};
use crate::{
    Ask, Epoch, Error, Hits, Kind, Many, NewEvent, Remembered, Row, Rows, Sql, Told, Value, events,
    idempotency, keys, lease,
};

/// The tenant column of rows that belong to the installation itself, in tables that hold both.
pub const SYSTEM_SCOPE: &str = "-";

/// What all transactions are made of, whoever they act for.
pub(crate) struct Core<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) shared: &'a Shared,
    pub(crate) effects: &'a mut Effects,
}

impl Core<'_> {
    pub(crate) fn reborrow(&mut self) -> Core<'_> {
        Core { session: self.session, shared: self.shared, effects: self.effects }
    }

    /// Runs an internal statement of this crate, with nothing bound or checked by itself.
    pub(crate) fn query(&mut self, sql: &Sql, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.session.query(sql, None, params)
    }

    /// Runs an internal statement of this crate.
    pub(crate) fn execute(&mut self, sql: &Sql, params: &[Value]) -> Result<u64, Error> {
        self.session.execute(sql, None, params)
    }
}

/// What both transactions offer, for code that serves either. `$1` is `params[0]` here: nothing is bound
/// by itself. In a [`TenantTx`] `params[0]` must be the tenant, and the statement is checked all the same.
pub trait Tx {
    /// The database underneath.
    fn kind(&self) -> Kind;
    /// The tenant that this transaction is for.
    fn tenant(&self) -> Option<TenantId>;
    /// Runs a query with exactly these parameters.
    fn query_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<Vec<Row>, Error>;
    /// Runs a statement with exactly these parameters; answers the number of rows touched.
    fn execute_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<u64, Error>;
    /// Claims an idempotency key for this transaction: `None` when it is ours now, else the row that stands.
    /// A row that expired at `now` is forgotten first. Rows of a [`SystemTx`] belong to [`SYSTEM_SCOPE`].
    fn idempotency_begin(
        &mut self,
        key_hash: &[u8],
        fingerprint: &[u8],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<Remembered>, Error>;
    /// Keeps the sealed reply of a key claimed in this transaction.
    fn idempotency_finish(&mut self, key_hash: &[u8], reply: &[u8]) -> Result<(), Error>;
}

/// A transaction of one tenant. Every statement is about tenant tables, names `tenant = $1` for each of
/// them, and gets the tenant bound as `$1` by this type: `params[0]` is `$2`.
pub struct TenantTx<'a> {
    pub(crate) core: Core<'a>,
    ctx: Cow<'a, TenantCtx>,
    scope: Value,
}

impl<'a> TenantTx<'a> {
    pub(crate) fn new(core: Core<'a>, ctx: Cow<'a, TenantCtx>) -> Self {
        let scope = Value::from(ctx.tenant());
        Self { core, ctx, scope }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.ctx.tenant()
    }

    /// Who acts, and from where.
    #[must_use]
    pub fn ctx(&self) -> &TenantCtx {
        &self.ctx
    }

    /// The database underneath.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.core.session.kind()
    }

    /// Runs a query. `$1` is the tenant, `params[0]` is `$2`.
    pub fn query(&mut self, sql: &Sql, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.core.session.check_tenant_statement(sql)?;
        self.core.session.query(sql, Some(&self.scope), params)
    }

    /// The one row of a query; [`Error::Decode`] when there is none or more.
    pub fn query_one(&mut self, sql: &Sql, params: &[Value]) -> Result<Row, Error> {
        exactly_one(self.query(sql, params)?)
    }

    /// The row of a query, if there is one; [`Error::Decode`] when there are more.
    pub fn query_opt(&mut self, sql: &Sql, params: &[Value]) -> Result<Option<Row>, Error> {
        at_most_one(self.query(sql, params)?)
    }

    /// Runs a statement; answers the number of rows touched. `$1` is the tenant, `params[0]` is `$2`.
    pub fn execute(&mut self, sql: &Sql, params: &[Value]) -> Result<u64, Error> {
        self.core.session.check_tenant_statement(sql)?;
        self.core.session.execute(sql, Some(&self.scope), params)
    }

    /// Writes an event of this tenant: with the change, or not at all.
    pub fn emit(&mut self, event: NewEvent) -> Result<EventId, Error> {
        let author = events::Author::of_tenant(&self.ctx);
        events::emit(&mut self.core, &author, event)
    }

    /// Seals bytes under the tenant's data key. `aad` (build it with `vault::aad`) names where they belong.
    pub fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let scope = self.ctx.tenant().to_string();
        keys::for_writing(&mut self.core, &scope)?.seal(aad, plaintext).map_err(keys::error)
    }

    /// Opens what [`TenantTx::seal`] made for the same `aad`.
    pub fn open(&mut self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let scope = self.ctx.tenant().to_string();
        keys::open(&mut self.core, &scope, aad, sealed)
    }

    /// Runs `effect` once this transaction is durable, before its caller is answered; never when it is undone or repeated.
    /// It blocks the thread that writes: it hands over, and does nothing itself.
    pub fn after_commit(&mut self, effect: impl FnOnce() + Send + 'static) {
        self.core.effects.after.push(Box::new(effect));
    }

    fn check_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<(), Error> {
        if params.first() != Some(&self.scope) {
            return Err(Error::Statement("the first parameter of a raw statement is not the tenant".into()));
        }
        self.core.session.check_tenant_statement(sql)
    }
}

/// A transaction of the installation: sees all tenants' rows and the system tables.
pub struct SystemTx<'a> {
    pub(crate) core: Core<'a>,
    ctx: Cow<'a, SystemCtx>,
}

impl<'a> SystemTx<'a> {
    pub(crate) fn new(core: Core<'a>, ctx: Cow<'a, SystemCtx>) -> Self {
        Self { core, ctx }
    }

    /// Who acts, from where, and why across tenants.
    #[must_use]
    pub fn ctx(&self) -> &SystemCtx {
        &self.ctx
    }

    /// The database underneath.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.core.session.kind()
    }

    /// Runs a query; `params[0]` is `$1`.
    pub fn query(&mut self, sql: &Sql, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.core.query(sql, params)
    }

    /// The one row of a query; [`Error::Decode`] when there is none or more.
    pub fn query_one(&mut self, sql: &Sql, params: &[Value]) -> Result<Row, Error> {
        exactly_one(self.query(sql, params)?)
    }

    /// The row of a query, if there is one; [`Error::Decode`] when there are more.
    pub fn query_opt(&mut self, sql: &Sql, params: &[Value]) -> Result<Option<Row>, Error> {
        at_most_one(self.query(sql, params)?)
    }

    /// Runs a statement; answers the number of rows touched.
    pub fn execute(&mut self, sql: &Sql, params: &[Value]) -> Result<u64, Error> {
        self.core.execute(sql, params)
    }

    /// Runs a statement for each of `rows`; answers which of them changed something. A statement that fails for one row
    /// fails for all.
    ///
    /// # Errors
    /// [`Error::Statement`] when the rows do not fit the statement, or [`Error`] of the store.
    pub fn many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Hits, Error> {
        self.core.session.many(many, rows)
    }

    /// Runs a query, or a change with `RETURNING`, for each of `rows`; answers the rows found, each with the ordinal (from
    /// 0) of the row that it was found for, in that order.
    ///
    /// # Errors
    /// As [`SystemTx::many`].
    pub fn query_many(&mut self, many: &Many, rows: &Rows<'_>) -> Result<Vec<(usize, Row)>, Error> {
        self.core.session.query_many(many, rows)
    }

    /// Runs several statements in their order, none of which needs another's answer: on PostgreSQL in one round trip.
    ///
    /// # Errors
    /// As [`SystemTx::many`]; the first statement that fails fails all.
    pub fn at_once(&mut self, asks: &[Ask<'_>]) -> Result<Vec<Told>, Error> {
        self.core.session.at_once(asks, false)
    }

    /// [`SystemTx::at_once`] for the last statements of a transaction: on PostgreSQL the commit goes with them. The
    /// closure must ask nothing more, and an error that it makes of the answers undoes nothing.
    ///
    /// # Errors
    /// As [`SystemTx::at_once`].
    pub fn at_last(&mut self, asks: &[Ask<'_>]) -> Result<Vec<Told>, Error> {
        self.core.session.at_once(asks, true)
    }

    /// Runs `effect` once this transaction is durable, before its caller is answered; never when it is undone or repeated.
    /// It blocks the thread that writes: it hands over, and does nothing itself.
    pub fn after_commit(&mut self, effect: impl FnOnce() + Send + 'static) {
        self.core.effects.after.push(Box::new(effect));
    }

    /// Fails unless the lease of this name is at this epoch, and keeps it there until the transaction ends: what a leader
    /// writes that was paused past its lease is refused.
    ///
    /// # Errors
    /// [`Error::Conflict`] of [`crate::LEASE_LOST`], or [`Error`] of the store.
    pub fn require_epoch(&mut self, lease: &str, epoch: Epoch) -> Result<(), Error> {
        lease::require(&mut self.core, lease, epoch)
    }

    /// Writes an event: of a tenant, or (with `None`) of the installation.
    pub fn emit(&mut self, tenant: Option<TenantId>, event: NewEvent) -> Result<EventId, Error> {
        let author = events::Author::of_system(&self.ctx, tenant);
        events::emit(&mut self.core, &author, event)
    }

    /// Writes many events, each of a tenant or (with `None`) of the installation, in one round trip.
    pub fn emit_many(&mut self, events: Vec<(Option<TenantId>, NewEvent)>) -> Result<(), Error> {
        let events =
            events.into_iter().map(|(tenant, event)| (events::Author::of_system(&self.ctx, tenant), event));
        events::emit_many(&mut self.core, events.collect())
    }

    /// The same transaction, narrowed to one tenant's rows.
    pub fn for_tenant(&mut self, tenant: TenantId) -> TenantTx<'_> {
        let ctx = self.ctx.for_tenant(tenant);
        TenantTx::new(self.core.reborrow(), Cow::Owned(ctx))
    }

    /// Destroys a tenant's data key for good: whatever was sealed under it, here and in every backup, can never be opened
    /// again. Answers whether there was one. Other processes forget it when they restart.
    pub fn destroy_key(&mut self, tenant: TenantId) -> Result<bool, Error> {
        keys::destroy(&mut self.core, &tenant.to_string())
    }

    /// Seals bytes under the installation's data key. `aad` names where they belong.
    pub fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        keys::for_writing(&mut self.core, SYSTEM_SCOPE)?.seal(aad, plaintext).map_err(keys::error)
    }

    /// Opens what [`SystemTx::seal`] made for the same `aad`.
    pub fn open(&mut self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        keys::open(&mut self.core, SYSTEM_SCOPE, aad, sealed)
    }
}

impl Tx for TenantTx<'_> {
    fn kind(&self) -> Kind {
        self.core.session.kind()
    }

    fn tenant(&self) -> Option<TenantId> {
        Some(self.ctx.tenant())
    }

    fn query_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.check_raw(sql, params)?;
        self.core.query(sql, params)
    }

    fn execute_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<u64, Error> {
        self.check_raw(sql, params)?;
        self.core.execute(sql, params)
    }

    fn idempotency_begin(
        &mut self,
        key_hash: &[u8],
        fingerprint: &[u8],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<Remembered>, Error> {
        let claim = idempotency::Claim { key_hash, fingerprint, now, expires_at };
        idempotency::begin(&mut self.core, &self.scope, &claim)
    }

    fn idempotency_finish(&mut self, key_hash: &[u8], reply: &[u8]) -> Result<(), Error> {
        idempotency::finish(&mut self.core, &self.scope, key_hash, reply)
    }
}

impl Tx for SystemTx<'_> {
    fn kind(&self) -> Kind {
        self.core.session.kind()
    }

    fn tenant(&self) -> Option<TenantId> {
        None
    }

    fn query_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.core.query(sql, params)
    }

    fn execute_raw(&mut self, sql: &Sql, params: &[Value]) -> Result<u64, Error> {
        self.core.execute(sql, params)
    }

    fn idempotency_begin(
        &mut self,
        key_hash: &[u8],
        fingerprint: &[u8],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<Remembered>, Error> {
        let claim = idempotency::Claim { key_hash, fingerprint, now, expires_at };
        idempotency::begin(&mut self.core, &Value::from(SYSTEM_SCOPE), &claim)
    }

    fn idempotency_finish(&mut self, key_hash: &[u8], reply: &[u8]) -> Result<(), Error> {
        idempotency::finish(&mut self.core, &Value::from(SYSTEM_SCOPE), key_hash, reply)
    }
}

fn exactly_one(rows: Vec<Row>) -> Result<Row, Error> {
    at_most_one(rows)?.ok_or_else(|| Error::Decode("there is no row where one must be".into()))
}

fn at_most_one(mut rows: Vec<Row>) -> Result<Option<Row>, Error> {
    match rows.len() {
        0 => Ok(None),
        1 => Ok(rows.pop()),
        count => Err(Error::Decode(format!("there are {count} rows where at most one can be"))),
    }
}
