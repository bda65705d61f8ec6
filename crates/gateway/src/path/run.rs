//! One thread of the gateway: its socket, its connections, its ticks.

use super::client::Client;
use super::deadline::Deadlines;
use super::record::FLUSH_EVERY;
use super::shared::{Shared, Thread};
use lifecycle::{Stop, TaskError, spawn_local};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How often deadlines are looked at; how late one may be.
const TICK: Duration = Duration::from_millis(100);
/// How often idle upstream connections are looked through.
const SWEEP_EVERY: u32 = 50;
/// How often open sockets are told of changes: what is called back is over within a second.
const WATCH_EVERY: u32 = 5;
/// Pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection gets when there are too many; written without waiting, and closed.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
Content-Length: 181\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
{\"type\":\"https://switchyard.dev/errors/overloaded\",\"title\":\"Overloaded\",\"status\":503,\
\"detail\":\"Too many connections are open.\",\"code\":\"overloaded\",\"retry_after\":1,\"request_id\":null}";

/// Accepts and serves until told to stop, then serves what is under way until told for the second time.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    stop: Stop,
) -> Result<(), TaskError> {
    let thread = Thread::new(shared);
    let listener = TcpListener::from_std(listener)?;
    let ticker = spawn_local(tick(thread.clone()));
    tokio::select! {
        // First, since a socket that was closed for all looks like a fault to who accepts.
        biased;
        () = stop.stopped() => {}
        () = accept(&thread, &listener) => {}
    }
    drop(listener);
    thread.deadlines.stop();
    tokio::select! {
        () = stop.cut() => {}
        () = drained(&thread.deadlines) => {}
    }
    ticker.abort();
    thread.records.flush();
    Ok(())
}

async fn accept(thread: &Rc<Thread>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit_connection(thread, stream, peer),
            Err(error) => {
                tracing::warn!(error = %error, "gateway cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit_connection(thread: &Rc<Thread>, stream: TcpStream, peer: SocketAddr) {
    let Some(counted) = thread.shared.count(peer.ip().to_canonical()) else {
        thread.refused_connection();
        // What does not fit into an empty socket buffer at once is not worth waiting for.
        let _ = stream.try_write(TOO_MANY);
        return;
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A panic in a connection ends it alone: the runtime catches it, and all that it held is given back by drop.
    spawn_local(Client::new(thread.clone(), stream, peer, counted).serve());
}

async fn tick(thread: Rc<Thread>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let flush_every = u32::try_from(FLUSH_EVERY.as_millis() / TICK.as_millis()).unwrap_or(1).max(1);
    let mut turn: u32 = 0;
    let mut state = thread.shared.state();
    loop {
        interval.tick().await;
        turn = turn.wrapping_add(1);
        let now_ms = thread.monotonic_ms();
        thread.compare_clocks();
        thread.deadlines.tick(now_ms);
        if turn.is_multiple_of(WATCH_EVERY) && state != thread.shared.state() {
            state = thread.shared.state();
            thread.deadlines.note_change();
        }
        if turn.is_multiple_of(flush_every) {
            thread.records.flush();
        }
        if turn.is_multiple_of(SWEEP_EVERY) {
            thread.pools.sweep(now_ms);
        }
    }
}

async fn drained(deadlines: &Deadlines) {
    while deadlines.len() > 0 {
        tokio::time::sleep(TICK / 4).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_made_refusal_is_framed_right() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
