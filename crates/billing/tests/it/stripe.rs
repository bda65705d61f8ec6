//! A scripted Stripe: takes meter events as the real one does, fails as it is told to, and keeps what it hears. Also a receiver of webhooks.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// What the next request that sends something meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    /// It is done, and told.
    Yes,
    /// Nothing is done, and this status told.
    Status(u16),
    /// Nothing is done, and the answer with this status repeats the request's credential.
    Repeat(u16),
    /// Nothing is done; it is to come again after so many seconds.
    After(u64),
    /// Nothing is done; it is to come again at a date of HTTP.
    Until(&'static str),
    /// It is done, and the connection breaks off without an answer.
    DoneUntold,
    /// Nothing is done, and the connection breaks off without an answer.
    Broken,
    /// It is done, and the answer does not come for so many milliseconds.
    DoneSlowly(u64),
}

/// An event that it counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) identifier: String,
    pub(crate) name: String,
    pub(crate) customer: String,
    pub(crate) value: String,
    pub(crate) at: i64,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

#[derive(Default)]
struct Inner {
    script: VecDeque<Say>,
    heard: Vec<Heard>,
    events: Vec<Event>,
    /// First answers by idempotency key, which are replayed.
    answers: BTreeMap<String, (u16, String)>,
    unknown_customers: Vec<String>,
}

/// A listener that lives as long as the process.
#[derive(Clone)]
pub(crate) struct Stripe {
    pub(crate) addr: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

/// The key that it takes.
pub(crate) const KEY: &str = "sk_test_scripted";

impl Stripe {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own server, in threads that end with the test's process"
    )]
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let inner = Arc::new(Mutex::new(Inner::default()));
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { addr, inner }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What the next requests meet, one after the other; those after them are answered with yes.
    pub(crate) fn script(&self, says: impl IntoIterator<Item = Say>) {
        self.lock().script.extend(says);
    }

    /// A customer that it does not know.
    pub(crate) fn unknow(&self, customer: &str, unknown: bool) {
        let mut inner = self.lock();
        inner.unknown_customers.retain(|one| one != customer);
        if unknown {
            inner.unknown_customers.push(customer.to_owned());
        }
    }

    /// What it counted, in the order of counting.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.lock().heard.clone()
    }

    /// Loses an event that it had counted: the difference that a report is to find.
    pub(crate) fn lose(&self, identifier: &str) {
        self.lock().events.retain(|event| event.identifier != identifier);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(stream: TcpStream, inner: &Mutex<Inner>) {
    let Some(heard) = read(&stream) else { return };
    let lock = || inner.lock().unwrap_or_else(PoisonError::into_inner);
    let sends = heard.method == "POST";
    let say = {
        let mut inner = lock();
        inner.heard.push(heard.clone());
        if sends { inner.script.pop_front().unwrap_or(Say::Yes) } else { Say::Yes }
    };
    let answer = match say {
        Say::Status(status) => {
            let mut inner = lock();
            let (status, body) = (status, json!({"error": {"message": "scripted"}}).to_string());
            if let Some(key) = heard.headers.get("idempotency-key").filter(|_| status >= 500) {
                inner.answers.insert(key.clone(), (status, body.clone()));
            }
            Some((status, body))
        }
        Say::Repeat(status) => {
            let message = heard.headers.get("authorization").cloned().unwrap_or_default();
            Some((status, json!({"error": {"message": message}}).to_string()))
        }
        Say::After(_) | Say::Until(_) => Some((429, json!({"error": {"message": "scripted"}}).to_string())),
        Say::Broken => None,
        Say::Yes | Say::DoneUntold | Say::DoneSlowly(_) => Some(lock().answer(&heard)),
    };
    match say {
        Say::DoneUntold => return,
        Say::DoneSlowly(ms) => std::thread::sleep(Duration::from_millis(ms)),
        _ => {}
    }
    if let Some((status, body)) = answer {
        let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n");
        let after = match say {
            Say::After(seconds) => format!("retry-after: {seconds}\r\n"),
            Say::Until(date) => format!("retry-after: {date}\r\n"),
            _ => String::new(),
        };
        let reply = format!("{head}{after}content-length: {}\r\n\r\n{body}", body.len());
        let _ = (&stream).write_all(reply.as_bytes());
    }
}

impl Inner {
    fn answer(&mut self, heard: &Heard) -> (u16, String) {
        let (path, query) = heard.path.split_once('?').unwrap_or((&heard.path, ""));
        if path.starts_with("/hook") {
            return (200, String::new());
        }
        if heard.headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {KEY}")) {
            return (401, json!({"error": {"message": "Invalid API Key provided"}}).to_string());
        }
        let key = heard.headers.get("idempotency-key").cloned();
        if let Some(kept) = key.as_ref().and_then(|key| self.answers.get(key)) {
            return kept.clone();
        }
        let (status, body) = match path {
            "/v1/billing/meter_events" | "/v2/billing/meter_events" => {
                self.count(heard, path.starts_with("/v2"))
            }
            "/v1/billing/meters" => (200, self.meters()),
            _ => match path
                .strip_prefix("/v1/billing/meters/mtr_")
                .and_then(|rest| rest.strip_suffix("/event_summaries"))
            {
                Some(name) => (200, self.summary(name, &pairs(query))),
                None => (404, json!({"error": {"message": "Unrecognized request URL"}})),
            },
        };
        let answer = (status, body.to_string());
        if let Some(key) = key {
            self.answers.insert(key, answer.clone());
        }
        answer
    }

    fn count(&mut self, heard: &Heard, is_v2: bool) -> (u16, Value) {
        let event = if is_v2 {
            let body: Value = serde_json::from_str(&heard.body).expect("JSON");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let at = base::Timestamp::parse(&text(&body["timestamp"])).expect("a time").seconds();
            Event {
                identifier: text(&body["identifier"]),
                name: text(&body["event_name"]),
                customer: text(&body["payload"]["stripe_customer_id"]),
                value: text(&body["payload"]["value"]),
                at,
            }
        } else {
            let form = pairs(&heard.body);
            Event {
                identifier: form["identifier"].clone(),
                name: form["event_name"].clone(),
                customer: form["payload[stripe_customer_id]"].clone(),
                value: form["payload[value]"].clone(),
                at: form["timestamp"].parse().expect("seconds"),
            }
        };
        if self.unknown_customers.contains(&event.customer) {
            let message = format!("No such customer: '{}'", event.customer);
            return (400, json!({"error": {"code": "resource_missing", "message": message}}));
        }
        if self.events.iter().any(|one| one.identifier == event.identifier) {
            let message = format!("An event already exists with identifier {}.", event.identifier);
            let code = if is_v2 { json!("duplicate_meter_event") } else { Value::Null };
            return (
                400,
                json!({"error": {"type": "invalid_request_error", "code": code, "message": message}}),
            );
        }
        self.events.push(event);
        (200, json!({"object": "billing.meter_event"}))
    }

    fn meters(&self) -> Value {
        let names: std::collections::BTreeSet<&str> =
            self.events.iter().map(|one| one.name.as_str()).collect();
        let data: Vec<Value> =
            names.iter().map(|name| json!({"id": format!("mtr_{name}"), "event_name": name})).collect();
        json!({"object": "list", "data": data, "has_more": false})
    }

    fn summary(&self, name: &str, query: &BTreeMap<String, String>) -> Value {
        let number = |field: &str| query[field].parse::<i64>().expect("seconds");
        let (from, until) = (number("start_time"), number("end_time"));
        assert!(from % 60 == 0 && until % 60 == 0 && from < until, "Stripe takes full minutes alone");
        let of = |one: &&Event| {
            one.name == name && one.customer == query["customer"] && (from..until).contains(&one.at)
        };
        let all: Vec<f64> =
            self.events.iter().filter(of).map(|one| one.value.parse().expect("a number")).collect();
        let data = if all.is_empty() {
            Vec::new()
        } else {
            vec![json!({"aggregated_value": all.iter().sum::<f64>()})]
        };
        json!({"object": "list", "data": data, "has_more": false})
    }
}

fn read(stream: &TcpStream) -> Option<Heard> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Heard { method, path, headers, body: String::from_utf8(body).ok()? })
}

/// A form's or query's fields.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&hex, 16).expect("two digits"));
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).expect("UTF-8")
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}
