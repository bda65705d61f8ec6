//! Amounts of usage: exact decimal numbers, so that sums never drift.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Millionths in one.
const SCALE: i64 = 1_000_000;
/// Digits after the point.
const DECIMALS: usize = 6;

/// How much of a meter: a whole number of millionths, from about -9.2e12 to 9.2e12. In JSON a number with at most six
/// decimals; what has more is refused rather than rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

/// A number that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// No finite decimal number.
    #[error("a number such as 5 or 0.25 is expected")]
    Form,
    /// More than six decimals.
    #[error("a number of at most six decimals is expected")]
    Decimals,
    /// Beyond what is counted.
    #[error("a number between -9000000000000 and 9000000000000 is expected")]
    TooLarge,
}

impl Amount {
    /// None at all.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(SCALE);
    /// The largest amount that is read: nine million million.
    pub const MAX: Self = Self(9_000_000_000_000 * SCALE);

    /// From whole ones; what is beyond [`Amount::MAX`] is cut to it.
    #[must_use]
    pub fn whole(count: u64) -> Self {
        let millionths = i64::try_from(count).ok().and_then(|count| count.checked_mul(SCALE));
        millionths.map_or(Self::MAX, |millionths| Self(millionths).min(Self::MAX))
    }

    /// From millionths, as stored.
    #[must_use]
    pub const fn from_millionths(millionths: i64) -> Self {
        Self(millionths)
    }

    /// A sum of whole ones and of millionths apart, as stores add them up lest a column overflow; at most [`Amount::MAX`] either way.
    #[must_use]
    pub fn of_sums(units: i64, millionths: i64) -> Self {
        let most = i128::from(Self::MAX.0);
        let sum = (i128::from(units) * i128::from(SCALE) + i128::from(millionths)).clamp(-most, most);
        Self(i64::try_from(sum).unwrap_or(Self::MAX.0))
    }

    /// In millionths, as stored.
    #[must_use]
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum; `None` beyond what can be stored.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` beyond what can be stored.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Reads a decimal number: a sign, digits, a point and up to six digits. Exponents are read too, as JSON has them.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        if text.contains(['e', 'E']) {
            let float: f64 = text.parse().map_err(|_| AmountError::Form)?;
            return Self::from_float(float);
        }
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) {
            return Err(AmountError::Form);
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > DECIMALS {
            return Err(AmountError::Decimals);
        }
        let whole: i64 = whole.parse().map_err(|_| AmountError::TooLarge)?;
        let part: i64 = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| AmountError::Form)?;
        let sum = whole.checked_mul(SCALE).and_then(|whole| whole.checked_add(part));
        let sum = sum.filter(|sum| *sum <= Self::MAX.0).ok_or(AmountError::TooLarge)?;
        Ok(Self(if negative { -sum } else { sum }))
    }

    /// By the shortest decimal text that names the float, which is what its writer wrote.
    fn from_float(value: f64) -> Result<Self, AmountError> {
        if !value.is_finite() {
            return Err(AmountError::Form);
        }
        // `{}` of a float never uses an exponent.
        Self::parse(&format!("{value}"))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) =
            (self.0.unsigned_abs() / SCALE.unsigned_abs(), self.0.unsigned_abs() % SCALE.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = match part {
            0 => format!("{sign}{whole}"),
            part => format!("{sign}{whole}.{}", format!("{part:0>DECIMALS$}").trim_end_matches('0')),
        };
        f.pad(&text)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % SCALE == 0 {
            return serializer.serialize_i64(self.0 / SCALE);
        }
        // Correctly rounded reading, so that the shortest text of the float is the amount's own below 2^53 millionths.
        serializer.serialize_f64(self.to_string().parse().unwrap_or(f64::NAN))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of at most six decimals")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Amount, E> {
                Amount::parse(&value.to_string()).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Amount, E> {
                Amount::parse(&value.to_string()).map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Amount, E> {
                Amount::from_float(value).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number).map_err(D::Error::custom)
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": -9e12, "maximum": 9e12 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_are_read_exactly_and_written_back() {
        for (text, millionths) in [
            ("0", 0),
            ("5", 5_000_000),
            ("-3", -3_000_000),
            ("0.1", 100_000),
            ("1.000001", 1_000_001),
            ("-0.25", -250_000),
            ("9000000000000", 9_000_000_000_000_000_000),
        ] {
            let amount = Amount::parse(text).unwrap();
            assert_eq!(amount.millionths(), millionths, "{text}");
            assert_eq!(amount.to_string(), text);
            let json = serde_json::to_string(&amount).unwrap();
            assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), amount, "{json}");
        }
        assert_eq!(serde_json::from_str::<Amount>("1e3").unwrap(), Amount::whole(1_000));
        assert_eq!(serde_json::from_str::<Amount>("2.50").unwrap(), Amount::parse("2.5").unwrap());
    }

    #[test]
    fn what_is_no_amount_says_why() {
        for (text, error) in [
            ("", AmountError::Form),
            ("NaN", AmountError::Form),
            ("inf", AmountError::Form),
            ("1.", AmountError::Form),
            (".5", AmountError::Form),
            ("+1", AmountError::Form),
            ("1e999", AmountError::Form),
            ("0.0000001", AmountError::Decimals),
            ("1e-7", AmountError::Decimals),
            ("9000000000001", AmountError::TooLarge),
            ("99999999999999999999", AmountError::TooLarge),
        ] {
            assert_eq!(Amount::parse(text), Err(error), "{text}");
        }
        for json in ["\"5\"", "null", "true", "[1]"] {
            assert!(serde_json::from_str::<Amount>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn sums_of_tenths_do_not_drift() {
        let tenth = Amount::parse("0.1").unwrap();
        let sum = (0..10_000).try_fold(Amount::ZERO, |sum, _| sum.checked_add(tenth)).unwrap();
        assert_eq!(sum, Amount::whole(1_000));
        assert_eq!(Amount::MAX.checked_add(Amount::MAX), None);
        assert_eq!(Amount::whole(u64::MAX), Amount::MAX);
    }
}
