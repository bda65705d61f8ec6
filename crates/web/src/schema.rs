//! The schemas of bodies and queries: made from the types, closed against what they do not name.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::any::TypeId;

/// The schema that bodies of a route are checked against.
pub(crate) struct BodySchema {
    schema: Option<Value>,
    /// Whether the type refuses by itself what it does not name.
    closes_itself: bool,
}

/// The schema that a route's query is checked against: an object of simple values.
pub(crate) struct QuerySchema(Value);

impl BodySchema {
    /// Of a type; `()` means that there is no body.
    pub(crate) fn of<B: JsonSchema + 'static>() -> Self {
        if is_unit::<B>() {
            return Self { schema: None, closes_itself: false };
        }
        let open = shape::schema_of::<B>();
        let mut schema = open.clone();
        close(&mut schema);
        let closes_itself = open == schema;
        Self { schema: Some(schema), closes_itself }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.schema.is_some()
    }

    pub(crate) fn closes_itself(&self) -> bool {
        self.closes_itself
    }

    pub(crate) fn schema(&self) -> Option<&Value> {
        self.schema.as_ref()
    }
}

impl QuerySchema {
    /// Of a type; `()` allows no parameter.
    pub(crate) fn of<Q: JsonSchema + 'static>() -> Self {
        if is_unit::<Q>() {
            return Self(json!({"type": "object", "properties": {}, "additionalProperties": false}));
        }
        let mut schema = shape::schema_of::<Q>();
        close(&mut schema);
        Self(schema)
    }

    pub(crate) fn schema(&self) -> &Value {
        &self.0
    }

    /// Whether there is no parameter at all.
    pub(crate) fn takes_nothing(&self) -> bool {
        self.0["properties"].as_object().is_none_or(Map::is_empty)
    }

    /// Which JSON type a parameter is to be read as.
    pub(crate) fn kind(&self, name: &str) -> ParameterKind {
        parameter_kind(&self.0, name)
    }
}

/// Which JSON type a property of a schema is to be read as, where it comes as text.
pub(crate) fn parameter_kind(schema: &Value, name: &str) -> ParameterKind {
    kind_of(&schema["properties"][name], schema, 0)
}

/// What the text of a query parameter is turned into before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterKind {
    Text,
    Number,
    Boolean,
    List,
}

/// References that are followed to find the type of a parameter; ours are one deep.
const REFERENCES_MAX: usize = 8;

fn kind_of(schema: &Value, root: &Value, depth: usize) -> ParameterKind {
    if depth > REFERENCES_MAX {
        return ParameterKind::Text;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(ParameterKind::Text, |target| kind_of(target, root, depth + 1));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if types.contains(&"string") {
        return ParameterKind::Text;
    }
    if types.contains(&"integer") || types.contains(&"number") {
        return ParameterKind::Number;
    }
    if types.contains(&"boolean") {
        return ParameterKind::Boolean;
    }
    if types.contains(&"array") {
        return ParameterKind::List;
    }
    let branches = ["anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten();
    branches
        .filter(|branch| branch["type"] != "null")
        .map(|branch| kind_of(branch, root, depth + 1))
        .next()
        .unwrap_or(ParameterKind::Text)
}

/// Refuses what is not named: every object schema with properties and no word on others gets
/// `additionalProperties: false`, so that no route depends on its author having said so (TORTURE Z5).
pub(crate) fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open =
                !map.contains_key("additionalProperties") && !map.contains_key("unevaluatedProperties");
            // Parts of a composition see only their own properties; closing them would refuse their siblings'.
            let alone = !["allOf", "anyOf", "oneOf", "$ref"].iter().any(|key| map.contains_key(*key));
            if open && alone && map.get("properties").is_some_and(Value::is_object) {
                map.insert("additionalProperties".into(), Value::Bool(false));
            }
            close_children(map);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn close_children(map: &mut Map<String, Value>) {
    let composed = map.contains_key("properties")
        && ["anyOf", "oneOf", "allOf"].iter().any(|key| map.contains_key(*key));
    for (key, child) in map.iter_mut() {
        let branches = matches!(key.as_str(), "anyOf" | "oneOf" | "allOf");
        let data = matches!(key.as_str(), "default" | "const" | "enum" | "examples");
        if !(data || branches && composed) {
            close(child);
        }
    }
}

/// The schemas of a route for the OpenAPI document, as functions of the document's one generator, so that types
/// that several routes share stand there once.
pub(crate) struct Shapes {
    pub(crate) body: Option<fn(&mut SchemaGenerator) -> Schema>,
    pub(crate) query: Option<fn(&mut SchemaGenerator) -> Schema>,
    pub(crate) reply: Option<fn(&mut SchemaGenerator) -> Schema>,
}

impl Shapes {
    pub(crate) fn of<B: JsonSchema + 'static, Q: JsonSchema + 'static, R: JsonSchema + 'static>() -> Self {
        // A query is listed parameter by parameter, so it is no schema with a name of its own.
        let query = (!is_unit::<Q>()).then_some(Q::json_schema as fn(&mut SchemaGenerator) -> Schema);
        Self { body: shape_of::<B>(), query, reply: shape_of::<R>() }
    }
}

fn shape_of<T: JsonSchema + 'static>() -> Option<fn(&mut SchemaGenerator) -> Schema> {
    (!is_unit::<T>()).then_some(SchemaGenerator::subschema_for::<T> as fn(&mut SchemaGenerator) -> Schema)
}

fn is_unit<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<()>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Filter {
        limit: Option<u32>,
        deep: bool,
        name: Option<String>,
        nested: Inner,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Inner {
        a: u8,
    }

    #[test]
    fn objects_are_closed_all_the_way_down() {
        let schema = BodySchema::of::<Filter>();
        let schema = schema.schema().expect("a body");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["Inner"]["additionalProperties"], false);
    }

    #[test]
    fn parameters_know_their_kind() {
        let query = QuerySchema::of::<Filter>();
        assert_eq!(query.kind("limit"), ParameterKind::Number);
        assert_eq!(query.kind("deep"), ParameterKind::Boolean);
        assert_eq!(query.kind("name"), ParameterKind::Text);
        assert_eq!(query.kind("other"), ParameterKind::Text);
    }

    #[test]
    fn a_map_stays_open_and_data_is_left_alone() {
        let mut schema = json!({
            "type": "object",
            "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}},
            "default": {"properties": {}}
        });
        close(&mut schema);
        assert_eq!(schema["properties"]["labels"]["additionalProperties"], json!({"type": "string"}));
        assert_eq!(schema["default"], json!({"properties": {}}));
        assert_eq!(schema["additionalProperties"], false);
    }
}
