//! One admitted request: a place at a replica, tries, and the answer on its way.

use super::answer::{Passed, push_response_head, push_switch_head};
use super::buffer::Buffer;
use super::client::{After, Client, Cut};
use super::job::{Job, Refusal};
use super::pool::IDLE_MS;
use super::respond::{Answer, respond};
use super::shared::{Thread, millis};
use super::socket::pass_both_ways;
use super::uplink::{Uplink, UplinkFault};
use crate::balance::{Breaker, Endpoint, InFlight, NoEndpoint, Pass, QUEUE_WAIT_MAX, Service};
use crate::limits::retry_after_seconds;
use crate::model::Route;
use crate::wire::{Framing, HEAD_BYTES_MAX, HEADERS_MAX, parse_response, response_framing};
use base::codes;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::TcpStream;

/// Times that a request is sent at most.
const TRIES_MAX: usize = 3;
/// Interim responses (1xx) before the one that counts.
const INTERIM_MAX: u32 = 8;

/// A connection to an upstream with a request on it.
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Buffer,
    pub(crate) in_flight: InFlight,
    /// It served requests before.
    reused: bool,
}

/// Why a try came to nothing.
#[derive(Debug)]
enum Failure {
    /// No connection.
    Refused,
    /// The connection ended before the first byte of a response. `stale` when it had been idle before.
    Reset { stale: bool },
    /// The response did not begin in time.
    Timeout,
    /// The response cannot be understood.
    Fault(&'static str),
    /// The client's doing; the upstream's connection is given up.
    Client(Refusal),
    /// The client has gone.
    ClientGone,
}

/// Leaves of the breakers that a request passed.
struct Passes {
    service: Pass,
    tenant: Option<(Arc<Breaker>, Pass)>,
}

/// Endpoints that were tried.
#[derive(Default)]
struct Tried {
    numbers: [u64; TRIES_MAX],
    count: usize,
}

impl Tried {
    fn note(&mut self, number: u64) {
        self.numbers[self.count] = number;
        self.count += 1;
    }

    fn numbers(&self) -> &[u64] {
        &self.numbers[..self.count]
    }
}

/// Serves one admitted request.
pub(crate) async fn exchange(client: &mut Client, job: &mut Job) -> After {
    // Taken and put back, not counted once more: all threads share the counts of who holds them, and each change of such a
    // count fetches it from the other processor.
    let (Some(service), Some(route)) = (job.service.take(), job.route.take()) else { return After::End };
    let after = exchange_with(client, job, &service, &route).await;
    (job.service, job.route) = (Some(service), Some(route));
    after
}

async fn exchange_with(client: &mut Client, job: &mut Job, service: &Arc<Service>, route: &Route) -> After {
    let passes = match ask_breakers(&client.thread, job, service) {
        Ok(passes) => passes,
        Err(refusal) => return client.refuse(job, &refusal).await,
    };
    service.budget.earn();
    let mut tried = Tried::default();
    let mut uplink = Uplink::new(&client.thread, job, route.body_bytes_max);
    loop {
        let in_flight = match place(client, job, service, tried.numbers()).await {
            Ok(in_flight) => in_flight,
            Err(refusal) => return refuse(client, job, &uplink, &refusal).await,
        };
        tried.note(in_flight.endpoint.number);
        job.tries += 1;
        job.replica = in_flight.endpoint.replica;
        let (failure, endpoint) = match one_try(client, job, route, &mut uplink, in_flight).await {
            Ok((upstream, answer)) => {
                note_success(&client.thread, service, &passes);
                return finish(client, job, (uplink, route), upstream, answer).await;
            }
            Err(failed) => failed,
        };
        let now_ms = client.thread.now_ms();
        match failure {
            Failure::Refused => endpoint.failed(true, now_ms),
            Failure::Reset { stale: true } => client.thread.pools.forget(endpoint.number),
            Failure::Reset { stale: false } => endpoint.failed(false, now_ms),
            _ => {}
        }
        note_failure(&client.thread, service, job, &passes, &failure);
        let unsent = matches!(failure, Failure::Refused);
        let again = match failure {
            Failure::Refused | Failure::Reset { .. } => !uplink.begun && (unsent || job.idempotent),
            Failure::Timeout | Failure::Fault(_) | Failure::Client(_) | Failure::ClientGone => false,
        };
        if !again || tried.count >= TRIES_MAX || is_late(client, job, route) || !service.budget.spend() {
            return match refusal_of(failure) {
                Some(refusal) => refuse(client, job, &uplink, &refusal).await,
                None => After::End,
            };
        }
        client.thread.shared.metrics.retries.inc();
        uplink.restart(job);
    }
}

async fn refuse(client: &mut Client, job: &mut Job, uplink: &Uplink, refusal: &Refusal) -> After {
    job.bytes_in = uplink.bytes;
    job.for_person = uplink.asks_for_page();
    if uplink.begun {
        // What is left of the body is not known to be all.
        job.keep_alive &= uplink.done;
        job.framing = Framing::Empty;
    }
    client.refuse(job, refusal).await
}

fn ask_breakers(thread: &Thread, job: &Job, service: &Arc<Service>) -> Result<Passes, Refusal> {
    let now_ms = thread.now_ms();
    let open = |wait: Duration| {
        let detail = "The service failed so often that requests to it rest for a while.";
        Refusal::new(&codes::CIRCUIT_OPEN, detail).retry_after(retry_after_seconds(wait))
    };
    let of_service = service.breaker.ask(now_ms).map_err(open)?;
    let of_tenant = match job.tenant.as_ref().and_then(|tenant| service.tenant_breaker(tenant.id)) {
        Some(breaker) => {
            let pass = breaker.ask(now_ms).map_err(open)?;
            Some((breaker, pass))
        }
        None => None,
    };
    Ok(Passes { service: of_service, tenant: of_tenant })
}

fn note_success(thread: &Thread, service: &Service, passes: &Passes) {
    if service.breaker.succeeded(&passes.service) {
        thread.shared.metrics.breakers.get(&[&service.name]).set(0);
        tracing::info!(service = &*service.name, "service answers again, its breaker is closed");
    }
    if let Some((breaker, pass)) = &passes.tenant {
        breaker.succeeded(pass);
    }
}

/// Tells the breakers. That a service cannot be reached is its own failure; that it does not answer in time may be the
/// doing of one tenant's requests, and closes it to that tenant alone.
fn note_failure(thread: &Thread, service: &Service, job: &Job, passes: &Passes, failure: &Failure) {
    let now_ms = thread.now_ms();
    match failure {
        Failure::Refused | Failure::Reset { stale: false } => {
            if service.breaker.failed(&passes.service, now_ms) {
                thread.shared.metrics.breakers.get(&[&service.name]).set(1);
                tracing::error!(service = &*service.name, "service cannot be reached, its breaker is open");
            }
        }
        Failure::Timeout => match (&passes.tenant, &job.tenant) {
            (Some((breaker, pass)), _) => {
                breaker.failed(pass, now_ms);
            }
            (None, Some(tenant)) => {
                let breaker = service.tenant_breaker_after_timeout(tenant.id);
                if let Some(breaker) = breaker
                    && let Ok(pass) = breaker.ask(now_ms)
                {
                    breaker.failed(&pass, now_ms);
                }
            }
            (None, None) => {
                service.breaker.failed(&passes.service, now_ms);
            }
        },
        Failure::Reset { stale: true } | Failure::Fault(_) | Failure::Client(_) | Failure::ClientGone => {}
    }
}

fn refusal_of(failure: Failure) -> Option<Refusal> {
    Some(match failure {
        Failure::Refused => {
            Refusal::new(&codes::UPSTREAM_UNAVAILABLE, "No replica of the service accepts requests.")
        }
        Failure::Reset { .. } => {
            Refusal::new(&codes::UPSTREAM_UNAVAILABLE, "The service ended the connection without an answer.")
        }
        Failure::Timeout => Refusal::new(&codes::UPSTREAM_TIMEOUT, "The service did not answer in time."),
        Failure::Fault(why) => {
            let detail = format!("The service's answer cannot be passed on: {why}.");
            Refusal::new(&codes::UPSTREAM_UNAVAILABLE, detail)
        }
        Failure::Client(refusal) => refusal,
        Failure::ClientGone => return None,
    })
}

/// Chooses an endpoint, after waiting for one when all are full.
async fn place(
    client: &mut Client,
    job: &Job,
    service: &Service,
    tried: &[u64],
) -> Result<InFlight, Refusal> {
    let thread = client.thread.clone();
    let mut my_turn = false;
    loop {
        if my_turn || !service.queue.has_waiting() {
            match service.choose(thread.now_ms(), tried, thread.random_u64()) {
                Ok(in_flight) => return Ok(in_flight),
                Err(NoEndpoint::NoneReady) => {
                    let detail = "No replica of the service is ready.";
                    return Err(Refusal::new(&codes::UPSTREAM_UNAVAILABLE, detail)
                        .status(503)
                        .retry_after(1));
                }
                Err(NoEndpoint::AllFull) => {}
            }
        }
        let overloaded = || {
            let detail = "The service has more requests than it can take.";
            Refusal::new(&codes::OVERLOADED, detail).retry_after(1)
        };
        let tenant = job.tenant.as_ref().map_or(0, |tenant| u128::from_be_bytes(*tenant.id.as_bytes()));
        let mut turn = service.queue.join(tenant).ok_or_else(overloaded)?;
        client.slot.arm(millis(QUEUE_WAIT_MAX));
        let waited = poll_fn(|cx| match Pin::new(&mut turn).poll(cx) {
            Poll::Ready(turn) => Poll::Ready(turn.is_ok()),
            Poll::Pending => client.slot.poll_expired(cx).map(|_| false),
        });
        if !waited.await {
            return Err(overloaded());
        }
        my_turn = true;
    }
}

/// The point in time at which the response must have begun, whatever is tried until then.
fn total_deadline(job: &Job, route: &Route) -> u64 {
    route.timeouts.total.map_or(u64::MAX, |total| millis(job.started + total))
}

fn is_late(client: &Client, job: &Job, route: &Route) -> bool {
    client.thread.now_ms() >= total_deadline(job, route)
}

/// Sends the request to one endpoint and waits for the head of the response. What failed comes with its endpoint.
async fn one_try(
    client: &mut Client,
    job: &mut Job,
    route: &Route,
    uplink: &mut Uplink,
    in_flight: InFlight,
) -> Result<(Upstream, Answer), (Failure, Arc<Endpoint>)> {
    let idle = client.thread.pools.take(in_flight.endpoint.number, client.thread.now_ms());
    let reused = idle.is_some();
    let stream = match idle {
        Some(stream) => stream,
        None => match connect(client, job, route, &in_flight).await {
            Ok(stream) => stream,
            Err(failure) => return Err((failure, in_flight.endpoint.clone())),
        },
    };
    let mut upstream = Upstream { stream, buffer: Buffer::none(), in_flight, reused };
    match converse(client, job, route, uplink, &mut upstream).await {
        Ok(answer) => Ok((upstream, answer)),
        Err(failure) => Err((failure, upstream.in_flight.endpoint.clone())),
    }
}

/// Sends the request over a connection and waits for the head of the response.
async fn converse(
    client: &mut Client,
    job: &mut Job,
    route: &Route,
    uplink: &mut Uplink,
    upstream: &mut Upstream,
) -> Result<Answer, Failure> {
    let thread = client.thread.clone();
    if job.expects_continue {
        job.expects_continue = false;
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| Failure::ClientGone)?;
    }
    let mut interim = 0;
    loop {
        match judge(&thread, job, route, &upstream.buffer).map_err(Failure::Fault)? {
            Judged::More => {
                let full = upstream.buffer.room() == 0 && !upstream.buffer.is_none();
                if full && upstream.buffer.filled().len() < HEAD_BYTES_MAX {
                    upstream.buffer.grow();
                }
                wait_for_response(client, job, route, uplink, upstream).await?;
            }
            Judged::Interim(length) => {
                upstream.buffer.consume(length);
                interim += 1;
                if interim > INTERIM_MAX {
                    return Err(Failure::Fault("it sends nothing but interim responses"));
                }
            }
            Judged::Answer(length, answer) => {
                upstream.buffer.consume(length);
                job.upstream = Some(thread.shared.clock.monotonic().saturating_sub(job.started));
                upstream.in_flight.endpoint.succeeded();
                return Ok(answer);
            }
        }
    }
}

async fn connect(
    client: &mut Client,
    job: &Job,
    route: &Route,
    in_flight: &InFlight,
) -> Result<TcpStream, Failure> {
    let limit = client.thread.now_ms().saturating_add(millis(route.timeouts.connect));
    client.slot.arm_at(limit.min(total_deadline(job, route)));
    let mut connecting = pin!(TcpStream::connect(in_flight.endpoint.addr));
    let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(connected) => Poll::Ready(connected.map_err(|_| Cut::Gone)),
        Poll::Pending => client.slot.poll_expired(cx).map(|_| Err(Cut::Expired)),
    });
    let stream = connected.await.map_err(|_| Failure::Refused)?;
    stream.set_nodelay(true).map_err(|_| Failure::Refused)?;
    Ok(stream)
}

/// Sends on what there is of the request, until bytes of a response come.
async fn wait_for_response(
    client: &mut Client,
    job: &mut Job,
    route: &Route,
    uplink: &mut Uplink,
    upstream: &mut Upstream,
) -> Result<(), Failure> {
    let thread = client.thread.clone();
    let total_ms = total_deadline(job, route);
    let response_ms = millis(route.timeouts.response);
    let arm_response = |client: &Client| {
        client.slot.arm_at(thread.now_ms().saturating_add(response_ms).min(total_ms));
    };
    let mut upward_open = !uplink.done;
    let mut armed_for = None;
    if uplink.done {
        arm_response(client);
    }
    poll_fn(|cx| {
        if upward_open {
            match uplink.poll(cx, client, &mut upstream.stream) {
                Poll::Ready(Ok(())) => {
                    upward_open = false;
                    arm_response(client);
                }
                // It may have answered before it stopped taking the body.
                Poll::Ready(Err(UplinkFault::UpstreamGone)) => {
                    upward_open = false;
                    arm_response(client);
                }
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(failure_of(fault, route))),
                Poll::Pending => {
                    let state = Some((uplink.bytes, uplink.waits_for_client()));
                    if armed_for != state {
                        armed_for = state;
                        arm_upload(client, job, uplink, arm_response);
                    }
                }
            }
        }
        match poll_response(&thread, upstream, cx) {
            Poll::Ready(Ok(bytes)) if bytes > 0 => return Poll::Ready(Ok(())),
            Poll::Ready(_) => {
                let first = upstream.buffer.is_empty();
                return Poll::Ready(Err(match first {
                    true => Failure::Reset { stale: upstream.reused },
                    false => Failure::Fault("it ends within its head"),
                }));
            }
            Poll::Pending => {}
        }
        client.slot.poll_expired(cx).map(|_| Err(late(upward_open && uplink.waits_for_client())))
    })
    .await
}

/// Reads once. While the application works, no buffer is held for its answer.
fn poll_response(thread: &Thread, upstream: &mut Upstream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    if upstream.buffer.is_none() {
        ready!(upstream.stream.poll_read_ready(cx))?;
        upstream.buffer = thread.buffers.take();
    }
    upstream.buffer.poll_fill(&mut upstream.stream, cx)
}

fn late(client_is_slow: bool) -> Failure {
    if client_is_slow {
        let detail = "The body of the request took too long to arrive.";
        Failure::Client(Refusal::new(&codes::REQUEST_TIMEOUT, detail).close())
    } else {
        Failure::Timeout
    }
}

/// Sets the deadline of an upload: for the client's next bytes and its pace, or for the upstream to take some.
fn arm_upload(client: &Client, job: &Job, uplink: &Uplink, arm_response: impl Fn(&Client)) {
    if !uplink.waits_for_client() {
        arm_response(client);
        return;
    }
    let config = &client.thread.shared.config;
    let body_ms = millis(config.body_timeout);
    let pace_ms = uplink.bytes.saturating_mul(1_000) / config.body_rate_min.max(1);
    let by_pace = millis(job.started).saturating_add(body_ms).saturating_add(pace_ms);
    client.slot.arm_at(client.thread.now_ms().saturating_add(body_ms).min(by_pace));
}

fn failure_of(fault: UplinkFault, route: &Route) -> Failure {
    match fault {
        UplinkFault::ClientGone => Failure::ClientGone,
        UplinkFault::UpstreamGone => Failure::Reset { stale: false },
        UplinkFault::TooLarge => Failure::Client(super::admit::too_large(route.body_bytes_max)),
        UplinkFault::BadChunks(why) => {
            let detail = format!("The body cannot be read: {why}.");
            Failure::Client(Refusal::new(&codes::BAD_FRAMING, detail).close())
        }
    }
}

enum Judged {
    More,
    Interim(usize),
    Answer(usize, Answer),
}

/// Reads the head of a response, if it is there, and writes the head for the client.
fn judge(thread: &Thread, job: &mut Job, route: &Route, buffer: &Buffer) -> Result<Judged, &'static str> {
    if buffer.is_empty() {
        return Ok(Judged::More);
    }
    let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
    let Some(head) = parse_response(buffer.filled(), &mut room).map_err(|fault| fault.0)? else {
        return Ok(Judged::More);
    };
    if head.status == 101 {
        if !job.websocket {
            return Err("it switches protocols without having been asked");
        }
        push_switch_head(job, &head);
        return Ok(Judged::Answer(head.length, Answer::Socket));
    }
    if head.status < 200 {
        return Ok(Judged::Interim(head.length));
    }
    let framing = response_framing(&head, job.to_head).map_err(|fault| fault.0)?;
    let (passed, downward) = push_response_head(thread, job, route, &head, framing);
    let keeps = keeps_connection(head.http10, &passed, framing.0);
    Ok(Judged::Answer(head.length, Answer::Body { framing: framing.0, downward, passed, keeps }))
}

fn keeps_connection(http10: bool, passed: &Passed, framing: Framing) -> bool {
    !passed.close && (!http10 || passed.keep_alive) && framing != Framing::UntilClose
}

/// Passes the answer on and puts the connections where they belong.
async fn finish(
    client: &mut Client,
    job: &mut Job,
    (uplink, route): (Uplink, &Route),
    mut upstream: Upstream,
    answer: Answer,
) -> After {
    match answer {
        Answer::Socket => {
            upstream.in_flight.becomes_socket();
            let head = std::mem::take(&mut job.down);
            if client.write_all(&head).await.is_ok() {
                let watch = client.watch(job);
                (job.bytes_in, job.bytes_out) =
                    pass_both_ways(client, upstream.stream, upstream.buffer, watch).await;
            }
            job.down = head;
            After::End
        }
        Answer::Body { .. } => respond(client, job, (uplink, route), upstream, answer).await,
    }
}

/// For how long an idle connection is kept.
pub(crate) fn idle_ms(passed: &Passed) -> u64 {
    match passed.idle_seconds {
        // A second less than it says, since the last request may already be on its way when it closes.
        Some(seconds) => seconds.saturating_mul(1_000).saturating_sub(1_000).min(IDLE_MS),
        None => IDLE_MS,
    }
}
