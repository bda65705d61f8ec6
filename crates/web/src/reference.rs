//! The routes that describe the others: the OpenAPI document, and the same as a page for people. The page is made
//! here, with its style inside: it asks no other host for anything.

use crate::call::Call;
use crate::openapi::{self, ApiInfo};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::routes::Routes;
use crate::spec::{Spec, Surface};
use base64::Engine as _;
use http::header;
use ring::digest;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

const STYLE: &str = include_str!("reference.css");

/// What the two routes answer. Made when somebody asks for the first time: the document of a few hundred routes takes some
/// ten megabytes while it is made, and most processes are never asked.
pub(crate) struct Description {
    routes: Vec<Routes>,
    info: ApiInfo,
    made: OnceLock<Made>,
}

struct Made {
    document: String,
    page: String,
    policy: String,
}

impl Description {
    /// The document, made anew.
    pub(crate) fn document(&self) -> Value {
        openapi::document(&self.routes, &self.info)
    }

    fn made(&self) -> &Made {
        self.made.get_or_init(|| {
            let hash = base64::engine::general_purpose::STANDARD
                .encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
            let policy = format!(
                "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'"
            );
            let document = self.document();
            Made { document: document.to_string(), page: page(&document), policy }
        })
    }
}

/// `/api/openapi.json` and `/api/docs`, which describe `routes` and themselves.
pub(crate) fn routes(routes: Vec<Routes>, info: ApiInfo) -> (Routes, Arc<Description>) {
    let description = Arc::new(Description { routes, info, made: OnceLock::new() });
    let spec = |path, summary| Spec::public(path).surface(Surface::Both).summary(summary).success(200);
    let document = spec("/api/openapi.json", "This description as OpenAPI 3.1");
    let page = spec("/api/docs", "This description as a page");
    let routes = Routes::new("reference").route(document, Arc::clone(&description), json_document).route(
        page,
        Arc::clone(&description),
        html_page,
    );
    (routes, description)
}

async fn json_document(description: Arc<Description>, _: Call) -> Result<Reply<()>, Problem> {
    Ok(Reply::text("application/json", description.made().document.clone()))
}

async fn html_page(description: Arc<Description>, _: Call) -> Result<Reply<()>, Problem> {
    let made = description.made();
    let reply = Reply::text("text/html; charset=utf-8", made.page.clone());
    Ok(reply.header(header::CONTENT_SECURITY_POLICY, &made.policy))
}

fn page(document: &Value) -> String {
    let title = escape(document["info"]["title"].as_str().unwrap_or("API"));
    let mut contents = String::new();
    let mut body = String::new();
    for tag in document["tags"].as_array().into_iter().flatten().filter_map(|tag| tag["name"].as_str()) {
        let _ = write!(contents, "<strong>{0}</strong><ol>", escape(tag));
        let _ = write!(body, "<h2>{}</h2>", escape(tag));
        for (path, method, operation) in operations(document, tag) {
            let id = escape(operation["operationId"].as_str().unwrap_or_default());
            let _ =
                write!(contents, "<li><a href=\"#{id}\">{} {}</a></li>", method.to_uppercase(), escape(path));
            section(&mut body, &id, (path, method), operation);
        }
        contents.push_str("</ol>");
    }
    let about = paragraphs(document["info"]["description"].as_str().unwrap_or_default());
    let schemas = schemas(document);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\
         <div class=\"page\"><nav aria-label=\"Routes\">{contents}<a href=\"#schemas\">Schemas</a></nav><main><h1>{title}</h1>\
         <p class=\"quiet\">Version {}. <a href=\"/api/openapi.json\">OpenAPI 3.1</a></p>{about}{body}{schemas}</main></div></body></html>",
        escape(document["info"]["version"].as_str().unwrap_or_default())
    )
}

fn operations<'a>(document: &'a Value, tag: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .filter(move |(.., operation)| operation["tags"][0] == tag)
}

fn section(out: &mut String, id: &str, (path, method): (&str, &str), operation: &Value) {
    let text = |key: &str| operation[key].as_str().map(escape);
    let _ = write!(
        out,
        "<section id=\"{id}\"><h3><code><span class=\"method\">{}</span> {}</code></h3>",
        method.to_uppercase(),
        escape(path)
    );
    let right = text("x-permission").map_or_else(
        || "needs no permission".to_owned(),
        |permission| format!("needs <code>{permission}</code>"),
    );
    let _ =
        write!(out, "<p>{} <span class=\"quiet\">({right})</span></p>", text("summary").unwrap_or_default());
    out.push_str(&paragraphs(operation["description"].as_str().unwrap_or_default()));
    parameters(out, operation);
    if let Some(body) = operation["requestBody"]["content"]["application/json"].as_object() {
        out.push_str("<h4>Body</h4>");
        out.push_str(&schema_block(&body["schema"]));
        if let Some(example) = body.get("example") {
            let _ = write!(out, "<pre>{}</pre>", escape(&pretty(example)));
        }
    }
    responses(out, operation);
    out.push_str("</section>");
}

fn parameters(out: &mut String, operation: &Value) {
    let list = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return;
    }
    out.push_str("<h4>Parameters</h4><table><tr><th>Name</th><th>In</th><th>Type</th><th>Meaning</th></tr>");
    for parameter in list {
        let text = |key: &str| escape(parameter[key].as_str().unwrap_or_default());
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text("name"),
            text("in"),
            escape(&type_of(&parameter["schema"])),
            with_code(parameter["description"].as_str().unwrap_or_default())
        );
    }
    out.push_str("</table>");
}

fn responses(out: &mut String, operation: &Value) {
    let mut refusals = Vec::new();
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        if let Some(codes) = response["x-codes"].as_array() {
            let names = codes.iter().filter_map(Value::as_str);
            refusals.extend(names.map(|name| format!("<code>{}</code> {}", escape(name), escape(status))));
            continue;
        }
        let content = response["content"].as_object().and_then(|content| content.iter().next());
        let _ = match content {
            Some((kind, content)) => {
                let body = schema_block(&content["schema"]);
                write!(out, "<h4>Answers {} <code>{}</code></h4>{body}", escape(status), escape(kind))
            }
            None => write!(out, "<h4>Answers {}</h4>", escape(status)),
        };
    }
    let _ = write!(out, "<h4>Refuses with</h4><p class=\"codes\">{}</p>", refusals.join(" · "));
}

fn schemas(document: &Value) -> String {
    let mut out = String::from("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let name = escape(name);
        let _ = write!(
            out,
            "<section id=\"schema-{name}\"><h3>{name}</h3><pre>{}</pre></section>",
            escape(&pretty(schema))
        );
    }
    out
}

/// A link to a named schema, or the schema itself.
fn schema_block(schema: &Value) -> String {
    match reference(schema) {
        Some(name) => {
            let name = escape(name);
            format!("<p><a href=\"#schema-{name}\">{name}</a></p>")
        }
        None if schema == &Value::Bool(true) => "<p>Any JSON value.</p>".to_owned(),
        None => format!("<pre>{}</pre>", escape(&pretty(schema))),
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn type_of(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return name.to_owned();
    }
    match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several
            .iter()
            .filter_map(Value::as_str)
            .filter(|one| *one != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Paragraphs of text.
fn paragraphs(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let _ = write!(out, "<p>{}</p>", with_code(paragraph));
    }
    out
}

/// Text in which back-quoted words are code.
fn with_code(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        let _ = if index % 2 == 1 { write!(out, "<code>{part}</code>") } else { write!(out, "{part}") };
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_routes_cannot_become_markup() {
        assert_eq!(paragraphs("a `<b>` & \"c\""), "<p>a <code>&lt;b&gt;</code> &amp; &quot;c&quot;</p>");
    }
}
