//! Sections as the capabilities have them, as far as `init` writes them.

use config::SectionSchema;
use serde_json::{Value, json};
use shape::Fault;

fn no_rules(_: &Value, _: &Value) -> Vec<Fault> {
    Vec::new()
}

fn project() -> Value {
    closed(json!({ "name": { "type": "string", "format": "slug" } }))
}

fn tenants() -> Value {
    closed(json!({
        "resolve": { "type": "array", "items": { "enum": ["domain", "subdomain", "api-key", "jwt"] } },
        "base_domain": { "type": "string", "format": "host" },
        "default_plan": { "type": "string", "format": "slug" },
    }))
}

fn services() -> Value {
    let text = json!({ "type": "string" });
    let service = closed(json!({
        "build": text, "start": text, "pre_deploy": text,
        "healthcheck": closed(json!({ "path": text, "start_period": { "type": "string", "format": "duration" } })),
        "restart": closed(json!({
            "policy": { "enum": ["never", "on-failure", "always"] },
            "max_retries": { "type": "integer", "minimum": 0 },
        })),
        "replicas": closed(json!({
            "min": { "type": "integer", "minimum": 1, "maximum": 64 },
            "max": { "type": "integer", "minimum": 1, "maximum": 64 },
        })),
    }));
    json!({ "type": "object", "additionalProperties": service, "propertyNames": { "format": "slug" } })
}

fn routes() -> Value {
    let text = json!({ "type": "string" });
    let route = closed(json!({
        "host": text, "path": text, "service": { "type": "string", "format": "slug" },
        "auth": { "enum": ["none", "optional", "required"] }, "limits": { "type": "boolean" },
    }));
    json!({ "type": "array", "items": route })
}

fn environments() -> Value {
    json!({ "type": "object", "additionalProperties": closed(json!({})) })
}

fn closed(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A route's service is in the file.
fn route_rules(section: &Value, whole: &Value) -> Vec<Fault> {
    let names = section.as_array().into_iter().flatten().filter_map(|route| route.get("service")?.as_str());
    let unknown =
        names.enumerate().filter(|(_, name)| whole.get("services").and_then(|all| all.get(*name)).is_none());
    unknown
        .map(|(index, name)| Fault::new(format!("/{index}/service"), name, "a service of this file"))
        .collect()
}

pub(crate) fn sections() -> Vec<SectionSchema> {
    vec![
        SectionSchema { key: "project", schema: project, check: no_rules },
        SectionSchema { key: "tenants", schema: tenants, check: no_rules },
        SectionSchema { key: "services", schema: services, check: no_rules },
        SectionSchema { key: "routes", schema: routes, check: route_rules },
        SectionSchema { key: "environments", schema: environments, check: no_rules },
    ]
}
