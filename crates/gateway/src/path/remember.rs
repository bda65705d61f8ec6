//! What a connection said last: clients say the same again with nearly every request.

use super::admit::Key;
use crate::snapshot::{KeyEntry, key_hash};
use std::sync::Arc;

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
