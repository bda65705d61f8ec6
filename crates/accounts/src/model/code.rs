//! Codes of the second factor: time-based one-time passwords (RFC 6238 over RFC 4226) and recovery codes.

use authority::key_format;
use base::{Email, Secret, SharedRandom, Timestamp};
use ring::hmac;

/// Bytes of a secret, as RFC 4226 recommends for HMAC-SHA-1.
pub(crate) const SECRET_BYTES: usize = 20;
/// Seconds of a time step, which every authenticator assumes.
const STEP_SECONDS: i64 = 30;
/// Steps before and after the present one whose codes are taken: clocks differ, people type slowly.
const STEPS_AROUND: i64 = 1;
/// Digits of a code.
const DIGITS: usize = 6;
/// Codes of a set for the day on which the device is lost.
pub(crate) const RECOVERY_CODES: usize = 10;
/// Random bytes of one: 80 bits, which no list of hashes gives away.
const RECOVERY_BYTES: usize = 10;
/// Crockford's alphabet in lower case: no letter looks like another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// RFC 4648's alphabet, in which authenticators want secrets.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The time step whose code this is, if it is one that may still be used: later than `last`, at most one step away (A17).
pub(crate) fn step_of(secret: &[u8], code: &str, now: Timestamp, last: i64) -> Option<i64> {
    let code = code.trim();
    if code.len() != DIGITS || !code.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let present = now.seconds().div_euclid(STEP_SECONDS);
    // All three are computed and compared, whichever it is.
    (present - STEPS_AROUND..=present + STEPS_AROUND).fold(None, |found, step| {
        let matches = base::same(at(secret, step).as_bytes(), code.as_bytes());
        if matches && step > last { Some(step) } else { found }
    })
}

/// The code of a time step (RFC 4226, 5.3).
pub(crate) fn at(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = usize::from(bytes.last().copied().unwrap_or_default() & 0x0f);
    let picked = bytes.get(offset..offset + 4).unwrap_or_default();
    let number = picked.iter().fold(0_u32, |all, byte| (all << 8) | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:0width$}", number % 1_000_000, width = DIGITS)
}

/// A secret as people type it: base32 without padding.
pub(crate) fn shown(secret: &[u8]) -> String {
    base32(secret, BASE32)
}

/// The address that authenticators read from a picture (Google's key URI format, which all of them take).
pub(crate) fn uri(secret: &[u8], email: &Email) -> String {
    let label: String = email.as_str().bytes().map(escaped).collect();
    format!(
        "otpauth://totp/Switchyard:{label}?secret={}&issuer=Switchyard&algorithm=SHA1&digits=6&period=30",
        shown(secret)
    )
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// A fresh set of recovery codes, such as `7k3m9-q2xt4-8hvb0-n5dwz`... sixteen characters in groups of four.
pub(crate) fn recovery(random: &SharedRandom) -> Vec<Secret<String>> {
    let one = || {
        let text = base32(&random.array::<RECOVERY_BYTES>(), ALPHABET);
        let groups: Vec<&str> = [0, 4, 8, 12].iter().filter_map(|at| text.get(*at..*at + 4)).collect();
        Secret::new(groups.join("-"))
    };
    (0..RECOVERY_CODES).map(|_| one()).collect()
}

/// The hash of a recovery code as it was typed; `None` for what cannot be one.
pub(crate) fn recovery_hash(typed: &str) -> Option<[u8; 32]> {
    let plain: String = typed.chars().filter(|c| *c != '-' && *c != ' ').collect();
    let plain = plain.to_ascii_lowercase().replace('o', "0").replace(['i', 'l'], "1");
    let fits = plain.len() == 16 && plain.bytes().all(|byte| ALPHABET.contains(&byte));
    fits.then(|| key_format::hash(plain.as_bytes()))
}

/// Five bits a character, the last one filled with zeros.
fn base32(bytes: &[u8], alphabet: &[u8; 32]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(alphabet[((held >> bits) & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(alphabet[((held << (5 - bits)) & 31) as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use base::SeededRandom;

    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // RFC 6238, appendix B, SHA-1; its eight digits end with our six.
        let secret = b"12345678901234567890";
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(at(secret, seconds / STEP_SECONDS), code);
        }
    }

    #[test]
    fn a17_a_step_is_good_once_and_one_step_off_is_forgiven() {
        let secret = [7; SECRET_BYTES];
        let now = Timestamp::from_micros(1_000_000_000_000_000);
        let step = now.seconds() / STEP_SECONDS;
        for near in [step - 1, step, step + 1] {
            assert_eq!(step_of(&secret, &at(&secret, near), now, 0), Some(near));
            assert_eq!(step_of(&secret, &at(&secret, near), now, near), None);
        }
        for far in [step - 2, step + 2] {
            assert_eq!(step_of(&secret, &at(&secret, far), now, 0), None);
        }
        for bad in ["", "12345", "1234567", "12345a", "１２３４５６"] {
            assert_eq!(step_of(&secret, bad, now, 0), None);
        }
    }

    #[test]
    fn secrets_are_shown_in_base32() {
        // RFC 4648, 10.
        assert_eq!(shown(b"foobar"), "MZXW6YTBOI");
        let uri = uri(&[0; SECRET_BYTES], &Email::parse("a+b@example.com").unwrap());
        assert!(uri.starts_with("otpauth://totp/Switchyard:a%2Bb@example.com?secret=AAAA"), "{uri}");
    }

    #[test]
    fn recovery_codes_are_found_however_they_are_typed() {
        let codes = recovery(&SeededRandom::shared(3));
        assert_eq!(codes.len(), RECOVERY_CODES);
        for code in &codes {
            let text = code.expose();
            assert_eq!(text.len(), 19, "{text}");
            let hash = recovery_hash(text).unwrap();
            assert_eq!(recovery_hash(&text.to_uppercase().replace('-', " ")), Some(hash));
            assert_eq!(recovery_hash(&text.replace('0', "O").replace('1', "l")), Some(hash));
        }
        assert_eq!(recovery_hash("123456"), None);
    }
}
