//! Cron expressions: what they say, and what is said to who writes one wrongly (TORTURE J5).

use base::{ScheduleId, Slug, Timestamp};
use schedules::model::{Cron, Definition, Faults, Zones};

/// The next matches of an expression on a wall clock, from a date on.
#[track_caller]
fn check(expression: &str, from: &str, expected: &[&str]) {
    let cron = Cron::parse(expression).unwrap_or_else(|fault| panic!("{expression}: {fault}"));
    let mut from: jiff::civil::DateTime = from.parse().unwrap();
    for expected in expected {
        let next = cron.at_or_after(from).unwrap_or_else(|| panic!("{expression} ends before {expected}"));
        assert_eq!(next, expected.parse().unwrap(), "{expression}");
        from = next.checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
    }
}

#[test]
fn five_fields_six_fields_lists_ranges_and_steps() {
    check("0 2 * * *", "2026-01-01T00:00", &["2026-01-01T02:00", "2026-01-02T02:00"]);
    check(
        "*/20 9-10 * * *",
        "2026-01-01T09:50",
        &["2026-01-01T10:00", "2026-01-01T10:20", "2026-01-01T10:40", "2026-01-02T09:00"],
    );
    check(
        "*/25 * * * * *",
        "2026-01-01T00:00:26",
        &["2026-01-01T00:00:50", "2026-01-01T00:01:00", "2026-01-01T00:01:25"],
    );
    check(
        "5/15 0 * * *",
        "2026-01-01T00:00",
        &["2026-01-01T00:05", "2026-01-01T00:20", "2026-01-01T00:35", "2026-01-01T00:50", "2026-01-02T00:05"],
    );
    check(
        "1-9/4,30 0 * * *",
        "2026-01-01T00:00",
        &["2026-01-01T00:01", "2026-01-01T00:05", "2026-01-01T00:09", "2026-01-01T00:30"],
    );
    check("59 59 23 31 12 *", "2026-01-01T00:00", &["2026-12-31T23:59:59", "2027-12-31T23:59:59"]);
    check(
        "* * * * * *",
        "2026-12-31T23:59:58",
        &["2026-12-31T23:59:58", "2026-12-31T23:59:59", "2027-01-01T00:00:00"],
    );
}

#[test]
fn names_of_months_and_days() {
    check("0 0 1 jan,Jul *", "2026-02-01T00:00", &["2026-07-01T00:00", "2027-01-01T00:00"]);
    // 2026-01-01 is a Thursday.
    check("0 9 * * MON-FRI", "2026-01-02T10:00", &["2026-01-05T09:00", "2026-01-06T09:00"]);
    check(
        "0 9 * * fri-mon",
        "2026-01-01T00:00",
        &["2026-01-02T09:00", "2026-01-03T09:00", "2026-01-04T09:00", "2026-01-05T09:00", "2026-01-09T09:00"],
    );
    check(
        "0 9 * * 5-7",
        "2026-01-01T00:00",
        &["2026-01-02T09:00", "2026-01-03T09:00", "2026-01-04T09:00", "2026-01-09T09:00"],
    );
    check(
        "0 0 1 NOV-FEB *",
        "2026-02-02T00:00",
        &["2026-11-01T00:00", "2026-12-01T00:00", "2027-01-01T00:00", "2027-02-01T00:00", "2027-11-01T00:00"],
    );
    for sunday in ["0", "7", "SUN"] {
        check(&format!("0 0 * * {sunday}"), "2026-01-01T00:00", &["2026-01-04T00:00", "2026-01-11T00:00"]);
    }
}

#[test]
fn last_days_working_days_and_nth_weekdays() {
    check("0 0 L * *", "2027-01-30T00:00", &["2027-01-31T00:00", "2027-02-28T00:00", "2027-03-31T00:00"]);
    check("0 0 L 2 *", "2026-01-01T00:00", &["2026-02-28T00:00", "2027-02-28T00:00", "2028-02-29T00:00"]);
    check("0 0 L-2 * *", "2026-02-01T00:00", &["2026-02-26T00:00", "2026-03-29T00:00"]);
    // 31 January 2026 is a Saturday, 28 February too, 31 May a Sunday.
    check(
        "0 0 LW * *",
        "2026-01-01T00:00",
        &["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-31T00:00", "2026-04-30T00:00", "2026-05-29T00:00"],
    );
    // 15 February and 15 March 2026 are Sundays, 15 August a Saturday.
    check(
        "0 0 15W 2-3,8 *",
        "2026-01-01T00:00",
        &["2026-02-16T00:00", "2026-03-16T00:00", "2026-08-14T00:00"],
    );
    // It never leaves its month: 1 August 2026 is a Saturday, 31 May a Sunday; April has no 31st.
    check("0 0 1W 8 *", "2026-01-01T00:00", &["2026-08-03T00:00"]);
    check("0 0 31W 4,5 *", "2026-01-01T00:00", &["2026-05-29T00:00"]);
    check("0 0 * * FRI#2", "2026-01-01T00:00", &["2026-01-09T00:00", "2026-02-13T00:00"]);
    check("0 0 * * 4#5", "2026-01-01T00:00", &["2026-01-29T00:00", "2026-04-30T00:00"]);
    check("0 0 * * 5L", "2026-01-01T00:00", &["2026-01-30T00:00", "2026-02-27T00:00"]);
    check(
        "0 0 * * MONL,WED#1",
        "2026-01-01T00:00",
        &["2026-01-07T00:00", "2026-01-26T00:00", "2026-02-04T00:00"],
    );
}

#[test]
fn both_day_fields_mean_either() {
    check(
        "0 0 13 * FRI",
        "2026-01-01T00:00",
        &["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00", "2026-01-16T00:00"],
    );
    check("0 0 13 * ?", "2026-01-01T00:00", &["2026-01-13T00:00", "2026-02-13T00:00"]);
    check("0 0 ? * FRI", "2026-01-01T00:00", &["2026-01-02T00:00", "2026-01-09T00:00"]);
}

#[test]
fn words_for_common_ones() {
    check("@yearly", "2026-01-02T00:00", &["2027-01-01T00:00"]);
    check("@monthly", "2026-01-02T00:00", &["2026-02-01T00:00"]);
    check("@weekly", "2026-01-02T00:00", &["2026-01-04T00:00"]);
    check("@Daily", "2026-01-02T00:01", &["2026-01-03T00:00"]);
    check("@midnight", "2026-01-02T00:01", &["2026-01-03T00:00"]);
    check("@hourly", "2026-01-02T00:01", &["2026-01-02T01:00"]);
}

#[test]
fn the_rarest_days_are_found_and_none_is_known_as_such() {
    check("0 0 29 2 *", "2097-01-01T00:00", &["2104-02-29T00:00"]);
    // A fifth Monday of a February: 40 years apart across 2100.
    check("0 0 * 2 MON#5", "2072-01-01T00:00", &["2072-02-29T00:00", "2112-02-29T00:00"]);
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30,31 FEB *", "0 0 L-29 2 *", "0 0 31W 2 *"] {
        assert!(!Cron::parse(never).unwrap().can_match(), "{never}");
    }
    assert!(Cron::parse("0 0 30 2 MON").unwrap().can_match(), "either day field suffices");
}

#[track_caller]
fn refused(expression: &str, part: &str) {
    let said = Cron::parse(expression).expect_err(expression).to_string();
    assert!(said.contains(part), "{expression}: {said}");
}

#[test]
fn each_mistake_is_told_with_its_field_and_what_is_expected() {
    refused("", "it is empty; five are expected");
    refused("* * * *", "it has 4 fields");
    refused("0 0 12 * * ? 2026", "years are not read");
    refused("60 * * * *", "\"60\" in the field for minutes: 0 to 59 is expected");
    refused("* 24 * * *", "field for hours: 0 to 23");
    refused("* * 0 * *", "days of the month: 1 to 31");
    refused("* * 32 * *", "days of the month: 1 to 31");
    refused("* * * 13 *", "months: 1 to 12 or JAN to DEC");
    refused("* * * JANU *", "JAN may be meant");
    refused("* * * * 8", "days of the week: 0 to 7 or SUN to SAT");
    refused("* * * * L", "5L or FRIL");
    refused("* * * * 5#6", "#1 to #5");
    refused("* * 32W * *", "1 to 31");
    refused("* * L-31 * *", "L-1 to L-30");
    refused("*/0 * * * *", "a step from 1 to 59");
    refused("*/90 * * * *", "use `every`");
    refused("* 22-2 * * *", "write 22-23,0-2");
    refused("1,,2 * * * *", "minutes");
    refused("-5 * * * *", "minutes");
    refused("+5 * * * *", "minutes");
    refused("* L * * *", "hours");
    refused("@dayly", "@daily may be meant");
    refused("@reboot", "is no time");
    refused("@every 5m", "it has 2 fields");
    refused(&"*,".repeat(300), "at most 512");
    refused("1٢ * * * *", "minutes");
}

fn definition(change: impl FnOnce(&mut Definition)) -> Result<schedules::model::Clockwork, Faults> {
    let mut definition = Definition::for_queue(Slug::parse("runs").unwrap());
    change(&mut definition);
    let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    definition.check(&Zones::system(), ScheduleId::from_uuid_bytes([7; 16]), now)
}

#[test]
fn j5_every_second_is_the_most_often() {
    let ten = |clockwork: schedules::model::Clockwork| {
        let now = Timestamp::parse("2026-01-01T00:00:00.5Z").unwrap();
        clockwork.next(now, 3).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let each = ["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"];
    assert_eq!(ten(definition(|one| one.cron = Some("* * * * * *".into())).unwrap()), each);
    let every = |text: &str| definition(|one| one.every = Some(text.parse().unwrap()));
    assert_eq!(ten(every("1s").unwrap()), each);
    for wrong in ["999ms", "0s", "1500ms", "367d"] {
        let said = every(wrong).unwrap_err().to_string();
        assert!(said.contains("whole seconds from 1s to 366d are expected"), "{wrong}: {said}");
    }
}

#[test]
fn j5_february_30_and_an_unknown_zone_are_refused_with_what_to_do() {
    let never = definition(|one| one.cron = Some("0 0 30 2 *".into())).unwrap_err();
    assert!(matches!(never, Faults::NeverFires { .. }), "{never}");
    assert!(never.to_string().contains("`L` is a month's last day"));
    let zone = |name: &str| {
        definition(|one| {
            one.cron = Some("@daily".into());
            one.timezone = Some(name.into());
        })
    };
    for (wrong, meant) in [
        ("Europe/Berln", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("America/NewYork", "America/New_York"),
    ] {
        let Err(Faults::UnknownZone(unknown)) = zone(wrong) else { panic!("{wrong} is taken") };
        assert_eq!(unknown.nearest.as_deref(), Some(meant));
        assert!(unknown.to_string().contains(&format!("{meant} may be meant")), "{unknown}");
    }
    for wrong in ["", "Mars/Olympus_Mons", "../../etc/passwd", "/etc/localtime", "EST5EDT4,M3", "UTC\0"] {
        assert!(matches!(zone(wrong), Err(Faults::UnknownZone(_))), "{wrong}");
    }
    for fine in ["UTC", "europe/berlin", "Asia/Kathmandu", "America/Argentina/Buenos_Aires"] {
        zone(fine).unwrap();
    }
}

#[test]
fn a_definition_has_one_timing_and_values_that_a_job_can_have() {
    let said = |change: fn(&mut Definition)| definition(change).unwrap_err().to_string();
    assert!(said(|_| ()).contains("neither `cron` nor `every`"));
    assert!(
        said(|one| (one.cron, one.every) = (Some("@daily".into()), Some("5m".parse().unwrap())))
            .contains("only one")
    );
    assert!(
        said(|one| (one.every, one.timezone) = (Some("5m".parse().unwrap()), Some("UTC".into())))
            .contains("intervals know none")
    );
    assert!(
        said(|one| (one.cron, one.jitter) = (Some("*/5 * * * *".into()), Some("6m".parse().unwrap())))
            .contains("at most 5m is expected")
    );
    assert!(said(|one| (one.cron, one.priority) = (Some("@daily".into()), Some(10))).contains("0 to 9"));
    assert!(
        said(|one| (one.cron, one.payload) = (Some("@daily".into()), "x".repeat(300_000).into()))
            .contains("256 KiB")
    );
    assert!(
        said(|one| (one.cron, one.tags) = (Some("@daily".into()), vec![String::new()]))
            .contains("1 to 64 bytes")
    );
}
