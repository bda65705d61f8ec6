//! Assertions for applications, signed once for a principal and a service and reused for 30 s: signing takes as long
//! as all else that the gateway does for a request.

use crate::hash::Fold;
use base::{EnvironmentId, KeyId, ServiceId, Slug, TenantId};
use parking_lot::Mutex;
use ports::{AssertionClaims, AssertionSigner};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// How long an assertion is reused: half of what it is valid for.
const REUSE_MS: u64 = 30_000;

const SHARDS: usize = 16;
/// Assertions that a shard keeps: 65,536 in all, some 40 MB when every one of as many tenants is active.
const KEPT_A_SHARD_MAX: usize = 4_096;

/// For whom an assertion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) tenant: TenantId,
    pub(crate) environment: EnvironmentId,
    pub(crate) by: Option<Id>,
    pub(crate) service: ServiceId,
    /// The number of the plan, so that a change of it is told at once.
    pub(crate) plan: u16,
}

/// Who acts, as far as it tells assertions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// A key.
    Key(KeyId),
    /// The bearer of a token, by the number of its identity.
    Bearer(u64),
}

/// What it says beside, for the case that it has to be signed.
pub(crate) struct Words<'a> {
    pub(crate) tenant_slug: &'a str,
    pub(crate) plan: &'a str,
    pub(crate) audience: &'a Slug,
    pub(crate) principal: Option<&'a str>,
    pub(crate) role: Option<&'a str>,
}

/// An assertion, and until when it is reused.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) text: Arc<str>,
    pub(crate) until_ms: u64,
}

/// Those that were signed.
pub(crate) struct Assertions {
    signer: Arc<dyn AssertionSigner>,
    hasher: Fold,
    shards: Box<[Mutex<HashMap<Subject, Signed, Fold>>]>,
}

impl Assertions {
    pub(crate) fn new(signer: Arc<dyn AssertionSigner>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { signer, hasher: Fold::default(), shards }
    }

    /// The assertion for a subject; `None` when it cannot be signed now, as in the sealed state. The request then
    /// goes without one, and an application that relies on it refuses.
    pub(crate) fn get(&self, subject: Subject, words: &Words<'_>, now_ms: u64) -> Option<Signed> {
        let shard = &self.shards[(self.hasher.hash_one(subject) >> 60) as usize % SHARDS];
        if let Some(kept) = shard.lock().get(&subject)
            && kept.until_ms > now_ms
        {
            return Some(kept.clone());
        }
        // Signed without the lock: two threads may do it twice, but none waits for the other.
        let claims = AssertionClaims {
            tenant: subject.tenant,
            tenant_slug: Slug::parse(words.tenant_slug).ok()?,
            plan: Slug::parse(words.plan).ok()?,
            environment: subject.environment,
            audience: words.audience.clone(),
            subject: words.principal.map(str::to_owned),
            role: words.role.map(str::to_owned),
        };
        let text: Arc<str> = match self.signer.sign(&claims) {
            Ok(text) => text.into(),
            Err(error) => {
                tracing::debug!(error = %error, "requests go without an assertion");
                return None;
            }
        };
        let mut kept = shard.lock();
        if kept.len() >= KEPT_A_SHARD_MAX {
            kept.retain(|_, kept| kept.until_ms > now_ms);
        }
        if kept.len() >= KEPT_A_SHARD_MAX {
            // More are active than are kept: every other one goes, whichever it is, so that the rest is still of use.
            let mut stays = false;
            kept.retain(|_, _| {
                stays = !stays;
                stays
            });
        }
        let signed = Signed { text, until_ms: now_ms + REUSE_MS };
        kept.insert(subject, signed.clone());
        Some(signed)
    }
}
