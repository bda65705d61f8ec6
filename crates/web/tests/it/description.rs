//! The OpenAPI document and its page.

use crate::support::Api;
use http::header;
use serde_json::Value;

async fn document(api: &Api) -> Value {
    let answer = api.get("/api/openapi.json", "").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    answer.json()
}

#[tokio::test]
async fn every_route_is_described() {
    let api = Api::new();
    let document = document(&api).await;
    assert_eq!(document["openapi"], "3.1.0");
    let make = &document["paths"]["/api/v1/things"]["post"];
    assert_eq!(make["x-permission"], "write:tenants");
    let header = &make["parameters"][0];
    assert_eq!((header["name"].as_str(), header["in"].as_str()), (Some("Idempotency-Key"), Some("header")));
    assert_eq!(
        make["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/Made"
    );
    assert!(make["responses"]["201"]["content"].is_object());
    let codes = make["responses"]["422"]["x-codes"].to_string();
    assert!(codes.contains("invalid") && codes.contains("idempotency_conflict"), "{codes}");
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(names.insert(operation["operationId"].to_string()), "{method} {path}");
            let named = path.matches('{').count();
            let listed = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| one["in"] == "path")
                .count();
            assert_eq!(named, listed, "{method} {path}");
            assert!(
                operation["security"].is_array() && operation["responses"].is_object(),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn the_description_describes_itself() {
    let api = Api::new();
    let document = document(&api).await;
    for route in api.server.metadata() {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = &document["paths"][route.path][&method];
        let permission = route.permission.map(|permission| permission.to_string());
        assert_eq!(operation["x-permission"].as_str(), permission.as_deref(), "{method} {}", route.path);
        assert_eq!(operation["x-public"].as_str(), route.public, "{method} {}", route.path);
    }
    assert!(document["paths"]["/api/docs"]["get"].is_object());
}

#[tokio::test]
async fn flattened_queries_are_listed_parameter_by_parameter() {
    let document = document(&Api::new()).await;
    let parameters = document["paths"]["/api/v1/things"]["get"]["parameters"].as_array().expect("parameters");
    let names: Vec<&str> = parameters.iter().map(|one| one["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["cursor", "kinds", "limit", "name"]);
    assert_eq!(parameters[1]["explode"], false, "a list is given once, with commas");
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn walk(value: &Value, root: &Value) {
        if let Some(reference) = value["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(root.pointer(pointer).is_some(), "{reference}");
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, root)),
            Value::Object(map) => map.values().for_each(|item| walk(item, root)),
            _ => {}
        }
    }
    let document = document(&Api::new()).await;
    walk(&document, &document);
}

#[tokio::test]
async fn the_page_asks_no_other_host() {
    let answer = Api::new().get("/api/docs", "").await;
    let page = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert!(page.contains("/api/v1/things") && page.contains("prefers-color-scheme: dark"));
    for outside in ["src=", "url(", "@import", "<script", "href=\"http"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.contains("style-src 'sha256-"), "{policy}");
}
