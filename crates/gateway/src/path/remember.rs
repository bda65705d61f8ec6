//! What a connection said last: clients say the same again with nearly every request.

use super::admit::Who;
use super::assertion::{Signed, Subject};
use super::bearer::Known;
use super::job::Job;
use crate::hash::Fold;
use crate::snapshot::KeyEntry;
use authority::key_format;
use base::{KeyId, Timestamp};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{AccessOrigin, AccessParts};

/// Bytes of a token whose hash is remembered; keys of ours are shorter.
const TOKEN_BYTES_MAX: usize = 128;

/// Time between two notes of the same key's use by one connection. What is written of it is exact to half a minute, and who
/// notes takes a lock that all threads share.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// The last values of one connection, so that the same need not be copied, hashed or written out again. Nothing here
/// says that a key is valid: that is looked up each time.
#[derive(Default)]
pub(crate) struct Remembered {
    host: Option<Arc<str>>,
    agent: Option<Arc<str>>,
    token: Box<[u8]>,
    hash: [u8; 32],
    key: Option<(KeyEntry, Who)>,
    assertion: Option<(Subject, Signed)>,
    origin: Option<Arc<Origin>>,
    /// The last token.
    pub(crate) bearer: Option<Rc<Known>>,
    /// The key whose use was noted last, and when.
    noted: Option<(KeyId, Timestamp)>,
}

impl Remembered {
    /// Whether the use of a key is to be noted: at once, and then every [`NOTE_EVERY`].
    pub(crate) fn is_use_to_note(&mut self, key: KeyId, now: Timestamp) -> bool {
        if self.noted.is_some_and(|(noted, at)| noted == key && now < at + NOTE_EVERY) {
            return false;
        }
        self.noted = Some((key, now));
        true
    }

    /// The key of the last request that had one.
    pub(crate) fn last_key(&self) -> Option<KeyEntry> {
        self.key.as_ref().map(|(entry, _)| *entry)
    }

    pub(crate) fn host(&mut self, common: &Common, host: &str) -> Arc<str> {
        match &self.host {
            Some(known) if &**known == host => known.clone(),
            _ => self.host.insert(common.text(host)).clone(),
        }
    }

    /// `kept` is the part of a user agent that records keep.
    pub(crate) fn agent(&mut self, common: &Common, kept: &[u8]) -> Arc<str> {
        match &self.agent {
            Some(known) if known.as_bytes() == kept => known.clone(),
            _ => self.agent.insert(common.text(&String::from_utf8_lossy(kept))).clone(),
        }
    }

    /// The hash of a key's text.
    pub(crate) fn hash(&mut self, token: &[u8]) -> [u8; 32] {
        if *self.token == *token && !token.is_empty() {
            return self.hash;
        }
        let hash = key_format::hash(token);
        if token.len() <= TOKEN_BYTES_MAX {
            (self.token, self.hash) = (token.into(), hash);
        }
        hash
    }

    /// What applications are told of a key that was found valid just now.
    pub(crate) fn key(&mut self, common: &Common, entry: &KeyEntry, tell: impl FnOnce() -> Who) -> Who {
        match &self.key {
            Some((known, key)) if known == entry => key.clone(),
            _ => self.key.insert((*entry, common.key(entry, tell))).1.clone(),
        }
    }

    /// The assertion for a subject, if it was the last and is still to be used.
    pub(crate) fn assertion(&self, subject: &Subject, now_ms: u64) -> Option<&str> {
        let (known, signed) = self.assertion.as_ref()?;
        (known == subject && signed.until_ms > now_ms).then_some(&*signed.text)
    }

    pub(crate) fn keep_assertion(&mut self, subject: Subject, signed: Signed) {
        self.assertion = Some((subject, signed));
    }

    /// What records say of all requests like this one.
    pub(crate) fn origin(&mut self, common: &Common, job: &Job) -> Arc<AccessOrigin> {
        match &self.origin {
            Some(origin) if is_of(&origin.given, job) => origin.written.clone(),
            _ => self.origin.insert(common.origin(job)).written.clone(),
        }
    }
}

/// What connections of one thread have in common: one copy of it, which stays in the cache, serves them all.
#[derive(Default)]
pub(crate) struct Common {
    texts: RefCell<HashSet<Arc<str>, Fold>>,
    keys: RefCell<HashMap<KeyId, (KeyEntry, Who), Fold>>,
    origins: RefCell<HashMap<Places, Arc<Origin>, Fold>>,
}

/// Entries of one sort that a thread keeps. When there are more, all are forgotten; who holds one keeps it.
const COMMON_MAX: usize = 1_024;

/// The parts as they were given, by which they are known again, and what is recorded of them.
struct Origin {
    given: AccessParts,
    written: Arc<AccessOrigin>,
}

/// Where the parts are, with those that are nowhere else. An entry holds its parts, so that a place is never another's.
#[derive(PartialEq, Eq, Hash)]
struct Places {
    places: [usize; 8],
    client: IpAddr,
    method: Cow<'static, str>,
}

impl Common {
    fn text(&self, text: &str) -> Arc<str> {
        let mut texts = self.texts.borrow_mut();
        if let Some(known) = texts.get(text) {
            return known.clone();
        }
        if texts.len() >= COMMON_MAX {
            texts.clear();
        }
        let fresh: Arc<str> = text.into();
        texts.insert(fresh.clone());
        fresh
    }

    fn key(&self, entry: &KeyEntry, tell: impl FnOnce() -> Who) -> Who {
        let mut keys = self.keys.borrow_mut();
        if let Some((known, key)) = keys.get(&entry.id())
            && known == entry
        {
            return key.clone();
        }
        if keys.len() >= COMMON_MAX {
            keys.clear();
        }
        let key = tell();
        keys.insert(entry.id(), (*entry, key.clone()));
        key
    }

    fn origin(&self, job: &Job) -> Arc<Origin> {
        let given = parts_of(job);
        let place = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.as_ptr() as usize);
        let texts = [
            &given.tenant,
            &given.tenant_slug,
            &given.environment,
            &given.route,
            &given.service,
            &given.principal,
            &given.agent,
            &job.host,
        ];
        let places = Places { places: texts.map(place), client: given.client, method: given.method.clone() };
        let mut origins = self.origins.borrow_mut();
        if let Some(known) = origins.get(&places) {
            return known.clone();
        }
        if origins.len() >= COMMON_MAX {
            origins.clear();
        }
        let written = AccessOrigin::new(given.clone());
        let origin = Arc::new(Origin { given, written });
        origins.insert(places, origin.clone());
        origin
    }
}

fn parts_of(job: &Job) -> AccessParts {
    AccessParts {
        tenant: job.tenant.as_ref().map(|tenant| tenant.text.clone()),
        tenant_slug: job.tenant.as_ref().map(|tenant| tenant.slug.clone()),
        environment: job.environment.as_ref().map(|environment| environment.slug.clone()),
        route: job.route.as_ref().map(|route| route.label.clone()),
        service: job.service.as_ref().map(|service| service.name.clone()),
        principal: job.principal.clone(),
        method: job.method.clone(),
        host: job.host.clone().unwrap_or_default(),
        client: job.client,
        agent: job.agent.clone(),
    }
}

/// Whether a request shares all of these. They are told apart by where they are: who holds them keeps them there, and
/// what changed is elsewhere.
fn is_of(known: &AccessParts, job: &Job) -> bool {
    let same = |known: &Option<Arc<str>>, text: Option<&Arc<str>>| match (known, text) {
        (Some(known), Some(text)) => Arc::ptr_eq(known, text),
        (None, None) => true,
        _ => false,
    };
    let tenant = job.tenant.as_ref();
    same(&known.tenant, tenant.map(|tenant| &tenant.text))
        && same(&known.tenant_slug, tenant.map(|tenant| &tenant.slug))
        && same(&known.environment, job.environment.as_ref().map(|environment| &environment.slug))
        && same(&known.route, job.route.as_ref().map(|route| &route.label))
        && same(&known.service, job.service.as_ref().map(|service| &service.name))
        && same(&known.principal, job.principal.as_ref())
        && same(&known.agent, job.agent.as_ref())
        && job.host.as_ref().is_some_and(|host| Arc::ptr_eq(&known.host, host))
        && known.client == job.client
        && known.method == job.method
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_is_not_taken_for_the_last() {
        let mut remembered = Remembered::default();
        for token in ["a", "a", "b", ""] {
            assert_eq!(remembered.hash(token.as_bytes()), key_format::hash(token.as_bytes()));
        }
        let common = Common::default();
        for host in ["a", "a", "b"] {
            let agent = remembered.agent(&common, host.as_bytes());
            assert_eq!((&*remembered.host(&common, host), &*agent), (host, host));
        }
    }

    #[test]
    fn connections_share_what_they_say_alike_and_a_thread_keeps_so_much() {
        let (common, mut one, mut other) = (Common::default(), Remembered::default(), Remembered::default());
        let host = one.host(&common, "a.example");
        let job = Job { host: Some(host.clone()), ..Job::default() };
        let origin = one.origin(&common, &job);
        let job = Job { host: Some(other.host(&common, "a.example")), status: 404, ..Job::default() };
        assert!(Arc::ptr_eq(&origin, &other.origin(&common, &job)));
        let job = Job { method: "POST".into(), ..job };
        assert_eq!((&*other.origin(&common, &job).method, &*origin.method), ("POST", ""));
        for number in 0..2 * COMMON_MAX {
            let job = Job { host: Some(other.host(&common, &format!("{number}"))), ..Job::default() };
            assert_eq!(*other.origin(&common, &job).host, *format!("{number}"));
        }
        assert!(common.texts.borrow().len() <= COMMON_MAX && common.origins.borrow().len() <= COMMON_MAX);
        assert_eq!(&*host, "a.example");
    }
}
