//! Bytes both ways, once an application has agreed to a WebSocket.

use super::buffer::Buffer;
use super::client::Client;
use super::shared::{Thread, millis};
use super::watch::Watch;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Time for the second side to end after the first.
const HALF_CLOSED_MS: u64 = 30_000;

/// One direction. Holds a buffer only while bytes are on the way.
#[derive(Debug, Default)]
struct Direction {
    buffer: Option<Buffer>,
    /// Nothing more comes from the one side.
    ended: bool,
    /// The other side was told.
    done: bool,
    bytes: u64,
}

impl Direction {
    /// Goes on as far as it can. `Err` when either side broke.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        thread: &Thread,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<Result<(), ()>> {
        loop {
            if let Some(buffer) = &mut self.buffer {
                while !buffer.is_empty() {
                    match Pin::new(&mut *to).poll_write(cx, buffer.filled()) {
                        Poll::Ready(Ok(written)) if written > 0 => {
                            buffer.consume(written);
                            self.bytes += written as u64;
                        }
                        Poll::Ready(_) => return Poll::Ready(Err(())),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
            if self.ended {
                let shut = std::task::ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.done = true;
                return Poll::Ready(shut.map_err(|_| ()));
            }
            if let Some(buffer) = self.buffer.take() {
                thread.buffers.give(buffer);
            }
            if std::task::ready!(from.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Err(()));
            }
            let buffer = self.buffer.insert(thread.buffers.take());
            match buffer.poll_fill(from, cx) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    if let Some(buffer) = self.buffer.take() {
                        thread.buffers.give(buffer);
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Passes bytes until both sides have ended, one broke, or neither said anything for too long. `first` is what the
/// upstream sent behind its head. Ends
/// at once when what let the client in is called back (`watch`). Returns the bytes up and down.
pub(crate) async fn pass_both_ways(
    client: &mut Client,
    mut upstream: TcpStream,
    first: Buffer,
    mut watch: Option<Watch>,
) -> (u64, u64) {
    let thread = client.thread.clone();
    let idle_ms = millis(thread.shared.config.socket_timeout);
    let mut up = Direction { buffer: client.buffer.take(), ..Direction::default() };
    let mut down = Direction { buffer: Some(first), ..Direction::default() };
    let mut before = (0, 0);
    let until_ms = watch.as_ref().map_or(u64::MAX, Watch::until_ms);
    let arm = |client: &Client, after_ms: u64| {
        client.slot.arm_at(thread.now_ms().saturating_add(after_ms).min(until_ms));
    };
    arm(client, idle_ms);
    client.slot.set_watching(watch.is_some());
    poll_fn(|cx| {
        if watch.as_mut().is_some_and(|watch| watch.is_over(&thread)) {
            return Poll::Ready(());
        }
        let broke = |polled: Poll<Result<(), ()>>| matches!(polled, Poll::Ready(Err(())));
        if (!up.done && broke(up.poll(cx, &thread, &mut client.stream, &mut upstream)))
            || (!down.done && broke(down.poll(cx, &thread, &mut upstream, &mut client.stream)))
            || (up.done && down.done)
        {
            return Poll::Ready(());
        }
        if (up.bytes, down.bytes) != before {
            before = (up.bytes, down.bytes);
            arm(client, if up.done || down.done { HALF_CLOSED_MS } else { idle_ms });
        }
        client.slot.poll_expired(cx).map(|_| ())
    })
    .await;
    (up.bytes, down.bytes)
}
