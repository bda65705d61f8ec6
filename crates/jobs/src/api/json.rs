//! Two texts that mean nothing to the API itself: payloads and leases.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Payload;

/// Digits of a lease: more than a job has claims.
const LEASE_DIGITS_MAX: usize = 18;

/// Any JSON, passed on letter by letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Payload);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.0.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(Payload::from(raw)))
    }
}

impl JsonSchema for Json {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::from(true)
    }
}

/// A field that is there: `null` is a value like any other.
pub(crate) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// What proves a lease. Its text means nothing to whoever holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub i64);

impl Serialize for Lease {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Lease {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.len() <= LEASE_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| serde::de::Error::custom("the `lease` of a claimed job is expected"))
    }
}

impl JsonSchema for Lease {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Lease".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]{1,18}$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_keeps_its_letters() {
        let text = r#"{"b": [1.0, "\u00e9"], "a": null}"#;
        let json: Json = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::to_string(&json).expect("JSON"), text);
    }

    #[test]
    fn a_lease_is_a_number_in_a_text() {
        assert_eq!(serde_json::from_str::<Lease>("\"7\"").expect("a lease"), Lease(7));
        for text in ["7", "\"-7\"", "\"+7\"", "\"\"", "\"7a\"", "\"9999999999999999999\"", "null"] {
            assert!(serde_json::from_str::<Lease>(text).is_err(), "{text}");
        }
    }
}
