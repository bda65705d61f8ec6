//! S3: builds one AES-GCM ciphertext that decrypts under two keys, and shows that the envelope refuses it.
//!
//! GHASH is linear in each block of the ciphertext, so who knows both keys can choose one block such that both tags
//! come out equal (Dodis, Grubbs, Ristenpart, Woodage: "Fast Message Franking", 2018).

use ring::{aead, hmac};

use crate::envelope::{self, FORMAT, Parts, SessionKeys};
use crate::{Error, aad};

/// A product in GHASH's field (NIST SP 800-38D, algorithm 1).
fn times(x: u128, y: u128) -> u128 {
    let mut product = 0;
    let mut factor = y;
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            product ^= factor;
        }
        let carry = factor & 1 == 1;
        factor >>= 1;
        if carry {
            factor ^= 0xe1 << 120;
        }
    }
    product
}

/// By Fermat: x^(2^128 - 2).
fn inverse(x: u128) -> u128 {
    let one = 1 << 127;
    let (mut result, mut power) = (one, x);
    for _ in 1..128 {
        power = times(power, power);
        result = times(result, power);
    }
    result
}

fn block(bytes: &[u8]) -> u128 {
    let mut padded = [0; 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(padded)
}

fn lengths(aad: &[u8], body: &[u8]) -> u128 {
    (aad.len() as u128 * 8) << 64 | (body.len() as u128 * 8)
}

/// What an attacker who has the key knows of it: H, and the block that masks the tag.
struct Known {
    key: aead::LessSafeKey,
    h: u128,
    mask: u128,
}

impl Known {
    fn of(key: &[u8; 32], nonce: [u8; 12]) -> Known {
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).expect("32 bytes"));
        let tag = |aad: &[u8]| {
            let nonce = aead::Nonce::assume_unique_for_key(nonce);
            let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), &mut []).expect("short");
            block(tag.as_ref())
        };
        // Of nothing the tag is the mask; of one zero block of additional data it is L·H + mask.
        let mask = tag(&[]);
        let zeros = [0; 16];
        let h = times(inverse(lengths(&zeros, &[])), tag(&zeros) ^ mask);
        Known { key, h, mask }
    }

    fn tag(&self, aad: &[u8], body: &[u8]) -> u128 {
        let blocks = aad.chunks(16).chain(body.chunks(16)).map(block).chain([lengths(aad, body)]);
        blocks.fold(0, |hash, block| times(hash ^ block, self.h)) ^ self.mask
    }

    fn opens(&self, nonce: [u8; 12], aad: &[u8], body_and_tag: &[u8]) -> bool {
        let mut buffer = body_and_tag.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.key.open_in_place(nonce, aead::Aad::from(aad), &mut buffer).is_ok()
    }
}

/// A body of two blocks with the tag that is right under both keys.
fn salamander(one: &Known, two: &Known, aad: &[u8]) -> Vec<u8> {
    let mut body = vec![0x5a; 32];
    body[16..].fill(0);
    let difference = one.tag(aad, &body) ^ two.tag(aad, &body);
    // The last block is multiplied by H twice: once at its place, once with the lengths.
    let factor = times(one.h, one.h) ^ times(two.h, two.h);
    body[16..].copy_from_slice(&times(difference, inverse(factor)).to_be_bytes());
    let tag = one.tag(aad, &body);
    assert_eq!(tag, two.tag(aad, &body), "both tags agree");
    body.extend_from_slice(&tag.to_be_bytes());
    body
}

#[test]
fn s3_a_ciphertext_of_two_keys_is_rejected() {
    let (key_one, key_two) = ([1; 32], [2; 32]);
    let (salt, nonce) = ([3; 16], [4; 12]);
    let aad = aad(&[b"tenant", b"name", b"1"]);
    let known = |key| Known::of(&envelope::derive(key, &salt, b"cipher"), nonce);
    let (one, two) = (known(&key_one), known(&key_two));
    let body = salamander(&one, &two, &aad);
    assert!(one.opens(nonce, &aad, &body) && two.opens(nonce, &aad, &body), "AES-GCM alone accepts both");

    // Dressed as an envelope of key one, with key one's genuine commitment, it opens there …
    let dress = |key: &[u8; 32], commitment_of: &[u8; 32]| {
        let mut whole = vec![FORMAT];
        whole.extend(envelope::derive::<8>(key, b"", b"key id"));
        whole.extend(salt);
        whole.extend(nonce);
        let commitment: [u8; 32] = envelope::derive(commitment_of, &salt, b"commitment");
        let mut message = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &commitment));
        message.update(&whole);
        message.update(&aad);
        whole.extend_from_slice(message.sign().as_ref());
        whole.extend_from_slice(&body);
        whole
    };
    let open = |key: &[u8; 32], whole: &[u8]| {
        SessionKeys::derive(key, salt).open(&Parts::split(whole).expect("whole"), &aad)
    };
    let of_one = dress(&key_one, &key_one);
    assert!(open(&key_one, &of_one).is_ok());
    // … and nowhere else, whichever key it claims.
    assert_eq!(open(&key_two, &of_one), Err(Error::Damaged));
    assert_eq!(open(&key_two, &dress(&key_two, &key_one)), Err(Error::Damaged));
    let key = crate::DataKey::new(key_two, base::SystemRandom::shared());
    assert_eq!(key.open(&aad, &of_one), Err(Error::WrongKey));
}
