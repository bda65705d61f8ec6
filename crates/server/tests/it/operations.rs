//! The operations of the API as the running binary describes them, so that a new route cannot be forgotten by the walks.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::{Project, Response, request};

/// One operation, with what its description says of it.
pub struct Operation {
    pub method: String,
    pub path: String,
    /// `None` for what is public.
    pub permission: Option<String>,
    /// A body that fits, `null` where there is none.
    pub example: Value,
    /// The names that its body knows.
    pub fields: Vec<String>,
    pub query: Vec<String>,
    /// Whether its permission is asked for in an environment.
    pub in_environment: bool,
    /// Who reaches it: `operator`, `both`, `service` or `member`.
    pub surface: String,
}

impl Operation {
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether it answers for ever.
    pub fn is_stream(&self) -> bool {
        self.path.ends_with("/stream")
    }

    /// A call of it on the control listener, with this body as it is.
    pub fn call(&self, project: &Project, path: &str, key: Option<&str>, body: &str) -> Response {
        self.call_at(project.listener("control"), path, key, body)
    }

    /// A call of it on a listener.
    pub fn call_at(&self, listener: SocketAddr, path: &str, key: Option<&str>, body: &str) -> Response {
        self.call_under((listener, "localhost"), path, key, body)
    }

    /// A call of it at the member surface: `api.` of the base domain, at the gateway.
    pub fn call_as_member(&self, project: &Project, path: &str, key: Option<&str>, body: &str) -> Response {
        self.call_under((project.listener("gateway"), "api.localhost"), path, key, body)
    }

    fn call_under(
        &self,
        (listener, host): (SocketAddr, &str),
        path: &str,
        key: Option<&str>,
        body: &str,
    ) -> Response {
        let bearer = key.map(|k| format!("Bearer {k}")).unwrap_or_default();
        let mut headers = vec![("content-type", "application/json")];
        if key.is_some() {
            headers.push(("authorization", &bearer));
        }
        request(listener, &self.method, (host, path), &headers, body)
            .unwrap_or_else(|e| panic!("{} {path}: {e}", self.method))
    }

    pub fn body(&self) -> String {
        if self.example.is_null() { String::new() } else { self.example.to_string() }
    }
}

/// All of them, in the order of the document.
pub fn operations(project: &Project) -> Vec<Operation> {
    let document = project.api("GET", "/api/openapi.json", &Value::Null).json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if matches!(method.as_str(), "get" | "post" | "put" | "patch" | "delete") {
                all.push(read(&document, method, path, operation));
            }
        }
    }
    assert!(all.len() > 50, "the API describes {} operations", all.len());
    all
}

fn read(document: &Value, method: &str, path: &str, operation: &Value) -> Operation {
    let media = &operation["requestBody"]["content"]["application/json"];
    let example = match (&media["example"], media.is_null()) {
        (_, true) => Value::Null,
        (Value::Null, false) => json!({}),
        (example, false) => example.clone(),
    };
    let schema = match media["schema"]["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).expect("what is named is there"),
        None => &media["schema"],
    };
    let fields =
        schema["properties"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let named = |place: &str| -> Vec<String> {
        let of_place = parameters.iter().filter(|one| one["in"] == place);
        of_place.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
    };
    let permission = operation["x-permission"].as_str().map(str::to_owned);
    let public = operation["x-public"].is_string();
    let surface = operation["x-surface"].as_str().expect("who reaches it").to_owned();
    assert!(permission.is_some() != public, "{method} {path} needs no permission and gives no reason");
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        permission,
        example,
        fields,
        query: named("query"),
        in_environment: named("header").iter().any(|name| name == "Switchyard-Environment"),
        surface,
    }
}

/// A well-formed id of each kind that names nothing. The kind is a parameter's name, after the segment before it where that
/// alone says it.
pub fn unknown(kind: &str) -> &'static str {
    match kind {
        "sessions/s" | "impersonate/s" => "ses_00000000000000000000000000",
        "reservations/r" => "res_00000000000000000000000000",
        "k" => "key_00000000000000000000000000",
        "m" => "mem_00000000000000000000000000",
        "host" => "nobody.example",
        "d" => "dep_00000000000000000000000000",
        "b" => "bak_00000000000000000000000000",
        "r" => "rte_00000000000000000000000000",
        "j" => "job_00000000000000000000000000",
        "u" => "usr_00000000000000000000000000",
        "c" => "cli_00000000000000000000000000",
        "sinks/s" => "snk_00000000000000000000000000",
        _ => "no-such-thing",
    }
}

/// The kind of a path's parameter: its name, with the segment before it where one name has several meanings.
fn kind_of(before: &str, name: &str) -> String {
    match (before, name) {
        ("sessions" | "impersonate" | "sinks", "s") | ("reservations", "r") => format!("{before}/{name}"),
        _ => name.to_owned(),
    }
}

/// The path with a tenant in `{t}` and unknown ids in the other parameters.
pub fn fill(path: &str, tenant: &str) -> String {
    let mut before = "";
    let mut segments = Vec::new();
    for segment in path.split('/') {
        segments.push(match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None => segment,
            Some("t") => tenant,
            Some(name) => unknown(&kind_of(before, name)),
        });
        before = segment;
    }
    segments.join("/")
}
