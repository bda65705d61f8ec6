//! The issuers in memory: which environment trusts which, with their keys, and the task that keeps them so.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use authority::SystemCtx;
use base::{EnvironmentId, IssuerId, ProjectId, Secret, SharedClock, Slug, Timestamp};
use db::Db;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lifecycle::Stop;
use ports::{BoxFuture, EnvironmentDirectory, Offered, SignInIssuers, TokenCheck, TokenVerdict};
use tokens::{Invalid, Unverified, Verified};
use tokio::sync::Notify;

use crate::fetch::{Fetch, Known};
use crate::keys::{Keys, KeysState};
use crate::model::{Definition, Rules, judge};
use crate::ops::{SIGNAL, aad};
use crate::store::{self, Issuer};

/// Issuers that are asked at the same time.
const FETCHES_MAX: usize = 8;
/// How often ages are looked at, and the store is, in case that a signal was lost.
const TICK: Duration = Duration::from_secs(20);
/// How long somebody waits for keys that are being fetched.
pub const WAIT_MAX: Duration = Duration::from_secs(3);

/// The words where keys cannot be had.
const NO_KEYS: &str = "the keys of the token's issuer cannot be had";
/// The words where the key is not among them.
const UNKNOWN_KEY: &str = "the token is signed by a key that its issuer does not have";

/// An issuer as it is in force.
pub(crate) struct Live {
    pub(crate) id: IssuerId,
    pub(crate) project: ProjectId,
    pub(crate) environment: Option<EnvironmentId>,
    pub(crate) name: Slug,
    revision: i64,
    pub(crate) definition: Definition,
    pub(crate) rules: Rules,
    pub(crate) secret: Option<Secret<String>>,
    keys: Arc<Keys>,
}

#[derive(Default)]
struct Snapshot {
    all: Vec<Arc<Live>>,
    /// By project and address: keys are never looked up by address alone (TORTURE A6).
    by_url: HashMap<(ProjectId, String), Vec<Arc<Live>>>,
}

/// Judges tokens of issuers.
pub struct Registry {
    db: Db,
    clock: SharedClock,
    environments: Arc<dyn EnvironmentDirectory>,
    fetch: Fetch,
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    nudge: Notify,
}

/// An issuer as it was read.
struct Read {
    issuer: Issuer,
    secret: Option<Secret<String>>,
    kept: Option<(Known, Timestamp)>,
}

/// Why a token that names an issuer of ours is not taken.
enum Refusal {
    Invalid(Invalid),
    Words(&'static str),
    Pending,
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl Registry {
    /// Reads the issuers. Their keys are fetched by [`Registry::run`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(
        db: &Db,
        clock: &SharedClock,
        environments: Arc<dyn EnvironmentDirectory>,
        fetch: Fetch,
    ) -> Result<Arc<Self>, db::Error> {
        let registry = Self {
            db: db.clone(),
            clock: Arc::clone(clock),
            environments,
            fetch,
            snapshot: ArcSwap::default(),
            generation: AtomicU64::new(0),
            nudge: Notify::new(),
        };
        registry.reload().await?;
        Ok(Arc::new(registry))
    }

    /// Keeps issuers and keys fresh until it is stopped.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run(self: Arc<Self>, stop: Stop) -> Result<(), lifecycle::TaskError> {
        let mut signals = self.db.signals(SIGNAL);
        self.reload().await?;
        // Attempts of a run that failed are gone with it.
        self.snapshot.load().all.iter().for_each(|live| live.keys.abandon());
        let mut fetches = FuturesUnordered::new();
        let mut stopped = pin!(stop.stopped());
        loop {
            for live in &self.snapshot.load().all {
                if fetches.len() < FETCHES_MAX && live.keys.begin(self.clock.monotonic()) {
                    fetches.push(self.refresh(Arc::clone(live)));
                }
            }
            tokio::select! {
                () = &mut stopped => return Ok(()),
                Some(()) = fetches.next() => {}
                () = self.nudge.notified() => {}
                _ = signals.recv() => self.reload().await?,
                () = tokio::time::sleep(TICK) => self.reload().await?,
            }
        }
    }

    async fn refresh(&self, live: Arc<Live>) {
        let outcome = self.fetch.all(&live.definition).await;
        match &outcome {
            Ok(known) => self.keep(&live, known).await,
            Err(error) => {
                tracing::warn!(issuer = %live.name, %error, "the keys of an issuer cannot be fetched");
            }
        }
        if live.keys.end(self.clock.monotonic(), outcome) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Keeps what was fetched, for a start while the issuer is down. Without it everything goes on.
    async fn keep(&self, live: &Live, known: &Known) {
        let (id, source, now) = (live.id, source(&live.definition), self.clock.now());
        let known = known.to_json().to_string();
        let ctx = SystemCtx::because("keep the public keys of an issuer");
        let kept = self.db.write_system(&ctx, move |tx| store::keep(tx, id, (&source, &known), now)).await;
        if let Err(error) = kept {
            let error: db::Error = error;
            tracing::warn!(issuer = %live.name, %error, "the keys of an issuer cannot be kept");
        }
    }

    async fn reload(&self) -> Result<(), db::Error> {
        let rows = self.rows().await?;
        let before = self.snapshot.load();
        let same = before.all.len() == rows.len()
            && before
                .all
                .iter()
                .zip(&rows)
                .all(|(live, row)| (live.id, live.revision) == (row.issuer.id, row.issuer.revision));
        if same {
            return Ok(());
        }
        let (wall, now) = (self.clock.now(), self.clock.monotonic());
        let mut snapshot = Snapshot::default();
        for Read { issuer, secret, kept } in rows {
            let live = Arc::new(Live::of(issuer, secret, &before.all));
            if let Some((known, at)) = kept {
                live.keys.restore(now, known, wall.since(at));
            }
            let key = (live.project, live.definition.url.clone());
            snapshot.by_url.entry(key).or_default().push(Arc::clone(&live));
            snapshot.all.push(live);
        }
        self.snapshot.store(Arc::new(snapshot));
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    async fn rows(&self) -> Result<Vec<Read>, db::Error> {
        let ctx = SystemCtx::because("read the issuers that are trusted");
        let read = self.db.read_system(&ctx, |tx| {
            let mut rows = Vec::new();
            for issuer in store::all(tx)? {
                let secret = match &issuer.secret {
                    None => None,
                    // Without the master key nobody signs in by this issuer; its tokens are judged all the same.
                    Some(sealed) => match tx.open(&aad(issuer.id), sealed) {
                        Ok(bytes) => String::from_utf8(bytes).ok().map(Secret::new),
                        Err(db::Error::Sealed) => None,
                        Err(error) => return Err(error),
                    },
                };
                let kept = store::kept(tx, issuer.id, &source(&issuer.definition))?;
                let kept = kept.and_then(|(known, at)| Some((Known::of_json(&known)?, at)));
                rows.push(Read { issuer, secret, kept });
            }
            Ok(rows)
        });
        read.await
    }

    /// The issuer of this address that an environment trusts: its own before the project's.
    fn by_url(&self, environment: EnvironmentId, url: &str) -> Option<Arc<Live>> {
        let project = self.project_of(environment)?;
        let snapshot = self.snapshot.load();
        let named = snapshot.by_url.get(&(project, url.to_owned()))?;
        first_of(named.iter(), environment)
    }

    /// The issuer of this name that an environment trusts.
    pub(crate) fn by_name(&self, environment: EnvironmentId, name: &Slug) -> Option<Arc<Live>> {
        let project = self.project_of(environment)?;
        let snapshot = self.snapshot.load();
        first_of(
            snapshot.all.iter().filter(|live| live.project == project && live.name == *name),
            environment,
        )
    }

    fn project_of(&self, environment: EnvironmentId) -> Option<ProjectId> {
        let all = self.environments.all();
        all.into_iter().find(|record| record.id == environment).map(|record| record.project)
    }

    /// How the keys of an issuer are; `None` where this process does not have it in this revision (yet).
    pub(crate) fn state(&self, id: IssuerId, revision: i64) -> Option<KeysState> {
        let snapshot = self.snapshot.load();
        let live = snapshot.all.iter().find(|live| (live.id, live.revision) == (id, revision))?;
        Some(live.keys.state(self.clock.monotonic()))
    }

    /// What is known of an issuer; `None` when nothing is, or it is too old. Then it is asked for.
    pub(crate) fn known(&self, live: &Live) -> Option<Arc<Known>> {
        let now = self.clock.monotonic();
        let known = live.keys.usable(now);
        if known.is_none() && live.keys.want(now) {
            self.nudge.notify_one();
        }
        known
    }

    /// As [`Registry::known`], and waits for it up to [`WAIT_MAX`].
    pub(crate) async fn know(&self, live: &Live) -> Option<Arc<Known>> {
        let waiting = async {
            loop {
                let mut attempts = live.keys.attempts();
                if let Some(known) = self.known(live) {
                    return Some(known);
                }
                if !live.keys.want(self.clock.monotonic()) || attempts.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, waiting).await.ok().flatten()
    }

    /// Asks an issuer now, unless it was within the cooldown, and waits for the outcome up to [`WAIT_MAX`].
    pub(crate) async fn ask(&self, environment: EnvironmentId, name: &Slug) {
        let Some(live) = self.by_name(environment, name) else { return };
        let mut attempts = live.keys.attempts();
        if live.keys.want(self.clock.monotonic()) {
            self.nudge.notify_one();
            // Too late or not, the state tells.
            let _ = tokio::time::timeout(WAIT_MAX, attempts.changed()).await;
        }
    }

    /// Verifies a signature by the issuer's keys, from memory.
    fn verify(&self, live: &Live, token: &Unverified<'_>) -> Result<Verified, Refusal> {
        let algorithm = token.check_header(&live.rules.algorithms)?;
        let now = self.clock.monotonic();
        let known = live.keys.usable(now);
        let key = known.as_ref().and_then(|known| known.keys.find(token.kid(), algorithm));
        if let Some(key) = key {
            return Ok(token.clone().verify(key, &live.rules.algorithms)?);
        }
        if live.keys.want(now) {
            self.nudge.notify_one();
            return Err(Refusal::Pending);
        }
        Err(Refusal::Words(if known.is_some() { UNKNOWN_KEY } else { NO_KEYS }))
    }

    /// Verifies a signature by the issuer's keys, and waits for them up to [`WAIT_MAX`].
    ///
    /// # Errors
    /// The words that anybody may read.
    pub(crate) async fn verified(&self, live: &Live, text: &str) -> Result<Verified, &'static str> {
        let token = Unverified::parse(text).map_err(|_| "the token is malformed")?;
        let waiting = async {
            loop {
                let mut attempts = live.keys.attempts();
                match self.verify(live, &token) {
                    Ok(verified) => return Ok(verified),
                    Err(Refusal::Invalid(invalid)) => return Err(invalid.words()),
                    Err(Refusal::Words(words)) => return Err(words),
                    Err(Refusal::Pending) => {
                        attempts.changed().await.map_err(|_| NO_KEYS)?;
                    }
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, waiting).await.unwrap_or(Err(NO_KEYS))
    }
}

impl TokenCheck for Registry {
    fn check(&self, environment: EnvironmentId, token: &str) -> TokenVerdict {
        let Ok(token) = Unverified::parse(token) else { return TokenVerdict::Foreign };
        let live = token.issuer().and_then(|url| self.by_url(environment, url));
        let Some(live) = live else { return TokenVerdict::Foreign };
        let judged = self
            .verify(&live, &token)
            .and_then(|verified| Ok(judge(&live.rules, live.named(), &verified, self.clock.now())?));
        match judged {
            Ok(identity) => TokenVerdict::Valid(Arc::new(identity)),
            Err(Refusal::Invalid(invalid)) => TokenVerdict::Refused(invalid.words()),
            Err(Refusal::Words(words)) => TokenVerdict::Refused(words),
            Err(Refusal::Pending) => TokenVerdict::Pending,
        }
    }

    fn wait<'a>(&'a self, environment: EnvironmentId, token: &'a str) -> BoxFuture<'a, TokenVerdict> {
        Box::pin(async move {
            let url = Unverified::parse(token).ok().and_then(|parsed| parsed.issuer().map(str::to_owned));
            let live = url.and_then(|url| self.by_url(environment, &url));
            let Some(live) = live else { return TokenVerdict::Foreign };
            let waiting = async {
                loop {
                    let mut attempts = live.keys.attempts();
                    match self.check(environment, token) {
                        TokenVerdict::Pending if attempts.changed().await.is_ok() => {}
                        TokenVerdict::Pending => return TokenVerdict::Refused(NO_KEYS),
                        verdict => return verdict,
                    }
                }
            };
            tokio::time::timeout(WAIT_MAX, waiting).await.unwrap_or(TokenVerdict::Refused(NO_KEYS))
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl SignInIssuers for Registry {
    fn offered(&self, environment: EnvironmentId) -> Vec<Offered> {
        let Some(project) = self.project_of(environment) else { return Vec::new() };
        let snapshot = self.snapshot.load();
        let names: BTreeSet<&Slug> =
            snapshot.all.iter().filter(|live| live.project == project).map(|live| &live.name).collect();
        let live = names.into_iter().filter_map(|name| self.by_name(environment, name));
        live.filter(|live| live.definition.client_id.is_some())
            .map(|live| Offered { name: live.name.to_string(), path: crate::signin::start_path(&live.name) })
            .collect()
    }
}

impl Live {
    /// What its tokens are known by: its id, its name, and the one environment that trusts it.
    fn named(&self) -> (IssuerId, &Slug, Option<EnvironmentId>) {
        (self.id, &self.name, self.environment)
    }

    /// Keys stay with an issuer through changes that do not concern where they come from.
    fn of(row: Issuer, secret: Option<Secret<String>>, before: &[Arc<Live>]) -> Self {
        let Issuer { id, project, environment, name, definition, revision, .. } = row;
        let kept = before
            .iter()
            .find(|live| live.id == id && source(&live.definition) == source(&definition))
            .map(|live| Arc::clone(&live.keys));
        let rules = definition.rules();
        let keys = kept.unwrap_or_default();
        Self { id, project, environment, name, revision, definition, rules, secret, keys }
    }
}

/// Where what is known of an issuer comes from.
fn source(definition: &Definition) -> String {
    let Definition { url, jwks_url, client_id, .. } = definition;
    format!("{url} {} {}", jwks_url.as_deref().unwrap_or_default(), client_id.is_some())
}

fn first_of<'l>(
    found: impl Iterator<Item = &'l Arc<Live>> + Clone,
    environment: EnvironmentId,
) -> Option<Arc<Live>> {
    let own = found.clone().find(|live| live.environment == Some(environment));
    own.or_else(|| found.clone().find(|live| live.environment.is_none())).cloned()
}
