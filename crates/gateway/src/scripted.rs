//! Doors of others that do as they are told, for tests and benches: who judges tokens, and who counts.

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};
use parking_lot::Mutex;
use ports::{
    BoxFuture, MeterVerdict, RouteMeters, TokenCheck, TokenIdentity, TokenSource, TokenTenant, TokenVerdict,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Judges tokens as it was told. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    verdicts: Mutex<HashMap<String, TokenVerdict>>,
    /// Tokens whose key is being fetched, with what they will turn out to be.
    pending: Mutex<HashMap<String, TokenVerdict>>,
    generation: AtomicU64,
    asked: AtomicU64,
}

impl Tokens {
    /// Sets what a token is, and tells nobody.
    pub fn set(&self, token: &str, verdict: TokenVerdict) {
        self.0.verdicts.lock().insert(token.to_owned(), verdict);
    }

    /// Sets what a token will turn out to be once its key was fetched.
    pub fn set_pending(&self, token: &str, verdict: TokenVerdict) {
        self.0.pending.lock().insert(token.to_owned(), verdict);
    }

    /// Calls a token back: it is refused from now on, and whoever keeps verdicts is told.
    pub fn call_back(&self, token: &str) {
        self.set(token, TokenVerdict::Refused("The token was called back."));
        self.0.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }
}

/// Somebody's identity for a test: of an external issuer, with a role, until 2100.
#[must_use]
pub fn identity(subject: &str, tenant: Option<TokenTenant>) -> TokenIdentity {
    TokenIdentity {
        source: TokenSource::External(base::IssuerId::from_uuid_bytes([1; 16])),
        subject: subject.to_owned(),
        email: None,
        environment: None,
        tenant,
        role: Some(authority::Role::Developer),
        operator: false,
        impersonator: None,
        expires_at: Timestamp::from_micros(4_102_444_800_000_000),
    }
}

impl TokenCheck for Tokens {
    fn check(&self, _environment: EnvironmentId, token: &str) -> TokenVerdict {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        if self.0.pending.lock().contains_key(token) {
            return TokenVerdict::Pending;
        }
        self.0.verdicts.lock().get(token).cloned().unwrap_or(TokenVerdict::Foreign)
    }

    fn wait<'a>(&'a self, environment: EnvironmentId, token: &'a str) -> BoxFuture<'a, TokenVerdict> {
        Box::pin(async move {
            if let Some(verdict) = self.0.pending.lock().remove(token) {
                self.set(token, verdict);
            }
            self.check(environment, token)
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Relaxed)
    }
}

/// Counts up to a limit for each tenant and meter.
#[derive(Debug)]
pub struct Meters {
    limit: i64,
    resets_at: Option<Timestamp>,
    used: Mutex<HashMap<(TenantId, MeterName), i64>>,
}

impl Meters {
    /// With a limit of whole units, and the end of the period.
    #[must_use]
    pub fn new(limit: i64, resets_at: Option<Timestamp>) -> Self {
        Self { limit, resets_at, used: Mutex::default() }
    }

    /// What a tenant has used.
    #[must_use]
    pub fn used(&self, tenant: TenantId, meter: &str) -> i64 {
        let used = self.used.lock();
        used.iter()
            .filter(|((of, name), _)| *of == tenant && name.as_str() == meter)
            .map(|(_, used)| *used)
            .sum()
    }
}

fn whole(units: i64) -> Amount {
    Amount::from_millionths(units.saturating_mul(1_000_000))
}

impl RouteMeters for Meters {
    fn count(&self, _environment: EnvironmentId, tenant: TenantId, meter: &MeterName) -> MeterVerdict {
        let mut used = self.used.lock();
        let used = used.entry((tenant, meter.clone())).or_default();
        if *used >= self.limit {
            let (limit, used) = (whole(self.limit), whole(*used));
            return MeterVerdict::Exceeded { limit, used, resets_at: self.resets_at };
        }
        *used += 1;
        MeterVerdict::Counted
    }
}
