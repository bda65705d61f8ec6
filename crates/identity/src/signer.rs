//! Signs what the gateway tells the app, access tokens and id tokens: EdDSA (RFC 8037) or ES256 over a compact JWT. And
//! makes the tokens by which services call back ([`crate::service_token`]).
//!
//! Private keys are sealed in the store and open in memory. Without the master key there is no signing key, and the
//! gateway serves without assertions. Keys rotate by [`crate::keyring`]: each process holds them all with their times, so
//! that it changes keys by its clock, at the same moment as the others. The tokens of services come from the first Ed25519
//! key, which is kept for that when it signs no more: replicas outlive rotations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authority::SystemCtx;
use base::{DeploymentId, Secret, ServiceId, SharedClock, SharedRandom, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use db::{Db, NewEvent, SystemTx};
use lifecycle::{Stop, TaskError};
use parking_lot::RwLock;
use ports::{
    ASSERTION_LIFETIME, AssertionClaims, AssertionError, AssertionSigner, PushMessage, ServiceTokens,
    SigningAlgorithm, TokenSigner,
};
use serde_json::{Value, json};
use tokens::{Algorithm, Key, SigningKey};

use crate::error::Error;
use crate::keyring::{Standing, Times, is_due, standing, takes_over};
use crate::service_token::TokenKey;
use crate::store::signing::{self, SigningRow};

/// Who issues assertions and access tokens (`iss`).
pub const ISSUER: &str = "switchyard";
/// Bytes of an Ed25519 seed (RFC 8032).
const SEED_BYTES: usize = 32;
/// Signing keys that there may be at once, of all algorithms: some ten rotations within the time that old keys are kept.
pub const SIGNING_KEYS_MAX: usize = 24;
/// How often a process reads the keys where no signal told it to, and asks whether a rotation is due: well within the hour
/// that a key is published before it signs.
const LOOK_EVERY: Duration = Duration::from_mins(15);
const SIGNAL: &str = "identity.signing_keys";
const ALGORITHMS: [Algorithm; 2] = [Algorithm::EdDsa, Algorithm::Es256];

/// The signer of assertions and tokens.
pub struct Signer {
    db: Db,
    clock: SharedClock,
    random: SharedRandom,
    keys: RwLock<Arc<Keys>>,
    /// Signs the tokens of services; `None` while the store is sealed.
    services: Option<TokenKey>,
    /// +1 whenever keys were read anew.
    generation: AtomicU64,
}

/// The keys of the installation, the oldest first.
#[derive(Default)]
struct Keys(Vec<Held>);

/// A key in memory.
struct Held {
    row: SigningRow,
    public: Key,
    /// `None` while the store is sealed.
    private: Option<SigningKey>,
}

/// A signing key, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyState {
    /// Its id in tokens.
    pub kid: String,
    /// `EdDSA` or `ES256`.
    pub algorithm: &'static str,
    /// Where it stands.
    pub standing: Standing,
    /// When it was made, and published.
    pub created_at: Timestamp,
    /// From when on it signs; `None` for the next one, whose time is not set.
    pub signs_from: Option<Timestamp>,
}

impl Keys {
    fn of(&self, algorithm: Algorithm) -> impl Iterator<Item = &Held> {
        self.0.iter().filter(move |held| held.row.algorithm == algorithm)
    }

    fn standing(&self, held: &Held, now: Timestamp) -> Standing {
        let own: Vec<&Held> = self.of(held.row.algorithm).collect();
        let times: Vec<Times> = own.iter().map(|one| one.row.times).collect();
        let index = own.iter().position(|one| one.row.kid == held.row.kid);
        index.map_or(Standing::Gone, |index| standing(&times, index, now))
    }

    /// The key that signs by an algorithm: the one whose time came last.
    fn signing(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Held> {
        let due = self.of(algorithm).filter(|held| held.row.times.signs_from.is_some_and(|from| from <= now));
        due.max_by_key(|held| held.row.times.signs_from)
    }
}

impl Signer {
    /// Reads the signing keys, and makes those that are missing. In a sealed store the signer has none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(db: &Db, clock: SharedClock, random: &SharedRandom) -> Result<Arc<Signer>, db::Error> {
        let mut signer = Signer {
            db: db.clone(),
            clock,
            random: Arc::clone(random),
            keys: RwLock::default(),
            services: None,
            generation: AtomicU64::new(0),
        };
        let root = signer.complete().await?;
        signer.services = root.map(|seed| TokenKey::derive(seed.expose()));
        Ok(Arc::new(signer))
    }

    /// Makes the keys that are missing, and reads all. Answers the seed from which the tokens of services come.
    async fn complete(&self) -> Result<Option<Secret<Vec<u8>>>, db::Error> {
        let now = self.clock.now();
        let rows = self.rows().await?;
        let missing = missing(&rows);
        if !missing.is_empty() {
            let made = self.candidates(&missing)?;
            let ctx = SystemCtx::because("make the keys that sign assertions and tokens");
            let write = self.db.write_system(&ctx, move |tx| insert_missing(tx, &made, now));
            match write.await {
                Ok(()) | Err(db::Error::Sealed) => {}
                Err(error) => return Err(error),
            }
        }
        self.reload().await
    }

    async fn rows(&self) -> Result<Vec<SigningRow>, db::Error> {
        self.db.read_system(&SystemCtx::because("read the keys that sign"), signing::all).await
    }

    /// Private keys to be sealed: outside of the transaction, which may be run again.
    fn candidates(&self, wanted: &[(Algorithm, bool)]) -> Result<Vec<Candidate>, db::Error> {
        wanted.iter().map(|(algorithm, signs)| candidate(*algorithm, *signs, &self.random)).collect()
    }

    /// Reads the keys anew. Answers the seed from which the tokens of services come.
    pub(crate) async fn reload(&self) -> Result<Option<Secret<Vec<u8>>>, db::Error> {
        let ctx = SystemCtx::because("open the keys that sign");
        let read = self.db.read_system(&ctx, |tx| {
            let rows = signing::all(tx)?;
            let open = |row: SigningRow| match tx.open(&aad(&row.kid), &row.sealed) {
                Ok(bytes) => Ok((row, Some(Secret::from(bytes)))),
                Err(db::Error::Sealed) => Ok((row, None)),
                Err(error) => Err(error),
            };
            rows.into_iter().map(open).collect::<Result<Vec<_>, db::Error>>()
        });
        let mut root = None;
        let mut keys = Vec::new();
        for (row, secret) in read.await? {
            let private =
                secret.as_ref().map(|secret| private_of(row.algorithm, secret.expose())).transpose()?;
            keys.push(Held { public: public_of(&row)?, private, row: row.clone() });
            if root.is_none() && row.algorithm == Algorithm::EdDsa {
                root = secret;
            }
        }
        *self.keys.write() = Arc::new(Keys(keys));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(root)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }

    /// Changes whenever keys were read anew.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The public key of this id by which our tokens of this algorithm are verified, while any may be in use.
    pub(crate) fn verifying(&self, kid: &str, algorithm: Algorithm) -> Option<Key> {
        let (keys, now) = (self.keys(), self.clock.now());
        let found = keys.of(algorithm).find(|held| held.row.kid == kid)?;
        (keys.standing(found, now) != Standing::Gone).then(|| found.public.clone())
    }

    /// All keys that are published, the oldest first.
    pub fn states(&self) -> Vec<SigningKeyState> {
        let (keys, now) = (self.keys(), self.clock.now());
        let states = keys.0.iter().map(|held| SigningKeyState {
            kid: held.row.kid.clone(),
            algorithm: held.row.algorithm.as_str(),
            standing: keys.standing(held, now),
            created_at: held.row.times.created_at,
            signs_from: held.row.times.signs_from,
        });
        states.filter(|state| state.standing != Standing::Gone).collect()
    }

    /// Has the next keys take over: at once where they have been published for an hour, else when they have; and makes the
    /// next ones. `ctx` says who wants it. With `only_if_due` nothing happens before the month is over.
    ///
    /// # Errors
    /// [`Error::TooMany`] when there are too many already, or the store fails.
    pub async fn rotate(&self, ctx: &SystemCtx, only_if_due: bool) -> Result<(), Error> {
        let now = self.clock.now();
        let made = self.candidates(&ALGORITHMS.map(|algorithm| (algorithm, false)))?;
        let db = self.db.clone();
        let write = self.db.write_system(ctx, move |tx| {
            if rotate(tx, &made, now, only_if_due)? {
                let db = db.clone();
                tx.after_commit(move || db.signal(SIGNAL, ""));
            }
            Ok::<(), Error>(())
        });
        write.await?;
        self.reload().await?;
        Ok(())
    }

    /// Follows the keys, and rotates them when their month is over.
    pub(crate) async fn run(&self, stop: Stop) -> Result<(), TaskError> {
        let mut signals = self.db.signals(SIGNAL);
        loop {
            self.reload().await?;
            let due = ALGORITHMS.iter().any(|algorithm| {
                let times: Vec<Times> = self.keys().of(*algorithm).map(|held| held.row.times).collect();
                is_due(&times, self.clock.now())
            });
            if due && self.services.is_some() {
                self.rotate(&SystemCtx::because("rotate the keys that sign, as each month"), true).await?;
            }
            tokio::select! {
                _ = signals.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.stopped() => return Ok(()),
            }
        }
    }

    fn signed(&self, algorithm: Algorithm, typ: &str, claims: &Value) -> Result<String, AssertionError> {
        let keys = self.keys();
        let held = keys.signing(algorithm, self.clock.now());
        let private = held.and_then(|held| held.private.as_ref());
        let private = private.ok_or(AssertionError("the store is sealed"))?;
        private.sign(typ, claims).map_err(|_| AssertionError("the system has no randomness"))
    }

    fn published(&self) -> Value {
        let (keys, now) = (self.keys(), self.clock.now());
        let shown = keys.0.iter().filter(|held| keys.standing(held, now) != Standing::Gone);
        json!({ "keys": shown.map(|held| held.public.to_jwk()).collect::<Vec<_>>() })
    }
}

/// A key that may become one of the installation's.
#[derive(Clone)]
struct Candidate {
    algorithm: Algorithm,
    signs: bool,
    kid: String,
    public: Vec<u8>,
    private: Arc<Secret<Vec<u8>>>,
}

fn candidate(algorithm: Algorithm, signs: bool, random: &SharedRandom) -> Result<Candidate, db::Error> {
    let private = match algorithm {
        Algorithm::EdDsa => random.array::<SEED_BYTES>().to_vec(),
        _ => SigningKey::make_p256().map_err(|_| broken())?,
    };
    let public = private_of(algorithm, &private)?.public().clone();
    let kid = public.thumbprint();
    Ok(Candidate {
        algorithm,
        signs,
        kid,
        public: public_bytes(&public)?,
        private: Arc::new(Secret::from(private)),
    })
}

/// What is missing: of each algorithm one that signs (`true`), and the next one.
fn missing(rows: &[SigningRow]) -> Vec<(Algorithm, bool)> {
    let wanted = ALGORITHMS.into_iter().flat_map(|algorithm| [(algorithm, true), (algorithm, false)]);
    let has = |(algorithm, signs): (Algorithm, bool)| {
        rows.iter().any(|row| row.algorithm == algorithm && row.times.signs_from.is_some() == signs)
    };
    wanted.filter(|wanted| !has(*wanted)).collect()
}

/// Where two processes start at once, the first one's keys are kept.
fn insert_missing(tx: &mut SystemTx, made: &[Candidate], now: Timestamp) -> Result<(), db::Error> {
    let missing = missing(&signing::all(tx)?);
    for candidate in made.iter().filter(|made| missing.contains(&(made.algorithm, made.signs))) {
        insert(tx, candidate, now)?;
    }
    Ok(())
}

fn insert(tx: &mut SystemTx, candidate: &Candidate, now: Timestamp) -> Result<(), db::Error> {
    let Candidate { algorithm, signs, kid, public, private } = candidate;
    let sealed = tx.seal(&aad(kid), private.expose())?;
    let times = Times { created_at: now, signs_from: signs.then_some(now) };
    signing::insert(
        tx,
        &SigningRow { kid: kid.clone(), algorithm: *algorithm, public: public.clone(), sealed, times },
    )
}

/// Whether it rotated. Keys that are gone are removed, but for the one from which the tokens of services come.
fn rotate(tx: &mut SystemTx, made: &[Candidate], now: Timestamp, only_if_due: bool) -> Result<bool, Error> {
    let rows = signing::all(tx)?;
    let of =
        |algorithm| -> Vec<&SigningRow> { rows.iter().filter(|row| row.algorithm == algorithm).collect() };
    let times = |own: &[&SigningRow]| -> Vec<Times> { own.iter().map(|row| row.times).collect() };
    let due = ALGORITHMS.iter().any(|algorithm| is_due(&times(&of(*algorithm)), now));
    if only_if_due && !due {
        return Ok(false);
    }
    let root = rows.iter().find(|row| row.algorithm == Algorithm::EdDsa).map(|row| row.kid.clone());
    let mut kept = rows.len();
    let mut taken = Vec::new();
    for algorithm in ALGORITHMS {
        let own = of(algorithm);
        let times = times(&own);
        for (index, row) in own.iter().enumerate() {
            if standing(&times, index, now) == Standing::Gone && Some(&row.kid) != root.as_ref() {
                signing::delete(tx, &row.kid)?;
                kept -= 1;
            }
        }
        if let Some(next) = own.iter().find(|row| row.times.signs_from.is_none()) {
            let from = takes_over(&times, next.times, now);
            signing::schedule(tx, &next.kid, from)?;
            taken.push(json!({ "kid": next.kid, "algorithm": algorithm.as_str(), "signs_from": from }));
        }
    }
    if kept + made.len() > SIGNING_KEYS_MAX {
        return Err(Error::TooMany { what: "signing keys", max: SIGNING_KEYS_MAX as u32 });
    }
    for candidate in made {
        insert(tx, candidate, now)?;
    }
    let event = NewEvent {
        kind: "signing_key.rotated",
        subject: "signing_keys".to_owned(),
        environment: None,
        before: None,
        after: Some(json!({ "keys": taken })),
    };
    tx.emit(None, event)?;
    Ok(true)
}

fn private_of(algorithm: Algorithm, bytes: &[u8]) -> Result<SigningKey, db::Error> {
    let key = match algorithm {
        Algorithm::EdDsa => SigningKey::ed25519(bytes),
        _ => SigningKey::p256(bytes),
    };
    key.map_err(|_| broken())
}

fn public_of(row: &SigningRow) -> Result<Key, db::Error> {
    let bytes = row.public.as_slice();
    match row.algorithm {
        Algorithm::EdDsa => bytes.try_into().map(Key::ed25519).map_err(|_| broken()),
        _ => bytes.try_into().map(Key::p256).map_err(|_| broken()),
    }
}

/// The bytes of a public key, as they are stored: `x` of Ed25519, or 4, `x` and `y` of a point.
fn public_bytes(key: &Key) -> Result<Vec<u8>, db::Error> {
    let jwk = key.to_jwk();
    let coordinate = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str)?;
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let x = coordinate("x").ok_or_else(broken)?;
    Ok(match coordinate("y") {
        Some(y) => [vec![4], x, y].concat(),
        None => x,
    })
}

fn broken() -> db::Error {
    db::Error::Decode("a signing key is damaged".to_owned())
}

/// What the sealed key is bound to.
fn aad(kid: &str) -> Vec<u8> {
    vault::aad(&[b"identity signing key", kid.as_bytes()])
}

impl AssertionSigner for Signer {
    fn sign(&self, claims: &AssertionClaims) -> Result<String, AssertionError> {
        let AssertionClaims { tenant, tenant_slug, plan, environment, audience, subject, role } = claims;
        let now = self.clock.now().seconds();
        let lifetime = i64::try_from(ASSERTION_LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let mut payload = json!({
            "iss": ISSUER,
            "aud": audience,
            "tenant": tenant,
            "tenant_slug": tenant_slug,
            "plan": plan,
            "environment": environment,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(lifetime),
        });
        if let Some(subject) = subject {
            payload["sub"] = subject.as_str().into();
        }
        if let Some(role) = role {
            payload["role"] = role.as_str().into();
        }
        self.signed(Algorithm::EdDsa, "JWT", &payload)
    }

    fn jwks(&self) -> Value {
        self.published()
    }
}

impl TokenSigner for Signer {
    fn sign(&self, algorithm: SigningAlgorithm, typ: &str, claims: &Value) -> Result<String, AssertionError> {
        let algorithm = match algorithm {
            SigningAlgorithm::EdDsa => Algorithm::EdDsa,
            SigningAlgorithm::Es256 => Algorithm::Es256,
        };
        self.signed(algorithm, typ, claims)
    }

    fn public_keys(&self) -> Value {
        self.published()
    }
}

impl Signer {
    /// The deployment that a service's token was made for; `None` for what is no token of this installation.
    pub(crate) fn deployment_of(&self, token: &str) -> Option<DeploymentId> {
        self.services.as_ref()?.verify(token)
    }
}

impl ServiceTokens for Signer {
    fn mint(&self, deployment: DeploymentId) -> Option<Secret<String>> {
        Some(self.services.as_ref()?.mint(deployment))
    }

    fn push_secret(&self, service: ServiceId) -> Option<Secret<String>> {
        Some(self.services.as_ref()?.push_secret(service))
    }

    fn sign_push(&self, service: ServiceId, message: &PushMessage<'_>) -> Option<String> {
        Some(self.services.as_ref()?.sign_push(service, message))
    }
}
