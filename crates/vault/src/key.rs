//! Data keys and the vault that wraps them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::SharedRandom;
use parking_lot::{Mutex, RwLock};

use crate::envelope::{self, KEY_ID_BYTES, Parts, SALT_BYTES, SessionKeys};
use crate::{Error, MasterKey, aad};

/// Messages that one AES key seals: the bound of NIST SP 800-38D for random 96-bit nonces.
pub(crate) const SESSION_MESSAGES_MAX: u64 = 1 << 32;

/// Session keys of other processes kept derived for opening. A reader of old rows meets one per start of a process;
/// when there are more, all are forgotten and derived again (2 µs each).
const OPENING_SESSIONS_MAX: usize = 64;

/// A symmetric key of one scope. Cloning shares it and its count of messages.
#[derive(Clone)]
pub struct DataKey(Arc<Inner>);

struct Inner {
    key: base::Secret<[u8; 32]>,
    id: [u8; KEY_ID_BYTES],
    random: SharedRandom,
    messages_max: u64,
    sealing: RwLock<Arc<Session>>,
    opening: Mutex<HashMap<[u8; SALT_BYTES], Arc<SessionKeys>>>,
}

struct Session {
    keys: Arc<SessionKeys>,
    sealed: AtomicU64,
}

impl DataKey {
    pub(crate) fn new(key: [u8; 32], random: SharedRandom) -> DataKey {
        DataKey::with_limit(key, random, SESSION_MESSAGES_MAX)
    }

    /// A key whose sessions end after `messages_max` messages: tests cannot seal 2^32.
    pub(crate) fn with_limit(key: [u8; 32], random: SharedRandom, messages_max: u64) -> DataKey {
        let session = Arc::new(Session::start(&key, &random));
        DataKey(Arc::new(Inner {
            id: envelope::derive(&key, b"", b"key id"),
            key: base::Secret::new(key),
            messages_max,
            sealing: RwLock::new(session),
            opening: Mutex::new(HashMap::new()),
            random,
        }))
    }

    /// Seals `plaintext` so that it opens only under this key and the same `aad` (see [`aad()`]).
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`crate::PLAINTEXT_BYTES_MAX`].
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let session = self.session();
        let mut nonce = [0; envelope::NONCE_BYTES];
        self.0.random.fill(&mut nonce);
        session.keys.seal(self.0.id, nonce, aad, plaintext)
    }

    /// Opens what [`DataKey::seal`] made.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when the envelope names another key; [`Error::Damaged`] when it was altered, cut, moved
    /// to other additional data, or is no envelope.
    pub fn open(&self, aad: &[u8], envelope: &[u8]) -> Result<Vec<u8>, Error> {
        let parts = Parts::split(envelope)?;
        if !envelope::equal(&parts.key_id, &self.0.id) {
            return Err(Error::WrongKey);
        }
        let keys = self.keys_for(parts.salt);
        let plaintext = keys.open(&parts, aad)?;
        // Only now is the salt known to be genuine and worth a place: a forged one must not push others out.
        self.remember(keys);
        Ok(plaintext)
    }

    /// The running session, or a fresh one when this has sealed all it may.
    fn session(&self) -> Arc<Session> {
        loop {
            let session = self.0.sealing.read().clone();
            if session.sealed.fetch_add(1, Ordering::Relaxed) < self.0.messages_max {
                return session;
            }
            let mut sealing = self.0.sealing.write();
            if Arc::ptr_eq(&sealing, &session) {
                *sealing = Arc::new(Session::start(self.0.key.expose(), &self.0.random));
            }
        }
    }

    fn keys_for(&self, salt: [u8; SALT_BYTES]) -> Arc<SessionKeys> {
        let sealing = self.0.sealing.read().clone();
        if sealing.keys.salt == salt {
            return sealing.keys.clone();
        }
        if let Some(keys) = self.0.opening.lock().get(&salt) {
            return keys.clone();
        }
        Arc::new(SessionKeys::derive(self.0.key.expose(), salt))
    }

    fn remember(&self, keys: Arc<SessionKeys>) {
        if self.0.sealing.read().keys.salt == keys.salt {
            return;
        }
        let mut opening = self.0.opening.lock();
        if opening.len() >= OPENING_SESSIONS_MAX && !opening.contains_key(&keys.salt) {
            opening.clear();
        }
        opening.insert(keys.salt, keys);
    }
}

impl Session {
    fn start(key: &[u8; 32], random: &SharedRandom) -> Session {
        let mut salt = [0; SALT_BYTES];
        random.fill(&mut salt);
        Session { keys: Arc::new(SessionKeys::derive(key, salt)), sealed: AtomicU64::new(0) }
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey([redacted])")
    }
}

/// A data key as it is stored: an envelope under the master key, bound to its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey(Vec<u8>);

impl WrappedKey {
    /// Takes what was stored. Nothing is checked before [`Vault::unwrap`].
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> WrappedKey {
        WrappedKey(bytes)
    }

    /// What to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What to store, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The holder of the master key. Cloning shares it. Every method of a sealed vault answers [`Error::Sealed`].
#[derive(Clone)]
pub struct Vault(Arc<State>);

enum State {
    Open { master: base::Secret<[u8; 32]>, wrapping: DataKey, random: SharedRandom },
    Sealed { reason: String },
}

impl Vault {
    /// An open vault. `random` gives keys, salts and nonces: the system's, except in a simulation.
    #[must_use]
    pub fn new(master: MasterKey, random: SharedRandom) -> Vault {
        let master = master.into_secret();
        let wrapping = DataKey::new(envelope::derive(master.expose(), b"", b"wrapping"), random.clone());
        Vault(Arc::new(State::Open { master, wrapping, random }))
    }

    /// A vault without its key; `reason` is what the operator reads.
    #[must_use]
    pub fn sealed(reason: impl Into<String>) -> Vault {
        Vault(Arc::new(State::Sealed { reason: reason.into() }))
    }

    /// Why nothing can be opened; `None` when everything can.
    #[must_use]
    pub fn sealed_reason(&self) -> Option<&str> {
        match &*self.0 {
            State::Open { .. } => None,
            State::Sealed { reason } => Some(reason),
        }
    }

    /// Makes a random key for `scope` (a tenant's id, or another name that never changes) and its stored form.
    ///
    /// # Errors
    /// [`Error::Sealed`].
    pub fn new_data_key(&self, scope: &str) -> Result<(DataKey, WrappedKey), Error> {
        let (_, wrapping, random) = self.open_state()?;
        let mut key = [0; 32];
        random.fill(&mut key);
        let wrapped = wrapping.seal(&wrap_aad(scope), &key)?;
        Ok((DataKey::new(key, random.clone()), WrappedKey(wrapped)))
    }

    /// Opens a stored key of `scope`.
    ///
    /// # Errors
    /// [`Error::Sealed`]; [`Error::WrongKey`] when another master key wrapped it; [`Error::Damaged`] when it was
    /// altered or made for another scope.
    pub fn unwrap(&self, scope: &str, wrapped: &WrappedKey) -> Result<DataKey, Error> {
        let (_, wrapping, random) = self.open_state()?;
        let key = wrapping.open(&wrap_aad(scope), &wrapped.0)?;
        let key: [u8; 32] = key.try_into().map_err(|_| Error::Damaged)?;
        Ok(DataKey::new(key, random.clone()))
    }

    /// A key that follows from the master key and `purpose` alone: for what must be opened with nothing but the
    /// master key at hand, like a backup on a new machine. Prefer [`Vault::new_data_key`] elsewhere.
    ///
    /// # Errors
    /// [`Error::Sealed`].
    pub fn derive_key(&self, purpose: &str) -> Result<DataKey, Error> {
        let (master, _, random) = self.open_state()?;
        let purpose = aad(&[b"derived", purpose.as_bytes()]);
        Ok(DataKey::new(envelope::derive(master.expose(), b"", &purpose), random.clone()))
    }

    /// What the store keeps to know its master key again. Says nothing about the key.
    ///
    /// # Errors
    /// [`Error::Sealed`].
    pub fn check_value(&self) -> Result<[u8; 32], Error> {
        let (master, _, _) = self.open_state()?;
        Ok(envelope::derive(master.expose(), b"", b"check value"))
    }

    /// Compares a stored check value with this master key's.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when another key made it; [`Error::Sealed`].
    pub fn verify_check(&self, stored: &[u8]) -> Result<(), Error> {
        if envelope::equal(&self.check_value()?, stored) { Ok(()) } else { Err(Error::WrongKey) }
    }

    fn open_state(&self) -> Result<(&base::Secret<[u8; 32]>, &DataKey, &SharedRandom), Error> {
        match &*self.0 {
            State::Open { master, wrapping, random } => Ok((master, wrapping, random)),
            State::Sealed { reason } => Err(Error::Sealed(reason.clone())),
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            State::Open { .. } => f.write_str("Vault(open)"),
            State::Sealed { reason } => write!(f, "Vault(sealed: {reason})"),
        }
    }
}

fn wrap_aad(scope: &str) -> Vec<u8> {
    aad(&[b"data key", scope.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::SystemRandom;

    #[test]
    fn s2_a_session_ends_at_its_limit_and_the_next_takes_over() {
        let key = DataKey::with_limit([7; 32], SystemRandom::shared(), 3);
        let sealed: Vec<Vec<u8>> = (0..10).map(|_| key.seal(b"a", b"x").expect("small enough")).collect();
        let salts: Vec<&[u8]> = sealed.iter().map(|envelope| &envelope[9..25]).collect();
        for group in salts.chunks(3) {
            assert!(group.iter().all(|salt| *salt == group[0]), "three messages share a session");
        }
        assert_eq!(salts.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert!(sealed.iter().all(|envelope| key.open(b"a", envelope).is_ok()));
        assert_eq!(SESSION_MESSAGES_MAX, 4_294_967_296);
    }

    #[test]
    fn s2_no_session_passes_its_limit_under_contention() {
        let key = DataKey::with_limit([7; 32], SystemRandom::shared(), 10);
        let salts: Mutex<HashMap<Vec<u8>, u64>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let envelope = key.seal(b"", b"x").expect("small enough");
                        *salts.lock().entry(envelope[9..25].to_vec()).or_default() += 1;
                    }
                });
            }
        });
        assert!(salts.lock().values().all(|messages| *messages <= 10));
        assert_eq!(salts.lock().values().sum::<u64>(), 2_000);
    }

    #[test]
    fn forged_salts_take_no_place() {
        let key = DataKey::new([7; 32], SystemRandom::shared());
        let mut envelope = key.seal(b"", b"x").expect("small enough");
        for byte in 0..=255 {
            envelope[9] = byte;
            let _ = key.open(b"", &envelope);
        }
        assert!(key.0.opening.lock().is_empty());
    }
}
