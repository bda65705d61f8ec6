//! The schema of the project file, put together from those of its sections.

use crate::project::{SCHEMA_VERSION, SectionSchema};
use serde_json::{Map, Value, json};

/// Sections that belong to a project or an installation and so cannot differ between environments.
const NOT_IN_OVERLAYS: [&str; 4] = ["schema", "project", "server", ENVIRONMENTS];

/// The section whose tables hold overlays of the others.
pub(crate) const ENVIRONMENTS: &str = "environments";

/// Whether a section may occur within `[environments.X]`.
pub(crate) fn may_overlay(key: &str) -> bool {
    !NOT_IN_OVERLAYS.contains(&key)
}

/// The JSON Schema (2020-12) of `switchyard.toml` with these sections; what `switchyard config schema` prints, for editors
/// and for the check alike. Each table of `environments` also takes every other section, with nothing required in it.
pub fn project_schema(sections: &[SectionSchema]) -> Value {
    let mut definitions = Map::new();
    let mut properties = Map::new();
    properties.insert(
        "schema".to_owned(),
        json!({ "description": "The version of this file's shape.", "const": SCHEMA_VERSION }),
    );
    adopt("server", crate::load::server_schema(), &mut properties, &mut definitions);
    let mut overlays = Map::new();
    for section in sections {
        let schema = (section.schema)();
        if may_overlay(section.key) {
            let mut relaxed = schema.clone();
            require_nothing(&mut relaxed);
            adopt_as(
                section.key,
                &format!("overlay.{}", section.key),
                relaxed,
                &mut overlays,
                &mut definitions,
            );
        }
        adopt(section.key, schema, &mut properties, &mut definitions);
    }
    if let Some(environments) = properties.get(ENVIRONMENTS).cloned() {
        let opened = open_to_overlays(&environments, &overlays, &mut definitions);
        properties.insert(ENVIRONMENTS.to_owned(), opened);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "switchyard.toml",
        "description": "The project file of Switchyard.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

fn adopt(
    key: &str,
    schema: Value,
    properties: &mut Map<String, Value>,
    definitions: &mut Map<String, Value>,
) {
    adopt_as(key, key, schema, properties, definitions);
}

/// Puts a root schema in as a property: its definitions move to the common table under names of their own.
fn adopt_as(
    key: &str,
    prefix: &str,
    mut schema: Value,
    properties: &mut Map<String, Value>,
    definitions: &mut Map<String, Value>,
) {
    rename_references(&mut schema, prefix);
    if let Value::Object(root) = &mut schema {
        root.remove("$schema");
        if let Some(Value::Object(own)) = root.remove("$defs") {
            definitions
                .extend(own.into_iter().map(|(name, definition)| (format!("{prefix}.{name}"), definition)));
        }
    }
    properties.insert(key.to_owned(), schema);
}

fn rename_references(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "$ref" => {
                        if let Some(name) = text.strip_prefix("#/$defs/") {
                            *text = format!("#/$defs/{prefix}.{name}");
                        }
                    }
                    other => rename_references(other, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_references(item, prefix)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes every `required` list of keys away, but for those that tell branches of a choice apart.
fn require_nothing(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // A list is the keyword; a property that happens to be called `required` holds a schema instead.
            if object.get("required").is_some_and(Value::is_array) {
                object.remove("required");
            }
            let inner = object.iter_mut().filter(|(key, _)| *key != "oneOf" && *key != "anyOf");
            inner.for_each(|(_, value)| require_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(require_nothing),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds the overlays to the properties of the table that an environment is.
fn open_to_overlays(
    environments: &Value,
    overlays: &Map<String, Value>,
    definitions: &mut Map<String, Value>,
) -> Value {
    let mut opened = resolve(environments, definitions).clone();
    let Some(one) = opened.get("additionalProperties").map(|one| resolve(one, definitions).clone()) else {
        return opened;
    };
    let mut one = one;
    if let Some(table) = one.as_object_mut() {
        let properties = table.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            for (key, schema) in overlays {
                properties.entry(key.clone()).or_insert_with(|| schema.clone());
            }
        }
    }
    if let Some(root) = opened.as_object_mut() {
        root.insert("additionalProperties".to_owned(), one);
    }
    opened
}

fn resolve<'a>(schema: &'a Value, definitions: &'a Map<String, Value>) -> &'a Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
    name.and_then(|name| definitions.get(name)).unwrap_or(schema)
}
