//! The sealed form of one message.
//!
//! ```text
//! offset  bytes  what
//! 0       1      format, 1
//! 1       8      key id: names the key, derived from it
//! 9       16     session salt
//! 25      12     nonce, random
//! 37      32     commitment
//! 69      n      ciphertext (AES-256-GCM)
//! 69+n    16     tag
//! ```
//!
//! From a key of 32 bytes HKDF-SHA256 (RFC 5869) derives the key id, and with the session's salt the AES key and the
//! commitment key. The commitment is HMAC-SHA256 over format, key id, salt, nonce and the additional data. AES-GCM by
//! itself is not committing: who knows two keys can build one ciphertext that opens under both (Dodis et al.,
//! "Fast Message Franking", 2018). Here that would take a collision of HMAC-SHA256 over two derived keys.

use ring::{aead, hkdf, hmac};

use crate::Error;

pub(crate) const FORMAT: u8 = 1;
pub(crate) const KEY_ID_BYTES: usize = 8;
pub(crate) const SALT_BYTES: usize = 16;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const COMMITMENT_BYTES: usize = 32;
pub(crate) const TAG_BYTES: usize = 16;

const SALT_AT: usize = 1 + KEY_ID_BYTES;
const NONCE_AT: usize = SALT_AT + SALT_BYTES;
const COMMITMENT_AT: usize = NONCE_AT + NONCE_BYTES;
const BODY_AT: usize = COMMITMENT_AT + COMMITMENT_BYTES;

/// Bytes that an envelope is longer than its plaintext.
pub const ENVELOPE_OVERHEAD_BYTES: usize = BODY_AT + TAG_BYTES;

/// The largest plaintext of one envelope: 256 MiB, far above any secret, event or chunk of a backup, far below
/// AES-GCM's own limit of 64 GiB.
pub const PLAINTEXT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Joins parts (scope, name, version …) into additional data, each with its length, so that no two lists of parts
/// give the same bytes.
#[must_use]
pub fn aad(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

/// The output length that [`hkdf::Prk::expand`] asks for as a type.
struct OutputBytes(usize);

impl hkdf::KeyType for OutputBytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256 of `key` with `salt`; `purpose` separates what is derived.
pub(crate) fn derive<const N: usize>(key: &[u8; 32], salt: &[u8], purpose: &[u8]) -> [u8; N] {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    let mut out = [0; N];
    prk.expand(&[b"switchyard/vault/1/", purpose], OutputBytes(N))
        .and_then(|okm| okm.fill(&mut out))
        .expect("N is far below the 8,160 bytes that HKDF-SHA256 can give");
    out
}

/// The two keys that one salt gives.
pub(crate) struct SessionKeys {
    pub(crate) salt: [u8; SALT_BYTES],
    cipher: aead::LessSafeKey,
    commitment: hmac::Key,
}

impl SessionKeys {
    pub(crate) fn derive(key: &[u8; 32], salt: [u8; SALT_BYTES]) -> SessionKeys {
        let cipher: [u8; 32] = derive(key, &salt, b"cipher");
        let commitment: [u8; 32] = derive(key, &salt, b"commitment");
        let cipher = aead::UnboundKey::new(&aead::AES_256_GCM, &cipher).expect("AES-256 takes 32 bytes");
        SessionKeys {
            salt,
            cipher: aead::LessSafeKey::new(cipher),
            commitment: hmac::Key::new(hmac::HMAC_SHA256, &commitment),
        }
    }

    pub(crate) fn seal(
        &self,
        key_id: [u8; KEY_ID_BYTES],
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(Error::TooLarge { bytes: plaintext.len() });
        }
        let mut envelope = Vec::with_capacity(plaintext.len() + ENVELOPE_OVERHEAD_BYTES);
        envelope.push(FORMAT);
        envelope.extend_from_slice(&key_id);
        envelope.extend_from_slice(&self.salt);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(self.commit(&envelope, aad).as_ref());
        envelope.extend_from_slice(plaintext);
        let tag = self
            .cipher
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad),
                &mut envelope[BODY_AT..],
            )
            .map_err(|_| Error::TooLarge { bytes: plaintext.len() })?;
        envelope.extend_from_slice(tag.as_ref());
        Ok(envelope)
    }

    pub(crate) fn open(&self, parts: &Parts<'_>, aad: &[u8]) -> Result<Vec<u8>, Error> {
        let mut message = hmac::Context::with_key(&self.commitment);
        message.update(parts.header);
        message.update(aad);
        let expected = message.sign();
        if !equal(expected.as_ref(), parts.commitment) {
            return Err(Error::Damaged);
        }
        let mut body = parts.body.to_vec();
        let plaintext = self
            .cipher
            .open_in_place(aead::Nonce::assume_unique_for_key(parts.nonce), aead::Aad::from(aad), &mut body)
            .map_err(|_| Error::Damaged)?
            .len();
        body.truncate(plaintext);
        Ok(body)
    }

    fn commit(&self, header: &[u8], aad: &[u8]) -> hmac::Tag {
        let mut message = hmac::Context::with_key(&self.commitment);
        message.update(header);
        message.update(aad);
        message.sign()
    }
}

/// An envelope taken apart, nothing of it trusted yet.
pub(crate) struct Parts<'a> {
    header: &'a [u8],
    pub(crate) key_id: [u8; KEY_ID_BYTES],
    pub(crate) salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    commitment: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// # Errors
    /// [`Error::Damaged`] when it is too short or of another format.
    pub(crate) fn split(envelope: &'a [u8]) -> Result<Parts<'a>, Error> {
        if envelope.len() < ENVELOPE_OVERHEAD_BYTES || envelope[0] != FORMAT {
            return Err(Error::Damaged);
        }
        Ok(Parts {
            header: &envelope[..COMMITMENT_AT],
            key_id: array(&envelope[1..SALT_AT]),
            salt: array(&envelope[SALT_AT..NONCE_AT]),
            nonce: array(&envelope[NONCE_AT..COMMITMENT_AT]),
            commitment: &envelope[COMMITMENT_AT..BODY_AT],
            body: &envelope[BODY_AT..],
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the offsets above are N apart")
}

/// Equality whose time does not depend on where the two differ.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |seen, (l, r)| seen | (l ^ r)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additional_data_of_different_parts_differs() {
        assert_ne!(aad(&[b"a", b"bc"]), aad(&[b"ab", b"c"]));
        assert_ne!(aad(&[b"a"]), aad(&[b"a", b""]));
        assert_ne!(aad(&[]), aad(&[b""]));
    }

    #[test]
    fn hkdf_separates_purposes_and_salts() {
        let key = [7; 32];
        let one: [u8; 32] = derive(&key, b"salt", b"one");
        assert_ne!(one, derive::<32>(&key, b"salt", b"two"));
        assert_ne!(one, derive::<32>(&key, b"tlas", b"one"));
        assert_eq!(one, derive::<32>(&key, b"salt", b"one"));
    }

    #[test]
    fn comparison_is_of_all_bytes() {
        assert!(equal(b"same", b"same"));
        assert!(!equal(b"same", b"sama"));
        assert!(!equal(b"same", b"sam"));
    }
}
