//! Whether an open socket may go on: what let it in may be called back while it stands (TORTURE A9, Z17).
//!
//! Nothing is asked as long as nothing changed: a thread's ticker compares two numbers, and only when one of them moved does it
//! wake those who watch, at most twice a second.

use super::bearer::Known;
use super::job::Job;
use super::remember::Remembered;
use super::shared::{Thread, millis};
use crate::snapshot::{Environment, KeyEntry};
use base::{TenantId, Timestamp};
use ports::{TenantStatus, TokenVerdict};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What let a socket in.
pub(crate) struct Watch {
    environment: Arc<Environment>,
    tenant: Option<TenantId>,
    client: IpAddr,
    by: By,
    /// The state of the world that it was last compared with.
    seen: u64,
    /// When the credential ends, on the monotonic clock.
    until_ms: u64,
}

/// The credential.
enum By {
    Nothing,
    Key(KeyEntry),
    Token(Rc<Known>),
}

/// Which credential a request was let in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LetIn {
    /// None, or one that was not looked at.
    #[default]
    Anybody,
    /// The key that the connection remembers.
    Key,
    /// The token that the connection remembers.
    Token,
}

impl Watch {
    /// For a request that was just admitted; `None` where nothing can be called back that is ours to judge.
    pub(crate) fn new(thread: &Thread, job: &Job, remembered: &Remembered) -> Option<Self> {
        let environment = job.environment.clone()?;
        let (by, ends) = match job.let_in {
            LetIn::Anybody => (By::Nothing, None),
            LetIn::Key => {
                let entry = remembered.last_key()?;
                (By::Key(entry), entry.expires_at())
            }
            LetIn::Token => {
                let known = remembered.bearer.clone()?;
                let until = known.until();
                (By::Token(known), Some(until))
            }
        };
        let tenant = job.tenant.as_ref().map(|tenant| tenant.id);
        if tenant.is_none() && matches!(by, By::Nothing) {
            return None;
        }
        let until_ms = ends.map_or(u64::MAX, |ends| monotonic_of(thread, ends));
        Some(Self { environment, tenant, client: job.client, by, seen: thread.deadlines.changes(), until_ms })
    }

    /// When the credential ends, in milliseconds of the monotonic clock; the latest time for one that never does.
    pub(crate) fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// Whether it is over. Quick where nothing changed since it was last asked.
    pub(crate) fn is_over(&mut self, thread: &Thread) -> bool {
        let changes = thread.deadlines.changes();
        if self.seen == changes {
            return false;
        }
        self.seen = changes;
        let served = |tenant: TenantId| {
            self.environment.tenants.get(tenant).is_some_and(|tenant| tenant.status == TenantStatus::Active)
        };
        !self.tenant.is_none_or(served) || !self.is_good(thread)
    }

    fn is_good(&self, thread: &Thread) -> bool {
        let keys = &thread.shared.world.keys;
        match &self.by {
            By::Nothing => true,
            By::Key(entry) => keys.is_current(entry) && keys.allows(entry, self.client),
            By::Token(known) => {
                let Some(check) = &thread.shared.tokens else { return false };
                match check.check(self.environment.id, known.text()) {
                    TokenVerdict::Valid(now) => known.is_still(&now, &self.environment),
                    // Its key is being fetched again; the next look has the answer.
                    TokenVerdict::Pending => true,
                    TokenVerdict::Foreign | TokenVerdict::Refused(_) => false,
                }
            }
        }
    }
}

fn monotonic_of(thread: &Thread, at: Timestamp) -> u64 {
    let clock = &thread.shared.clock;
    let left = at.micros().saturating_sub(clock.now().micros()).max(0);
    millis(clock.monotonic()).saturating_add(left.unsigned_abs() / 1_000)
}
