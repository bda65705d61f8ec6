//! Durations, sizes, rates, dates, ranges of addresses.

use base::{
    ByteSize, Cidr, DURATION_MAX, DurationError, HumanDuration, Rate, RateError, SizeError, Timestamp,
};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn durations_are_read_as_people_write_them() {
    let read = |text: &str| HumanDuration::parse(text).map(|duration| duration.0);
    assert_eq!(read("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(read("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(read("1h30m"), Ok(Duration::from_secs(5_400)));
    assert_eq!(read("30d"), Ok(Duration::from_secs(30 * 86_400)));
    assert_eq!(read("0s"), Ok(Duration::ZERO));
    assert_eq!(read("36500d"), Ok(DURATION_MAX));
    for wrong in ["", "5", "s", "5 s", "-5s", "5S", "1.5h", "5m1h", "1h1h", "5min", "٥s", "5s "] {
        assert_eq!(read(wrong), Err(DurationError::Form), "{wrong:?}");
    }
    for long in ["36501d", "99999999999999999999s", "18446744073709551615d"] {
        assert_eq!(read(long), Err(DurationError::TooLong), "{long:?}");
    }
}

#[test]
fn durations_are_written_in_the_largest_unit_that_divides_them() {
    let written = |seconds| HumanDuration(Duration::from_secs(seconds)).to_string();
    assert_eq!([written(0), written(90), written(300), written(86_400)], ["0s", "90s", "5m", "1d"]);
}

#[test]
fn sizes_are_read_as_text_and_as_numbers() {
    let read = |text: &str| ByteSize::parse(text).map(|size| size.0);
    assert_eq!(read("512MiB"), Ok(512 << 20));
    assert_eq!(read("1GB"), Ok(1_000_000_000));
    assert_eq!(read("17"), Ok(17));
    for wrong in ["", "MiB", "5 MB", "5mb", "5M", "-1", "1.5GB", "5MiBs"] {
        assert_eq!(read(wrong), Err(SizeError::Form), "{wrong:?}");
    }
    assert_eq!(read("8388608TiB"), Err(SizeError::TooLarge));
    assert_eq!(serde_json::from_str::<ByteSize>("1024").expect("bytes"), ByteSize(1_024));
    assert_eq!(serde_json::from_str::<ByteSize>("\"1KiB\"").expect("text"), ByteSize(1_024));
    assert!(serde_json::from_str::<ByteSize>("-1").is_err());
    assert!(serde_json::from_str::<ByteSize>("1.5").is_err());
    assert_eq!(
        [ByteSize(0), ByteSize(1_000_000), ByteSize(1 << 30)].map(|s| s.to_string()),
        ["0B", "1MB", "1GiB"]
    );
}

#[test]
fn rates_are_read_over_units_and_durations() {
    assert_eq!(Rate::parse("60/min"), Ok(Rate::per_minute(60)));
    assert_eq!(Rate::parse("100/10s"), Ok(Rate { count: 100, per: Duration::from_secs(10) }));
    assert_eq!(Rate::parse("60/60s").expect("valid").to_string(), "60/min");
    for wrong in ["", "60", "/min", "60/", "60/m", "60 /min", "x/s", "60/min/s", "6e1/s"] {
        assert_eq!(Rate::parse(wrong), Err(RateError::Form), "{wrong:?}");
    }
    assert_eq!(Rate::parse("0/s"), Err(RateError::Count));
    assert_eq!(Rate::parse("4294967296/s"), Err(RateError::Count));
    assert_eq!(Rate::parse("1/32d"), Err(RateError::Span));
    assert_eq!(Rate::parse("1/5ms"), Err(RateError::Span));
}

#[test]
fn ranges_of_addresses_hold_what_they_should() {
    let holds = |range: &str, address: &str| {
        Cidr::parse(range).expect("a range").contains(address.parse().expect("an address"))
    };
    assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.0"));
    assert!(holds("0.0.0.0/0", "255.1.2.3") && !holds("0.0.0.0/0", "::1"));
    assert!(holds("::/0", "::1") && holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe80::1"));
    assert!(holds("127.0.0.1/32", "127.0.0.1") && !holds("127.0.0.1/32", "127.0.0.2"));
    assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
    for wrong in
        ["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "a/8", "10.0.0/8"]
    {
        assert!(Cidr::parse(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn durations_survive_their_text(micros in 0_u64..3_000_000_000_000_000) {
        let duration = HumanDuration(Duration::from_micros(micros));
        prop_assert_eq!(HumanDuration::parse(&duration.to_string()), Ok(duration));
    }

    #[test]
    fn sizes_survive_their_text(bytes in 0..=i64::MAX as u64) {
        prop_assert_eq!(ByteSize::parse(&ByteSize(bytes).to_string()), Ok(ByteSize(bytes)));
    }

    #[test]
    fn rates_survive_their_text(count in 1_u32.., seconds in 1_u64..2_678_400) {
        let rate = Rate { count, per: Duration::from_secs(seconds) };
        prop_assert_eq!(Rate::parse(&rate.to_string()), Ok(rate));
    }

    #[test]
    fn no_text_makes_them_panic(text in "[0-9]{0,25}(ms|s|d|MiB|TB|/min|/5s|/|\\PC){0,3}") {
        let _ = (HumanDuration::parse(&text), ByteSize::parse(&text), Rate::parse(&text), Cidr::parse(&text));
    }
}

#[test]
fn dates_of_http_are_read_in_their_three_forms() {
    let at = |text: &str| Timestamp::parse(text).expect("a time");
    let now = at("2026-11-20T17:05:00Z");
    let read = |text: &str| Timestamp::parse_http(text, now);
    for same in
        ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    {
        assert_eq!(read(same), Ok(at("1994-11-06T08:49:37Z")), "{same}");
    }
    assert_eq!(read("Thursday, 01-Oct-76 00:00:00 GMT"), Ok(at("2076-10-01T00:00:00Z")), "50 years ahead");
    assert_eq!(read("Friday, 01-Oct-77 00:00:00 GMT"), Ok(at("1977-10-01T00:00:00Z")));
    assert_eq!(read("Thu, 29 Feb 2024 23:59:60 GMT"), Ok(at("2024-02-29T23:59:59Z")), "a leap second");
    for wrong in [
        "",
        "GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 2023 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06 Nov 1994 08:49:37:00 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 0\u{666} Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ] {
        assert!(read(wrong).is_err(), "{wrong:?}");
    }
}
