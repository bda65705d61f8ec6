//! Periods: from when until when a limit counts, on the tenant's own clock.
//!
//! Nothing is ever reset: a period is named by its two ends, and what belongs to it is what lies between them. So late usage lands where
//! it belongs, and a tenant that moves to another time zone or billing day has its usage cut anew, none of it lost.

use base::{MeterName, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};
use ports::MeterPeriod;

/// Usage is summed over quarters of an hour: the beginnings of hours and days of all time zones in use are among theirs.
pub(crate) const BUCKET_MICROS: i64 = 900 * 1_000_000;
const HOUR_MICROS: i64 = 3_600 * 1_000_000;
/// The end of what never ends: in the year 9892.
pub(crate) const NEVER: i64 = 250_000_000_000_000_000;

/// A stretch of time, its end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Its beginning, unix microseconds.
    pub from: i64,
    /// The beginning of the next.
    pub until: i64,
}

impl Span {
    /// All time: that of a gauge.
    pub const ALL: Span = Span { from: 0, until: NEVER };

    /// Whether a moment lies in it.
    #[must_use]
    pub fn holds(self, at: Timestamp) -> bool {
        (self.from..self.until).contains(&at.micros())
    }

    /// When it ends; `None` when it never does.
    #[must_use]
    pub fn resets_at(self) -> Option<Timestamp> {
        (self.until != NEVER).then(|| Timestamp::from_micros(self.until))
    }
}

/// The beginning of a moment's quarter of an hour.
pub(crate) fn bucket(at: Timestamp) -> i64 {
    at.micros().div_euclid(BUCKET_MICROS) * BUCKET_MICROS
}

/// A tenant's clock and billing day.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    zone: TimeZone,
    anchor_day: i8,
}

impl Calendar {
    /// Of a zone of the IANA database; UTC where the machine does not know it. The day is moved into 1 to 28.
    #[must_use]
    pub fn new(time_zone: &str, billing_anchor_day: u8) -> Self {
        let zone = jiff::tz::db().get(time_zone).unwrap_or(TimeZone::UTC);
        Self { zone, anchor_day: i8::try_from(billing_anchor_day.clamp(1, 28)).unwrap_or(1) }
    }

    /// The day of the month on which a billing period begins, from 1 to 28.
    pub(crate) fn anchor_day(&self) -> i8 {
        self.anchor_day
    }

    /// The period that a moment lies in.
    #[must_use]
    pub fn span(&self, period: MeterPeriod, at: Timestamp) -> Span {
        match period {
            MeterPeriod::None => Span::ALL,
            MeterPeriod::Hour => self.hour(at),
            MeterPeriod::Day => self.day(at),
            MeterPeriod::Month => self.month(at),
        }
    }

    fn wall(&self, at: Timestamp) -> Zoned {
        instant(at).to_zoned(self.zone.clone())
    }

    fn hour(&self, at: Timestamp) -> Span {
        let offset = i64::from(self.zone.to_offset(instant(at)).seconds()) * 1_000_000;
        let from = (at.micros() + offset).div_euclid(HOUR_MICROS) * HOUR_MICROS - offset;
        Span { from, until: from + HOUR_MICROS }
    }

    fn day(&self, at: Timestamp) -> Span {
        let date = self.wall(at).date();
        self.between(date, date.tomorrow().unwrap_or(Date::MAX))
    }

    fn month(&self, at: Timestamp) -> Span {
        let today = self.wall(at).date();
        let this = with_day(today, self.anchor_day);
        let first = if today.day() >= self.anchor_day { this } else { moved(this, -1) };
        self.between(first, moved(first, 1))
    }

    /// The period of whole days from one date until another.
    fn between(&self, from: Date, until: Date) -> Span {
        Span { from: self.midnight(from), until: self.midnight(until) }
    }

    /// The first moment of a date; not always the one when the clock shows 0:00.
    pub(crate) fn midnight(&self, date: Date) -> i64 {
        let start = date.to_zoned(self.zone.clone()).and_then(|wall| wall.start_of_day());
        start.map_or(NEVER, |start| start.timestamp().as_microsecond())
    }

    /// Cuts a span into hours or days, or (`Month`) leaves it whole.
    pub(crate) fn cut(&self, span: Span, by: MeterPeriod) -> Vec<Span> {
        let mut parts = Vec::new();
        let mut from = span.from;
        while from < span.until && parts.len() < PARTS_MAX {
            let part = match by {
                MeterPeriod::Hour => self.hour(Timestamp::from_micros(from)),
                MeterPeriod::Day => self.day(Timestamp::from_micros(from)),
                MeterPeriod::Month | MeterPeriod::None => span,
            };
            parts.push(Span { from, until: part.until.min(span.until) });
            from = part.until;
        }
        parts
    }
}

/// Most parts that a period is cut into: the hours of the longest month, and those of the clock's changes.
const PARTS_MAX: usize = 31 * 24 + 2;

fn with_day(date: Date, day: i8) -> Date {
    date.with().day(day).build().unwrap_or(date)
}

fn moved(date: Date, months: i32) -> Date {
    date.checked_add(months.months()).unwrap_or(date)
}

/// Every [`Timestamp`] lies within what jiff knows.
fn instant(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.micros()).unwrap_or(jiff::Timestamp::MAX)
}

/// One tenant's count of a meter over a span.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CounterKey {
    pub(crate) tenant: base::TenantId,
    pub(crate) environment: base::EnvironmentId,
    pub(crate) meter: MeterName,
    pub(crate) span: Span,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn span(zone: &str, anchor: u8, period: MeterPeriod, moment: &str) -> [String; 2] {
        let span = Calendar::new(zone, anchor).span(period, at(moment));
        [span.from, span.until].map(|micros| Timestamp::from_micros(micros).to_string())
    }

    #[test]
    fn hours_and_days_are_those_of_the_tenants_clock() {
        let hour = span("Asia/Kathmandu", 1, MeterPeriod::Hour, "2026-01-01T00:20:00Z");
        assert!(hour[0].starts_with("2026-01-01T00:15:00"), "{hour:?}");
        let day = span("America/New_York", 1, MeterPeriod::Day, "2026-03-08T12:00:00Z");
        assert!(
            day[0].starts_with("2026-03-08T05:00:00") && day[1].starts_with("2026-03-09T04:00:00"),
            "{day:?}"
        );
        for zone in ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Chatham"] {
            for period in [MeterPeriod::Hour, MeterPeriod::Day, MeterPeriod::Month] {
                let span = Calendar::new(zone, 1).span(period, at("2026-07-14T13:37:11Z"));
                assert_eq!(
                    (span.from % BUCKET_MICROS, span.until % BUCKET_MICROS),
                    (0, 0),
                    "{zone} {period:?}"
                );
            }
        }
    }

    /// Zones whose clocks change at midnight, by half an hour, or that left out a day, over years in which they did.
    #[test]
    fn periods_follow_each_other_without_gap_whatever_clocks_do() {
        let zones = [
            ("Africa/Cairo", "2026-01-01T00:00:00Z"),
            ("America/Havana", "2026-01-01T00:00:00Z"),
            ("America/Santiago", "2026-01-01T00:00:00Z"),
            ("Asia/Beirut", "2026-01-01T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-01-01T00:00:00Z"),
            ("Pacific/Apia", "2011-09-01T00:00:00Z"),
        ];
        for ((zone, from), anchor) in zones.into_iter().zip([1, 28, 5, 29, 15, 28]) {
            let calendar = Calendar::new(zone, anchor);
            for period in [MeterPeriod::Day, MeterPeriod::Month] {
                let mut span = calendar.span(period, at(from));
                while span.from < at(from).micros() + 366 * 24 * HOUR_MICROS {
                    assert!(span.from < span.until, "{zone} {period:?} {span:?}");
                    assert_eq!((span.from % BUCKET_MICROS, span.until % BUCKET_MICROS), (0, 0), "{zone}");
                    for inside in [span.from, i64::midpoint(span.from, span.until), span.until - 1] {
                        let again = calendar.span(period, Timestamp::from_micros(inside));
                        assert_eq!(again, span, "{zone} {period:?}");
                    }
                    let next = calendar.span(period, Timestamp::from_micros(span.until));
                    assert_eq!(span.until, next.from, "{zone} {period:?}");
                    span = next;
                }
            }
            // Of an hour that the clock goes through twice or leaves in its middle, each moment is in its own all the same.
            for quarter in 0..366 * 24 * 4 {
                let moment = Timestamp::from_micros(at(from).micros() + quarter * BUCKET_MICROS);
                let hour = calendar.span(MeterPeriod::Hour, moment);
                assert!(hour.holds(moment) && hour.until - hour.from == HOUR_MICROS, "{zone} {hour:?}");
            }
        }
    }

    #[test]
    fn a_billing_period_begins_on_the_anchor_day() {
        let month = |anchor, moment| span("Europe/Berlin", anchor, MeterPeriod::Month, moment);
        let january = month(1, "2026-01-31T22:59:59Z");
        assert!(
            january[0].starts_with("2025-12-31T23:00:00") && january[1].starts_with("2026-01-31T23:00:00")
        );
        let until = month(15, "2026-03-14T22:59:59Z");
        assert!(until[0].starts_with("2026-02-14T23:00:00") && until[1].starts_with("2026-03-14T23:00:00"));
        let over = month(15, "2026-03-14T23:00:00Z");
        assert!(over[0].starts_with("2026-03-14T23:00:00") && over[1].starts_with("2026-04-14T22:00:00"));
        assert_eq!(Calendar::new("UTC", 1).span(MeterPeriod::None, Timestamp::EPOCH), Span::ALL);
    }

    #[test]
    fn the_parts_of_a_period_are_all_of_it() {
        let calendar = Calendar::new("America/New_York", 1);
        let month = calendar.span(MeterPeriod::Month, at("2026-03-20T00:00:00Z"));
        for (by, count) in [(MeterPeriod::Hour, 31 * 24 - 1), (MeterPeriod::Day, 31), (MeterPeriod::Month, 1)]
        {
            let parts = calendar.cut(month, by);
            assert_eq!(parts.len(), count, "{by:?}");
            assert!(parts.windows(2).all(|two| two[0].until == two[1].from));
            assert_eq!((parts[0].from, parts[count - 1].until), (month.from, month.until));
        }
    }
}
