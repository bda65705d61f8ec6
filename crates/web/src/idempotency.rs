//! POSTs that may be sent twice (SPEC 18, `Idempotency-Key`).
//!
//! The guard runs inside the operation's own transaction: a row claims the key, the operation runs, its reply is
//! kept, and all of it commits or none. A repeat finds the row and gets the kept reply; of parallel repeats one
//! claims and the others wait for it (the row's primary key makes them). The key itself is not stored, only a hash
//! of it, scoped by principal and route; the reply may hold a secret that is shown once, so it is sealed under a key derived
//! from the idempotency key, which only the client has. An operation that fails leaves nothing, and may be tried again
//! with the same key.

use crate::problem::Problem;
use base::{SharedClock, SharedRandom, Timestamp, codes};
use ring::{aead, digest, hkdf, hmac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a reply is kept.
pub const REPLY_KEPT: Duration = Duration::from_hours(24);
/// Characters that a key may have.
pub const KEY_CHARS_MAX: usize = 255;
/// Bytes of a reply that is kept; larger ones are a fault of the route.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the random salt in front of a sealed reply; each sealing has a key of its own, so the nonce is fixed.
const SALT_BYTES: usize = 32;

/// Guards one call. Clones share their state, so that a closure which the store repeats can hold one.
#[derive(Clone)]
pub struct Idempotency(Option<Arc<Guard>>);

struct Guard {
    key: Vec<u8>,
    key_hash: Vec<u8>,
    fingerprint: Vec<u8>,
    clock: SharedClock,
    random: SharedRandom,
    used: AtomicBool,
    replayed: AtomicBool,
}

/// What a guard is made of.
pub(crate) struct Request<'a> {
    /// The header's value.
    pub(crate) key: &'a str,
    /// Who asks and which route: keys of different ones never meet.
    pub(crate) scope: &'a str,
    /// The path with its parameters, and the query.
    pub(crate) target: &'a str,
    /// The body as it came.
    pub(crate) body: &'a [u8],
}

impl Idempotency {
    /// No key was given: every call runs.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether no key was given: an operation then needs no transaction for its sake.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn new(request: &Request<'_>, clock: SharedClock, random: SharedRandom) -> Self {
        let key = request.key.as_bytes().to_vec();
        let mut named = digest::Context::new(&digest::SHA256);
        for part in [b"switchyard idempotency 1".as_slice(), request.scope.as_bytes(), &key] {
            named.update(&(part.len() as u64).to_be_bytes());
            named.update(part);
        }
        // Keyed by the client's key, so that the row does not confirm a guess at a short body.
        let mut print = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        for part in [request.target.as_bytes(), request.body] {
            print.update(&(part.len() as u64).to_be_bytes());
            print.update(part);
        }
        Self(Some(Arc::new(Guard {
            key_hash: named.finish().as_ref().to_vec(),
            fingerprint: print.sign().as_ref().to_vec(),
            key,
            clock,
            random,
            used: AtomicBool::new(false),
            replayed: AtomicBool::new(false),
        })))
    }

    /// Runs `operation` once for a key and keeps what it returns; a repeat gets that instead. Without a key it
    /// just runs. Call it inside the transaction of the operation, around all of it.
    ///
    /// # Errors
    /// What `operation` gives; `idempotency_conflict` when the key was used with another request; a fault of the store.
    pub fn once<T: db::Tx, R, E>(
        &self,
        tx: &mut T,
        operation: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, Problem>
    where
        R: Serialize + DeserializeOwned,
        E: Into<Problem>,
    {
        let Some(guard) = &self.0 else {
            return operation(tx).map_err(Into::into);
        };
        guard.used.store(true, Ordering::Relaxed);
        let now = guard.clock.now();
        if let Some(kept) = tx.idempotency_begin(&guard.key_hash, &guard.fingerprint, now, expiry(now))? {
            return guard.replay(&kept);
        }
        guard.replayed.store(false, Ordering::Relaxed);
        let result = operation(tx).map_err(Into::into)?;
        let plain = serde_json::to_vec(&result).map_err(Problem::internal)?;
        tx.idempotency_finish(&guard.key_hash, &guard.seal(plain)?)?;
        Ok(result)
    }

    /// Whether the reply is one that was kept.
    pub(crate) fn was_replayed(&self) -> bool {
        self.0.as_ref().is_some_and(|guard| guard.replayed.load(Ordering::Relaxed))
    }

    /// Whether a key was given that the handler never looked at: a fault of the handler.
    pub(crate) fn was_ignored(&self) -> bool {
        self.0.as_ref().is_some_and(|guard| !guard.used.load(Ordering::Relaxed))
    }
}

fn expiry(now: Timestamp) -> Timestamp {
    now + REPLY_KEPT
}

impl Guard {
    fn replay<R: DeserializeOwned>(&self, kept: &db::Remembered) -> Result<R, Problem> {
        // Not secret: whoever asks knows the key, and with it the fingerprint of whatever is sent.
        if kept.fingerprint != self.fingerprint {
            return Err(Problem::new(&codes::IDEMPOTENCY_CONFLICT).detail(
                "This Idempotency-Key was used with another request in the last 24 hours; use a new one.",
            ));
        }
        let sealed =
            kept.reply.as_deref().ok_or_else(|| Problem::internal("an idempotency row without its reply"))?;
        let plain = self.open(sealed)?;
        self.replayed.store(true, Ordering::Relaxed);
        serde_json::from_slice(&plain).map_err(Problem::internal)
    }

    /// `salt ‖ AES-256-GCM(HKDF-SHA256(salt, key), reply)`, bound to the row it stands in.
    fn seal(&self, mut plain: Vec<u8>) -> Result<Vec<u8>, Problem> {
        if plain.len() > REPLY_BYTES_MAX {
            return Err(Problem::internal("a reply is too large to be kept for its Idempotency-Key"));
        }
        let salt: [u8; SALT_BYTES] = self.random.array();
        let key = self.sealing_key(&salt)?;
        key.seal_in_place_append_tag(nonce(), aead::Aad::from(&self.key_hash), &mut plain)
            .map_err(|_| Problem::internal("seal idempotent reply"))?;
        Ok([salt.as_slice(), &plain].concat())
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Problem> {
        let broken = || Problem::internal("an idempotent reply does not open");
        let (salt, rest) = sealed.split_at_checked(SALT_BYTES).ok_or_else(broken)?;
        let mut rest = rest.to_vec();
        let key = self.sealing_key(salt)?;
        let plain =
            key.open_in_place(nonce(), aead::Aad::from(&self.key_hash), &mut rest).map_err(|_| broken())?;
        Ok(plain.to_vec())
    }

    fn sealing_key(&self, salt: &[u8]) -> Result<aead::LessSafeKey, Problem> {
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&self.key);
        let derived = pseudo_random
            .expand(&[b"switchyard idempotent reply 1"], &aead::AES_256_GCM)
            .map_err(|_| Problem::internal("derive the key of an idempotent reply"))?;
        Ok(aead::LessSafeKey::new(aead::UnboundKey::from(derived)))
    }
}

fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// Whether a header's value can be a key: 1 to [`KEY_CHARS_MAX`] visible ASCII characters.
pub(crate) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= KEY_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ManualClock, SeededRandom};

    fn guard(key: &str, scope: &str, body: &[u8]) -> Arc<Guard> {
        let clock = ManualClock::new(Timestamp::from_micros(0)).shared();
        let request = Request { key, scope, target: "/api/v1/tenants", body };
        Idempotency::new(&request, clock, SeededRandom::shared(1)).0.expect("a key was given")
    }

    #[test]
    fn a_reply_opens_under_its_own_key_and_row_only() {
        let one = guard("k1", "operator POST /a", b"{}");
        let sealed = one.seal(b"\"secret canary\"".to_vec()).expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        assert_eq!(one.open(&sealed).expect("opened"), b"\"secret canary\"");
        assert!(guard("k2", "operator POST /a", b"{}").open(&sealed).is_err());
        assert!(guard("k1", "other POST /a", b"{}").open(&sealed).is_err());
        let mut flipped = sealed.clone();
        flipped[SALT_BYTES] ^= 1;
        assert!(one.open(&flipped).is_err() && one.open(&sealed[..8]).is_err());
    }

    #[test]
    fn hashes_are_scoped_and_fingerprints_follow_the_body() {
        let one = guard("k1", "a", b"{}");
        assert_ne!(one.key_hash, guard("k1", "b", b"{}").key_hash);
        assert_ne!(one.key_hash, guard("k2", "a", b"{}").key_hash);
        assert_eq!(one.key_hash, guard("k1", "a", b"{ }").key_hash);
        assert_ne!(one.fingerprint, guard("k1", "a", b"{ }").fingerprint);
    }

    #[test]
    fn a_key_is_short_and_visible() {
        assert!(is_key("a") && is_key(&"k".repeat(255)));
        assert!(!is_key("") && !is_key("a b") && !is_key("ä") && !is_key(&"k".repeat(256)));
    }
}
