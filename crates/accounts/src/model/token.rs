//! Refresh tokens and the tokens of links: random texts of which the store keeps hashes.

use authority::key_format::hash;
use base::{Secret, SharedRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How every refresh token begins, so that scanners of leaked secrets know one.
pub(crate) const REFRESH_PREFIX: &str = "sy_refresh_";
/// Bytes that name a family.
const FAMILY_BYTES: usize = 16;
/// Bytes of a secret: 256 bits.
const SECRET_BYTES: usize = 32;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 128;

/// A refresh token as it is stored: which family, and which secret of it is current. Both are hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshHash {
    pub(crate) family: [u8; 32],
    pub(crate) secret: [u8; 32],
}

/// A refresh token taken apart. A family is named by 128 random bits that stand in its tokens alone: whoever names one has
/// seen a token of it, so that a wrong secret beside it is an old token (or a guess by a thief), never an accident.
pub(crate) struct Refresh {
    family: Secret<[u8; FAMILY_BYTES]>,
    secret: Secret<[u8; SECRET_BYTES]>,
}

impl Refresh {
    /// The first token of a new family.
    pub(crate) fn new(random: &SharedRandom) -> Refresh {
        Refresh { family: Secret::new(random.array()), secret: Secret::new(random.array()) }
    }

    /// The next token of the same family.
    pub(crate) fn next(&self, random: &SharedRandom) -> Refresh {
        Refresh { family: self.family.clone(), secret: Secret::new(random.array()) }
    }

    /// Reads a token.
    pub(crate) fn parse(text: &str) -> Option<Refresh> {
        let body = text.strip_prefix(REFRESH_PREFIX).filter(|body| body.len() <= TOKEN_BYTES_MAX)?;
        let bytes = Secret::new(URL_SAFE_NO_PAD.decode(body).ok()?);
        let (family, secret) = bytes.expose().split_at_checked(FAMILY_BYTES)?;
        let (family, secret) = (family.try_into().ok()?, secret.try_into().ok()?);
        Some(Refresh { family: Secret::new(family), secret: Secret::new(secret) })
    }

    /// The token's text.
    pub(crate) fn text(&self) -> String {
        let bytes = [self.family.expose().as_slice(), self.secret.expose()].concat();
        format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What is stored of it.
    pub(crate) fn hashes(&self) -> RefreshHash {
        RefreshHash { family: hash(self.family.expose()), secret: hash(self.secret.expose()) }
    }
}

/// A new token of a link, and the hash under which it is stored.
pub(crate) fn link(random: &SharedRandom) -> (Secret<String>, [u8; 32]) {
    let text = URL_SAFE_NO_PAD.encode(random.array::<SECRET_BYTES>());
    let hash = hash(text.as_bytes());
    (Secret::new(text), hash)
}

/// The hash of a link's token; `None` for what cannot be one.
pub(crate) fn link_hash(text: &str) -> Option<[u8; 32]> {
    let whole = URL_SAFE_NO_PAD.decode(text).ok().is_some_and(|bytes| bytes.len() == SECRET_BYTES);
    (text.len() <= TOKEN_BYTES_MAX && whole).then(|| hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use base::SeededRandom;

    use super::*;

    #[test]
    fn a_refresh_token_is_read_back_and_the_next_is_of_its_family() {
        let random = SeededRandom::shared(1);
        let one = Refresh::new(&random);
        let text = one.text();
        assert!(text.starts_with(REFRESH_PREFIX) && text.len() == REFRESH_PREFIX.len() + 64, "{text}");
        assert_eq!(Refresh::parse(&text).unwrap().hashes(), one.hashes());
        let next = one.next(&random);
        assert_eq!(next.hashes().family, one.hashes().family);
        assert_ne!(next.hashes().secret, one.hashes().secret);
        for bad in ["", REFRESH_PREFIX, "sy_refresh_AAAA", &text[1..], &format!("{text}A")] {
            assert!(Refresh::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_link_is_found_by_its_hash_alone() {
        let (text, kept) = link(&SeededRandom::shared(2));
        assert_eq!(link_hash(text.expose()), Some(kept));
        assert_eq!(link_hash("not a token"), None);
        assert_eq!(link_hash(&"A".repeat(1_000)), None);
    }
}
