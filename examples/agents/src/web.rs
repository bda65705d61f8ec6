//! `agents web`: the page and the JSON API.
//!
//! Who asks is in headers that Switchyard's gateway sets and that nobody outside can forge: `X-Tenant-Id`,
//! `X-Tenant-Slug`, `X-Tenant-Plan`. This process listens on 127.0.0.1 only, at the `PORT` that it is given.

use std::error::Error;
use std::io::{Cursor, Read as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};
use socket2::SockRef;
use tiny_http::{Header, Method, Request, Server};

use crate::queue::Queue;
use crate::store::{AGENTS_MAX, Agent, Store, TASKS_MAX, Task, Tenant};
use crate::work::{INPUT_BYTES_MAX, Kind};
use crate::{log, on_stop, page};

/// Requests that are worked on at a time.
const THREADS: usize = 8;
/// Longest body: an input, written as a form or as JSON, in which a byte may take six.
const BODY_BYTES_MAX: usize = 6 * INPUT_BYTES_MAX + 1024;
/// Longest name of an agent, in characters.
const NAME_CHARS_MAX: usize = 60;
/// The page loads its own style and script, and nothing from anywhere else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'";

type Response = tiny_http::Response<Cursor<Vec<u8>>>;

/// What requests are answered with.
struct App {
    store: Store,
    /// `None` when the app is run by hand; tasks are refused then.
    queue: Option<Queue>,
}

/// A request that is refused.
struct Refusal {
    status: u16,
    message: String,
}

impl<E: Error> From<E> for Refusal {
    /// What the system says stays in the log.
    fn from(error: E) -> Refusal {
        log::line("error", &format!("a request fails: {error}"), &[]);
        Refusal { status: 500, message: "this did not work; the log says why".into() }
    }
}

fn refuse<T>(status: u16, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status, message: message.into() })
}

/// Who asks, as the gateway says.
pub struct Visitor {
    pub tenant: Tenant,
    pub slug: String,
    pub plan: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAgent {
    name: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTask {
    input: String,
}

pub fn run() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let app = App { store: Store::open()?, queue: Queue::open() };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    // Accepted connections inherit this. Without it a longer answer waits 40 ms for an acknowledgement.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    let server = Arc::new(Server::from_listener(listener, None).map_err(|error| error.to_string())?);
    let waker = Arc::clone(&server);
    let stopping = on_stop(move || (0..THREADS).for_each(|_| waker.unblock()))?;
    log::line("info", "web is ready", &[("port", json!(port))]);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| serve(&server, &app, &stopping));
        }
    });
    log::line("info", "web stops", &[]);
    Ok(())
}

fn serve(server: &Server, app: &App, stopping: &AtomicBool) {
    while !stopping.load(Ordering::SeqCst) {
        let Ok(mut request) = server.recv() else { continue };
        let began = Instant::now();
        let response = answer(app, &mut request).unwrap_or_else(|refusal| refused(&request, &refusal));
        let path = request.url().split('?').next().unwrap_or_default().to_owned();
        if path != "/health" {
            log::line(
                "info",
                "request",
                &[
                    ("method", json!(request.method().as_str())),
                    ("path", json!(path)),
                    ("status", json!(response.status_code().0)),
                    ("tenant", json!(header(&request, "X-Tenant-Id"))),
                    ("request", json!(header(&request, "X-Request-Id"))),
                    ("duration_ms", json!(began.elapsed().as_millis())),
                ],
            );
        }
        // A client that went away has no use for the answer.
        let _gone = request.respond(response);
    }
}

/// The table of routes.
fn answer(app: &App, request: &mut Request) -> Result<Response, Refusal> {
    let store = &app.store;
    let path = request.url().split('?').next().unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method().clone(), parts.as_slice()) {
        (Method::Get, ["health"]) => health(store),
        (Method::Get, ["page.css"]) => Ok(file("text/css", include_str!("../static/page.css"))),
        (Method::Get, ["page.js"]) => Ok(file("text/javascript", include_str!("../static/page.js"))),
        (Method::Get, [""]) => {
            let visitor = visitor(request)?;
            let (agents, tasks) = (store.agents(&visitor.tenant)?, store.tasks(&visitor.tenant)?);
            Ok(html(200, page::overview(&visitor, &agents, &tasks)))
        }
        (Method::Post, ["agents"]) => {
            let visitor = visitor(request)?;
            let fields = form(request)?;
            let new = NewAgent { name: field(&fields, "name"), kind: field(&fields, "kind") };
            add_agent(store, &visitor, &new)?;
            Ok(see_other("/"))
        }
        (Method::Post, ["agents", id, "tasks"]) => {
            let visitor = visitor(request)?;
            let fields = form(request)?;
            add_task(app, &visitor, id, &NewTask { input: field(&fields, "input") })?;
            Ok(see_other("/"))
        }
        (method, ["api", rest @ ..]) => api(app, request, method, rest),
        _ => refuse(404, "there is no such page"),
    }
}

fn api(app: &App, request: &mut Request, method: Method, path: &[&str]) -> Result<Response, Refusal> {
    let (store, visitor) = (&app.store, visitor(request)?);
    match (method, path) {
        (Method::Get, ["agents"]) => Ok(body(200, &json!({ "data": store.agents(&visitor.tenant)? }))),
        (Method::Post, ["agents"]) => {
            let agent = add_agent(store, &visitor, &json_body(request)?)?;
            Ok(body(201, &json!(agent)))
        }
        (Method::Post, ["agents", id, "tasks"]) => {
            let task = add_task(app, &visitor, id, &json_body(request)?)?;
            Ok(body(202, &json!(task)))
        }
        (Method::Get, ["tasks"]) => Ok(body(200, &json!({ "data": store.tasks(&visitor.tenant)? }))),
        (Method::Get, ["tasks", id]) => match store.task(&visitor.tenant, id)? {
            Some(task) => Ok(body(200, &json!(task))),
            None => refuse(404, "there is no such task"),
        },
        (_, ["agents" | "tasks"] | ["agents", _, "tasks"] | ["tasks", _]) => {
            refuse(405, "this method does nothing here")
        }
        _ => refuse(404, "there is no such path"),
    }
}

fn health(store: &Store) -> Result<Response, Refusal> {
    if store.is_healthy() {
        Ok(body(200, &json!({ "status": "ok" })))
    } else {
        refuse(503, "the data folder is gone")
    }
}

fn add_agent(store: &Store, visitor: &Visitor, new: &NewAgent) -> Result<Agent, Refusal> {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return refuse(422, format!("an agent's name has 1 to {NAME_CHARS_MAX} characters"));
    }
    let Some(kind) = Kind::parse(&new.kind) else {
        let allowed: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        return refuse(422, format!("{:?} is no kind of agent; there are {}", new.kind, allowed.join(", ")));
    };
    if store.agents(&visitor.tenant)?.len() >= AGENTS_MAX {
        return refuse(409, format!("you have {AGENTS_MAX} agents, which is the limit"));
    }
    Ok(store.add_agent(&visitor.tenant, name, kind)?)
}

/// Writes the task and adds a job for it, in the tenant's name.
fn add_task(app: &App, visitor: &Visitor, agent: &str, new: &NewTask) -> Result<Task, Refusal> {
    let App { store, queue } = app;
    let Some(agent) = store.agent(&visitor.tenant, agent)? else {
        return refuse(404, "there is no such agent");
    };
    if let Err(message) = agent.kind.check(&new.input, &visitor.plan) {
        return refuse(422, message);
    }
    let Some(queue) = queue else {
        return refuse(503, "there is no queue: run this app with `switchyard up`");
    };
    let Some(task) = store.add_task(&visitor.tenant, &agent, new.input.trim())? else {
        return refuse(409, format!("{TASKS_MAX} tasks are unfinished; wait for one"));
    };
    if let Err(error) = queue.add(&visitor.tenant, &task.id) {
        log::line(
            "error",
            &format!("a task is not queued: {error}"),
            &[("tenant", json!(visitor.tenant.as_str()))],
        );
        store.remove_task(&visitor.tenant, &task.id)?;
        return refuse(503, "this task cannot be taken just now; try again");
    }
    Ok(task)
}

fn visitor(request: &Request) -> Result<Visitor, Refusal> {
    let Some(tenant) = header(request, "X-Tenant-Id").and_then(Tenant::parse) else {
        return refuse(400, "no tenant: ask through the gateway, at http://<tenant>.localhost:8080/");
    };
    let or_unknown = |name| header(request, name).unwrap_or("unknown").to_owned();
    Ok(Visitor { tenant, slug: or_unknown("X-Tenant-Slug"), plan: or_unknown("X-Tenant-Plan") })
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

fn bytes(request: &mut Request) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    request.as_reader().take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > BODY_BYTES_MAX {
        return refuse(413, format!("at most {BODY_BYTES_MAX} bytes are taken"));
    }
    Ok(bytes)
}

fn json_body<T: for<'a> Deserialize<'a>>(request: &mut Request) -> Result<T, Refusal> {
    // A page of another site can send a form, but not this type of content.
    if !header(request, "Content-Type").is_some_and(|kind| kind.starts_with("application/json")) {
        return refuse(415, "send Content-Type: application/json");
    }
    match serde_json::from_slice(&bytes(request)?) {
        Ok(value) => Ok(value),
        Err(error) => refuse(422, format!("the body is not what is expected: {error}")),
    }
}

fn form(request: &mut Request) -> Result<Vec<(String, String)>, Refusal> {
    // A browser says where a form comes from; one on another site must not act for our visitor.
    if header(request, "Sec-Fetch-Site").is_some_and(|site| site != "same-origin" && site != "none") {
        return refuse(403, "this form was sent from another site");
    }
    let bytes = bytes(request)?;
    let pairs = bytes.split(|&byte| byte == b'&').map(|pair| {
        let middle = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        (decode(&pair[..middle]), decode(pair.get(middle + 1..).unwrap_or_default()))
    });
    Ok(pairs.collect())
}

fn field(fields: &[(String, String)], name: &str) -> String {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Decodes `application/x-www-form-urlencoded`; what is no `%XX` stays as it is.
fn decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let (letter, after) = match (byte, hex) {
            (b'+', _) => (b' ', after),
            (b'%', Some(value)) => (value, &after[2..]),
            _ => (byte, after),
        };
        decoded.push(letter);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A refusal as JSON for programs and as a page for people.
fn refused(request: &Request, Refusal { status, message }: &Refusal) -> Response {
    if header(request, "Accept").is_some_and(|kinds| kinds.contains("text/html")) {
        html(*status, page::refusal(*status, message))
    } else {
        body(*status, &json!({ "error": message }))
    }
}

fn body(status: u16, value: &Value) -> Response {
    response(status, "application/json", value.to_string())
}

fn html(status: u16, text: String) -> Response {
    response(status, "text/html", text).with_header(fixed("Content-Security-Policy", CONTENT_SECURITY_POLICY))
}

fn file(kind: &str, text: &str) -> Response {
    response(200, kind, text.to_owned()).with_header(fixed("Cache-Control", "max-age=300"))
}

fn see_other(path: &str) -> Response {
    response(303, "text/plain", String::new()).with_header(fixed("Location", path))
}

fn response(status: u16, kind: &str, text: String) -> Response {
    Response::from_data(text.into_bytes())
        .with_status_code(status)
        .with_header(fixed("Content-Type", &format!("{kind}; charset=utf-8")))
}

fn fixed(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("names and values in this file are plain ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::scripted;
    use tiny_http::TestRequest;

    const JSON: (&str, &str) = ("Content-Type", "application/json");
    const ACME: (&str, &str) = ("X-Tenant-Id", "ten_acme");
    const GLOBEX: (&str, &str) = ("X-Tenant-Id", "ten_globex");

    /// Sends one request: status, and the body as JSON or `null`.
    fn send(
        app: &App,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> (u16, Value) {
        let mut request = TestRequest::new().with_method(method).with_path(path).with_body(body);
        for (name, value) in headers {
            request = request.with_header(fixed(name, value));
        }
        let mut request = request.into();
        let response = answer(app, &mut request).unwrap_or_else(|refusal| refused(&request, &refusal));
        let status = response.status_code().0;
        let mut text = String::new();
        response.into_reader().read_to_string(&mut text).unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// An app whose queue gives these answers.
    fn app(answers: Vec<(u16, Value)>) -> (App, scripted::Calls, std::path::PathBuf) {
        let (store, folder) = crate::store::temporary();
        let (queue, calls) = scripted::queue(answers);
        (App { store, queue: Some(queue) }, calls, folder)
    }

    #[test]
    fn tenants_have_their_own_agents_and_tasks() {
        let (app, calls, folder) = app(vec![(201, json!({}))]);
        let new = r#"{"name": "Counter", "kind": "words"}"#;
        let (status, agent) = send(&app, Method::Post, "/api/agents", &[ACME, JSON], new);
        assert_eq!((status, &agent["name"]), (201, &json!("Counter")));
        let tasks = format!("/api/agents/{}/tasks", agent["id"].as_str().unwrap());
        let input = r#"{"input": "to be or not to be"}"#;
        let (status, task) = send(&app, Method::Post, &tasks, &[ACME, JSON], input);
        assert_eq!((status, &task["status"]), (202, &json!("waiting")));
        let task = format!("/api/tasks/{}", task["id"].as_str().unwrap());
        assert_eq!(send(&app, Method::Get, &task, &[ACME], "").0, 200);
        let (_, tenant, body) = calls.lock().unwrap().remove(0);
        assert_eq!(tenant.as_deref(), Some("ten_acme"), "the job is the tenant's");
        assert!(task.ends_with(body["payload"]["task"].as_str().unwrap()));

        assert_eq!(send(&app, Method::Get, &task, &[GLOBEX], "").0, 404);
        assert_eq!(send(&app, Method::Post, &tasks, &[GLOBEX, JSON], input).0, 404);
        assert_eq!(send(&app, Method::Get, "/api/agents", &[GLOBEX], "").1, json!({ "data": [] }));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_task_that_cannot_be_queued_is_not_kept() {
        let (app, _calls, folder) = app(vec![(429, json!({ "code": "queue_full" }))]);
        let new = r#"{"name": "Counter", "kind": "words"}"#;
        let (_, agent) = send(&app, Method::Post, "/api/agents", &[ACME, JSON], new);
        let tasks = format!("/api/agents/{}/tasks", agent["id"].as_str().unwrap());
        assert_eq!(send(&app, Method::Post, &tasks, &[ACME, JSON], r#"{"input": "a"}"#).0, 503);
        assert_eq!(send(&app, Method::Get, "/api/tasks", &[ACME], "").1, json!({ "data": [] }));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let (app, _calls, folder) = app(vec![]);
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        let foreign = ("Sec-Fetch-Site", "cross-site");
        for (method, path, headers, body, status) in [
            (Method::Get, "/", &[][..], "", 400),
            (Method::Get, "/", &[("X-Tenant-Id", "../other")], "", 400),
            (Method::Get, "/nowhere", &[ACME], "", 404),
            (Method::Delete, "/api/agents", &[ACME], "", 405),
            (Method::Post, "/api/agents", &[ACME], r#"{"name": "a", "kind": "words"}"#, 415),
            (Method::Post, "/api/agents", &[ACME, JSON], r#"{"name": "a", "kind": "spells"}"#, 422),
            (Method::Post, "/api/agents", &[ACME, JSON], r#"{"name": "", "kind": "words"}"#, 422),
            (Method::Post, "/api/agents", &[ACME, JSON], r#"{"name": "a", "kind": "words", "id": "b"}"#, 422),
            (Method::Post, "/agents", &[ACME, form, foreign], "name=a&kind=words", 403),
            (Method::Post, "/agents", &[ACME, form], "name=a&kind=words", 303),
            (Method::Get, "/health", &[], "", 200),
        ] {
            assert_eq!(
                send(&app, method.clone(), path, headers, body).0,
                status,
                "{method} {path} {headers:?} {body}"
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn decodes_forms() {
        for (text, decoded) in [("a+b%20c", "a b c"), ("%C3%A4%zz%4", "ä%zz%4"), ("", "")] {
            assert_eq!(decode(text.as_bytes()), decoded);
        }
    }
}
