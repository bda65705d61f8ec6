//! What is made up for after a downtime, and jitter.

use std::time::Duration;

use base::{ScheduleId, Timestamp};
use schedules::model::{CATCH_UP_MAX, CatchUp, Clockwork, Cron, Reckoning, Timing, Zone, reckon};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn cron(expression: &str, jitter: Duration) -> Clockwork {
    let timing = Timing::Cron { cron: Box::new(Cron::parse(expression).unwrap()), zone: Zone::utc() };
    Clockwork { timing, jitter, schedule: ScheduleId::from_uuid_bytes([7; 16]) }
}

fn minutes(jitter: Duration) -> Clockwork {
    cron("* * * * *", jitter)
}

#[test]
fn on_time_is_one_firing_whatever_the_policy() {
    for policy in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
        let due = at("2026-01-01T00:01:00Z");
        let found = reckon(&minutes(Duration::ZERO), due, at("2026-01-01T00:01:08Z"), policy, None);
        let next = Some(at("2026-01-01T00:02:00Z"));
        assert_eq!(found, Reckoning { fire: vec![due], skipped: 0, from: due, next, allowance: None });
    }
}

#[test]
fn a_downtime_is_skipped_stood_for_by_one_or_made_up_for() {
    let clockwork = cron("0 * * * *", Duration::ZERO);
    let (due, now) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T06:30:00Z"));
    let (last, next) = (at("2026-01-01T06:00:00Z"), Some(at("2026-01-01T07:00:00Z")));
    let found = reckon(&clockwork, due, now, CatchUp::Skip, None);
    assert_eq!(found, Reckoning { fire: vec![], skipped: 6, from: last, next, allowance: None });
    let found = reckon(&clockwork, due, now, CatchUp::Once, None);
    assert_eq!(found, Reckoning { fire: vec![last], skipped: 5, from: last, next, allowance: None });
    let found = reckon(&clockwork, due, now, CatchUp::All, None);
    assert_eq!((found.fire.len(), found.fire[0], found.fire[5]), (6, due, last));
    assert_eq!((found.skipped, found.next, found.allowance), (0, next, None));
    // The one that is not yet a minute late is not missed.
    let found = reckon(&clockwork, due, at("2026-01-01T06:00:59Z"), CatchUp::Skip, None);
    assert_eq!((found.fire, found.skipped), (vec![last], 5));
}

#[test]
fn all_makes_up_for_the_oldest_thousand_in_portions() {
    let clockwork = cron("* * * * * *", Duration::ZERO);
    let now = at("2026-01-01T06:00:00Z");
    let (mut due, mut allowance, mut fired) = (at("2026-01-01T00:00:00Z"), None, Vec::new());
    let end = loop {
        let found = reckon(&clockwork, due, now, CatchUp::All, allowance);
        assert!(found.fire.len() <= 50);
        fired.extend(found.fire.iter().copied());
        match found.allowance {
            Some(_) => (due, allowance) = (found.next.unwrap(), found.allowance),
            None => break found,
        }
    };
    let expected: Vec<Timestamp> = (0..u64::from(CATCH_UP_MAX))
        .map(|second| at("2026-01-01T00:00:00Z") + Duration::from_secs(second))
        .collect();
    assert_eq!(fired, expected);
    assert_eq!((end.from, end.next), (now, Some(at("2026-01-01T06:00:01Z"))));
    assert!(end.skipped > 0);
}

#[test]
fn years_of_downtime_take_no_time() {
    let clockwork = cron("* * * * * *", Duration::ZERO);
    let now = at("2036-05-06T07:08:09.5Z");
    let found = reckon(&clockwork, at("2026-01-01T00:00:00Z"), now, CatchUp::Once, None);
    assert_eq!(found.fire, [at("2036-05-06T07:08:09Z")]);
    assert_eq!(found.next, Some(at("2036-05-06T07:08:10Z")));
    let every = Timing::Every { every: Duration::from_secs(7), anchor: at("2026-01-01T00:00:00Z") };
    let last = every.last_until(at("2026-01-01T00:00:07Z"), now);
    assert_eq!((last.seconds() - at("2026-01-01T00:00:00Z").seconds()) % 7, 0);
    assert!(now.since(last) < Duration::from_secs(7));
}

#[test]
fn jitter_is_the_same_each_time_and_spreads_evenly() {
    let clockwork = minutes(Duration::from_secs(60));
    let due = at("2026-01-01T00:01:00Z");
    assert_eq!(clockwork.fires_at(due), clockwork.fires_at(due));
    let mut tenths = [0; 10];
    for due in clockwork.next(due, 10_000) {
        let late = clockwork.fires_at(due).since(due);
        assert!(late <= Duration::from_secs(60));
        tenths[usize::try_from(late.as_millis() / 6_001).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|count| (850..1_150).contains(count)), "{tenths:?}");
    let others: std::collections::BTreeSet<Duration> = (0..100_u8)
        .map(|id| Clockwork { schedule: ScheduleId::from_uuid_bytes([id; 16]), ..clockwork.clone() })
        .map(|one| one.fires_at(due).since(due))
        .collect();
    assert!(others.len() > 95, "schedules of the same time do not fire together");
}

#[test]
fn an_interval_counts_from_its_anchor() {
    let every = Timing::Every { every: Duration::from_secs(300), anchor: at("2026-01-01T00:00:07Z") };
    assert_eq!(every.after(at("2026-01-01T00:00:07Z")), Some(at("2026-01-01T00:05:07Z")));
    assert_eq!(every.after(at("2026-01-01T00:05:06.999999Z")), Some(at("2026-01-01T00:05:07Z")));
    assert_eq!(every.after(at("2025-12-31T23:59:00Z")), Some(at("2026-01-01T00:00:07Z")));
}
