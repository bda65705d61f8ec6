//! Where the log stood, in a line that is kept outside the store (TORTURE S8, F50).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};

use super::chain::{Link, hex};

/// Bytes of the digest.
const DIGEST_BYTES: usize = 32;

/// Where the whole log stood: its last position, and the SHA-256 of where each chain ended there. Kept outside the store,
/// it shows later that the log is the same one grown longer, and not an older copy, cut at its end, or written anew.
/// As text: `POSITION:HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    position: i64,
    digest: [u8; DIGEST_BYTES],
}

/// A text is no anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an anchor is a position, a colon and 64 hexadecimal digits, as `audit verify` showed it")]
pub struct AnchorError;

impl Anchor {
    /// The anchor at a position, out of the length and last link of each chain.
    pub(super) fn at(position: i64, ends: &HashMap<String, (i64, Link)>) -> Self {
        let mut sorted: Vec<_> = ends.iter().collect();
        sorted.sort_unstable_by_key(|(scope, _)| scope.as_str());
        let mut context = Context::new(&SHA256);
        context.update(b"switchyard anchor 1");
        context.update(&position.to_be_bytes());
        for (scope, (length, link)) in sorted {
            context.update(&(scope.len() as u64).to_be_bytes());
            context.update(scope.as_bytes());
            context.update(&length.to_be_bytes());
            context.update(link);
        }
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(context.finish().as_ref());
        Self { position, digest }
    }

    /// The last position that it covers; 0 for an empty log.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, hex(&self.digest))
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (position, digits) = text.trim().split_once(':').ok_or(AnchorError)?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.len() != 2 * DIGEST_BYTES || !plain(digits) || !plain(position) {
            return Err(AnchorError);
        }
        let mut digest = [0; DIGEST_BYTES];
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| AnchorError)?;
        }
        Ok(Self { position: position.parse().map_err(|_| AnchorError)?, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_back_and_nothing_else_is() {
        let ends = HashMap::from([("a".to_owned(), (2, [7; 32])), ("b".to_owned(), (1, [9; 32]))]);
        let anchor = Anchor::at(3, &ends);
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        assert_ne!(Anchor::at(4, &ends), anchor);
        assert_ne!(Anchor::at(3, &HashMap::from([("a".to_owned(), (2, [7; 32]))])), anchor);
        let digits = "0".repeat(64);
        for wrong in
            ["", "3", "3:", "3:00", &digits, &format!("-3:{digits}"), &format!("3:{}é", &digits[2..])]
        {
            assert_eq!(wrong.parse::<Anchor>(), Err(AnchorError), "{wrong}");
        }
    }
}
