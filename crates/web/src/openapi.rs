//! The OpenAPI 3.1 document, made from the routes.

use crate::problem::{PROBLEM_CONTENT_TYPE, PROBLEM_TYPE_BASE};
use crate::reference;
use crate::routes::{Route, Routes};
use crate::schema::ParameterKind;
use crate::spec::{Access, Spec};
use base::{Code, codes};
use http::Method;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the document says of the API as a whole.
#[derive(Debug, Clone)]
pub struct ApiInfo {
    /// Its title.
    pub title: &'static str,
    /// The version of the binary.
    pub version: &'static str,
}

/// The document's words on the API as a whole.
const DESCRIPTION: &str = "\
Requests are JSON; unknown fields and parameters are refused, all faults at once. Replies only grow: ignore fields \
that you do not know. Errors are problem documents (RFC 9457) with a stable `code`.\n\n\
Authenticate by `Authorization: Bearer` or `X-API-Key`. A cookie is no credential here, so that no page of another \
site can act for anybody.\n\n\
Every POST takes an `Idempotency-Key` (kept for 24 hours) unless it says that it may be repeated. Changes take \
`If-Match` with the `ETag` of a read. Lists take `limit` and `cursor`. What belongs to another tenant is 404.";

/// The document of these routes, and of those that describe them.
#[must_use]
pub fn document(routes: &[Routes], info: &ApiInfo) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut tags: Vec<&str> = Vec::new();
    let (own, _) = reference::routes(Vec::new(), info.clone());
    for route in routes.iter().chain([&own]).flat_map(Routes::iter) {
        if !tags.contains(&route.capability) {
            tags.push(route.capability);
        }
        let method = route.spec.method.as_str().to_ascii_lowercase();
        paths.entry(route.spec.path).or_default().insert(method, operation(route, &mut generator));
    }
    let mut schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    schemas.insert("Problem".into(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {"title": info.title, "version": info.version, "description": DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "tags": tags.iter().map(|tag| json!({"name": tag})).collect::<Value>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key (`sy_…`) or an access token."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let spec = &route.spec;
    let mut operation = Map::new();
    operation.insert("operationId".into(), operation_id(spec).into());
    operation.insert("tags".into(), json!([route.capability]));
    operation.insert("summary".into(), spec.summary.into());
    if let Some(text) = details(spec) {
        operation.insert("description".into(), text.into());
    }
    operation.insert("x-surface".into(), spec.surface.name().into());
    match &spec.access {
        Access::Needs(permission) => {
            operation.insert("x-permission".into(), permission.to_string().into());
            operation.insert("security".into(), json!([{"bearer": []}, {"apiKey": []}]));
        }
        Access::Public(reason) => {
            operation.insert("x-public".into(), (*reason).into());
            operation.insert("security".into(), json!([]));
        }
    }
    let parameters = parameters(route, generator);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(schema) = route.shapes.body {
        operation.insert("requestBody".into(), request_body(route, generator, schema));
    }
    operation.insert("responses".into(), responses(route, generator));
    Value::Object(operation)
}

fn details(spec: &Spec) -> Option<String> {
    let repeatable = spec.repeatable.map(|reason| format!("May be repeated: {reason}."));
    let parts: Vec<String> = [(!spec.details.is_empty()).then(|| spec.details.to_owned()), repeatable]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// `get_tenants_t_keys`: the method and the path's words.
fn operation_id(spec: &Spec) -> String {
    let path = spec.path.strip_prefix("/api/v1").unwrap_or(spec.path);
    let words = path.split(['/', '.', '-', '{', '}', '*']).filter(|word| !word.is_empty());
    let method = spec.method.as_str().to_ascii_lowercase();
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let spec = &route.spec;
    let mut list: Vec<Value> = spec
        .path_parameters()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    list.extend(query_parameters(route, generator));
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "required": false, "description": description, "schema": {"type": "string"}});
    if spec.takes_idempotency_key() {
        list.push(header("Idempotency-Key", "1 to 255 visible ASCII characters, one for each operation that is meant; repeats within 24 hours get the first reply."));
    }
    if takes_if_match(spec) {
        list.push(header("If-Match", "The `ETag` that is to be changed; 412 when it has changed since."));
    }
    if spec.in_environment {
        list.push(header(
            "Switchyard-Environment",
            "The environment's name or id, where the credential names none.",
        ));
    }
    list
}

fn query_parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let Some(make) = route.shapes.query else { return Vec::new() };
    let schema = make(generator).to_value();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, mut schema)| {
            let needed = required.contains(&name.as_str());
            let description = schema.as_object_mut().and_then(|map| map.remove("description"));
            let mut parameter = json!({"name": name, "in": "query", "required": needed, "schema": schema});
            if route.query.kind(&name) == ParameterKind::List {
                // Given once, with commas between the values.
                parameter["style"] = "form".into();
                parameter["explode"] = false.into();
            }
            if let Some(text) = description {
                parameter["description"] = text;
            }
            parameter
        })
        .collect()
}

fn takes_if_match(spec: &Spec) -> bool {
    [Method::PUT, Method::PATCH, Method::DELETE].contains(&spec.method)
}

fn request_body(
    route: &Route,
    generator: &mut SchemaGenerator,
    schema: fn(&mut SchemaGenerator) -> schemars::Schema,
) -> Value {
    let mut media = json!({"schema": schema(generator)});
    if let Some(example) = route.spec.example.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        media["example"] = example;
    }
    let kind = if route.spec.form { "application/x-www-form-urlencoded" } else { "application/json" };
    json!({"required": true, "content": {kind: media}})
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let spec = &route.spec;
    let mut responses = Map::new();
    let usual = match (&spec.method, route.shapes.reply) {
        _ if spec.stream.is_some() || spec.page => 200,
        (_, None) if spec.method != Method::GET => 204,
        (&Method::POST, _) => 201,
        _ => 200,
    };
    let mut success = json!({"description": "Success."});
    if let Some(kind) = spec.stream {
        success["content"] = json!({kind.content_type(): {"schema": {"type": "string"}}});
    } else if spec.page {
        success["content"] = json!({"text/html": {"schema": {"type": "string"}}});
    } else if let Some(schema) = route.shapes.reply {
        success["content"] = json!({"application/json": {"schema": schema(generator)}});
    }
    responses.insert(spec.success.unwrap_or(usual).to_string(), success);
    for (status, codes) in codes_by_status(route) {
        let lines: Vec<String> =
            codes.iter().map(|code| format!("`{}`: {}.", code.name, code.title)).collect();
        let names: Vec<&str> = codes.iter().map(|code| code.name).collect();
        responses.insert(
            status.to_string(),
            json!({
                "description": lines.join("\n\n"),
                "x-codes": names,
                "content": {PROBLEM_CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }),
        );
    }
    Value::Object(responses)
}

/// Every code that a route can give: those of its kind, and its own.
fn codes_by_status(route: &Route) -> BTreeMap<u16, Vec<&'static Code>> {
    let spec = &route.spec;
    let mut all: Vec<&'static Code> =
        vec![&codes::BAD_REQUEST, &codes::UNKNOWN_FIELD, &codes::INTERNAL, &codes::UNAVAILABLE];
    let mut when = |condition: bool, more: &[&'static Code]| {
        if condition {
            all.extend_from_slice(more);
        }
    };
    let changes = spec.method != Method::GET;
    when(matches!(spec.access, Access::Needs(_)), &[&codes::UNAUTHENTICATED, &codes::FORBIDDEN]);
    when(spec.path_parameters().next().is_some(), &[&codes::NOT_FOUND]);
    when(changes, &[&codes::REQUEST_TIMEOUT, &codes::CONFLICT, &codes::STORE_FULL]);
    when(route.body.is_some(), &[&codes::UNSUPPORTED_MEDIA_TYPE, &codes::PAYLOAD_TOO_LARGE, &codes::INVALID]);
    when(spec.takes_idempotency_key(), &[&codes::IDEMPOTENCY_CONFLICT]);
    when(takes_if_match(spec), &[&codes::PRECONDITION_FAILED]);
    all.extend_from_slice(&spec.codes);
    let mut by_status: BTreeMap<u16, Vec<&'static Code>> = BTreeMap::new();
    for code in all {
        // At the API a used-up quota is a conflict; 429 is the gateway's.
        let status = if *code == codes::QUOTA_EXCEEDED { 409 } else { code.status };
        let listed = by_status.entry(status).or_default();
        if !listed.contains(&code) {
            listed.push(code);
        }
    }
    by_status
}

fn problem_schema() -> Value {
    let names: Vec<&str> = codes::ALL.iter().map(|code| code.name).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": format!("`{PROBLEM_TYPE_BASE}<code>`")},
            "title": {"type": "string", "description": "What happened, the same each time."},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is wrong in this case, and what to do."},
            "code": {"type": "string", "enum": names, "description": "Stable; more may come."},
            "request_id": {"type": "string", "description": "By which the log knows more."},
            "errors": {
                "type": "array",
                "description": "Every wrong value.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {
                        "pointer": {"type": "string", "description": "A JSON pointer into the body, or /query/<name>, /path/<name>, /header/<name>."},
                        "detail": {"type": "string"},
                    },
                },
            },
        },
        "additionalProperties": true,
    })
}
