//! S1, S2.

use std::collections::HashSet;

use base::{Secret, SeededRandom, SystemRandom};
use proptest::prelude::*;
use vault::{DataKey, ENVELOPE_OVERHEAD_BYTES, Error, MasterKey, Vault, WrappedKey, aad};

pub(crate) const KEY: &str = "fdf264223880e332f65c939a930ee49731a4925ff77616a99c10f26dfe8e50c8";
const OTHER_KEY: &str = "18271bde44430721c2702654d51a8cb64c05350da730b1d675f82f48f11a4e24";

fn vault_of(key: &str) -> Vault {
    let master = MasterKey::parse(key, "the test").expect("a strong key");
    Vault::new(master, SystemRandom::shared())
}

fn data_key() -> DataKey {
    vault_of(KEY).new_data_key("ten_a").expect("the vault is open").0
}

#[test]
fn what_is_sealed_opens_again() {
    let vault = vault_of(KEY);
    let (key, wrapped) = vault.new_data_key("ten_a").expect("the vault is open");
    let place = aad(&[b"ten_a", b"API_TOKEN", b"1"]);
    for plaintext in [&b""[..], b"hunter2", &[0; 100_000]] {
        let sealed = key.seal(&place, plaintext).expect("small enough");
        assert_eq!(sealed.len(), plaintext.len() + ENVELOPE_OVERHEAD_BYTES);
        assert_eq!(key.open(&place, &sealed).as_deref(), Ok(plaintext));
        // After a restart: another session, another vault, the same master key.
        let again = vault_of(KEY).unwrap("ten_a", &WrappedKey::from_bytes(wrapped.as_bytes().to_vec()));
        let again = again.expect("the same master key");
        assert_eq!(again.open(&place, &sealed).as_deref(), Ok(plaintext));
        assert_eq!(
            again.open(&place, &sealed).as_deref(),
            Ok(plaintext),
            "the remembered session opens it too"
        );
    }
}

#[test]
fn s1_swapped_pieces_do_not_open() {
    let vault = vault_of(KEY);
    let (key_a, wrapped_a) = vault.new_data_key("ten_a").expect("the vault is open");
    let (key_b, _) = vault.new_data_key("ten_b").expect("the vault is open");
    let place = aad(&[b"ten_a", b"API_TOKEN", b"1"]);
    let sealed = key_a.seal(&place, b"secret of a").expect("small enough");
    for elsewhere in
        [&[&b"ten_b"[..], b"API_TOKEN", b"1"], &[b"ten_a", b"OTHER", b"1"], &[b"ten_a", b"API_TOKEN", b"2"]]
    {
        assert_eq!(key_a.open(&aad(elsewhere), &sealed), Err(Error::Damaged));
    }
    assert_eq!(key_b.open(&place, &sealed), Err(Error::WrongKey));
    // The wrapped key of one tenant in the row of another.
    assert!(matches!(vault.unwrap("ten_b", &wrapped_a), Err(Error::Damaged)));
    assert!(matches!(vault_of(OTHER_KEY).unwrap("ten_a", &wrapped_a), Err(Error::WrongKey)));
    // Nonce, salt or commitment of one envelope in another of the same key and place.
    let other = key_a.seal(&place, b"another one").expect("small enough");
    for range in [9..25, 25..37, 37..69, 69..sealed.len()] {
        let mut mixed = sealed.clone();
        if mixed[range.clone()] == other[range.clone()] {
            assert_eq!(range, 9..25, "only the salt is shared by one session");
            continue;
        }
        mixed[range.clone()].copy_from_slice(&other[range]);
        assert_eq!(key_a.open(&place, &mixed), Err(Error::Damaged));
    }
}

#[test]
fn s2_nonces_of_a_million_messages_are_unique() {
    let key = data_key();
    let mut seen = HashSet::with_capacity(1_000_000);
    for _ in 0..1_000_000 {
        let sealed = key.seal(b"", b"").expect("small enough");
        let nonce: [u8; 28] = sealed[9..37].try_into().expect("salt and nonce are 28 bytes");
        assert!(seen.insert(nonce), "a nonce came twice");
    }
}

#[test]
fn a_sealed_vault_says_why() {
    let vault = Vault::sealed("no master key");
    assert_eq!(vault.sealed_reason(), Some("no master key"));
    let sealed = Error::Sealed("no master key".to_owned());
    assert_eq!(vault.new_data_key("ten_a").map(drop), Err(sealed.clone()));
    assert_eq!(vault.unwrap("ten_a", &WrappedKey::from_bytes(vec![])).map(drop), Err(sealed.clone()));
    assert_eq!(vault.derive_key("backups").map(drop), Err(sealed.clone()));
    assert_eq!(vault.verify_check(&[0; 32]), Err(sealed));
}

#[test]
fn derived_keys_follow_from_the_master_key_and_purpose() {
    let sealed = vault_of(KEY).derive_key("backups").and_then(|key| key.seal(b"", b"x")).expect("open");
    let open = |vault: Vault, purpose| vault.derive_key(purpose).and_then(|key| key.open(b"", &sealed));
    assert_eq!(open(vault_of(KEY), "backups").as_deref(), Ok(&b"x"[..]));
    assert_eq!(open(vault_of(KEY), "other"), Err(Error::WrongKey));
    assert_eq!(open(vault_of(OTHER_KEY), "backups"), Err(Error::WrongKey));
}

#[test]
fn s5_nothing_prints_a_key() {
    let (key, wrapped) = vault_of(KEY).new_data_key("ten_a").expect("the vault is open");
    let master = MasterKey::parse(KEY, "the test").expect("a strong key");
    let byte = |at: usize| u8::from_str_radix(&KEY[2 * at..2 * at + 2], 16).expect("it is hex");
    let (first, second) = (byte(0), byte(1));
    let printed = format!("{key:?} {master:?} {:?} {:?}", vault_of(KEY), Secret::new(KEY.to_owned()));
    assert_eq!(printed.matches("[redacted]").count(), 3, "{printed}");
    assert!(!printed.contains(&KEY[..8]) && !printed.contains(&format!("{first}, {second}")), "{printed}");
    assert!(!wrapped.as_bytes().windows(4).any(|bytes| bytes == 0xfdf26422_u32.to_be_bytes()));
}

#[test]
fn seeded_randomness_gives_the_same_envelopes() {
    let sealed = || {
        let master = MasterKey::parse(KEY, "the test").expect("a strong key");
        let vault = Vault::new(master, SeededRandom::shared(7));
        vault.new_data_key("ten_a").and_then(|(key, _)| key.seal(b"", b"x")).expect("open")
    };
    assert_eq!(sealed(), sealed());
}

proptest! {
    #[test]
    fn s2_a_flipped_bit_or_a_cut_fails_closed(
        plaintext in proptest::collection::vec(any::<u8>(), 0..200),
        place in proptest::collection::vec(any::<u8>(), 0..40),
        at in any::<proptest::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let key = data_key();
        let sealed = key.seal(&place, &plaintext).expect("small enough");
        prop_assert_eq!(key.open(&place, &sealed), Ok(plaintext.clone()));
        let mut flipped = sealed.clone();
        flipped[at.index(sealed.len())] ^= 1 << bit;
        prop_assert!(key.open(&place, &flipped).is_err());
        prop_assert!(key.open(&place, &sealed[..at.index(sealed.len())]).is_err());
        let mut longer = sealed.clone();
        longer.push(0);
        prop_assert!(key.open(&place, &longer).is_err());
        let mut elsewhere = place.clone();
        elsewhere.push(0);
        prop_assert!(key.open(&elsewhere, &sealed).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = data_key();
        prop_assert!(key.open(b"", &bytes).is_err());
        prop_assert!(vault_of(KEY).unwrap("ten_a", &WrappedKey::from_bytes(bytes)).is_err());
    }
}
