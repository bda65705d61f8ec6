//! What a connection said last: clients say the same again with nearly every request.

use super::admit::Key;
use super::assertion::{Signed, Subject};
use super::job::Job;
use crate::snapshot::{KeyEntry, key_hash};
use std::sync::Arc;
use telemetry::{AccessOrigin, AccessParts};

/// Bytes of a token whose hash is remembered; keys of ours are shorter.
const TOKEN_BYTES_MAX: usize = 128;

/// The last values of one connection, so that the same need not be copied, hashed or written out again. Nothing here
/// says that a key is valid: that is looked up each time.
#[derive(Default)]
pub(crate) struct Remembered {
    host: Option<Arc<str>>,
    agent: Option<Arc<str>>,
    token: Box<[u8]>,
    hash: [u8; 32],
    key: Option<(KeyEntry, Key)>,
    assertion: Option<(Subject, Signed)>,
    /// As they were given, by which they are known again, and without secrets.
    origin: Option<(AccessParts, Arc<AccessOrigin>)>,
}

impl Remembered {
    pub(crate) fn host(&mut self, host: &str) -> Arc<str> {
        match &self.host {
            Some(known) if &**known == host => known.clone(),
            _ => self.host.insert(host.into()).clone(),
        }
    }

    /// `kept` is the part of a user agent that records keep.
    pub(crate) fn agent(&mut self, kept: &[u8]) -> Arc<str> {
        match &self.agent {
            Some(known) if known.as_bytes() == kept => known.clone(),
            _ => self.agent.insert(String::from_utf8_lossy(kept).into()).clone(),
        }
    }

    /// The hash of a key's text.
    pub(crate) fn hash(&mut self, token: &[u8]) -> [u8; 32] {
        if *self.token == *token && !token.is_empty() {
            return self.hash;
        }
        let hash = key_hash(token);
        if token.len() <= TOKEN_BYTES_MAX {
            (self.token, self.hash) = (token.into(), hash);
        }
        hash
    }

    /// What applications are told of a key that was found valid just now.
    pub(crate) fn key(&mut self, entry: &KeyEntry, tell: impl FnOnce() -> Key) -> Key {
        match &self.key {
            Some((known, key)) if known == entry => key.clone(),
            _ => self.key.insert((*entry, tell())).1.clone(),
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
    pub(crate) fn origin(&mut self, job: &Job) -> Arc<AccessOrigin> {
        match &self.origin {
            Some((known, origin)) if is_of(known, job) => origin.clone(),
            _ => {
                let parts = parts_of(job);
                self.origin.insert((parts.clone(), AccessOrigin::new(parts))).1.clone()
            }
        }
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
            assert_eq!(remembered.hash(token.as_bytes()), key_hash(token.as_bytes()));
        }
        for host in ["a", "a", "b"] {
            assert_eq!((&*remembered.host(host), &*remembered.agent(host.as_bytes())), (host, host));
        }
    }
}
