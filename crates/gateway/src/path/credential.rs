//! Switchyard's own keys among the headers of a request.

use super::remember::Remembered;
use crate::snapshot::{KeyEntry, KeyTable};
use crate::wire::{Examined, RequestHead};
use authority::key_format;
use base::Timestamp;

/// What came with a request.
#[derive(Debug)]
pub(crate) enum Credential {
    /// No key of ours; others' credentials are the application's business.
    None,
    /// A key of ours that is not valid, and why, as far as anybody may know.
    Bad(&'static str),
    /// A valid key.
    Key(KeyEntry),
}

impl Credential {
    pub(crate) fn key(&self) -> Option<&KeyEntry> {
        match self {
            Credential::Key(entry) => Some(entry),
            Credential::None | Credential::Bad(_) => None,
        }
    }
}

/// Reads `Authorization: Bearer` and `X-API-Key`. The query is not looked at: it ends up in logs.
pub(crate) fn credential(
    head: &RequestHead<'_, '_>,
    found: &Examined,
    keys: &KeyTable,
    remembered: &mut Remembered,
    now: Timestamp,
) -> Credential {
    let value = |index: Option<usize>| index.map(|index| head.headers[index].value);
    let bearer = match value(found.authorization).filter(|value| is_ours(value)) {
        Some(value) => match bearer_token(value) {
            Some(token) => Some(token),
            None => return Credential::Bad("A key is given as `Authorization: Bearer <key>`."),
        },
        None => None,
    };
    let api_key = match value(found.api_key).filter(|value| is_ours(value)) {
        Some(value) => match std::str::from_utf8(value) {
            Ok(token) => Some(token),
            Err(_) => return Credential::Bad("The key has characters that no key has."),
        },
        None => None,
    };
    let token = match (bearer, api_key) {
        (None, None) => return Credential::None,
        (Some(one), Some(other)) if one != other => return Credential::Bad("Two different keys are given."),
        (Some(token), _) | (None, Some(token)) => token,
    };
    // Known keys are well-formed, so the checksum is asked only to tell a typo from a key that is gone.
    match keys.get(&remembered.hash(token.as_bytes())) {
        Some(entry) if !entry.is_expired(now) => Credential::Key(entry),
        Some(_) => Credential::Bad("The key is unknown, has expired or was revoked."),
        None => Credential::Bad(match key_format::check(token) {
            Ok(_) => "The key is unknown, has expired or was revoked.",
            Err(_) => "The key is mistyped: its length or checksum is wrong.",
        }),
    }
}

fn bearer_token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && key_format::looks_like_key(token)).then_some(token)
}

/// Whether a value holds a key of ours, in whatever form. Such a value is never passed on.
pub(crate) fn is_ours(value: &[u8]) -> bool {
    memchr::memchr_iter(b'_', value).any(|at| {
        // The longest prefix is `sy_operator_`.
        let start = at.saturating_sub(2);
        let beginning = &value[start..value.len().min(start + 16)];
        value[start..at] == *b"sy" && key_format::looks_like_key(&String::from_utf8_lossy(beginning))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_ours_are_known_in_any_form() {
        for value in ["Bearer sy_live_x", "sy_test_x", "Basic sy_x sy_live_y", "key=sy_operator_z"] {
            assert!(is_ours(value.as_bytes()), "{value}");
        }
        for value in ["Bearer eyJ", "sy_other", "Basic c3k=", "", "easy_live"] {
            assert!(!is_ours(value.as_bytes()), "{value}");
        }
        assert_eq!(bearer_token(b"bearer  sy_live_x "), Some("sy_live_x"));
        assert_eq!(bearer_token(b"Basic sy_live_x"), None);
        assert_eq!(bearer_token(b"sy_live_x"), None);
    }
}
