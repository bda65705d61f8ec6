//! Reading a body: only JSON, only so much, only in time, and only what the schema names.

use crate::problem::Problem;
use crate::query;
use crate::schema::BodySchema;
use crate::spec::Spec;
use crate::strict;
use base::codes;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;

/// Levels of nesting in a body. Ours have at most ten; a bomb has thousands (TORTURE A19, J4).
pub const JSON_DEPTH_MAX: usize = 32;
/// The same for the bodies of hot routes, which carry what clients send to each other (TORTURE J4).
pub const HOT_DEPTH_MAX: usize = 64;
/// Time in which a body must have arrived whole.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes that a body may have where none is expected: room for `{}` and white space.
const NO_BODY_BYTES_MAX: usize = 64;

/// A body that hot routes read straight from its text. The type itself refuses what it does not name
/// (`deny_unknown_fields`, on every struct below it too); one that does not is read the slow way always.
pub trait HotBody: DeserializeOwned + JsonSchema + Send + 'static {
    /// Whether every value is within what the schema allows beyond types: ranges, lengths, patterns. Where it is not,
    /// the slow way finds out what is to be told.
    fn is_within(&self) -> bool;
}

/// The body of a request as far as it was read.
pub(crate) enum Body {
    /// Checked against the schema.
    Checked(Value),
    /// As it came.
    Bytes(Bytes),
}

impl Body {
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Checked(value) => value,
            Self::Bytes(_) => Value::Null,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Checked(_) => Bytes::new(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Reads the body of a request, and checks it unless the route is hot. Returns its bytes as they came as well.
///
/// # Errors
/// `unsupported_media_type`, `payload_too_large`, `request_timeout`, `bad_request` (not JSON, duplicate keys, too
/// deep), `invalid` (all faults at once).
pub(crate) async fn read(
    parts: &Parts,
    body: axum::body::Body,
    schema: &BodySchema,
    spec: &Spec,
) -> Result<(Bytes, Body), Problem> {
    if !schema.is_some() {
        let (bytes, value) = read_nothing(parts, body).await?;
        return Ok((bytes, Body::Checked(value)));
    }
    if !body.is_end_stream() {
        check_type(parts, spec.form)?;
    }
    let bytes = collect(body, spec.body_bytes_max).await?;
    if spec.form {
        let value = form(&bytes, schema, spec.lenient)?;
        return Ok((bytes, Body::Checked(value)));
    }
    if spec.hot {
        return Ok((bytes.clone(), Body::Bytes(bytes)));
    }
    let value = checked(&bytes, schema, JSON_DEPTH_MAX)?;
    Ok((bytes, Body::Checked(value)))
}

/// Reads a hot body: straight into its type when nothing is wrong with it.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_hot<B: HotBody>(bytes: &Bytes, schema: &BodySchema) -> Result<B, Problem> {
    let text = if bytes.is_empty() { b"{}" } else { bytes.as_ref() };
    let straight = || {
        let body: B = std::str::from_utf8(text).ok().and_then(|text| serde_json::from_str(text).ok())?;
        body.is_within().then_some(body)
    };
    if schema.closes_itself()
        && strict::is_plain(text, HOT_DEPTH_MAX)
        && let Some(body) = straight()
    {
        return Ok(body);
    }
    checked(bytes, schema, HOT_DEPTH_MAX)?;
    // From the text once more, so that what is passed on stays as it came.
    serde_json::from_slice(text).map_err(|error| {
        Problem::new(&codes::INVALID).detail("A value is not allowed.").fault("", error.to_string())
    })
}

/// The fields of a form.
fn form(bytes: &Bytes, schema: &BodySchema, lenient: bool) -> Result<Value, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::new(&codes::BAD_REQUEST).detail("The form is not UTF-8."))?;
    query::read_form(text, schema.schema().unwrap_or(&Value::Null), lenient)
}

/// The value of a text that the schema has nothing against.
fn checked(bytes: &Bytes, schema: &BodySchema, depth_max: usize) -> Result<Value, Problem> {
    // A body whose fields are all optional may be left out.
    let value = if bytes.is_empty() {
        Value::Object(Map::new())
    } else {
        shape::parse_json(bytes, depth_max).map_err(|fault| {
            Problem::new(&codes::BAD_REQUEST).detail("The body cannot be read as JSON.").faults("", &[fault])
        })?
    };
    check(schema.schema().unwrap_or(&Value::Bool(true)), value)
}

/// Gives a checked body its type. What fails here is a rule that the schema cannot say.
pub(crate) fn into_type<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| {
        Problem::new(&codes::INVALID).detail("A value is not allowed.").fault("", error.to_string())
    })
}

fn check(schema: &Value, value: Value) -> Result<Value, Problem> {
    let mut faults = shape::check(schema, &value);
    find_nul(&value, &mut String::new(), &mut faults);
    if faults.is_empty() {
        return Ok(value);
    }
    let count = faults.len();
    let detail = if count == 1 {
        "One value is not allowed.".to_owned()
    } else {
        format!("{count} values are not allowed.")
    };
    Err(Problem::new(&codes::INVALID).detail(detail).faults("", &faults))
}

/// NUL is legal JSON, but no text that we keep may hold it: PostgreSQL refuses it.
fn find_nul(value: &Value, pointer: &mut String, faults: &mut Vec<shape::Fault>) {
    match value {
        Value::String(text) if text.contains('\0') => faults.push(nul_at(pointer)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                below(pointer, &index.to_string(), |pointer| find_nul(item, pointer, faults));
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                if key.contains('\0') {
                    faults.push(nul_at(pointer));
                }
                below(pointer, key, |pointer| find_nul(item, pointer, faults));
            }
        }
        _ => {}
    }
}

fn nul_at(pointer: &str) -> shape::Fault {
    shape::Fault::new(pointer, "a NUL character", "text without NUL is expected")
}

fn below(pointer: &mut String, step: &str, visit: impl FnOnce(&mut String)) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&shape::escaped(step));
    visit(pointer);
    pointer.truncate(length);
}

async fn read_nothing(parts: &Parts, body: axum::body::Body) -> Result<(Bytes, Value), Problem> {
    if body.is_end_stream() {
        return Ok((Bytes::new(), Value::Null));
    }
    let refusal = || Problem::new(&codes::BAD_REQUEST).detail("This route takes no body.");
    if parts.method == Method::GET || parts.method == Method::HEAD {
        return Err(refusal());
    }
    let bytes = collect(body, NO_BODY_BYTES_MAX).await.map_err(|problem| {
        if problem.code().name == codes::PAYLOAD_TOO_LARGE.name { refusal() } else { problem }
    })?;
    match bytes.trim_ascii() {
        b"" | b"{}" => Ok((Bytes::new(), Value::Null)),
        _ => Err(refusal()),
    }
}

async fn collect(body: axum::body::Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(&codes::PAYLOAD_TOO_LARGE)
            .detail(format!("At most {bytes_max} bytes are read here."))
            .member("limit", bytes_max as u64)
    };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, bytes_max).collect()).await {
        Err(_) => Err(Problem::new(&codes::REQUEST_TIMEOUT).detail("The body did not arrive in time.")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(&codes::BAD_REQUEST).detail("The body ended before it was whole.")),
    }
}

/// JSON only, or a form only: what a browser's form can send by itself is never taken for JSON (TORTURE N15).
fn check_type(parts: &Parts, form: bool) -> Result<(), Problem> {
    let wanted = if form { "application/x-www-form-urlencoded" } else { "application/json" };
    let refusal = |found: &str| {
        Problem::new(&codes::UNSUPPORTED_MEDIA_TYPE)
            .detail(format!("Send `Content-Type: {wanted}`, not compressed; found {found}."))
            .header(header::ACCEPT, wanted)
    };
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(refusal("a Content-Encoding"));
    }
    let text =
        single(&parts.headers, &header::CONTENT_TYPE).ok_or_else(|| refusal("none, or more than one"))?;
    let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
    let kind = kind.trim().to_ascii_lowercase();
    let merge = !form && parts.method == Method::PATCH && kind == "application/merge-patch+json";
    let charset = parameters
        .split(';')
        .map(|one| one.trim().to_ascii_lowercase())
        .find(|one| one.starts_with("charset="));
    let utf8 = charset.is_none_or(|one| matches!(one.as_str(), "charset=utf-8" | "charset=\"utf-8\""));
    if (kind == wanted || merge) && utf8 { Ok(()) } else { Err(refusal("another type")) }
}

fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, content_type: &str) -> Parts {
        let request = http::Request::builder().method(method).header(header::CONTENT_TYPE, content_type);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_json_is_json() {
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(check_type(&parts(Method::POST, good), false).is_ok(), "{good}");
        }
        for bad in
            ["text/plain", "application/jsonx", "multipart/form-data", "application/json; charset=utf-16", ""]
        {
            assert!(check_type(&parts(Method::POST, bad), false).is_err(), "{bad}");
        }
        assert!(check_type(&parts(Method::PATCH, "application/merge-patch+json"), false).is_ok());
        assert!(check_type(&parts(Method::POST, "application/x-www-form-urlencoded"), false).is_err());
        assert!(check_type(&parts(Method::POST, "application/x-www-form-urlencoded"), true).is_ok());
        assert!(check_type(&parts(Method::POST, "application/json"), true).is_err());
        assert!(check_type(&parts(Method::POST, "application/merge-patch+json"), false).is_err());
    }

    #[test]
    fn nul_is_found_wherever_it_hides() {
        let mut faults = Vec::new();
        let value = serde_json::json!({"a": [{"b/c": "x\0"}], "d\0": 1});
        find_nul(&value, &mut String::new(), &mut faults);
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a/0/b~1c", ""]);
    }
}
