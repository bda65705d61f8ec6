//! Name servers over sockets: what is too long for a datagram comes over TCP, and what comes there is believed no more easily.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base::SeededRandom;
use outbound::{Dns, DnsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

const NAME: &str = "_switchyard.acme.example";
/// Bytes of a query after its question: what says how large a datagram may be (RFC 6891).
const OPTIONS_BYTES: usize = 11;
/// The bit of an answer that was cut off.
const CUT_OFF: u8 = 0x02;

/// What a server makes of a query; over TCP with the two bytes of length before it.
type Script = fn(&[u8]) -> Vec<u8>;

/// A name server on UDP and TCP at one port.
struct NameServer {
    addr: SocketAddr,
    over_udp: Arc<Mutex<Vec<Vec<u8>>>>,
    over_tcp: Arc<Mutex<Vec<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    async fn start(datagram: Script, stream: Script) -> NameServer {
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            // The port may be another's over UDP.
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("an address")).await {
                break (listener, socket);
            }
        };
        let addr = listener.local_addr().expect("an address");
        let (over_udp, over_tcp) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let mut tasks = JoinSet::new();
        let heard = Arc::clone(&over_udp);
        tasks.spawn(async move {
            let mut buffer = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = buffer[..length].to_vec();
                socket.send_to(&datagram(&query), from).await.expect("send");
                heard.lock().expect("nobody panics with it").push(query);
            }
        });
        let heard = Arc::clone(&over_tcp);
        tasks.spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let mut query = vec![0; usize::from(peer.read_u16().await.expect("a length"))];
                peer.read_exact(&mut query).await.expect("a query");
                // In pieces, as a network may cut it: within the length, and within a record.
                for piece in stream(&query).chunks(777) {
                    let (first, rest) = piece.split_at(1);
                    if peer.write_all(first).await.is_err() || peer.write_all(rest).await.is_err() {
                        break;
                    }
                }
                heard.lock().expect("nobody panics with it").push(query);
            }
        });
        NameServer { addr, over_udp, over_tcp, _tasks: tasks }
    }

    fn dns(&self) -> Dns {
        Dns::of(vec![self.addr], SeededRandom::shared(1))
    }

    fn asked(&self) -> (usize, usize) {
        let count = |heard: &Mutex<Vec<Vec<u8>>>| heard.lock().expect("nobody panics with it").len();
        (count(&self.over_udp), count(&self.over_tcp))
    }
}

/// An answer to a query, with these flags and texts.
fn answer(query: &[u8], flags: u8, texts: &[String]) -> Vec<u8> {
    let count = u16::try_from(texts.len()).expect("few texts").to_be_bytes();
    let question = &query[12..query.len() - OPTIONS_BYTES];
    let mut answer = [&query[..2], &[0x81 | flags, 0x80, 0, 1], &count, &[0; 4], question].concat();
    for text in texts {
        let length = u8::try_from(text.len()).expect("one string");
        answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        answer.extend((u16::from(length) + 1).to_be_bytes());
        answer.push(length);
        answer.extend(text.as_bytes());
    }
    answer
}

/// With its length before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a message");
    [&length.to_be_bytes(), message].concat()
}

/// More than any datagram takes.
fn many_texts() -> Vec<String> {
    (0..200).map(|number| format!("{number:03}-{}", "x".repeat(196))).collect()
}

fn cut_off(query: &[u8]) -> Vec<u8> {
    answer(query, CUT_OFF, &["half of it".to_owned()])
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_asked_for_again_over_tcp() {
    let server = NameServer::start(cut_off, |query| framed(&answer(query, 0, &many_texts()))).await;
    assert_eq!(server.dns().txt(NAME).await, Ok(many_texts()));
    assert_eq!(server.asked(), (1, 1));
    let queries = |heard: &Mutex<Vec<Vec<u8>>>| heard.lock().expect("nobody panics with it").clone();
    assert_eq!(queries(&server.over_udp), queries(&server.over_tcp), "the same question");
}

#[tokio::test]
async fn a_whole_datagram_needs_no_connection() {
    let server = NameServer::start(|query| answer(query, 0, &["proof".to_owned()]), |_| Vec::new()).await;
    assert_eq!(server.dns().txt(NAME).await, Ok(vec!["proof".to_owned()]));
    assert_eq!(server.asked(), (1, 0));
}

#[tokio::test]
async fn what_comes_over_tcp_has_to_be_the_answer() {
    let scripts: [(&str, Script); 6] = [
        ("to another number", |query| {
            let mut other = answer(query, 0, &many_texts());
            other[0] ^= 0xff;
            framed(&other)
        }),
        ("to another question", |query| {
            let mut other = answer(query, 0, &many_texts());
            other[13] = b'x';
            framed(&other)
        }),
        ("cut off again", |query| framed(&cut_off(query))),
        ("broken off", |query| {
            let mut part = framed(&answer(query, 0, &many_texts()));
            part.truncate(part.len() / 2);
            part
        }),
        ("empty", |_| framed(&[])),
        ("nothing at all", |_| Vec::new()),
    ];
    for (what, script) in scripts {
        let server = NameServer::start(cut_off, script).await;
        let told = server.dns().txt(NAME).await;
        assert!(matches!(&told, Err(DnsError::Unavailable(why)) if !why.is_empty()), "{what}: {told:?}");
        assert_eq!(server.asked().0, 2, "{what}: two rounds");
    }
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_takes_no_connections() {
    // Datagrams only: its port takes no connections.
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let deaf = socket.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            socket.send_to(&cut_off(&buffer[..length]), from).await.expect("send");
        }
    });
    let good = NameServer::start(cut_off, |query| framed(&answer(query, 0, &many_texts()))).await;
    let dns = Dns::of(vec![deaf, good.addr], SeededRandom::shared(1));
    assert_eq!(dns.txt(NAME).await, Ok(many_texts()));
    assert_eq!(good.asked(), (1, 1));
}
