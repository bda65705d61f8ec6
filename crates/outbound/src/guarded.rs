//! The client for addresses that tenants give.

use crate::address::AddressPolicy;
use crate::target::{Host, Target, TargetError};
use crate::tls::{Trust, Wire};
use base::{Cidr, SharedClock, Timestamp};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Addresses of one name that are looked at; more is not a name of somebody's server.
const ADDRESSES_MAX: usize = 32;
/// Addresses of one name to which a connection is tried.
const CONNECTS_MAX: usize = 3;

/// Caps of one guarded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Time for a connection, name resolution included.
    pub connect_time_max: Duration,
    /// Time for everything.
    pub total_time_max: Duration,
    /// Bytes of the reply's head.
    pub head_bytes_max: usize,
    /// Header lines of the reply.
    pub headers_max: usize,
    /// Bytes of the reply's body that are kept; the rest is not read.
    pub body_bytes_max: usize,
    /// Redirects that are followed, for GET and HEAD only.
    pub redirects_max: u8,
    /// A failure is told no sooner than this after the start, and at multiples of it, so that its time tells little.
    pub failure_floor: Duration,
}

impl Default for Limits {
    /// As webhooks need them (SPEC 7: 10 s in all).
    fn default() -> Self {
        Self {
            connect_time_max: Duration::from_secs(5),
            total_time_max: Duration::from_secs(10),
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            body_bytes_max: 64 * 1024,
            redirects_max: 0,
            failure_floor: Duration::from_millis(250),
        }
    }
}

/// Turns a name into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, asked once.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.take(ADDRESSES_MAX + 1).map(|address| address.ip()).collect())
        })
    }
}

/// A request to an address that a tenant gave.
#[derive(Debug, Clone)]
pub struct GuardedRequest {
    /// The method.
    pub method: Method,
    /// Where to.
    pub target: Target,
    /// Headers; those of the connection's own (`host`, `content-length` …) are replaced. A value that is marked
    /// sensitive, `authorization` and `cookie` are credentials: never sent in clear text, nor to another host.
    pub headers: HeaderMap,
    /// The body, sent whole.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct GuardedResponse {
    /// The status; a redirect that was not followed is one of these.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// At most [`Limits::body_bytes_max`] bytes, as they came (never decompressed).
    pub body: Bytes,
    /// Whether there was more.
    pub truncated: bool,
}

/// The pause that `Retry-After` asks for (RFC 9110, 10.2.3): whole seconds, or until a date. A date is taken by the answer's own
/// clock where it tells it (`Date`), as clocks differ, else by `now`; one that is over is no pause. Whoever asks sets the limit.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    if !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than can be counted is as long as there is.
        return Some(Duration::from_secs(wanted.parse().unwrap_or(u64::MAX)));
    }
    let until = Timestamp::parse_http(wanted, now).ok()?;
    let theirs = text(header::DATE).and_then(|date| Timestamp::parse_http(date, now).ok());
    Some(until.since(theirs.unwrap_or(now)))
}

/// The address cannot be reached, or may not be: the two are not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address cannot be reached")]
pub struct Unreachable;

/// Why a guarded request gave no reply. All of it may be shown to the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL itself is refused.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Credentials would go over the wire in clear text.
    #[error("credentials are not sent over plain http")]
    Credentials,
    /// Anything else.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// How far a request came that got no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Attempt {
    /// Nothing of it was sent.
    #[error(transparent)]
    Never(Error),
    /// It was sent, or a part of it: it may have had its effect.
    #[error(transparent)]
    Perhaps(Error),
}

/// The client. Clones share its settings; there are no shared connections.
#[derive(Clone)]
pub struct Guarded {
    policy: AddressPolicy,
    limits: Limits,
    resolver: Arc<dyn Resolve>,
    clock: SharedClock,
    trust: Option<Trust>,
    /// Credentials may go to this machine in clear text.
    clear_at_home: bool,
}

impl Guarded {
    /// A client of these rules.
    #[must_use]
    pub fn new(
        policy: AddressPolicy,
        limits: Limits,
        resolver: Arc<dyn Resolve>,
        clock: SharedClock,
    ) -> Self {
        Self { policy, limits, resolver, clock, trust: None, clear_at_home: false }
    }

    /// A client for addresses that the **operator** gives: it reaches whatever the machine reaches, and sends credentials
    /// over plain http to this machine. Caps and everything else are the same.
    #[must_use]
    pub fn for_operator(limits: Limits, clock: SharedClock) -> Self {
        let anywhere = ["0.0.0.0/0", "::/0"].map(|range| Cidr::parse(range).expect("a range by the book"));
        let policy = AddressPolicy::public_only().allow(anywhere);
        let limits = Limits { failure_floor: Duration::ZERO, ..limits };
        Self { clear_at_home: true, ..Self::new(policy, limits, Arc::new(SystemResolver), clock) }
    }

    /// What time it is for this client.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The same, believing these authorities instead of the system's.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Sends a request and reads its reply within the limits.
    ///
    /// # Errors
    /// [`Error`]; each failure after the URL was read looks the same.
    pub async fn send(&self, request: GuardedRequest) -> Result<GuardedResponse, Error> {
        let started = self.clock.monotonic();
        let result = match tokio::time::timeout(self.limits.total_time_max, self.follow(request)).await {
            Ok(result) => result,
            Err(_) => Err(unreachable("no reply in time")),
        };
        if matches!(result, Err(Error::Unreachable(_))) {
            let floor = self.limits.failure_floor;
            let took = self.clock.monotonic().saturating_sub(started);
            tokio::time::sleep(until_next_multiple(took, floor)).await;
        }
        result
    }

    async fn follow(&self, mut request: GuardedRequest) -> Result<GuardedResponse, Error> {
        let mut followed = 0;
        loop {
            let response = self.exchange(&request).await?;
            let location = redirect_of(&request.method, &response);
            let Some(location) = location.filter(|_| followed < self.limits.redirects_max) else {
                return Ok(response);
            };
            let next = request.target.join(&location).map_err(|error| unreachable(&error.to_string()))?;
            if next.https != request.target.https {
                return Err(unreachable("a redirect to another scheme"));
            }
            if next.host != request.target.host || next.port != request.target.port {
                request.headers = without_credentials(&request.headers);
            }
            request.target = next;
            followed += 1;
        }
    }

    /// Sends a request to an address that the **operator** gave, follows nothing, and tells how far it came: for those who
    /// must know whether it may have had its effect. The caller limits the whole time, and drops the future to give up.
    ///
    /// # Errors
    /// [`Attempt`].
    pub async fn attempt(&self, request: &GuardedRequest) -> Result<GuardedResponse, Attempt> {
        let stream = self.ready(request).await.map_err(Attempt::Never)?;
        let answer = self.speak(stream, request).await;
        answer.map_err(|error| Attempt::Perhaps(unreachable(&error.to_string())))
    }

    async fn exchange(&self, request: &GuardedRequest) -> Result<GuardedResponse, Error> {
        let stream = self.ready(request).await?;
        self.speak(stream, request).await.map_err(|error| unreachable(&error.to_string()))
    }

    /// A connection on which the request may be sent.
    async fn ready(&self, request: &GuardedRequest) -> Result<Wire, Error> {
        let kept = request.target.https || (self.clear_at_home && request.target.is_loopback());
        if !kept && request.headers.iter().any(|(name, value)| is_credential(name, value)) {
            return Err(Error::Credentials);
        }
        let connect = tokio::time::timeout(self.limits.connect_time_max, self.open(&request.target));
        connect.await.map_err(|_| unreachable("no connection in time"))?
    }

    /// A connection, secured where the address is `https`: its certificate must be the name's, not the address's that it
    /// led to.
    async fn open(&self, target: &Target) -> Result<Wire, Error> {
        let stream = self.connect(target).await?;
        if !target.https {
            return Ok(Wire::Plain(stream));
        }
        let trust = self.trust.clone().unwrap_or_else(Trust::system);
        let secured = trust.secure(&target.server_name(), stream).await;
        Ok(Wire::Tls(Box::new(secured.map_err(|error| unreachable(&error.to_string()))?)))
    }

    /// A connection to one of the addresses that passed, and to no other.
    async fn connect(&self, target: &Target) -> Result<TcpStream, Error> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                self.resolver.resolve(name).await.map_err(|error| unreachable(&error.to_string()))?
            }
        };
        // One that may not be reached spoils all: whoever mixes them is after something.
        let fine = !addresses.is_empty()
            && addresses.len() <= ADDRESSES_MAX
            && addresses.iter().all(|address| self.policy.permits(*address));
        if !fine {
            return Err(unreachable("an address that may not be reached, or none"));
        }
        for address in addresses.into_iter().take(CONNECTS_MAX) {
            let Ok(stream) = TcpStream::connect(SocketAddr::new(address, target.port)).await else {
                continue;
            };
            return self.check_peer(stream, address);
        }
        Err(unreachable("no address accepts a connection"))
    }

    /// A last look before anything is sent: a peer with our own address is this machine, whatever its range.
    fn check_peer(&self, stream: TcpStream, address: IpAddr) -> Result<TcpStream, Error> {
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return Err(unreachable("a connection without addresses"));
        };
        if peer.ip() != address || (local.ip() == peer.ip() && !self.policy.names(address)) {
            return Err(unreachable("this machine itself"));
        }
        // Without it small requests wait for acknowledgements; failing to set it is no reason to fail.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn speak(&self, stream: Wire, request: &GuardedRequest) -> Result<GuardedResponse, hyper::Error> {
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(self.limits.headers_max)
            .max_buf_size(self.limits.head_bytes_max.max(8 * 1024))
            .handshake(TokioIo::new(stream))
            .await?;
        let message = wire_request(request);
        let exchange = async {
            let (head, body) = sender.send_request(message).await?.into_parts();
            let (body, truncated) = read_capped(body, self.limits.body_bytes_max).await?;
            Ok(GuardedResponse { status: head.status, headers: head.headers, body, truncated })
        };
        let mut exchange = pin!(exchange);
        let mut connection = pin!(connection);
        let mut closed = false;
        loop {
            tokio::select! {
                biased;
                result = &mut exchange => return result,
                // Its error is also the exchange's; what it read before stays to be taken.
                _ = &mut connection, if !closed => closed = true,
            }
        }
    }
}

fn wire_request(request: &GuardedRequest) -> Request<Full<Bytes>> {
    let mut message = Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    if let Ok(path) = request.target.path_and_query.parse() {
        *message.uri_mut() = path;
    }
    let mut headers = request.headers.clone();
    for own in
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::EXPECT]
    {
        headers.remove(own);
    }
    if let Ok(host) = HeaderValue::from_str(&request.target.authority()) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    *message.headers_mut() = headers;
    message
}

/// Reads a body up to `bytes_max`; answers whether there was more.
pub(crate) async fn read_capped(mut body: Incoming, bytes_max: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        let room = bytes_max - kept.len();
        kept.extend_from_slice(data.get(..room).unwrap_or(data));
        if data.len() > room {
            return Ok((kept.freeze(), true));
        }
    }
    Ok((kept.freeze(), false))
}

fn redirect_of(method: &Method, response: &GuardedResponse) -> Option<String> {
    let safe = *method == Method::GET || *method == Method::HEAD;
    let moved = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers.get(header::LOCATION)?.to_str().ok()?;
    (safe && moved).then(|| location.to_owned())
}

fn is_credential(name: &HeaderName, value: &HeaderValue) -> bool {
    value.is_sensitive()
        || [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION].contains(name)
        || name.as_str() == "x-api-key"
}

fn without_credentials(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, value)| !is_credential(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn unreachable(why: &str) -> Error {
    tracing::debug!(why, "a guarded request failed");
    Error::Unreachable(Unreachable)
}

fn until_next_multiple(took: Duration, step: Duration) -> Duration {
    let step_us = step.as_micros();
    if step_us == 0 {
        return Duration::ZERO;
    }
    let over = took.as_micros() % step_us;
    let rest = if over == 0 && !took.is_zero() { 0 } else { step_us - over };
    Duration::from_micros(u64::try_from(rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_seconds_or_until_a_date_of_the_answers_own_clock() {
        let now = Timestamp::from_micros(784_111_777_000_000);
        let pause = |after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(after))]);
            headers.extend(date.map(|date| (header::DATE, HeaderValue::from_static(date))));
            retry_after(&headers, now)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!((pause("120", None), pause(" 0 ", None)), (seconds(120), seconds(0)));
        assert_eq!(pause("99999999999999999999999", None), seconds(u64::MAX));
        assert_eq!(pause("Sun, 06 Nov 1994 08:50:37 GMT", None), seconds(60));
        assert_eq!(pause("Sunday, 06-Nov-94 08:50:37 GMT", None), seconds(60));
        assert_eq!(pause("Sun Nov  6 08:50:37 1994", None), seconds(60));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:36 GMT", None), seconds(0), "it is over");
        // Its clock is a day ahead of ours: what it means is a minute.
        let (told, date) = ("Mon, 07 Nov 1994 08:50:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT");
        assert_eq!(pause(told, Some(date)), seconds(60));
        assert_eq!(pause(told, Some("yesterday")), seconds(86_460), "a clock that cannot be read is ours");
        for wrong in ["", "+5", "-5", "1.5", "5s", "tomorrow", "Sun, 06 Nov 1994", "2026-11-20T17:05:00Z"] {
            assert_eq!(pause(wrong, None), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn w7_failures_are_told_at_multiples_of_the_floor() {
        let step = Duration::from_millis(250);
        assert_eq!(until_next_multiple(Duration::ZERO, step), step);
        assert_eq!(until_next_multiple(Duration::from_millis(1), step), Duration::from_millis(249));
        assert_eq!(until_next_multiple(Duration::from_millis(250), step), Duration::ZERO);
        assert_eq!(until_next_multiple(Duration::from_millis(251), step), Duration::from_millis(249));
        assert_eq!(until_next_multiple(Duration::from_millis(9), Duration::ZERO), Duration::ZERO);
    }

    #[tokio::test]
    async fn w1_this_machine_is_refused_by_any_of_its_addresses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let here = listener.local_addr().expect("an address");
        let judged = async |policy| {
            let stream = TcpStream::connect(here).await.expect("a connection");
            let resolver = Arc::new(SystemResolver);
            let guarded = Guarded::new(policy, Limits::default(), resolver, base::SystemClock::shared());
            guarded.check_peer(stream, here.ip()).map(|_| ())
        };
        // As if the policy had taken it for a public address that it was not told to be ours.
        assert_eq!(judged(AddressPolicy::public_only()).await, Err(Error::Unreachable(Unreachable)));
        let named = base::Cidr::parse("127.0.0.1/32").expect("a range");
        assert_eq!(judged(AddressPolicy::public_only().allow([named])).await, Ok(()));
    }

    #[test]
    fn w12_credentials_are_known_by_name_and_by_mark() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        headers.insert("x-api-key", HeaderValue::from_static("x"));
        headers.insert("x-plain", HeaderValue::from_static("x"));
        let mut marked = HeaderValue::from_static("x");
        marked.set_sensitive(true);
        headers.insert("x-marked", marked);
        let left = without_credentials(&headers);
        assert_eq!(left.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-plain"]);
    }
}
