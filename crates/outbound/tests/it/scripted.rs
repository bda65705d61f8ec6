//! A server that says what it is told to, and keeps what it hears.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a connection is answered with.
#[derive(Clone)]
pub(crate) enum Say {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes first, then those again and again until the peer leaves.
    Endless(Vec<u8>, Vec<u8>),
    /// Nothing, and the connection stays.
    Silence,
}

pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Scripted {
    pub(crate) async fn start(say: Say) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut task) = (Arc::clone(&heard), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, say.clone(), Arc::clone(&kept)));
            }
        });
        Self { addr, heard, _task: task }
    }

    pub(crate) async fn replying(head: &str, body: &str) -> Self {
        let length = body.len();
        Self::start(Say::Bytes(
            format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(),
        ))
        .await
    }

    /// The requests so far, as text.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics with it").clone()
    }
}

async fn serve(mut stream: TcpStream, say: Say, heard: Arc<Mutex<Vec<String>>>) {
    let index = {
        let mut heard = heard.lock().expect("nobody panics with it");
        heard.push(String::new());
        heard.len() - 1
    };
    let mut text = Vec::new();
    while !is_whole(&text) {
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
        heard.lock().expect("nobody panics with it")[index] = String::from_utf8_lossy(&text).into_owned();
    }
    match say {
        Say::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Say::Endless(first, again) => {
            let mut sent = stream.write_all(&first).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
            }
        }
        Say::Silence => std::future::pending().await,
    }
}

/// A head, and as much body as it announces.
fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    body.len() >= length.unwrap_or(0)
}
