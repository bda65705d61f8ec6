//! A point in time, and its text.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: microseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Text and JSON are RFC 3339 in UTC.
/// Only the years 0000 to 9999 exist, which are what RFC 3339 can write; arithmetic stops at their ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00Z and 9999-12-30T00:00:00Z, in microseconds since the epoch; the last day is left out, so that any
/// offset can be written.
const MICROS_MIN: i64 = -62_167_219_200_000_000;
const MICROS_MAX: i64 = 253_402_128_000_000_000;

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time such as 2026-11-20T17:05:00Z (RFC 3339) is expected")]
pub struct TimeError;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The time that is this many microseconds after the epoch, moved into the years 0000 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(MICROS_MIN, MICROS_MAX))
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        // jiff also reads shorter and longer ISO 8601 forms; the API takes the one form that every client has.
        let bytes = text.as_bytes();
        let rfc3339 = bytes.len() >= 20
            && matches!(bytes[10], b'T' | b't' | b' ')
            && bytes[4] == b'-'
            && bytes[13] == b':'
            && bytes[16] == b':'
            && !bytes.contains(&b'[');
        let parsed: jiff::Timestamp = rfc3339.then(|| text.parse().ok()).flatten().ok_or(TimeError)?;
        Ok(Self::from_micros(parsed.as_microsecond()))
    }

    /// Reads a date of HTTP in its three forms (RFC 9110, 5.6.7). Of one with two digits for the year, the year is the one
    /// that lies at most 50 years after `now`. That the name of the day fits the date is not asked for.
    pub fn parse_http(text: &str, now: Self) -> Result<Self, TimeError> {
        let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let (day, month, year, time) = match words.as_slice() {
            [_, day, month, year, time, "GMT"] if year.len() == 4 => (*day, *month, *year, *time),
            [_, month, day, time, year] if year.len() == 4 => (*day, *month, *year, *time),
            [_, date, time, "GMT"] => match date.split('-').collect::<Vec<_>>().as_slice() {
                [day, month, year] if year.len() == 2 => (*day, *month, *year, *time),
                _ => return Err(TimeError),
            },
            _ => return Err(TimeError),
        };
        http_moment(year, month, day, time, now).ok_or(TimeError)
    }
}

/// The months as dates of HTTP name them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn http_moment(year: &str, month: &str, day: &str, time: &str, now: Timestamp) -> Option<Timestamp> {
    let month = i8::try_from(MONTHS.iter().position(|name| *name == month)? + 1).ok()?;
    let day = i8::try_from(digits(day)?).ok()?;
    let mut clock = time.split(':').map(digits);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if clock.next().is_some() || second > 60 {
        return None;
    }
    let in_year = |year: i16| {
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        let [hour, minute, second] =
            [hour, minute, second.min(59)].map(|part| i8::try_from(part).unwrap_or(i8::MAX));
        let moment = date.to_datetime(jiff::civil::Time::new(hour, minute, second, 0).ok()?);
        let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_micros(moment.as_microsecond()))
    };
    let number = digits(year)?;
    if year.len() == 4 {
        return in_year(number);
    }
    let this = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
    let this = this.to_zoned(jiff::tz::TimeZone::UTC).year();
    let near = this - this.rem_euclid(100) + number;
    in_year(if near > this + 50 { near - 100 } else { near })
}

/// One to four digits and nothing else.
fn digits(text: &str) -> Option<i16> {
    let is_number = matches!(text.len(), 1..=4) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros_of(span)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros_of(span)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).map_err(|_| fmt::Error)?;
        fmt::Display::fmt(&time, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(text: &str) -> Result<Self, TimeError> {
        Self::parse(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}
