//! Texts and numbers: limits, patterns, formats, and what is expected in words.

use crate::format;
use serde_json::Value;

/// The sort of a value in the words of JSON Schema. A whole number is `integer`, which also counts as `number`.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The types that a schema names; empty when it names none.
pub(crate) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a value has one of the types that the schema names, or the schema names none.
pub(crate) fn has_type(schema: &Value, value: &Value) -> bool {
    let names = types(schema);
    let own = type_of(value);
    names.is_empty() || names.iter().any(|name| *name == own || (*name == "number" && own == "integer"))
}

/// What a schema allows, in words: `a whole number from 1 to 100`.
pub(crate) fn expectation(schema: &Value) -> String {
    let format = schema.get("format").and_then(Value::as_str);
    let mut words: Vec<String> = Vec::new();
    for name in types(schema) {
        words.push(match name {
            "null" => "null".to_owned(),
            "boolean" => "true or false".to_owned(),
            "integer" => format!("a whole number{}", range(schema)),
            "number" => format!("a number{}", range(schema)),
            "string" => format.and_then(format::expectation).unwrap_or("a text").to_owned(),
            "array" => "a list".to_owned(),
            "object" => "a table".to_owned(),
            other => other.to_owned(),
        });
    }
    // `null` stands for "left out" in our types; naming it beside the real answer only confuses.
    if words.len() > 1 {
        words.retain(|word| word != "null");
    }
    if words.is_empty() { "another value".to_owned() } else { words.join(" or ") }
}

fn range(schema: &Value) -> String {
    let (low, high) = bounds(schema);
    match (low, high) {
        (Some(low), Some(high)) if high < 1e9 => format!(" from {low} to {high}"),
        (Some(low), _) => format!(" of at least {low}"),
        (None, Some(high)) => format!(" of at most {high}"),
        (None, None) => String::new(),
    }
}

/// The least and the greatest number that a schema allows, from its limits and its format.
fn bounds(schema: &Value) -> (Option<f64>, Option<f64>) {
    let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (format_low, format_high) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (Some(0.0), Some(f64::from(u8::MAX))),
        Some("uint16") => (Some(0.0), Some(f64::from(u16::MAX))),
        Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
        Some("uint64" | "uint") => (Some(0.0), None),
        Some("int8") => (Some(f64::from(i8::MIN)), Some(f64::from(i8::MAX))),
        Some("int16") => (Some(f64::from(i16::MIN)), Some(f64::from(i16::MAX))),
        Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
        _ => (None, None),
    };
    let low = limit("minimum").or(format_low);
    let high = limit("maximum").or(format_high);
    (low, high)
}

/// What is wrong with a number, if anything.
pub(crate) fn number_fault(schema: &Value, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (low, high) = bounds(schema);
    let outside = low.is_some_and(|low| number < low)
        || high.is_some_and(|high| number > high)
        || limit("exclusiveMinimum").is_some_and(|low| number <= low)
        || limit("exclusiveMaximum").is_some_and(|high| number >= high);
    if outside {
        let strict = match (limit("exclusiveMinimum"), limit("exclusiveMaximum")) {
            (Some(low), Some(high)) => Some(format!("a number above {low} and below {high}")),
            (Some(low), None) => Some(format!("a number above {low}")),
            (None, Some(high)) => Some(format!("a number below {high}")),
            (None, None) => None,
        };
        return Some(format!("{} is expected", strict.unwrap_or_else(|| expectation(schema))));
    }
    let step = limit("multipleOf").filter(|step| *step > 0.0 && (number / step).fract() != 0.0)?;
    Some(format!("a multiple of {step} is expected"))
}

/// What is wrong with a text, if anything: its length, its format, its pattern, in this order.
pub(crate) fn text_fault(schema: &Value, text: &str) -> Option<String> {
    let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
    let characters = text.chars().count() as u64;
    if let Some(least) = limit("minLength").filter(|least| characters < *least) {
        return Some(match least {
            1 => "a text that is not empty is expected".to_owned(),
            _ => format!("at least {least} characters are expected"),
        });
    }
    if let Some(most) = limit("maxLength").filter(|most| characters > *most) {
        return Some(format!("at most {most} characters are expected"));
    }
    let format = schema.get("format").and_then(Value::as_str);
    if let Some(Err(expected)) = format.map(|name| format::check_format(name, text)) {
        return Some(expected);
    }
    // A known format has checked more than its pattern could.
    if format.and_then(format::expectation).is_some() {
        return None;
    }
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    let regex = regex_lite::Regex::new(pattern).ok()?;
    if regex.is_match(text) {
        return None;
    }
    // Examples say more to people than a pattern does.
    let examples = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
    let examples: Vec<&str> = examples.filter_map(Value::as_str).collect();
    Some(match examples.split_last() {
        Some((last, [])) => format!("a text such as {last} is expected"),
        Some((last, first)) => format!("a text such as {} or {last} is expected", first.join(", ")),
        None => format!("a text of the form {pattern} is expected"),
    })
}
