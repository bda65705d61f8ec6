//! Environments as overlays of the file's other sections.

use crate::schema::{ENVIRONMENTS, may_overlay};
use serde_json::{Map, Value};

/// The file's value as it is in one environment: `[environments.X.services.web]` laid over `[services.web]`. Tables are
/// merged, everything else is replaced, lists as a whole. `environments` itself stays as it was written. `sections` are
/// the keys that the file may have at its top.
pub(crate) fn merged(file: &Value, environment: &str, sections: &[&str]) -> Value {
    let mut whole = file.clone();
    let overlay = overlay_of(file, environment, sections);
    if let Some(object) = whole.as_object_mut() {
        for (key, value) in &overlay {
            lay_over(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
    whole
}

/// The parts of other sections that an environment has.
pub(crate) fn overlay_of(file: &Value, environment: &str, sections: &[&str]) -> Map<String, Value> {
    let table = file.get(ENVIRONMENTS).and_then(|all| all.get(environment)).and_then(Value::as_object);
    let parts = table.into_iter().flatten();
    let is_section = |key: &str| may_overlay(key) && sections.contains(&key);
    parts.filter(|(key, _)| is_section(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}
