//! Passing a response on, while the request's body may still be on its way.

use super::answer::{Downward, Passed};
use super::client::{After, Client};
use super::downlink::{Downlink, DownlinkFault};
use super::exchange::{Upstream, idle_ms};
use super::job::Job;
use super::shared::millis;
use super::uplink::Uplink;
use super::watch::Watch;
use crate::model::Route;
use crate::wire::Framing;
use std::future::poll_fn;
use std::task::Poll;

/// Bytes that a client must take within the time for sending, so that one that reads a byte now and then is cut.
const TAKEN_BYTES_MIN: u64 = 4 * 1024;

/// Bytes of a next request that are read while a stream of events is on its way.
const READ_AHEAD_MAX: usize = 4 * 1024;

/// What an upstream answered.
pub(crate) enum Answer {
    /// It switched to a WebSocket.
    Socket,
    /// A response.
    Body {
        /// How its body ends.
        framing: Framing,
        /// How the body goes to the client.
        downward: Downward,
        /// What its head said beside.
        passed: Passed,
        /// Its connection may be used again.
        keeps: bool,
    },
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Whole,
    ClientGone,
    ClientSlow,
    UpstreamCut,
    CalledBack,
}

/// Passes a response on to its end.
pub(crate) async fn respond(
    client: &mut Client,
    job: &mut Job,
    (mut uplink, route): (Uplink, &Route),
    mut upstream: Upstream,
    answer: Answer,
) -> After {
    let Answer::Body { framing, downward, passed, keeps } = answer else { return After::End };
    if passed.is_event_stream {
        upstream.in_flight.becomes_socket();
    }
    let idle_ms_max = millis(route.timeouts.idle);
    let mut downlink = Downlink::new(std::mem::take(&mut job.down), framing, downward);
    downlink.is_event_stream = passed.is_event_stream;
    let watch = if passed.is_event_stream { client.watch(job) } else { None };
    let ended = pass(client, (idle_ms_max, watch), &mut uplink, &mut upstream, &mut downlink).await;
    client.slot.set_watching(false);
    job.bytes_in = uplink.bytes;
    job.bytes_out = downlink.bytes;
    job.down = downlink.into_output();
    let uploaded = uplink.done;
    let thread = client.thread.clone();
    uplink.give_back(&thread, job);
    match ended {
        Ended::Whole => {
            let Upstream { stream, buffer, in_flight, .. } = upstream;
            let in_step = buffer.is_empty();
            thread.buffers.give(buffer);
            if keeps && uploaded && in_step {
                thread.pools.give(in_flight.endpoint.number, stream, thread.now_ms(), idle_ms(&passed));
            }
            match (job.keep_alive, uploaded) {
                (true, true) => next_or_linger(client, job),
                _ => After::Linger,
            }
        }
        Ended::UpstreamCut => {
            upstream.in_flight.endpoint.failed(false, thread.now_ms());
            After::End
        }
        Ended::ClientGone | Ended::ClientSlow | Ended::CalledBack => After::End,
    }
}

/// Bytes that came behind a request for a WebSocket were meant for one. They are no request of HTTP, whatever they
/// look like (CVE-2026-2833).
fn next_or_linger(client: &Client, job: &Job) -> After {
    let more = client.buffer.as_ref().is_some_and(|buffer| !buffer.is_empty());
    if job.websocket && more { After::Linger } else { After::Next }
}

async fn pass(
    client: &mut Client,
    (idle_ms, mut watch): (u64, Option<Watch>),
    uplink: &mut Uplink,
    upstream: &mut Upstream,
    downlink: &mut Downlink,
) -> Ended {
    let thread = client.thread.clone();
    let send_ms = millis(thread.shared.config.send_timeout);
    let until_ms = watch.as_ref().map_or(u64::MAX, Watch::until_ms);
    client.slot.set_watching(watch.is_some());
    let mut upward_open = !uplink.done;
    let mut state = None;
    poll_fn(|cx| {
        if watch.as_mut().is_some_and(|watch| watch.is_over(&thread)) {
            return Poll::Ready(Ended::CalledBack);
        }
        if upward_open {
            upward_open = uplink.poll(cx, client, &mut upstream.stream).is_pending();
        }
        match downlink.poll(cx, client, &mut upstream.stream, &mut upstream.buffer) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ended::Whole),
            Poll::Ready(Err(DownlinkFault::ClientGone)) => return Poll::Ready(Ended::ClientGone),
            Poll::Ready(Err(DownlinkFault::UpstreamCut)) => return Poll::Ready(Ended::UpstreamCut),
            Poll::Pending => {}
        }
        if downlink.is_event_stream && uplink.done && has_gone(client, cx) {
            return Poll::Ready(Ended::ClientGone);
        }
        let waits = downlink.waits_for_client();
        let taken_enough = |before: u64| downlink.taken >= before + if waits { TAKEN_BYTES_MIN } else { 1 };
        if state.is_none_or(|(waited, taken)| waited != waits || taken_enough(taken)) {
            state = Some((waits, downlink.taken));
            let after_ms = if waits { send_ms } else { idle_ms };
            client.slot.arm_at(thread.now_ms().saturating_add(after_ms).min(until_ms));
        }
        if thread.now_ms() >= until_ms {
            return Poll::Ready(Ended::CalledBack);
        }
        let late = if waits { Ended::ClientSlow } else { Ended::UpstreamCut };
        client.slot.poll_expired(cx).map(|_| late)
    })
    .await
}

/// Whether the client of a stream of events has gone, which nothing else would tell until the next event.
fn has_gone(client: &mut Client, cx: &mut std::task::Context<'_>) -> bool {
    while client.buffer.as_ref().is_none_or(|buffer| buffer.filled().len() < READ_AHEAD_MAX) {
        match client.poll_body(cx) {
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => return true,
            Poll::Pending => return false,
        }
    }
    false
}
