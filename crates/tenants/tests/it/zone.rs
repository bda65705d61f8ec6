//! A name server that has what a test gives it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// Its texts by name; a name with `None` has no answer at all.
#[derive(Clone)]
pub(crate) struct Zone {
    pub(crate) addr: SocketAddr,
    texts: Arc<Mutex<BTreeMap<String, Option<String>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Zone {
    /// Serves on a port of its own until the test's runtime ends.
    pub(crate) async fn serve() -> Zone {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let zone = Zone { addr: socket.local_addr().unwrap(), texts: Arc::default(), asked: Arc::default() };
        let own = zone.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a test's own server; it ends with the test's runtime"
        )]
        drop(tokio::spawn(async move {
            let mut query = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                socket.send_to(&own.answer(&query[..length]), from).await.unwrap();
            }
        }));
        zone
    }

    pub(crate) fn set(&self, name: &str, text: &str) {
        self.texts.lock().unwrap().insert(name.to_owned(), Some(text.to_owned()));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.texts.lock().unwrap().remove(name);
    }

    /// Answers about the name that the server failed.
    pub(crate) fn fail(&self, name: &str) {
        self.texts.lock().unwrap().insert(name.to_owned(), None);
    }

    /// How often a name was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let mut at = 12;
        let mut labels = Vec::new();
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let question = &query[12..at + 5];
        let name = labels.join(".");
        let text = self.texts.lock().unwrap().get(&name).cloned();
        self.asked.lock().unwrap().push(name);
        let (code, records) = match &text {
            None => (3, 0),
            Some(None) => (2, 0),
            Some(Some(_)) => (0, 1),
        };
        let mut answer = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, records, 0, 0, 0, 0], question].concat();
        if let Some(Some(text)) = text {
            let length = u8::try_from(text.len()).unwrap();
            answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, length + 1, length]);
            answer.extend(text.as_bytes());
        }
        answer
    }
}
