//! Credentials that are Switchyard's to judge among the headers of a request.

use super::bearer::{Known, bearer_token};
use super::remember::Remembered;
use crate::snapshot::{KeyEntry, KeyTable};
use crate::wire::{Examined, RequestHead};
use authority::key_format;
use base::Timestamp;
use std::net::IpAddr;
use std::rc::Rc;

/// What came with a request.
pub(crate) enum Credential<'a> {
    /// None of ours; others' credentials are the application's business.
    None,
    /// A key of ours that is not valid, and why, as far as anybody may know.
    Bad(&'static str),
    /// A key of ours that does not work from the client's address.
    Elsewhere,
    /// A valid key.
    Key(KeyEntry),
    /// Something in the form of a token, to be judged once the environment is known.
    Unjudged(&'a str),
    /// A token that was judged.
    Token(Rc<Known>),
}

impl Credential<'_> {
    pub(crate) fn key(&self) -> Option<&KeyEntry> {
        match self {
            Credential::Key(entry) => Some(entry),
            Credential::None
            | Credential::Bad(_)
            | Credential::Elsewhere
            | Credential::Unjudged(_)
            | Credential::Token(_) => None,
        }
    }

    pub(crate) fn token(&self) -> Option<&Rc<Known>> {
        match self {
            Credential::Token(known) => Some(known),
            Credential::None
            | Credential::Bad(_)
            | Credential::Elsewhere
            | Credential::Unjudged(_)
            | Credential::Key(_) => None,
        }
    }
}

/// Reads `Authorization: Bearer` and `X-API-Key`. The query is not looked at: it ends up in logs. A key comes before a token:
/// where both are there, the token is the application's business.
pub(crate) fn credential<'a>(
    head: &RequestHead<'a, 'a>,
    found: &Examined,
    keys: &KeyTable,
    remembered: &mut Remembered,
    (now, client): (Timestamp, IpAddr),
) -> Credential<'a> {
    let value = |index: Option<usize>| index.map(|index| head.headers[index].value);
    let authorization = value(found.authorization);
    let bearer = match authorization.filter(|value| is_ours(value)) {
        Some(value) => match bearer_key(value) {
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
        (None, None) => {
            return authorization.and_then(bearer_token).map_or(Credential::None, Credential::Unjudged);
        }
        (Some(one), Some(other)) if one != other => return Credential::Bad("Two different keys are given."),
        (Some(token), _) | (None, Some(token)) => token,
    };
    // Known keys are well-formed, so the checksum is asked only to tell a typo from a key that is gone.
    match keys.get(&remembered.hash(token.as_bytes())) {
        Some(entry) if !entry.is_expired(now) && keys.allows(&entry, client) => Credential::Key(entry),
        Some(entry) if !entry.is_expired(now) => Credential::Elsewhere,
        Some(_) => Credential::Bad("The key is unknown, has expired or was revoked."),
        None => Credential::Bad(match key_format::check(token) {
            Ok(_) => "The key is unknown, has expired or was revoked.",
            Err(_) => "The key is mistyped: its length or checksum is wrong.",
        }),
    }
}

fn bearer_key(value: &[u8]) -> Option<&str> {
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
        assert_eq!(bearer_key(b"bearer  sy_live_x "), Some("sy_live_x"));
        assert_eq!(bearer_key(b"Basic sy_live_x"), None);
        assert_eq!(bearer_key(b"sy_live_x"), None);
    }
}
