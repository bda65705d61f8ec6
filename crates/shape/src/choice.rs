//! `anyOf` and `oneOf`: which of several shapes was meant, so that only its faults are told.

use crate::check::Walk;
use crate::fault::{Fault, below, shown};
use crate::scalar::{expectation, has_type};
use serde_json::Value;

/// Choices within choices that are looked into; a type that is deeper has its faults told less precisely.
const DEPTH_MAX: usize = 8;

/// What a branch of type `null` allows (an `Option` is a choice between its content and null).
static NULL: Value = Value::Null;

/// Checks a value against several shapes, of which one is to fit. Takes the faults of the shape that was probably meant.
pub(crate) fn check_choice(walk: &Walk<'_>, branches: &[Value], value: &Value, pointer: &str) -> Vec<Fault> {
    let branches = flattened(walk, branches, 0);
    if let Some(allowed) = constants_of(walk, &branches) {
        if allowed.contains(&value) {
            return Vec::new();
        }
        return vec![constant_fault(&allowed, value, pointer)];
    }
    if let Some((tag, meant)) = by_tag(walk, &branches, value) {
        return match meant {
            Ok(branch) => walk.faults(branch, value, pointer),
            Err(allowed) => {
                let found = value.get(tag).unwrap_or(&Value::Null);
                vec![constant_fault(&allowed, found, &below(pointer, tag))]
            }
        };
    }
    // Some shape fits, or the one of the right type with the fewest faults was meant.
    let fitting = branches.iter().filter(|branch| accepts(branch, value));
    let best = fitting.map(|branch| walk.faults(branch, value, pointer)).min_by_key(Vec::len);
    best.unwrap_or_else(|| {
        let mut words: Vec<String> = branches.iter().map(|branch| expected(walk, branch)).collect();
        words.dedup();
        words.retain(|word| !word.is_empty() && word != "null");
        vec![Fault::new(pointer, shown(value), format!("{} is expected", words.join(" or ")))]
    })
}

/// The branches with those of choices within choices in their place.
fn flattened<'a>(walk: &Walk<'a>, branches: &'a [Value], depth: usize) -> Vec<&'a Value> {
    let mut flat = Vec::with_capacity(branches.len());
    for branch in branches {
        let branch = walk.resolve(branch);
        match inner(branch).filter(|_| depth < DEPTH_MAX && branch.get("properties").is_none()) {
            Some(nested) => flat.extend(flattened(walk, nested, depth + 1)),
            None => flat.push(branch),
        }
    }
    flat
}

fn expected(walk: &Walk<'_>, branch: &Value) -> String {
    match constants_of(walk, &[branch]) {
        Some(constants) => list(&constants),
        None => expectation(branch),
    }
}

/// Whether the value's type is one that a branch takes at all.
fn accepts(branch: &Value, value: &Value) -> bool {
    branch.get("const").map_or_else(|| has_type(branch, value), |constant| constant == value)
}

fn inner(schema: &Value) -> Option<&[Value]> {
    schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array).map(Vec::as_slice)
}

/// The values that these shapes allow, when each of them is a constant, a list of constants or a choice of such.
fn constants_of<'a>(walk: &Walk<'a>, branches: &[&'a Value]) -> Option<Vec<&'a Value>> {
    let mut all = Vec::new();
    let within =
        |branch: &'a Value| inner(branch).map_or_else(|| vec![branch], |nested| flattened(walk, nested, 0));
    for branch in branches.iter().flat_map(|branch| within(branch)) {
        if let Some(constant) = branch.get("const") {
            all.push(constant);
        } else if branch.get("type").is_some_and(|name| name == "null") {
            all.push(&NULL);
        } else {
            all.extend(branch.get("enum")?.as_array()?);
        }
    }
    Some(all)
}

/// A tag and the branch that its value chooses, or the values that would have chosen one.
type Tagged<'a> = (&'a str, Result<&'a Value, Vec<&'a Value>>);

/// Chooses by a property that is there and a constant in every branch of objects (serde's `tag`).
fn by_tag<'a>(walk: &Walk<'a>, branches: &[&'a Value], value: &Value) -> Option<Tagged<'a>> {
    let object = value.as_object()?;
    let constants = |branch: &'a Value, tag: &str| -> Option<Vec<&'a Value>> {
        let property = branch.get("properties")?.get(tag)?;
        constants_of(walk, &[walk.resolve(property)])
    };
    let objects: Vec<&Value> =
        branches.iter().copied().filter(|branch| branch.get("properties").is_some()).collect();
    let first = objects.first()?.get("properties")?.as_object()?;
    let decides = |branch: &'a Value, key: &str| requires(branch, key) && constants(branch, key).is_some();
    let tag = first.keys().find(|key| objects.iter().all(|branch| decides(branch, key)))?;
    let found = object.get(tag).unwrap_or(&Value::Null);
    let meant = objects.iter().find(|branch| constants(branch, tag).is_some_and(|all| all.contains(&found)));
    Some((
        tag,
        meant
            .copied()
            .ok_or_else(|| objects.iter().filter_map(|branch| constants(branch, tag)).flatten().collect()),
    ))
}

/// Whether a property must be there; one that may be left out cannot tell shapes apart.
fn requires(branch: &Value, key: &str) -> bool {
    branch.get("required").and_then(Value::as_array).is_some_and(|all| all.iter().any(|name| name == key))
}

/// A value that is none of the allowed ones.
pub(crate) fn constant_fault(allowed: &[&Value], value: &Value, pointer: &str) -> Fault {
    let words = allowed.iter().filter_map(|constant| constant.as_str());
    let nearest = value.as_str().and_then(|text| base::nearest(text, words));
    Fault::new(pointer, shown(value), format!("allowed: {}", list(allowed))).or_nearest(nearest)
}

fn list(constants: &[&Value]) -> String {
    let words = constants.iter().filter(|constant| !constant.is_null()).map(|constant| match constant {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}
