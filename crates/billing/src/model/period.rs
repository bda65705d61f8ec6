//! Hours, days and months of UTC.

use base::Timestamp;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;
/// Microseconds of a day.
const DAY: i64 = 24 * HOUR;

/// A stretch of time, from its start (included) to its end (excluded), both full hours of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

/// A text that names no period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a month such as 2026-11, or a day such as 2026-11-20, is expected")]
pub struct PeriodError;

impl Period {
    /// Reads `2026-11` or `2026-11-20`.
    ///
    /// # Errors
    /// [`PeriodError`].
    pub fn parse(text: &str) -> Result<Self, PeriodError> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !plain {
            return Err(PeriodError);
        }
        match text.len() {
            7 => {
                let from = day(text, "01")?;
                let (year, month) = text.split_once('-').ok_or(PeriodError)?;
                let (year, month) = (number(year)?, number(month)?);
                let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                let until = day(&format!("{:04}-{:02}", next.0, next.1), "01")?;
                Ok(Self { from, until })
            }
            10 => {
                let (month, of_month) = text.rsplit_once('-').ok_or(PeriodError)?;
                let from = day(month, of_month)?;
                Ok(Self { from, until: Timestamp::from_micros(from.micros() + DAY) })
            }
            _ => Err(PeriodError),
        }
    }

    /// The same, but not before `since`.
    #[must_use]
    pub fn not_before(self, since: Timestamp) -> Self {
        let from = self.from.max(since);
        Self { from, until: self.until.max(from) }
    }
}

fn day(month: &str, day: &str) -> Result<Timestamp, PeriodError> {
    Timestamp::parse(&format!("{month}-{day}T00:00:00Z")).map_err(|_| PeriodError)
}

fn number(text: &str) -> Result<u32, PeriodError> {
    text.parse().map_err(|_| PeriodError)
}

/// The hour of a moment, counted from 1970.
#[must_use]
pub fn hour_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(HOUR)
}

/// The first moment of an hour.
#[must_use]
pub fn hour_start(hour: i64) -> Timestamp {
    Timestamp::from_micros(hour.saturating_mul(HOUR))
}

/// The first moment after an hour.
#[must_use]
pub fn hour_end(hour: i64) -> Timestamp {
    hour_start(hour.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn months_and_days_are_read() {
        let december = Period::parse("2026-12").expect("a month");
        assert_eq!((december.from, december.until), (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z")));
        let leap = Period::parse("2028-02-29").expect("a day");
        assert_eq!((leap.from, leap.until), (at("2028-02-29T00:00:00Z"), at("2028-03-01T00:00:00Z")));
        for wrong in ["", "2026", "2026-13", "2026-00", "2026-02-30", "2026-1-1", "26-11-011", "2026-1x"] {
            assert_eq!(Period::parse(wrong), Err(PeriodError), "{wrong}");
        }
    }

    #[test]
    fn an_hour_begins_and_ends() {
        let hour = hour_of(at("2026-11-20T13:59:59Z"));
        assert_eq!(
            (hour_start(hour), hour_end(hour)),
            (at("2026-11-20T13:00:00Z"), at("2026-11-20T14:00:00Z"))
        );
        assert_eq!(hour_of(hour_end(hour)), hour + 1);
    }

    #[test]
    fn a_period_begins_with_what_is_billed() {
        let month = Period::parse("2026-11").expect("a month");
        assert_eq!(month.not_before(Timestamp::EPOCH), month);
        assert_eq!(month.not_before(at("2026-11-20T13:30:00Z")).from, at("2026-11-20T13:30:00Z"));
        let later = month.not_before(at("2027-01-01T00:00:00Z"));
        assert_eq!(later.from, later.until);
    }
}
