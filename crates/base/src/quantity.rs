//! Durations, sizes and rates as people write them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The longest duration that is read: a hundred years of 365 days. Beyond it a number is a mistake, and sums with
/// timestamps could leave their range.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Units of durations, largest first, in microseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// A span of time as people write it: `250ms`, `5s`, `1h30m`, `30d`. Units are `d h m s ms us`, each at most once and
/// in that order; numbers are whole. Written back in the largest unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

/// A text that is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number, no unit, an unknown unit, or units out of order.
    #[error("a duration such as 250ms, 5s, 5m, 1h or 30d is expected")]
    Form,
    /// Above [`DURATION_MAX`].
    #[error("a duration of at most 36500d is expected")]
    TooLong,
}

impl HumanDuration {
    /// Reads a duration.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let mut rest = text;
        let mut micros: u64 = 0;
        let mut units = DURATION_UNITS.iter();
        while !rest.is_empty() {
            let (number, after) = leading_number(rest).ok_or(DurationError::Form)?;
            let length = after.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, after) = after.split_at(length);
            // The iterator goes on where the last unit stood, which enforces their order.
            let (_, scale) = units.find(|(name, _)| *name == unit).ok_or(DurationError::Form)?;
            let part = number.and_then(|n| n.checked_mul(*scale)).ok_or(DurationError::TooLong)?;
            micros = micros.checked_add(part).ok_or(DurationError::TooLong)?;
            rest = after;
        }
        let duration = Duration::from_micros(micros);
        match duration {
            _ if text.is_empty() => Err(DurationError::Form),
            long if long > DURATION_MAX => Err(DurationError::TooLong),
            fine => Ok(Self(fine)),
        }
    }
}

/// The number that a text begins with and what follows it; the number is `None` when it does not fit 64 bits.
fn leading_number(text: &str) -> Option<(Option<u64>, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    (digits > 0).then(|| (number.parse().ok(), rest))
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        let (unit, scale) = DURATION_UNITS
            .iter()
            .find(|(_, scale)| micros != 0 && micros.is_multiple_of(*scale))
            .unwrap_or(&DURATION_UNITS[3]);
        write!(f, "{}{unit}", micros / scale)
    }
}

/// Units of sizes: binary ones first, largest first within each, so that writing picks the roundest.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes as people write it: `512MiB`, `1GB`, or a whole number of bytes. Written back as text in the
/// largest binary unit that divides it, else the largest decimal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A text that is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number, or an unknown unit.
    #[error("a size such as 512MiB, 1GB or a number of bytes is expected")]
    Form,
    /// Above 2^63 - 1 bytes, the most that the store can hold in a number.
    #[error("a size of at most 8388607TiB is expected")]
    TooLarge,
}

impl ByteSize {
    /// Reads a size; a number without a unit is bytes.
    pub fn parse(text: &str) -> Result<Self, SizeError> {
        let (number, unit) = leading_number(text).ok_or(SizeError::Form)?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, scale) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError::Form)?;
        let bytes = number.and_then(|n| n.checked_mul(*scale)).ok_or(SizeError::TooLarge)?;
        Self::of(bytes)
    }

    fn of(bytes: u64) -> Result<Self, SizeError> {
        if i64::try_from(bytes).is_ok() { Ok(Self(bytes)) } else { Err(SizeError::TooLarge) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = SIZE_UNITS
            .iter()
            .find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale))
            .unwrap_or(&SIZE_UNITS[8]);
        write!(f, "{}{unit}", self.0 / scale)
    }
}

/// Names of the spans that a rate may count over, in seconds.
const RATE_UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

/// The longest span of a rate, in seconds: a month of 31 days. Longer counts are meters, which are kept in the store.
const RATE_SECONDS_MAX: u64 = 31 * 86_400;

/// So many in so long: `60/min`, `1000/s`, `10/h`, `500/d`, or over any duration: `100/10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In how long; from a second to 31 days.
    pub per: Duration,
}

/// A text that is not a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not a number, a slash and a unit or duration.
    #[error("a rate such as 60/min, 1000/s, 10/h, 500/d or 100/10s is expected")]
    Form,
    /// Zero, or above 2^32 - 1.
    #[error("a count from 1 to 4294967295 is expected before the slash")]
    Count,
    /// Below a second or above 31 days.
    #[error("a span from 1s to 31d is expected after the slash")]
    Span,
}

impl Rate {
    /// Reads a rate.
    pub fn parse(text: &str) -> Result<Self, RateError> {
        let (count, span) = text.split_once('/').ok_or(RateError::Form)?;
        let (count, rest) = leading_number(count).ok_or(RateError::Form)?;
        if !rest.is_empty() {
            return Err(RateError::Form);
        }
        let count = count.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).ok_or(RateError::Count)?;
        let named = RATE_UNITS.iter().find(|(name, _)| *name == span).map(|(_, s)| Duration::from_secs(*s));
        let per = match named {
            Some(per) => per,
            None => HumanDuration::parse(span).map_err(|_| RateError::Form)?.0,
        };
        if per < Duration::from_secs(1) || per > Duration::from_secs(RATE_SECONDS_MAX) {
            return Err(RateError::Span);
        }
        Ok(Self { count, per })
    }

    /// So many a minute.
    pub const fn per_minute(count: u32) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = RATE_UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.per);
        match named {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, HumanDuration(self.per)),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 512MiB or a number of bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                ByteSize::of(bytes).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(SizeError::Form))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `FromStr`, `Serialize` and the schema of a quantity; `Deserialize` from text where that is its only form.
macro_rules! quantity {
    ($type:ident, $error:ident, $schema:tt) => {
        impl std::str::FromStr for $type {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
    ($type:ident, $error:ident, text, $schema:tt) => {
        quantity!($type, $error, $schema);
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

quantity!(HumanDuration, DurationError, text, { "type": "string", "format": "duration" });
quantity!(Rate, RateError, text, { "type": "string", "format": "rate" });
quantity!(ByteSize, SizeError, {
    "anyOf": [{ "type": "string", "format": "size" }, { "type": "integer", "minimum": 0 }]
});
