//! Cron expressions: what they mean on a wall clock. How that meets a time zone is told in [`super::timing`].

use std::fmt;

use jiff::civil::{Date, DateTime, Time};

mod parse;

pub use parse::CronFault;

/// Days of the longest wait between two firings that an expression can have, rounded up to whole years: a fifth Monday
/// of February is 40 years away across 2100. What has no match within it never matches, since the calendar has shown
/// every combination of leap day and weekday that such a span can hold.
const SEARCH_YEARS_MAX: i16 = 50;

/// A parsed expression of five fields (minute, hour, day of month, month, day of week) or six (a second first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// As it was written, with single spaces.
    text: String,
    seconds: u64,
    minutes: u64,
    hours: u64,
    /// Bits 1 to 12.
    months: u64,
    days: Days,
    weekdays: Weekdays,
    /// Whether the hours are open (`*` or a step): then it follows elapsed time, else the hours that it names.
    open_hours: bool,
}

/// The field for days of the month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Days {
    /// `*` or `?`: it says nothing.
    any: bool,
    /// Bits 1 to 31.
    plain: u64,
    /// `L-n`: bit n, so that bit 0 is the last day itself.
    before_last: u64,
    /// `nW`: the working day nearest to day n of the same month; bits 1 to 31.
    nearest_working: u64,
    /// `LW`: the last working day.
    last_working: bool,
}

/// The field for days of the week; Sunday is bit 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Weekdays {
    /// `*` or `?`: it says nothing.
    any: bool,
    plain: u64,
    /// `5L`: the last of the month.
    last: u64,
    /// `5#3`: by weekday, bits 1 to 5.
    nth: [u8; 7],
}

impl Cron {
    /// Whether its hours are open (`*`, `*/2`): in a zone with daylight saving it then fires at every real moment whose
    /// wall clock matches. One that names its hours fires once for each local time that it names.
    #[must_use]
    pub fn follows_elapsed_time(&self) -> bool {
        self.open_hours
    }

    /// Whether it can ever match: `0 0 30 2 *` cannot.
    #[must_use]
    pub fn can_match(&self) -> bool {
        // Any start will do: the calendar repeats, see SEARCH_YEARS_MAX.
        self.at_or_after(DateTime::constant(2001, 1, 1, 0, 0, 0, 0)).is_some()
    }

    /// The first match on the wall clock at or after `from`, whose fraction of a second must be zero. `None` when there
    /// is none within 50 years, which means never, or when the calendar ends.
    #[must_use]
    pub fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let last_year = from.year().saturating_add(SEARCH_YEARS_MAX);
        let (mut date, mut time) = (from.date(), from.time());
        while date.year() <= last_year {
            if !has(self.months, u32::from(date.month().unsigned_abs())) {
                date = date.last_of_month().tomorrow().ok()?;
                time = Time::midnight();
                continue;
            }
            if self.is_day(date)
                && let Some(time) = self.time_at_or_after(time)
            {
                return Some(date.to_datetime(time));
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
        None
    }

    /// The first matching time of a day at or after `from`.
    fn time_at_or_after(&self, from: Time) -> Option<Time> {
        let [hour, minute, second] = [from.hour(), from.minute(), from.second()].map(i8::unsigned_abs);
        let first = |mask: u64| next_bit(mask, 0);
        // The same hour and minute, a later second; else the same hour, a later minute; else a later hour.
        if has(self.hours, u32::from(hour)) {
            if has(self.minutes, u32::from(minute))
                && let Some(second) = next_bit(self.seconds, second)
            {
                return at(hour, minute, second);
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return at(hour, minute, first(self.seconds)?);
            }
        }
        at(next_bit(self.hours, hour + 1)?, first(self.minutes)?, first(self.seconds)?)
    }

    /// Whether it fires on this day. Month aside, either day field that says something suffices (as in every cron since
    /// Version 7), and both together when one says nothing.
    fn is_day(&self, date: Date) -> bool {
        match (self.days.any, self.weekdays.any) {
            (true, true) => true,
            (false, true) => self.days.holds(date),
            (true, false) => self.weekdays.holds(date),
            (false, false) => self.days.holds(date) || self.weekdays.holds(date),
        }
    }
}

impl Days {
    fn holds(&self, date: Date) -> bool {
        let (day, last) = (day_of(date), u32::from(date.days_in_month().unsigned_abs()));
        if has(self.plain, day) || has(self.before_last, last - day) {
            return true;
        }
        let weekday = weekday_of(date);
        if self.last_working && day == working_day_near(last, last, weekday_on(day, weekday, last)) {
            return true;
        }
        // The nearest working day is at most two days away.
        self.nearest_working != 0
            && (day.saturating_sub(2).max(1)..=(day + 2).min(last)).any(|wanted| {
                has(self.nearest_working, wanted)
                    && working_day_near(wanted, last, weekday_on(day, weekday, wanted)) == day
            })
    }
}

impl Weekdays {
    fn holds(&self, date: Date) -> bool {
        let (day, weekday) = (day_of(date), weekday_of(date));
        let last = u32::from(date.days_in_month().unsigned_abs());
        has(self.plain, weekday)
            || (has(self.last, weekday) && day + 7 > last)
            || self.nth[weekday as usize] & (1 << day.div_ceil(7)) != 0
    }
}

/// The working day (Monday to Friday) of the month nearest to `day`, which is a `weekday`.
fn working_day_near(day: u32, last: u32, weekday: u32) -> u32 {
    match weekday {
        6 if day > 1 => day - 1,
        6 => day + 2,
        0 if day < last => day + 1,
        0 => day - 2,
        _ => day,
    }
}

/// The weekday of `other` in the month where `day` is a `weekday`.
fn weekday_on(day: u32, weekday: u32, other: u32) -> u32 {
    // 35 is a multiple of seven above any difference of two days of a month.
    (weekday + 35 + other - day) % 7
}

fn day_of(date: Date) -> u32 {
    u32::from(date.day().unsigned_abs())
}

/// Sunday is 0.
fn weekday_of(date: Date) -> u32 {
    u32::from(date.weekday().to_sunday_zero_offset().unsigned_abs())
}

fn has(mask: u64, bit: u32) -> bool {
    mask & (1 << bit) != 0
}

/// The lowest bit that is set, from `from` on.
fn next_bit(mask: u64, from: u8) -> Option<u8> {
    let rest = mask.checked_shr(u32::from(from)).unwrap_or(0);
    let ahead = u8::try_from(rest.trailing_zeros()).unwrap_or(u8::MAX);
    (rest != 0).then(|| from + ahead)
}

fn at(hour: u8, minute: u8, second: u8) -> Option<Time> {
    let [hour, minute, second] = [hour, minute, second].map(|part| i8::try_from(part).unwrap_or(i8::MAX));
    Time::new(hour, minute, second, 0).ok()
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Cron {
    type Err = CronFault;

    fn from_str(text: &str) -> Result<Self, CronFault> {
        Self::parse(text)
    }
}
