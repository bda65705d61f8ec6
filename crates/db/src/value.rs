//! Values that go into statements and come out of rows: the same six on both databases.

use base::id::{Kind, TypeId};
use base::{Email, HostName, MeterName, Slug, Timestamp};

use crate::Error;

/// A parameter or a column. Ids, slugs and the like travel as `Text`, times as `Int` (unix microseconds).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL of any type.
    Null,
    /// TEXT.
    Text(String),
    /// BIGINT; on PostgreSQL also read from INTEGER and SMALLINT.
    Int(i64),
    /// BOOLEAN; on SQLite stored as 0 or 1 and read back as `Int`.
    Bool(bool),
    /// DOUBLE PRECISION.
    Real(f64),
    /// BLOB on SQLite, BYTEA on PostgreSQL.
    Blob(Vec<u8>),
}

impl Value {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Text(_) => "text",
            Self::Int(_) => "an integer",
            Self::Bool(_) => "a boolean",
            Self::Real(_) => "a real",
            Self::Blob(_) => "bytes",
        }
    }
}

/// Makes `[Value; N]` of anything that converts: `params![slug, now, None::<String>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { [$($crate::Value::from($value)),*] };
}

/// One row of an answer, columns in the order of the statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub(crate) Vec<Value>);

impl Row {
    /// The column at `index` (from 0) as `T`. [`Error::Decode`] when there is none or it is of another type.
    pub fn get<T: FromValue>(&self, index: usize) -> Result<T, Error> {
        let value = self.column(index)?;
        T::from_value(value).map_err(|wanted| mismatch(index, value, wanted))
    }

    /// The text at `index`, without a copy; `None` where it is NULL. [`Error::Decode`] as for [`Row::get`].
    pub fn text(&self, index: usize) -> Result<Option<&str>, Error> {
        match self.column(index)? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            value => Err(mismatch(index, value, "text")),
        }
    }

    fn column(&self, index: usize) -> Result<&Value, Error> {
        self.0.get(index).ok_or_else(|| Error::Decode(format!("there is no column {index}")))
    }

    /// The raw columns.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

fn mismatch(index: usize, value: &Value, wanted: &str) -> Error {
    Error::Decode(format!("column {index} is {}, not {wanted}", value.kind()))
}

/// What a column can be read as.
pub trait FromValue: Sized {
    /// Reads the value; the error says what was wanted, never what was there.
    fn from_value(value: &Value) -> Result<Self, &'static str>;
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        Ok(value.clone())
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err("text"),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Int(number) => Ok(*number),
            _ => Err("an integer"),
        }
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        i64::from_value(value)?.try_into().map_err(|_| "an integer from 0 to 4294967295")
    }
}

impl FromValue for u64 {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        i64::from_value(value)?.try_into().map_err(|_| "an integer from 0")
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Bool(truth) => Ok(*truth),
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            _ => Err("a boolean"),
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Real(number) => Ok(*number),
            // SQLite keeps whole numbers of an expression as integers; all that we store are below 2^53.
            Value::Int(number) => Ok(*number as f64),
            _ => Err("a real"),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Blob(bytes) => Ok(bytes.clone()),
            _ => Err("bytes"),
        }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Blob(bytes) => bytes.as_slice().try_into().map_err(|_| "bytes of that length"),
            _ => Err("bytes"),
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Int(micros) => Ok(Self::from_micros(*micros)),
            _ => Err("a time in microseconds"),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Null => Ok(None),
            some => T::from_value(some).map(Some),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.micros())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<K: Kind> From<TypeId<K>> for Value {
    fn from(id: TypeId<K>) -> Self {
        Self::Text(id.to_string())
    }
}

impl<K: Kind> From<&TypeId<K>> for Value {
    fn from(id: &TypeId<K>) -> Self {
        Self::Text(id.to_string())
    }
}

impl<K: Kind> FromValue for TypeId<K> {
    fn from_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Value::Text(text) => Self::parse(text).map_err(|_| K::PREFIX),
            _ => Err(K::PREFIX),
        }
    }
}

/// Names that travel as their text.
macro_rules! as_text {
    ($($name:ident),* $(,)?) => { $(
        impl From<$name> for Value {
            fn from(name: $name) -> Self {
                Self::Text(name.as_str().to_owned())
            }
        }

        impl From<&$name> for Value {
            fn from(name: &$name) -> Self {
                Self::Text(name.as_str().to_owned())
            }
        }

        impl FromValue for $name {
            fn from_value(value: &Value) -> Result<Self, &'static str> {
                match value {
                    Value::Text(text) => Self::parse(text).map_err(|_| stringify!($name)),
                    _ => Err(stringify!($name)),
                }
            }
        }
    )* };
}

as_text!(Slug, HostName, Email, MeterName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_named_without_its_data() {
        let row = Row(vec![Value::Text("canary".into()), Value::Null]);
        let error = row.get::<i64>(0).expect_err("text is no integer").to_string();
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(error, "decode a row: column 0 is text, not an integer");
        assert_eq!(row.get::<Option<i64>>(1), Ok(None));
        assert!(row.get::<i64>(2).is_err());
    }

    #[test]
    fn booleans_of_both_databases_read_alike() {
        let row = Row(vec![Value::Int(1), Value::Bool(true), Value::Int(2)]);
        assert_eq!((row.get::<bool>(0), row.get::<bool>(1)), (Ok(true), Ok(true)));
        assert!(row.get::<bool>(2).is_err());
    }
}
