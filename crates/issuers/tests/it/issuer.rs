//! An issuer that says what it is told to, and keeps what it hears.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokens::SigningKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it answers.
pub(crate) struct Script {
    /// Its keys; `None` answers 500.
    pub(crate) keys: Option<Vec<Value>>,
    /// Laid over its discovery document.
    pub(crate) discovery: Value,
    /// What it gives for a code.
    pub(crate) token: Value,
    /// What it tells of a person.
    pub(crate) userinfo: Value,
    /// Method, path, `Authorization` and body of all that it was asked.
    pub(crate) heard: Vec<Heard>,
}

/// A request that it got.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) body: String,
}

pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) key: SigningKey,
    script: Arc<Mutex<Script>>,
    _task: JoinSet<()>,
}

impl Issuer {
    /// An issuer whose key is made of this byte.
    pub(crate) async fn start(seed: u8) -> Self {
        let key = SigningKey::ed25519(&[seed; 32]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script {
            keys: Some(vec![key.public().to_jwk()]),
            discovery: json!({}),
            token: json!({}),
            userinfo: Value::Null,
            heard: Vec::new(),
        }));
        let (kept, mut task) = (Arc::clone(&script), JoinSet::new());
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, addr, &kept).await;
            }
        });
        Self { url: format!("http://{addr}"), key, script, _task: task }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// How often its keys were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.script().heard.iter().filter(|heard| heard.path == "/jwks").count()
    }

    /// A token of its own, by its own key.
    pub(crate) fn token(&self, claims: Value) -> String {
        self.signed("JWT", &self.key, claims)
    }

    /// A token of its own, by some key.
    pub(crate) fn signed(&self, typ: &str, key: &SigningKey, claims: Value) -> String {
        let mut whole = json!({ "iss": self.url, "sub": "ada" });
        let (all, more) = (whole.as_object_mut().unwrap(), claims);
        all.extend(more.as_object().unwrap().clone());
        all.retain(|_, value| !value.is_null());
        key.sign(typ, &whole).unwrap()
    }
}

async fn serve(mut stream: TcpStream, addr: SocketAddr, script: &Mutex<Script>) {
    let Some((path, heard)) = read(&mut stream).await else { return };
    let (status, body) = {
        let mut script = script.lock().unwrap();
        script.heard.push(heard);
        match path.as_str() {
            "/.well-known/openid-configuration" => (200, discovery(addr, &script.discovery)),
            "/jwks" => match &script.keys {
                Some(keys) => (200, json!({ "keys": keys })),
                None => (500, Value::Null),
            },
            "/token" => (200, script.token.clone()),
            "/userinfo" => (200, script.userinfo.clone()),
            _ => (404, Value::Null),
        }
    };
    let body = body.to_string();
    let reply =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn discovery(addr: SocketAddr, over: &Value) -> Value {
    let url = format!("http://{addr}");
    let mut document = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/userinfo"),
    });
    document.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    document
}

async fn read(stream: &mut TcpStream) -> Option<(String, Heard)> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut buffer = [0; 4_096];
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1)?.to_owned();
    let authorization =
        head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
    let heard = Heard { path: path.clone(), authorization: authorization.to_owned(), body };
    Some((path, heard))
}
