//! Routes: what they say, which requests they match, what follows for a request. No I/O.

use crate::wire::{HeaderKind, classify};
use base::{ByteSize, HumanDuration, MeterName, Rate, RouteId, Slug, Timestamp};
use ports::ManagedBy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shape::Fault;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Routes of one environment; what the table is sized for is 10,000.
pub const ROUTES_MAX: usize = 20_000;
/// Bytes of a route's path.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Response headers that one route may set.
pub const ROUTE_HEADERS_MAX: usize = 32;
/// Bytes of one such header's value.
pub const ROUTE_HEADER_BYTES_MAX: usize = 4 * 1024;

/// Bytes of a request body where a route says nothing.
pub const BODY_BYTES_DEFAULT: u64 = 50 << 20;
/// Time to connect to a replica.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time from the end of the request to the beginning of the response.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without a byte from the upstream while a response is on its way. Event streams send comments more often.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Whether a route wants to know who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Anybody; a bad credential is no reason to refuse.
    #[default]
    None,
    /// Anybody, but a Switchyard credential that comes must be valid. Others' credentials pass untouched.
    Optional,
    /// Only with a valid Switchyard credential.
    Required,
}

/// The limits of a route: `true` (the plan's, the default), `false` (none), or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LimitsSpec {
    /// Whether the plan's limit holds, and the address limit where no tenant is known.
    Switch(bool),
    /// Limits of the route's own beside the plan's.
    Table(LimitTable),
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self::Switch(true)
    }
}

/// Limits of a route's own. All that apply must let a request pass, asked in this order: plan, key, route, address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitTable {
    /// Whether requests count against the tenant's plan. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<bool>,
    /// What each key may ask of this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Rate>,
    /// What each tenant may ask of this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Rate>,
    /// What each address may ask of this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Rate>,
}

/// How long a route waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsSpec {
    /// To connect to a replica. Default 3s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<HumanDuration>,
    /// From the end of the request to the beginning of the response, each try. Default 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<HumanDuration>,
    /// From the head of the request to the beginning of the response, all tries together. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<HumanDuration>,
    /// Without a byte from the service while a response is on its way. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<HumanDuration>,
}

/// One route as the project file and the API write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// A host name, `*.` and a host name (any name below it), or `*` (any host). Tenants' own domains are matched
    /// by their name first and then as `<slug>.<base_domain>`.
    #[schemars(length(min = 1, max = 255))]
    pub host: String,
    /// A path; it matches itself and all below it. The longest path wins. Case matters.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// The service that answers.
    pub service: Slug,
    /// Whether a credential is looked at, and needed.
    #[serde(default)]
    pub auth: Auth,
    /// Which limits hold.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Response headers that are set when the service does not; an empty value takes a default one away. Defaults:
    /// X-Frame-Options, X-Content-Type-Options, Referrer-Policy, Permissions-Policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long is waited.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,
    /// The largest request body. Default 50MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_max: Option<ByteSize>,
    /// Whether WebSockets are let through. Default true.
    #[serde(default = "yes")]
    pub websocket: bool,
    /// The meter that counts its requests for the tenant, and refuses them where the tenant's quota is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterName>,
}

fn root() -> String {
    "/".to_owned()
}

fn yes() -> bool {
    true
}

impl RouteSpec {
    /// What the schema cannot say: every fault, with pointers below `at`.
    #[must_use]
    pub fn faults(&self, at: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, found: &str, message: &str| {
            faults.push(Fault {
                pointer: format!("{at}/{pointer}"),
                found: found.to_owned(),
                message: message.to_owned(),
                nearest: None,
            });
        };
        if HostPattern::parse(&self.host).is_none() {
            fault("host", &self.host, "a host name, `*.` and a host name, or `*` is allowed");
        }
        if !is_route_path(&self.path) {
            fault(
                "path",
                &self.path,
                "a path that begins with `/`, plainly written: no `%`, `//`, `.` or `..` segments, no query",
            );
        }
        if self.headers.len() > ROUTE_HEADERS_MAX {
            fault("headers", &self.headers.len().to_string(), "at most 32 headers are allowed");
        }
        for (name, value) in &self.headers {
            if !is_settable_header(name) {
                fault(
                    &format!("headers/{name}"),
                    name,
                    "a response header that is not about the connection is allowed",
                );
            }
            let plain = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            if value.len() > ROUTE_HEADER_BYTES_MAX || !value.bytes().all(plain) {
                fault(&format!("headers/{name}"), value, "up to 4 KiB of text in one line are allowed");
            }
        }
        for (name, timeout) in self.timeouts.named() {
            if timeout.is_some_and(|timeout| timeout.0 < Duration::from_millis(100)) {
                fault(&format!("timeouts/{name}"), "less", "at least 100ms is allowed");
            }
        }
        faults
    }
}

impl RouteSpec {
    /// The form by which routes are compared: host in lower case, path without a final slash.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.host.make_ascii_lowercase();
        let path = self.path.trim_end_matches('/').to_owned();
        self.path = if path.is_empty() { root() } else { path };
        self
    }

    /// Host and path, as people are told of the route.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}{}", self.host, self.path)
    }
}

/// One route as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoute {
    /// Its id.
    pub id: RouteId,
    /// What it says.
    pub spec: RouteSpec,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// One more at each change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Changes to a route; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutePatch {
    /// Other hosts.
    pub host: Option<String>,
    /// Another path.
    pub path: Option<String>,
    /// Another service.
    pub service: Option<Slug>,
    /// Whether a credential is needed.
    pub auth: Option<Auth>,
    /// Other limits.
    pub limits: Option<LimitsSpec>,
    /// Other headers, all of them.
    pub headers: Option<BTreeMap<String, String>>,
    /// Other time-outs, all of them.
    pub timeouts: Option<TimeoutsSpec>,
    /// Another largest body.
    pub body_max: Option<ByteSize>,
    /// Whether WebSockets are let through.
    pub websocket: Option<bool>,
    /// Another meter, or none.
    pub meter: Option<Option<MeterName>>,
}

impl RoutePatch {
    /// A route with these changes.
    #[must_use]
    pub fn onto(self, before: RouteSpec) -> RouteSpec {
        let Self { host, path, service, auth, limits, headers, timeouts, body_max, websocket, meter } = self;
        RouteSpec {
            host: host.unwrap_or(before.host),
            path: path.unwrap_or(before.path),
            service: service.unwrap_or(before.service),
            auth: auth.unwrap_or(before.auth),
            limits: limits.unwrap_or(before.limits),
            headers: headers.unwrap_or(before.headers),
            timeouts: timeouts.unwrap_or(before.timeouts),
            body_max: body_max.or(before.body_max),
            websocket: websocket.unwrap_or(before.websocket),
            meter: meter.unwrap_or(before.meter),
        }
    }
}

impl TimeoutsSpec {
    fn named(&self) -> [(&'static str, Option<HumanDuration>); 4] {
        [("connect", self.connect), ("response", self.response), ("total", self.total), ("idle", self.idle)]
    }
}

fn is_route_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\".contains(&byte);
    path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path.bytes().all(plain)
        && !path.contains("//")
        && !path.split('/').any(|segment| segment == "." || segment == "..")
}

fn is_settable_header(name: &str) -> bool {
    let ours = matches!(
        classify(name),
        HeaderKind::Other
            | HeaderKind::FrameOptions
            | HeaderKind::ContentTypeOptions
            | HeaderKind::ReferrerPolicy
            | HeaderKind::PermissionsPolicy
    );
    let taken = ["content-type", "content-encoding", "content-range", "set-cookie", "retry-after"];
    ours && crate::wire::is_token_text(name) && !taken.iter().any(|taken| name.eq_ignore_ascii_case(taken))
}

/// Which hosts a route matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// Any below this one.
    Below(String),
    /// Any.
    Any,
}

impl HostPattern {
    /// Reads a pattern; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let host = match base::HostName::parse(name) {
            Ok(host) => host.as_str().to_owned(),
            // Addresses are no host names, but people try their gateway by them.
            Err(_) if !below => name.parse::<std::net::Ipv4Addr>().ok()?.to_string(),
            Err(_) => return None,
        };
        Some(if below { Self::Below(host) } else { Self::Exact(host) })
    }
}

/// How long a request under a route waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// To the beginning of a response, each try.
    pub response: Duration,
    /// To the beginning of a response, all tries; `None` when only tries are bounded.
    pub total: Option<Duration>,
    /// Between two bytes of a response.
    pub idle: Duration,
}

/// A response header that is set where the application does not set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultHeader {
    /// Its name, for comparing.
    pub name: Box<str>,
    /// Its kind; `Other` for those beyond the four defaults.
    pub kind: HeaderKind,
    /// The whole line.
    pub line: Box<[u8]>,
}

/// The response headers of SPEC 6 that every response gets.
const DEFAULT_HEADERS: [(&str, &str); 4] = [
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Permissions-Policy", "geolocation=(), microphone=(), camera=()"),
];

/// One route, ready for use by requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// What metrics and records call it: host and path.
    pub label: Arc<str>,
    /// Which hosts it matches.
    pub host: HostPattern,
    /// The path without a final slash; empty for all paths.
    pub prefix: Box<str>,
    /// The service that answers.
    pub service: Slug,
    /// Whether it wants to know who asks.
    pub auth: Auth,
    /// Whether the plan's limit holds, and the address limit where no tenant is known.
    pub plan_limit: bool,
    /// Limits of its own.
    pub limits: LimitTable,
    /// Response headers where the application sets none.
    pub headers: Box<[DefaultHeader]>,
    /// All their lines, for the many responses that set none of them.
    pub header_lines: Box<[u8]>,
    /// Whether they are known by their kinds alone.
    pub headers_by_kind: bool,
    /// How long it waits.
    pub timeouts: Timeouts,
    /// Bytes of a request body.
    pub body_bytes_max: u64,
    /// Whether WebSockets are let through.
    pub websocket: bool,
    /// The meter that counts its requests.
    pub meter: Option<MeterName>,
}

impl Route {
    /// Compiles what a file or the API said; `None` when its host is no pattern, which was checked before it was kept.
    #[must_use]
    pub fn compile(id: RouteId, spec: &RouteSpec) -> Option<Self> {
        let (plan_limit, limits) = match spec.limits {
            LimitsSpec::Switch(on) => (on, LimitTable::default()),
            LimitsSpec::Table(table) => (table.plan.unwrap_or(true), table),
        };
        let or = |given: Option<HumanDuration>, default: Duration| given.map_or(default, |given| given.0);
        let headers = default_headers(&spec.headers);
        Some(Self {
            id,
            header_lines: headers.iter().flat_map(|header| header.line.iter().copied()).collect(),
            headers_by_kind: headers.iter().all(|header| header.kind != HeaderKind::Other),
            label: format!("{}{}", spec.host, spec.path).into(),
            host: HostPattern::parse(&spec.host)?,
            prefix: spec.path.trim_end_matches('/').into(),
            service: spec.service.clone(),
            auth: spec.auth,
            plan_limit,
            limits,
            headers,
            timeouts: Timeouts {
                connect: or(spec.timeouts.connect, CONNECT_TIMEOUT),
                response: or(spec.timeouts.response, RESPONSE_TIMEOUT),
                total: spec.timeouts.total.map(|total| total.0),
                idle: or(spec.timeouts.idle, IDLE_TIMEOUT),
            },
            body_bytes_max: spec.body_max.map_or(BODY_BYTES_DEFAULT, |size| size.0),
            websocket: spec.websocket,
            meter: spec.meter.clone(),
        })
    }

    /// A number that stands for the route where windows are counted.
    #[must_use]
    pub fn number(&self) -> u64 {
        let bytes = self.id.as_bytes();
        u64::from_be_bytes(std::array::from_fn(|index| bytes[index + 8]))
    }
}

fn default_headers(overrides: &BTreeMap<String, String>) -> Box<[DefaultHeader]> {
    let given = |name: &str| overrides.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
    let defaults = DEFAULT_HEADERS.iter().filter(|(name, _)| given(name).is_none()).copied();
    let set = overrides.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    defaults
        .chain(set.filter(|(_, value)| !value.is_empty()))
        .map(|(name, value)| DefaultHeader {
            name: name.into(),
            kind: classify(name),
            line: format!("{name}: {value}\r\n").into_bytes().into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(host: &str, path: &str) -> RouteSpec {
        serde_json::from_value(serde_json::json!({ "host": host, "path": path, "service": "web" })).unwrap()
    }

    #[test]
    fn patterns_are_names_wildcards_and_addresses() {
        assert_eq!(HostPattern::parse("*"), Some(HostPattern::Any));
        assert_eq!(HostPattern::parse("*.Localhost"), Some(HostPattern::Below("localhost".into())));
        assert_eq!(HostPattern::parse("127.0.0.1"), Some(HostPattern::Exact("127.0.0.1".into())));
        for text in ["", "*.", "a.*", "**.a", "*a.b", "a:80", "http://a"] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn all_faults_of_a_route_are_told_at_once() {
        let mut broken = spec("a b", "x?y");
        broken.headers.insert("Content-Length".into(), "5".into());
        broken.headers.insert("X-A".into(), "b\r\nc".into());
        broken.timeouts.total = Some(HumanDuration(Duration::from_millis(1)));
        let pointers: Vec<_> = broken.faults("/routes/0").into_iter().map(|fault| fault.pointer).collect();
        let expected = ["host", "path", "headers/Content-Length", "headers/X-A", "timeouts/total"];
        assert_eq!(pointers, expected.map(|name| format!("/routes/0/{name}")));
        assert!(spec("*.localhost", "/api/v1").faults("").is_empty());
    }

    #[test]
    fn default_headers_can_be_replaced_and_taken_away() {
        let mut with = spec("*", "/");
        with.headers.insert("x-frame-options".into(), "SAMEORIGIN".into());
        with.headers.insert("Permissions-Policy".into(), String::new());
        with.headers.insert("X-Served-By".into(), "us".into());
        let route = Route::compile(RouteId::from_uuid_bytes([1; 16]), &with).unwrap();
        let lines: Vec<_> =
            route.headers.iter().map(|header| String::from_utf8_lossy(&header.line)).collect();
        assert_eq!(
            lines,
            [
                "X-Content-Type-Options: nosniff\r\n",
                "Referrer-Policy: strict-origin-when-cross-origin\r\n",
                "X-Served-By: us\r\n",
                "x-frame-options: SAMEORIGIN\r\n",
            ]
        );
    }

    #[test]
    fn limits_are_a_switch_or_a_table() {
        let read = |limits| -> Result<RouteSpec, _> {
            serde_json::from_value(serde_json::json!({ "host": "*", "service": "web", "limits": limits }))
        };
        let route =
            |limits| Route::compile(RouteId::from_uuid_bytes([1; 16]), &read(limits).unwrap()).unwrap();
        assert!(!route(serde_json::json!(false)).plan_limit);
        let table = route(serde_json::json!({ "tenant": "10/s" }));
        assert!(table.plan_limit);
        assert_eq!(table.limits.tenant, Some(Rate { count: 10, per: Duration::from_secs(1) }));
        assert!(read(serde_json::json!({ "tenants": "10/s" })).is_err());
    }
}
