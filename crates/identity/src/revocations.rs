//! What tokens are no longer good for, kept in memory by every process that judges them: a token costs no look-up, and
//! still ends within a second of the word (TORTURE A9).
//!
//! A row says that a session ended, or that nothing signed for a user, a membership or a role until a time is good any more.
//! The transaction of the change writes it; after the commit this process knows at once, others by a signal, and on
//! PostgreSQL by a look each second where a signal is lost. Rows are kept until no token from before them can be in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authority::{Role, SystemCtx, key_format};
use base::{ClientId, Email, ProjectId, SessionId, SharedClock, TenantId, Timestamp, UserId};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use db::{Db, Kind, SystemTx};
use lifecycle::{Stop, TaskError};
use parking_lot::{Mutex, RwLock};
use ports::TokenRevocations;

use crate::store::revocations as rows;
use crate::token::TOKEN_LIFETIME_MAX;

/// How long a row is kept: the longest life of a token, and ten minutes for clocks that differ.
pub const KEPT: Duration = Duration::from_mins(70);
/// How often a process looks for rows of others on PostgreSQL, in case a signal was lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often old rows are swept.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// How far back a look goes behind the last row seen: rows bear the time of the process that wrote them, and become visible
/// with their commit.
const OVERLAP: Duration = Duration::from_secs(5);
/// Rows of one read: a closure of the store stays below its 50 ms.
const PAGE: u32 = 5_000;
const SIGNAL: &str = "identity.revocations";

const _: () = assert!(KEPT.as_secs() > TOKEN_LIFETIME_MAX.as_secs());

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A session that ended, whenever its tokens were signed.
    Session(SessionId),
    /// A client of the provider that was removed, whenever its tokens were signed.
    Client(ClientId),
    /// A user everywhere, or in one tenant.
    User(UserId, Option<TenantId>),
    /// The member of a tenant with this address ([`Email::key`]).
    Member(TenantId, String),
    /// A custom role of a project, by the fingerprint of its patterns.
    Role(ProjectId, String),
}

impl Target {
    /// The role of patterns that are in force no more.
    pub(crate) fn role(project: ProjectId, role: &Role) -> Target {
        let text = role.to_string();
        Target::Role(project, URL_SAFE_NO_PAD.encode(key_format::hash(text.as_bytes())))
    }

    fn id(&self) -> String {
        match self {
            Target::Session(session) => session.to_string(),
            Target::Client(client) => client.to_string(),
            Target::User(user, None) => user.to_string(),
            Target::User(user, Some(tenant)) => format!("{user}/{tenant}"),
            Target::Member(tenant, email) => format!("member/{tenant}/{email}"),
            Target::Role(project, print) => format!("role/{project}/{print}"),
        }
    }

    fn parse(id: &str) -> Option<Target> {
        if let Some((tenant, email)) = id.strip_prefix("member/").and_then(|rest| rest.split_once('/')) {
            return Some(Target::Member(TenantId::parse(tenant).ok()?, email.to_owned()));
        }
        if let Some((project, print)) = id.strip_prefix("role/").and_then(|rest| rest.split_once('/')) {
            return Some(Target::Role(ProjectId::parse(project).ok()?, print.to_owned()));
        }
        if let Ok(session) = SessionId::parse(id) {
            return Some(Target::Session(session));
        }
        if let Ok(client) = ClientId::parse(id) {
            return Some(Target::Client(client));
        }
        match id.split_once('/') {
            Some((user, tenant)) => {
                Some(Target::User(UserId::parse(user).ok()?, Some(TenantId::parse(tenant).ok()?)))
            }
            None => Some(Target::User(UserId::parse(id).ok()?, None)),
        }
    }
}

/// Revoked tokens: writes rows, and knows them all.
pub struct Revocations {
    db: Db,
    clock: SharedClock,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    times: RwLock<HashMap<Target, Timestamp>>,
    /// +1 whenever something was added.
    generation: AtomicU64,
    /// Rows whose time is to be moved on to that of their commit.
    late: Mutex<Vec<(String, Timestamp)>>,
}

impl Known {
    fn add(&self, target: Target, at: Timestamp) {
        let mut times = self.times.write();
        if times.get(&target).is_some_and(|known| *known >= at) {
            return;
        }
        times.insert(target, at);
        drop(times);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Revocations {
    /// Reads what there is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(db: &Db, clock: SharedClock) -> Result<Arc<Revocations>, db::Error> {
        let revocations = Revocations { db: db.clone(), clock, known: Arc::default() };
        revocations.look(Timestamp::EPOCH).await?;
        Ok(Arc::new(revocations))
    }

    /// Reads what other processes revoked a moment ago.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn refresh(&self) -> Result<(), db::Error> {
        self.look(back(self.clock.now(), KEPT)).await.map(drop)
    }

    /// Changes whenever a token that was valid may no longer be.
    pub(crate) fn generation(&self) -> u64 {
        self.known.generation.load(Ordering::Acquire)
    }

    /// Whether a session has ended.
    pub(crate) fn ended(&self, session: SessionId) -> bool {
        self.known.times.read().contains_key(&Target::Session(session))
    }

    /// Whether a client was removed.
    pub(crate) fn removed(&self, client: ClientId) -> bool {
        self.known.times.read().contains_key(&Target::Client(client))
    }

    /// Whether what was signed for a target at a time is good no more.
    pub(crate) fn cuts(&self, target: &Target, signed_at: Timestamp) -> bool {
        self.known.times.read().get(target).is_some_and(|cutoff| signed_at < *cutoff)
    }

    /// Revokes, with the transaction. The time is read here, after the change that the caller has made. On PostgreSQL a
    /// transaction that overlaps this one may have read what it changes and sign a token later than that: the time of the
    /// commit holds there, at once in this process, and for others as soon as [`Revocations::run`] has written it.
    pub(crate) fn revoke(&self, tx: &mut SystemTx, target: Target) -> Result<(), db::Error> {
        let at = self.clock.now();
        let id = target.id();
        rows::note(tx, &id, at)?;
        let (known, db, clock) = (Arc::clone(&self.known), self.db.clone(), Arc::clone(&self.clock));
        tx.after_commit(move || {
            let committed_at = if db.kind() == Kind::Postgres { clock.now() } else { at };
            known.add(target, committed_at);
            if committed_at > at {
                known.late.lock().push((id, committed_at));
            }
            db.signal(SIGNAL, "");
        });
        Ok(())
    }

    /// Moves rows on to the times of their commits.
    async fn move_on(&self) -> Result<(), db::Error> {
        let late = std::mem::take(&mut *self.known.late.lock());
        if late.is_empty() {
            return Ok(());
        }
        let ctx = SystemCtx::because("move what is revoked on to the time of its commit");
        let write = self
            .db
            .write_system(&ctx, move |tx| late.iter().try_for_each(|(id, at)| rows::note(tx, id, *at)));
        write.await?;
        self.db.signal(SIGNAL, "");
        Ok(())
    }

    /// The membership of an address in a tenant has changed: what was signed for it is good no more.
    pub(crate) fn member(&self, tx: &mut SystemTx, tenant: TenantId, email: &Email) -> Result<(), db::Error> {
        self.revoke(tx, Target::Member(tenant, email.key().to_owned()))
    }

    /// Reads rows from a time on; answers the latest time seen.
    async fn look(&self, from: Timestamp) -> Result<Timestamp, db::Error> {
        let ctx = SystemCtx::because("read which tokens are revoked");
        let mut last = (from, String::new());
        loop {
            let after = last.clone();
            let page =
                self.db.read_system(&ctx, move |tx| rows::since(tx, (after.0, &after.1), PAGE)).await?;
            let full = page.len() >= PAGE as usize;
            for (id, at) in page {
                if let Some(target) = Target::parse(&id) {
                    self.known.add(target, at);
                }
                last = (at, id);
            }
            if !full {
                return Ok(last.0);
            }
        }
    }

    async fn sweep(&self) -> Result<(), db::Error> {
        let before = back(self.clock.now(), KEPT);
        let ctx = SystemCtx::because("forget tokens that have expired by themselves");
        self.db.write_system(&ctx, move |tx| rows::sweep(tx, before)).await?;
        self.known.times.write().retain(|_, at| *at >= before);
        Ok(())
    }

    /// Follows what other processes revoke, and sweeps.
    pub(crate) async fn run(&self, stop: Stop) -> Result<(), TaskError> {
        let mut signals = self.db.signals(SIGNAL);
        let shared = self.db.kind() == Kind::Postgres;
        let mut seen = Timestamp::EPOCH;
        let mut sweep = self.clock.monotonic() + SWEEP_EVERY;
        loop {
            if shared {
                self.move_on().await?;
                seen = self.look(back(seen, OVERLAP)).await?.max(seen);
            }
            if self.clock.monotonic() >= sweep {
                self.sweep().await?;
                sweep = self.clock.monotonic() + SWEEP_EVERY;
            }
            let pause = if shared { LOOK_EVERY } else { SWEEP_EVERY };
            tokio::select! {
                _ = signals.recv(), if shared => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.stopped() => return Ok(()),
            }
        }
    }
}

fn back(from: Timestamp, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(from.micros().saturating_sub(span).max(0))
}

impl TokenRevocations for Revocations {
    fn session(&self, tx: &mut SystemTx, session: SessionId) -> Result<(), db::Error> {
        self.revoke(tx, Target::Session(session))
    }

    fn user(&self, tx: &mut SystemTx, user: UserId, tenant: Option<TenantId>) -> Result<(), db::Error> {
        self.revoke(tx, Target::User(user, tenant))
    }

    fn client(&self, tx: &mut SystemTx, client: ClientId) -> Result<(), db::Error> {
        self.revoke(tx, Target::Client(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_it_is_about() {
        let (tenant, user) = (TenantId::from_uuid_bytes([1; 16]), UserId::from_uuid_bytes([2; 16]));
        let project = ProjectId::from_uuid_bytes([3; 16]);
        let all = [
            Target::Session(SessionId::from_uuid_bytes([4; 16])),
            Target::Client(ClientId::from_uuid_bytes([5; 16])),
            Target::User(user, None),
            Target::User(user, Some(tenant)),
            Target::Member(tenant, "a/b@example.com".to_owned()),
            Target::role(project, &Role::Viewer),
        ];
        for target in all {
            assert_eq!(Target::parse(&target.id()), Some(target));
        }
        assert_eq!(Target::parse("nonsense"), None);
    }
}
