//! Two texts that mean nothing to the API itself: payloads, where one may be missing, and leases.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Payload;

/// Digits of a lease: more than a job has claims.
const LEASE_DIGITS_MAX: usize = 18;

/// A field that is there: `null` is a value like any other.
pub(crate) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
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
        let payload: Payload = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::to_string(&payload).expect("JSON"), text);
        assert_eq!(payload, Payload::from_json(text));
        assert_eq!(serde_json::to_string(&Payload::from_json(text)).expect("JSON"), text);
        assert!(serde_json::to_string(&Payload::from_json("1 2")).is_err());
    }

    #[test]
    fn a_lease_is_a_number_in_a_text() {
        assert_eq!(serde_json::from_str::<Lease>("\"7\"").expect("a lease"), Lease(7));
        for text in ["7", "\"-7\"", "\"+7\"", "\"\"", "\"7a\"", "\"9999999999999999999\"", "null"] {
            assert!(serde_json::from_str::<Lease>(text).is_err(), "{text}");
        }
    }
}
