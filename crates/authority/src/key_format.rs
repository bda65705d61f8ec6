//! The written form of keys: what can be said about a key without asking anybody.
//!
//! `sy_live_` + 43 characters (256 random bits, base 62) + 6 characters (CRC-32 of all before, base 62).
//! The checksum lets a scanner, a gateway and a typo be told apart from a real key without a look-up; it is
//! no secret and proves nothing about a key being known. Whether a key is known is a comparison of SHA-256
//! hashes and belongs to whoever holds them.

use std::fmt;

/// What a key is for, as its prefix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// A tenant's key of a production environment: `sy_live_…`.
    Live,
    /// A tenant's key of any other environment: `sy_test_…`.
    Test,
    /// The operators' key of an installation: `sy_operator_…`.
    Operator,
}

impl KeyKind {
    /// Every kind, for whoever must recognise them all (redaction, scanners).
    pub const ALL: [KeyKind; 3] = [KeyKind::Live, KeyKind::Test, KeyKind::Operator];

    /// The text that every key of this kind begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            KeyKind::Live => "sy_live_",
            KeyKind::Test => "sy_test_",
            KeyKind::Operator => "sy_operator_",
        }
    }
}

/// Why a text is no key. Carries nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFormatError {
    /// It begins with none of the known prefixes: not a key of Switchyard at all.
    Foreign,
    /// It begins like a key, but has another length or characters.
    Malformed,
    /// It looks like a key, but its checksum is wrong: a typo or an invention.
    Checksum,
}

impl fmt::Display for KeyFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFormatError::Foreign => "not a Switchyard key",
            KeyFormatError::Malformed => "a Switchyard key has 49 letters and digits after its prefix",
            KeyFormatError::Checksum => "the key's checksum is wrong",
        })
    }
}

impl std::error::Error for KeyFormatError {}

/// Random bytes in a key.
pub const SECRET_BYTES: usize = 32;
/// Base-62 digits that 256 bits need: ceil(256 / log2(62)).
const SECRET_DIGITS: usize = 43;
/// Base-62 digits that 32 bits need.
const CHECKSUM_DIGITS: usize = 6;
/// Characters of the secret that a displayed prefix shows: 36 of 256 bits, enough to tell keys apart.
const SHOWN_DIGITS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The key text for 256 random bits.
pub fn encode(kind: KeyKind, secret: &[u8; SECRET_BYTES]) -> String {
    let mut text = String::with_capacity(kind.prefix().len() + SECRET_DIGITS + CHECKSUM_DIGITS);
    text.push_str(kind.prefix());
    push_base62(&mut text, *secret, SECRET_DIGITS);
    let checksum = crc32(text.as_bytes());
    push_base62(&mut text, checksum.to_be_bytes(), CHECKSUM_DIGITS);
    text
}

/// Whether a text can be a key, and of which kind. Looks nothing up.
pub fn check(text: &str) -> Result<KeyKind, KeyFormatError> {
    let kind = KeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()));
    let kind = kind.ok_or(KeyFormatError::Foreign)?;
    let body = &text.as_bytes()[kind.prefix().len()..];
    if body.len() != SECRET_DIGITS + CHECKSUM_DIGITS || !body.iter().all(u8::is_ascii_alphanumeric) {
        return Err(KeyFormatError::Malformed);
    }
    let (signed, checksum) = text.split_at(text.len() - CHECKSUM_DIGITS);
    if checksum_digits(crc32(signed.as_bytes())) == checksum.as_bytes() {
        Ok(kind)
    } else {
        Err(KeyFormatError::Checksum)
    }
}

/// How the token of a service begins (`SWITCHYARD_TOKEN`). It is no key: nothing of it is stored, and what follows is
/// signed. Its form belongs to `identity`.
pub const SERVICE_TOKEN_PREFIX: &str = "sy_svc_";

/// Whether a text begins like a key of Switchyard, or the token of a service: such a text is ours to judge, never an
/// application's.
pub fn looks_like_key(text: &str) -> bool {
    text.starts_with(SERVICE_TOKEN_PREFIX)
        || KeyKind::ALL.into_iter().any(|kind| text.starts_with(kind.prefix()))
}

/// What lists and logs show of a key: the prefix and six characters (`sy_live_4f9A2b`).
/// A text that is no key gives an empty string, so that nothing foreign is ever shown.
pub fn display_prefix(text: &str) -> String {
    match check(text) {
        Ok(kind) => text.chars().take(kind.prefix().len() + SHOWN_DIGITS).collect(),
        Err(_) => String::new(),
    }
}

/// SHA-256 of a credential's whole text (a key, a refresh token, the token of a link), by which it is stored and found.
#[must_use]
pub fn hash(text: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, text);
    digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

/// Appends a big-endian number in base 62, most significant digit first, padded to `digits`.
fn push_base62<const N: usize>(text: &mut String, mut number: [u8; N], digits: usize) {
    let mut reversed = [0_u8; SECRET_DIGITS];
    for digit in reversed.iter_mut().take(digits) {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("a remainder below 62 times 256, by 62, is below 256");
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
    text.extend(reversed[..digits].iter().rev().map(|digit| char::from(*digit)));
}

/// A checksum as it stands at the end of a key, without an allocation: every gateway thread asks at each request.
fn checksum_digits(mut number: u32) -> [u8; CHECKSUM_DIGITS] {
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    digits
}

/// What four bits do to a checksum. Sixteen entries fill one line of the cache; 256 would fill sixteen, for a text of 57 bytes.
const STEPS: [u32; 16] = {
    let mut steps = [0; 16];
    let mut index = 0;
    while index < 16 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        steps[index] = crc;
        index += 1;
    }
    steps
};

/// CRC-32 as in ISO 3309 (reflected, polynomial 0xEDB88320), four bits a step.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 4) ^ STEPS[(crc & 15) as usize];
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| step(step(crc ^ u32::from(*byte))));
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_gives_the_published_check_value() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn every_kind_round_trips_and_has_a_fixed_length() {
        for kind in KeyKind::ALL {
            for secret in [[0_u8; 32], [0xFF; 32], [0x5A; 32]] {
                let key = encode(kind, &secret);
                assert_eq!(key.len(), kind.prefix().len() + 49);
                assert_eq!(check(&key), Ok(kind));
                assert!(looks_like_key(&key));
                assert_eq!(display_prefix(&key).len(), kind.prefix().len() + 6);
            }
        }
    }

    #[test]
    fn different_secrets_give_different_keys() {
        let mut one = [7_u8; 32];
        let first = encode(KeyKind::Live, &one);
        one[31] ^= 1;
        assert_ne!(first, encode(KeyKind::Live, &one));
    }

    #[test]
    fn each_single_wrong_character_is_noticed() {
        let key = encode(KeyKind::Test, &[0x42; 32]);
        for at in KeyKind::Test.prefix().len()..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(bytes).unwrap();
            assert_eq!(check(&wrong), Err(KeyFormatError::Checksum), "at {at}");
        }
    }

    #[test]
    fn what_is_no_key_says_why() {
        let key = encode(KeyKind::Live, &[1; 32]);
        assert_eq!(check(""), Err(KeyFormatError::Foreign));
        assert_eq!(check("sk_live_abc"), Err(KeyFormatError::Foreign));
        assert_eq!(check(&key[..key.len() - 1]), Err(KeyFormatError::Malformed));
        assert_eq!(check(&format!("{key}x")), Err(KeyFormatError::Malformed));
        assert_eq!(check(&format!("{}ü{}", &key[..9], &key[11..])), Err(KeyFormatError::Malformed));
        assert_eq!(display_prefix("hunter2"), "");
        // A live key under another prefix is not a test key.
        let swapped = key.replace("sy_live_", "sy_test_");
        assert_eq!(check(&swapped), Err(KeyFormatError::Checksum));
    }
}
