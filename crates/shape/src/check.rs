//! The walk over schema and value side by side.

use crate::choice::{check_choice, constant_fault};
use crate::fault::{Fault, below, shown, shown_text};
use crate::scalar::{expectation, has_type, number_fault, text_fault};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Faults that one check collects; whoever has more repairs these first.
pub const FAULTS_MAX: usize = 100;

/// Words that a list of allowed keys names before it is cut.
const ALLOWED_KEYS_MAX: usize = 40;

/// References followed from one place without stepping into the value; more is a schema that only refers to itself.
const REFERENCES_MAX: usize = 32;

/// The JSON Schema (2020-12) of what a type's `Deserialize` takes. Takes some tens of microseconds: keep it.
pub fn schema_of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// Everything that is wrong with a value, in the order of the value; empty when nothing is.
pub fn check(schema: &Value, value: &Value) -> Vec<Fault> {
    let mut faults = Walk { root: schema }.faults(schema, value, "");
    faults.truncate(FAULTS_MAX);
    faults
}

/// Reads a type from a value, or tells everything that is wrong with it.
pub fn parse<T: JsonSchema + DeserializeOwned>(value: Value) -> Result<T, Vec<Fault>> {
    let faults = check(&schema_of::<T>(), &value);
    if !faults.is_empty() {
        return Err(faults);
    }
    // What a schema cannot say (two fields that exclude each other) is left to serde, which knows no place.
    serde_json::from_value(value)
        .map_err(|error| vec![Fault::new("", "a value that does not fit", error.to_string())])
}

/// A walk: the root holds the definitions that references name.
pub(crate) struct Walk<'a> {
    root: &'a Value,
}

impl<'a> Walk<'a> {
    /// The schema that a chain of bare references ends at.
    pub(crate) fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..REFERENCES_MAX {
            let reference = schema.get("$ref").and_then(Value::as_str);
            let Some(target) = reference.and_then(|text| self.target(text)) else { break };
            schema = target;
        }
        schema
    }

    fn target(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// Everything that is wrong with a value at a place.
    pub(crate) fn faults(&self, schema: &'a Value, value: &Value, pointer: &str) -> Vec<Fault> {
        let schema = self.resolve(schema);
        if schema == &Value::Bool(false) {
            return vec![Fault::new(pointer, shown(value), "nothing is allowed here")];
        }
        let hidden = schema.get("writeOnly") == Some(&Value::Bool(true));
        let mut faults = self.own_faults(schema, value, pointer);
        if hidden {
            for fault in faults.iter_mut().filter(|fault| fault.pointer == pointer) {
                fault.found = "a secret value".to_owned();
                fault.nearest = None;
            }
        }
        faults
    }

    fn own_faults(&self, schema: &'a Value, value: &Value, pointer: &str) -> Vec<Fault> {
        if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
            return vec![constant_fault(&[constant], value, pointer)];
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array).filter(|all| !all.contains(value))
        {
            return vec![constant_fault(&allowed.iter().collect::<Vec<_>>(), value, pointer)];
        }
        if !has_type(schema, value) {
            let expected = format!("{} is expected", expectation(schema));
            return vec![Fault::new(pointer, shown(value), expected)];
        }
        let mut faults = match value {
            Value::Null | Value::Bool(_) => Vec::new(),
            Value::Number(_) => one(number_fault(schema, value), value, pointer),
            Value::String(text) => one(text_fault(schema, text), value, pointer),
            Value::Array(items) => self.array_faults(schema, items, pointer),
            Value::Object(entries) => self.object_faults(schema, entries, pointer),
        };
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            faults.extend(self.faults(part, value, pointer));
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(choice).and_then(Value::as_array) {
                faults.extend(check_choice(self, branches, value, pointer));
            }
        }
        faults
    }

    fn array_faults(&self, schema: &'a Value, items: &[Value], pointer: &str) -> Vec<Fault> {
        let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
        let count = items.len() as u64;
        let found = format!("a list of {count}");
        let mut faults = Vec::new();
        if let Some(least) = limit("minItems").filter(|least| count < *least) {
            faults.push(Fault::new(pointer, &found, format!("at least {least} entries are expected")));
        }
        if let Some(most) = limit("maxItems").filter(|most| count > *most) {
            faults.push(Fault::new(pointer, &found, format!("at most {most} entries are expected")));
            return faults;
        }
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let leading = schema.get("prefixItems").and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let place = below(pointer, &index.to_string());
            if unique && items[..index].contains(item) {
                faults.push(Fault::new(&place, shown(item), "each entry is to occur once"));
            }
            let own = leading.and_then(|schemas| schemas.get(index)).or_else(|| schema.get("items"));
            if let Some(own) = own {
                faults.extend(self.faults(own, item, &place));
            }
            if faults.len() >= FAULTS_MAX {
                break;
            }
        }
        faults
    }

    fn object_faults(&self, schema: &'a Value, entries: &Map<String, Value>, pointer: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
        if let Some(most) = limit("maxProperties").filter(|most| entries.len() as u64 > *most) {
            let found = format!("a table of {}", entries.len());
            return vec![Fault::new(pointer, found, format!("at most {most} entries are expected"))];
        }
        if let Some(least) = limit("minProperties").filter(|least| (entries.len() as u64) < *least) {
            let found = format!("a table of {}", entries.len());
            faults.push(Fault::new(pointer, found, format!("at least {least} entries are expected")));
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| !entries.contains_key(*key)) {
            let own = properties.and_then(|all| all.get(key)).map(|own| self.resolve(own));
            let expected = own.map_or("a value".to_owned(), expectation);
            faults.push(Fault::new(below(pointer, key), "nothing", format!("the key is needed: {expected}")));
        }
        for (key, value) in entries {
            faults.extend(self.entry_faults(schema, key, value, pointer));
            if faults.len() >= FAULTS_MAX {
                break;
            }
        }
        faults
    }

    fn entry_faults(&self, schema: &'a Value, key: &str, value: &Value, pointer: &str) -> Vec<Fault> {
        let place = below(pointer, key);
        if let Some(own) = schema.get("properties").and_then(|all| all.get(key)) {
            return self.faults(own, value, &place);
        }
        let names = schema.get("propertyNames").map(|own| self.resolve(own));
        if let Some(wrong) = names.and_then(|own| text_fault(own, key)) {
            return vec![Fault::new(place, format!("the key {}", shown_text(key)), wrong)];
        }
        if let Some(own) = pattern_property(schema, key) {
            return self.faults(own, value, &place);
        }
        match schema.get("additionalProperties").or_else(|| schema.get("unevaluatedProperties")) {
            Some(Value::Bool(false)) => vec![self.unknown_key(schema, key, pointer)],
            Some(own) => self.faults(own, value, &place),
            None => Vec::new(),
        }
    }

    fn unknown_key(&self, schema: &'a Value, key: &str, pointer: &str) -> Fault {
        let properties = schema.get("properties").and_then(Value::as_object);
        let known: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let nearest = base::nearest(key, known.iter().copied());
        let listed = &known[..known.len().min(ALLOWED_KEYS_MAX)];
        let allowed = if known.is_empty() { "no key".to_owned() } else { listed.join(", ") };
        Fault::new(below(pointer, key), "unknown key", format!("allowed: {allowed}")).or_nearest(nearest)
    }
}

fn pattern_property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let patterns = schema.get("patternProperties")?.as_object()?;
    let fits = |pattern: &str| regex_lite::Regex::new(pattern).is_ok_and(|regex| regex.is_match(key));
    patterns.iter().find(|(pattern, _)| fits(pattern)).map(|(_, own)| own)
}

fn one(message: Option<String>, value: &Value, pointer: &str) -> Vec<Fault> {
    message.map(|message| Fault::new(pointer, shown(value), message)).into_iter().collect()
}
