//! Which passwords are taken, and the form in which their hashes are stored.
//!
//! argon2id (RFC 9106) with 19 MiB, two passes and one lane, the first choice of OWASP's password storage cheat sheet;
//! stored in PHC string format, so that parameters can grow without asking anybody for a new password.

use base::Email;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Shortest password, in characters (NIST SP 800-63B asks for 8; ours have no second line of defence by default).
pub(crate) const CHARS_MIN: usize = 10;
/// Longest, in characters: any sentence fits, and nobody makes us hash a book.
pub(crate) const CHARS_MAX: usize = 256;
/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of a salt.
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// What a stored hash may ask for at most, so that a damaged row does not take the machine: 64 MiB and 10 passes.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 10;

/// The commonest passwords of ten and more characters in published breaches, and what people make of "password" to please
/// a rule. Lower case; a password is compared without its case.
const COMMONEST: &[&str] = &[
    "0123456789",
    "0987654321",
    "1234567890",
    "12345678910",
    "1234567891",
    "123456789a",
    "1234554321",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "abc1234567",
    "abcd123456",
    "abcdefghij",
    "administrator",
    "asdfghjkl123",
    "asdfghjkl;",
    "changeme123",
    "correct horse battery staple",
    "correcthorsebatterystaple",
    "football123",
    "iloveyou123",
    "letmein1234",
    "letmein123",
    "p@ssw0rd123",
    "passw0rd123",
    "password00",
    "password01",
    "password10",
    "password11",
    "password12",
    "password123",
    "password1234",
    "password12345",
    "password123!",
    "princess123",
    "q1w2e3r4t5",
    "q1w2e3r4t5y6",
    "qazwsxedcrfv",
    "qwerty1234",
    "qwerty12345",
    "qwerty123456",
    "qwertyuiop",
    "qwertyuiop123",
    "switchyard",
    "switchyard1",
    "trustno1trustno1",
    "welcome123",
    "welcome1234",
    "zaq12wsxcde3",
    "zxcvbnm123",
];

/// Whether a password is taken for an address; else what is expected, in words.
///
/// # Errors
/// The words.
pub(crate) fn check(password: &str, email: &Email) -> Result<(), &'static str> {
    let count = password.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&count) {
        return Err("10 to 256 characters are expected");
    }
    let lower = password.to_lowercase();
    let local = email.key().split('@').next().unwrap_or_default().to_owned();
    if lower == email.key() || lower == local {
        return Err("something else than the address is expected");
    }
    let first = lower.chars().next();
    let alike = lower.chars().all(|one| Some(one) == first);
    if alike || COMMONEST.contains(&lower.as_str()) {
        return Err("this is one of the first passwords that anybody tries; another one is expected");
    }
    Ok(())
}

/// What was stored, taken apart.
struct Parts {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Hashes a password. Takes tens of milliseconds and 19 MiB. `None` when the machine has no memory for it.
pub(crate) fn hash(password: &str, salt: &[u8; SALT_BYTES]) -> Option<String> {
    let hash = derive(password, salt, (MEMORY_KIB, PASSES, LANES))?;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Some(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}"))
}

/// Whether the password is that of a stored hash. With `None` it does the same work and answers no, so that nobody can tell
/// an unknown account from a wrong password (A10).
pub(crate) fn verify(password: &str, stored: Option<&str>) -> bool {
    let known = stored.and_then(parse);
    let there = known.is_some();
    let parts = known.unwrap_or_else(|| Parts {
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        salt: vec![0; SALT_BYTES],
        hash: vec![0; HASH_BYTES],
    });
    let derived = derive(password, &parts.salt, (parts.memory_kib, parts.passes, parts.lanes));
    let matches = derived.is_some_and(|derived| base::same(&derived, &parts.hash));
    matches & there
}

fn derive(password: &str, salt: &[u8], (memory, passes, lanes): (u32, u32, u32)) -> Option<[u8; HASH_BYTES]> {
    let params = argon2::Params::new(memory, passes, lanes, Some(HASH_BYTES)).ok()?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut hash = [0; HASH_BYTES];
    argon.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

fn parse(stored: &str) -> Option<Parts> {
    let rest = stored.strip_prefix("$argon2id$v=19$")?;
    let mut fields = rest.split('$');
    let (params, salt, hash) = (fields.next()?, fields.next()?, fields.next()?);
    let mut numbers = params.split(',');
    let mut number = |name: &str| numbers.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let (memory_kib, passes, lanes) = (number("m=")?, number("t=")?, number("p=")?);
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).ok();
    let parts = Parts { memory_kib, passes, lanes, salt: decode(salt)?, hash: decode(hash)? };
    let sane = memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX && parts.hash.len() == HASH_BYTES;
    (sane && fields.next().is_none()).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Email {
        Email::parse("administratrix@example.com").unwrap()
    }

    #[test]
    fn what_everybody_tries_is_not_taken() {
        for bad in [
            "short",
            "123456789",
            "aaaaaaaaaaaa",
            "Password123",
            "QWERTYUIOP",
            "Administratrix",
            "ADMINISTRATRIX@example.com",
        ] {
            assert!(check(bad, &ada()).is_err(), "{bad}");
        }
        assert!(check(&"é".repeat(257), &ada()).is_err());
        for good in ["four words make it", "größer als zehn", "Tr0ub4dor&3x"] {
            assert!(check(good, &ada()).is_ok(), "{good}");
        }
        assert!(COMMONEST.iter().all(|one| one.chars().count() >= CHARS_MIN && one.to_lowercase() == *one));
    }

    #[test]
    fn a_hash_is_of_its_password_alone() {
        let stored = hash("four words make it", &[7; SALT_BYTES]).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("four words make it", Some(&stored)));
        assert!(!verify("four words make it ", Some(&stored)));
        assert!(!verify("four words make it", None));
        assert_ne!(stored, hash("four words make it", &[8; SALT_BYTES]).unwrap());
    }

    #[test]
    fn a_damaged_row_opens_nothing_and_takes_no_memory() {
        for damaged in [
            "",
            "$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
            "$argon2id$v=19$m=4294967295,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
        ] {
            assert!(parse(damaged).is_none(), "{damaged}");
        }
    }

    #[test]
    fn the_function_is_argon2id_of_the_reference_implementation() {
        // `echo -n password | argon2 somesalt -id -t 2 -k 256 -p 1 -l 32` of the reference implementation's tests.
        let derived = derive("password", b"somesalt", (256, 2, 1)).unwrap();
        let hex: String = derived.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe");
    }
}
