//! JSON that is passed on as it came.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Any JSON value, kept as its text: what a client sends reaches the other side letter by letter, and nobody on the way
/// builds a tree of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The text, given away.
    #[must_use]
    pub fn into_text(self) -> String {
        String::from(Box::<str>::from(self.0))
    }

    /// Of a text from our own store or writer.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn from_text(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }
}

impl JsonSchema for RawJson {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_as_it_is() {
        #[derive(Serialize, Deserialize)]
        struct Holder {
            payload: RawJson,
        }
        let text = r#"{"payload":{ "b": 1.10, "a": [ ] }}"#;
        let read: Holder = serde_json::from_str(text).expect("JSON");
        assert_eq!(read.payload.text(), r#"{ "b": 1.10, "a": [ ] }"#);
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        assert_eq!(read.payload.into_text(), r#"{ "b": 1.10, "a": [ ] }"#);
        assert!(RawJson::from_text("1 2".to_owned()).is_err());
    }
}
