//! Identifiers, time and randomness.

use base::{
    Clock, ManualClock, Random, SeededRandom, SharedRandom, SystemClock, SystemRandom, TenantId, Timestamp,
};
use proptest::prelude::*;
use std::time::Duration;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time in the test")
}

/// The pair of text and UUID that the TypeID specification gives in its `valid.json`.
#[test]
fn the_specification_s_examples_are_read_and_written() {
    let id = TenantId::parse("ten_01h455vb4pex5vsknk084sn02q").expect("valid");
    let bytes: [u8; 16] = 0x0189_0a5d_ac96_774b_bcce_b302_099a_8057_u128.to_be_bytes();
    assert_eq!(id.as_bytes(), &bytes);
    assert_eq!(TenantId::from_uuid_bytes(bytes).to_string(), "ten_01h455vb4pex5vsknk084sn02q");
    assert_eq!(TenantId::from_uuid_bytes([0xff; 16]).to_string(), "ten_7zzzzzzzzzzzzzzzzzzzzzzzzz");
}

#[test]
fn nothing_but_the_canonical_text_is_read() {
    let wrong = [
        "",
        "ten",
        "ten_",
        "01h455vb4pex5vsknk084sn02q",
        "env_01h455vb4pex5vsknk084sn02q",
        "TEN_01h455vb4pex5vsknk084sn02q",
        "ten_01H455VB4PEX5VSKNK084SN02Q",
        "ten_81h455vb4pex5vsknk084sn02q",
        "ten_01h455vb4pex5vsknk084sn02",
        "ten_01h455vb4pex5vsknk084sn02qq",
        "ten_01h455vb4pex5vsknk084sn02i",
        " ten_01h455vb4pex5vsknk084sn02q",
        "ten__1h455vb4pex5vsknk084sn02q",
        "ten_01h455vb4pex5vsknk084sn02\u{e9}",
    ];
    for text in wrong {
        assert!(TenantId::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn identifiers_sort_by_the_microsecond_and_are_version_7() {
    let clock = ManualClock::new(at("2026-11-20T17:05:00Z"));
    let random = SeededRandom::new(1);
    let mut last = TenantId::new(&clock, &random);
    for _ in 0..5_000 {
        clock.advance(Duration::from_micros(1));
        let next = TenantId::new(&clock, &random);
        assert!(next > last && next.to_string() > last.to_string());
        last = next;
    }
    assert_eq!(last.as_bytes()[6] >> 4, 7);
    assert_eq!(last.as_bytes()[8] >> 6, 0b10);
    let millis = u64::from_be_bytes([
        0,
        0,
        last.as_bytes()[0],
        last.as_bytes()[1],
        last.as_bytes()[2],
        last.as_bytes()[3],
        last.as_bytes()[4],
        last.as_bytes()[5],
    ]);
    assert_eq!(millis as i64, clock.now().micros() / 1_000);
}

#[test]
fn identifiers_of_one_instant_differ() {
    let clock = ManualClock::new(at("2026-11-20T17:05:00Z"));
    let random = SystemRandom;
    let all: std::collections::HashSet<TenantId> =
        (0..10_000).map(|_| TenantId::new(&clock, &random)).collect();
    assert_eq!(all.len(), 10_000);
}

#[test]
fn the_schema_of_an_identifier_is_its_pattern() {
    let schema = schemars::schema_for!(TenantId).to_value();
    assert_eq!(schema["pattern"], "^ten_[0-7][0-9a-hjkmnp-tv-z]{25}$");
}

#[test]
fn times_are_read_with_any_offset_and_written_in_utc() {
    assert_eq!(at("2026-11-20T18:05:00.5+01:00").to_string(), "2026-11-20T17:05:00.5Z");
    assert_eq!(serde_json::to_string(&at("2026-11-20T17:05:00Z")).expect("json"), "\"2026-11-20T17:05:00Z\"");
    for wrong in [
        "",
        "2026-11-20",
        "2026-11-20T17:05:00",
        "2026-11-20T17:05Z",
        "20261120T170500Z",
        "now",
        "2026-13-20T17:05:00Z",
        "2026-11-20T17:05:00+01:00[Europe/Berlin]",
        "2026-11-20T17:05:00\u{e9}\u{e9}",
    ] {
        assert!(Timestamp::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn arithmetic_with_times_saturates() {
    let now = at("2026-11-20T17:05:00Z");
    assert_eq!((now + Duration::from_secs(60)).since(now), Duration::from_secs(60));
    assert_eq!(now.since(now + Duration::from_secs(1)), Duration::ZERO);
    let end = now + Duration::MAX;
    assert!(end > now && end.to_string().starts_with("9999-12-30"));
    assert!((now - Duration::MAX).to_string().starts_with("0000-01-01"));
}

#[test]
fn a_manual_clock_stands_still_and_its_clones_share() {
    let clock = ManualClock::new(Timestamp::EPOCH);
    let shared = clock.shared();
    clock.advance(Duration::from_secs(5));
    assert_eq!((shared.now().seconds(), shared.monotonic()), (5, Duration::from_secs(5)));
    clock.set(Timestamp::EPOCH);
    assert_eq!((shared.now().seconds(), shared.monotonic()), (0, Duration::from_secs(5)));
    let system = SystemClock::shared();
    assert!(system.now() > at("2024-01-01T00:00:00Z") && system.monotonic() < Duration::from_secs(3_600));
}

#[test]
fn seeded_randomness_repeats_and_below_stays_below() {
    let take = |seed| -> SharedRandom { SeededRandom::shared(seed) };
    assert_eq!(take(7).array::<32>(), take(7).array::<32>());
    assert_ne!(take(7).array::<32>(), take(8).array::<32>());
    let random = take(9);
    let mut seen = [0_u32; 6];
    for _ in 0..6_000 {
        seen[usize::try_from(random.below(6)).expect("below 6")] += 1;
    }
    assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
    assert_eq!((random.below(0), random.below(1)), (0, 0));
    assert_ne!(SystemRandom.u64(), SystemRandom.u64());
}

proptest! {
    #[test]
    fn any_bytes_survive_their_text(bytes: [u8; 16]) {
        let id = TenantId::from_uuid_bytes(bytes);
        prop_assert_eq!(TenantId::parse(&id.to_string()), Ok(id));
        let json = serde_json::to_string(&id).expect("json");
        prop_assert_eq!(serde_json::from_str::<TenantId>(&json).expect("what we wrote"), id);
    }

    #[test]
    fn order_of_texts_is_order_of_bytes(a: [u8; 16], b: [u8; 16]) {
        let (a, b) = (TenantId::from_uuid_bytes(a), TenantId::from_uuid_bytes(b));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "(ten_)?\\PC{0,40}") {
        if let Ok(id) = TenantId::parse(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn times_survive_their_text(micros in -70_000_000_000_000_000_i64..260_000_000_000_000_000) {
        let time = Timestamp::from_micros(micros);
        prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
    }

    #[test]
    fn no_text_makes_reading_times_panic(text in "(2026-11-20T)?\\PC{0,30}") {
        let _ = Timestamp::parse(&text);
    }
}
