//! Daylight saving and other changes of the clock (TORTURE F24).

use std::time::Duration;

use base::{ScheduleId, Timestamp};
use schedules::model::{Clockwork, Cron, Timing, Zone, Zones};

fn zoned(expression: &str, zone: &str) -> Clockwork {
    let zone = Zones::system().find(zone).unwrap();
    let timing = Timing::Cron { cron: Box::new(Cron::parse(expression).unwrap()), zone };
    Clockwork { timing, jitter: Duration::ZERO, schedule: ScheduleId::from_uuid_bytes([7; 16]) }
}

fn zone_of(clockwork: &Clockwork) -> &Zone {
    match &clockwork.timing {
        Timing::Cron { zone, .. } => zone,
        Timing::Every { .. } => panic!("an interval has no zone"),
    }
}

/// The firings after a moment, in local time with its offset.
#[track_caller]
fn check(expression: &str, zone: &str, after: &str, expected: &[&str]) {
    let clockwork = zoned(expression, zone);
    let next = clockwork.next(Timestamp::parse(after).unwrap(), expected.len());
    let local: Vec<String> = next.into_iter().map(|due| zone_of(&clockwork).local_text(due)).collect();
    assert_eq!(local, expected, "{expression} in {zone}");
}

#[test]
fn f24_a_skipped_local_time_fires_once_right_after_the_gap() {
    // Berlin goes from 02:00 to 03:00 on 29 March 2026.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-27T12:00:00Z",
        &["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
    );
    // All local times of the gap, and the one at its end, are one firing.
    check(
        "*/15 2,3 * * *",
        "Europe/Berlin",
        "2026-03-28T22:00:00Z",
        &["2026-03-29T03:00:00+02:00", "2026-03-29T03:15:00+02:00"],
    );
    // The day of a skipped time counts, not that of the moment: Cuba skips midnight.
    check(
        "0 0 8 3 *",
        "America/Havana",
        "2026-03-07T12:00:00Z",
        &["2026-03-08T01:00:00-04:00", "2027-03-08T00:00:00-05:00"],
    );
    // Samoa left out a whole day when it crossed the date line.
    check(
        "0 9 30 12 *",
        "Pacific/Apia",
        "2011-12-29T00:00:00Z",
        &["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"],
    );
}

#[test]
fn f24_a_repeated_local_time_fires_the_first_time_only() {
    // Berlin goes from 03:00 back to 02:00 on 25 October 2026.
    check(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-23T12:00:00Z",
        &["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
    );
    // Asked in the middle of the repetition, it is over for the day.
    check("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", &["2026-10-26T02:30:00+01:00"]);
    check(
        "*/30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T22:00:00Z",
        &["2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:00:00+01:00"],
    );
}

#[test]
fn f24_open_hours_follow_elapsed_time() {
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-03-29T00:20:00Z",
        &["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
    );
    check(
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-10-24T23:50:00Z",
        &[
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    check(
        "0 */2 * * *",
        "Europe/Berlin",
        "2026-03-28T22:30:00Z",
        &["2026-03-29T00:00:00+01:00", "2026-03-29T04:00:00+02:00", "2026-03-29T06:00:00+02:00"],
    );
    // Lord Howe moves by half an hour.
    check(
        "0 * * * *",
        "Australia/Lord_Howe",
        "2026-10-03T14:10:00Z",
        &["2026-10-04T01:00:00+10:30", "2026-10-04T03:00:00+11:00"],
    );
    check(
        "@hourly",
        "UTC",
        "2026-03-29T00:20:00Z",
        &["2026-03-29T01:00:00+00:00", "2026-03-29T02:00:00+00:00"],
    );
}

#[test]
fn f24_changed_rules_move_what_is_still_to_come() {
    // The same name with and without daylight saving.
    let now =
        Zones::of_rules(&[("Test/City", "CET-1CEST,M3.5.0,M10.5.0/3")]).unwrap().find("Test/City").unwrap();
    let then = Zones::of_rules(&[("Test/City", "CET-1")]).unwrap().find("Test/City").unwrap();
    let due = |zone: Zone| {
        let cron = Box::new(Cron::parse("0 9 * * *").unwrap());
        Timing::Cron { cron, zone }
            .after(Timestamp::parse("2026-07-01T12:00:00Z").unwrap())
            .unwrap()
            .to_string()
    };
    assert_eq!(due(now), "2026-07-02T07:00:00Z");
    assert_eq!(due(then), "2026-07-02T08:00:00Z");
}

/// Whether an hour or minute matches.
type Part = fn(i8) -> bool;

/// Every second of a span whose local time the naive rules match, each local time of named hours once: a second way to
/// the same answer.
fn naive(
    hours: &dyn Fn(i8) -> bool,
    minutes: &dyn Fn(i8) -> bool,
    zone: &str,
    open: bool,
    span: (i64, i64),
) -> Vec<i64> {
    let rules = jiff::tz::TimeZone::get(zone).unwrap();
    let local = |second: i64| rules.to_datetime(jiff::Timestamp::from_second(second).unwrap());
    let matches = |at: jiff::civil::DateTime| at.second() == 0 && minutes(at.minute()) && hours(at.hour());
    let mut firings = Vec::new();
    let mut latest = local(span.0 - 60);
    for second in (span.0..span.1).step_by(60) {
        let (before, at) = (local(second - 60), local(second));
        if open {
            firings.extend(matches(at).then_some(second));
            continue;
        }
        // Local times that the clock passed over since the minute before, this one included, and that it had not shown.
        let mut passed = before.checked_add(jiff::Span::new().minutes(1)).unwrap();
        let mut is_due = false;
        while passed <= at {
            is_due |= passed > latest && matches(passed);
            passed = passed.checked_add(jiff::Span::new().minutes(1)).unwrap();
        }
        firings.extend(is_due.then_some(second));
        latest = latest.max(at);
    }
    firings
}

#[test]
fn f24_zones_of_every_kind_agree_with_counting_minutes() {
    let zones = [
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Kathmandu",
        "America/St_Johns",
        "UTC",
    ];
    let patterns: [(&str, Part, Part); 7] = [
        ("30 2 * * *", |hour| hour == 2, |minute| minute == 30),
        ("0 0,1,2,3 * * *", |hour| hour < 4, |minute| minute == 0),
        ("*/20 1-3 * * *", |hour| (1..=3).contains(&hour), |minute| minute % 20 == 0),
        ("*/15 * * * *", |_| true, |minute| minute % 15 == 0),
        ("10 */2 * * *", |hour| hour % 2 == 0, |minute| minute == 10),
        ("45 23 * * *", |hour| hour == 23, |minute| minute == 45),
        ("0 3 * * *", |hour| hour == 3, |minute| minute == 0),
    ];
    for zone in zones {
        let rules = jiff::tz::TimeZone::get(zone).unwrap();
        let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        // Three days around each change of the next two years.
        for change in rules.following(start).take(4) {
            let middle = change.timestamp().as_second() / 60 * 60;
            let span = (middle - 2 * 86_400, middle + 86_400);
            for (expression, hours, minutes) in &patterns {
                let clockwork = zoned(expression, zone);
                let open = expression.split(' ').nth(1).unwrap().starts_with('*');
                let expected = naive(hours, minutes, zone, open, span);
                let first = Timestamp::from_micros((span.0 - 1) * 1_000_000);
                let found: Vec<i64> =
                    std::iter::successors(clockwork.timing.after(first), |due| clockwork.timing.after(*due))
                        .map(Timestamp::seconds)
                        .take_while(|second| *second < span.1)
                        .collect();
                assert_eq!(found, expected, "{expression} in {zone} around {}", change.timestamp());
            }
        }
    }
}
