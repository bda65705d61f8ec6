//! Reading a query: each parameter known, given once, and of its type.

use crate::problem::Problem;
use crate::schema::{ParameterKind, QuerySchema, parameter_kind};
use base::codes;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use shape::Fault;

/// Parameters that one query may have; ours have at most ten.
pub const PARAMETERS_MAX: usize = 64;

/// Parses and checks a query.
///
/// # Errors
/// `unknown_field` when the only faults are unknown names, else `bad_request`; all faults at once.
pub(crate) fn read(query: &str, schema: &QuerySchema, lenient: bool) -> Result<Value, Problem> {
    if query.is_empty() && schema.takes_nothing() {
        return Ok(Value::Object(Map::new()));
    }
    let (value, faults, unknown) = pairs(query, schema.schema(), lenient);
    if faults.is_empty() && unknown.is_empty() {
        return Ok(value);
    }
    let code = if faults.is_empty() { &codes::UNKNOWN_FIELD } else { &codes::BAD_REQUEST };
    let all: Vec<Fault> = faults.into_iter().chain(unknown).collect();
    Err(Problem::new(code).detail("The query is not one that this route reads.").faults("/query", &all))
}

/// Parses and checks a form.
///
/// # Errors
/// `invalid`; all faults at once.
pub(crate) fn read_form(text: &str, schema: &Value, lenient: bool) -> Result<Value, Problem> {
    let (value, mut faults, unknown) = pairs(text, schema, lenient);
    faults.extend(unknown);
    if faults.is_empty() {
        return Ok(value);
    }
    Err(Problem::new(&codes::INVALID)
        .detail("The form is not one that this route reads.")
        .faults("", &faults))
}

/// Urlencoded pairs as an object, what is wrong with them, and which names nobody knows. `lenient`: unknown names do not
/// matter, and an empty value counts as left out.
fn pairs(text: &str, schema: &Value, lenient: bool) -> (Value, Vec<Fault>, Vec<Fault>) {
    let names: Vec<&str> =
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let (mut faults, mut unknown) = (Vec::new(), Vec::new());
    let mut object = Map::new();
    for (index, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if index >= PARAMETERS_MAX {
            faults.push(Fault::new("", "more", format!("at most {PARAMETERS_MAX} parameters are read")));
            break;
        }
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(text)) = (decode(name), decode(text)) else {
            let shown = shape::shown(&Value::from(pair));
            faults.push(Fault::new("", shown, "percent-encoded UTF-8 without NUL is expected"));
            continue;
        };
        let known = names.contains(&name.as_str());
        if lenient && (!known || text.is_empty()) {
            continue;
        }
        let value = value_of(&text, parameter_kind(schema, &name));
        if object.insert(name.clone(), value).is_some() {
            faults.push(Fault::new(shape::below("", &name), "the parameter twice", "once is allowed"));
        } else if !known {
            unknown.push(self::unknown(&name, &names));
        }
    }
    object.retain(|key, _| names.contains(&key.as_str()));
    let value = Value::Object(object);
    faults.extend(shape::check(schema, &value));
    (value, faults, unknown)
}

/// Gives a checked query its type. What fails here is a rule that the schema cannot say.
pub(crate) fn into_type<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| {
        Problem::new(&codes::BAD_REQUEST)
            .detail("A parameter is not allowed.")
            .fault("/query", error.to_string())
    })
}

fn value_of(text: &str, kind: ParameterKind) -> Value {
    let read = match kind {
        ParameterKind::Text => None,
        ParameterKind::Boolean => text.parse::<bool>().ok().map(Value::Bool),
        ParameterKind::Number => number(text).map(Value::Number),
        ParameterKind::List => Some(text.split(',').map(Value::from).collect()),
    };
    // What is not of its type stays text, and the schema says what is expected.
    read.unwrap_or_else(|| Value::from(text))
}

fn number(text: &str) -> Option<Number> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    if !plain {
        return None;
    }
    text.parse::<i64>()
        .map(Number::from)
        .or_else(|_| text.parse::<u64>().map(Number::from))
        .ok()
        .or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64))
}

fn unknown(name: &str, names: &[&str]) -> Fault {
    let message = if names.is_empty() {
        "none is read here".to_owned()
    } else {
        format!("allowed: {}", names.join(", "))
    };
    Fault::new(shape::below("", name), "an unknown parameter", message)
        .or_nearest(base::nearest(name, names.iter().copied()))
}

/// Percent-encoded text; a plus is a space, as forms write it. `None` for broken escapes, bytes that are not
/// UTF-8, and NUL.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let whole = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !whole {
        return None;
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?.into_owned();
    (!decoded.contains('\0')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    struct Filter {
        #[schemars(range(min = 1, max = 500))]
        limit: Option<u32>,
        name: Option<String>,
        deep: Option<bool>,
        kinds: Option<Vec<String>>,
    }

    fn parse(query: &str) -> Result<Filter, Problem> {
        read(query, &QuerySchema::of::<Filter>(), false).and_then(into_type)
    }

    fn refused(query: &str) -> &'static str {
        parse(query).expect_err("the query must be refused").code().name
    }

    #[test]
    fn parameters_get_their_types() {
        let filter = parse("limit=5&name=a%20b+c&deep=true&kinds=x,y").expect("a good query");
        assert_eq!(filter.limit, Some(5));
        assert_eq!(filter.name.as_deref(), Some("a b c"));
        assert_eq!(filter.deep, Some(true));
        assert_eq!(filter.kinds, Some(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(parse("").expect("an empty query").limit, None);
        assert_eq!(parse("name=42").expect("digits are text too").name.as_deref(), Some("42"));
    }

    #[test]
    fn z6_a_parameter_is_given_once() {
        assert_eq!(refused("limit=5&limit=6"), "bad_request");
        assert_eq!(refused("limit=5&%6cimit=5"), "bad_request");
    }

    #[test]
    fn z7_what_is_not_a_value_of_its_type_is_refused() {
        for query in [
            "limit=1;DROP TABLE x",
            "limit=0",
            "limit=501",
            "limit=1e2",
            "deep=yes",
            "limit=%",
            "name=%ff",
            "name=%00",
        ] {
            assert_eq!(refused(query), "bad_request", "{query}");
        }
        for query in ["sort=name;--", "order=1", "limit'=5", "limi=5"] {
            assert_eq!(refused(query), "unknown_field", "{query}");
        }
    }

    #[test]
    fn all_faults_come_at_once_with_a_hint() {
        let problem = parse("limt=5&deep=x").expect_err("two faults");
        let document: Value = serde_json::from_slice(&problem.render("r").2).expect("JSON");
        assert_eq!(document["errors"].as_array().map(Vec::len), Some(2));
        assert!(document.to_string().contains("did you mean `limit`?"), "{document}");
    }

    #[test]
    fn a_form_of_a_protocol_may_say_more_than_is_read() {
        let schema = shape::schema_of::<Filter>();
        let lenient = |text: &str| read_form(text, &schema, true);
        let value = lenient("name=a+b%26c&limit=&zoo=1&zoo=2").expect("a form");
        assert_eq!(value, serde_json::json!({"name": "a b&c"}));
        for bad in ["name=a&name=b", "limit=0", "name=%ff"] {
            assert_eq!(lenient(bad).expect_err("refused").code().name, "invalid", "{bad}");
        }
        assert_eq!(read_form("zoo=1", &schema, false).expect_err("unknown").code().name, "invalid");
    }

    #[test]
    fn a_flood_of_parameters_is_cut() {
        let query = "name=a&".repeat(100_000);
        assert_eq!(refused(&query), "bad_request");
    }
}
