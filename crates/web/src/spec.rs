//! What a route says about itself.

use crate::refusal::Shape;
use authority::Permission;
use base::Code;
use http::Method;
use std::time::Duration;

/// Bytes that a request's body may have unless its route says otherwise.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Time that a handler may take until its reply begins, unless its route says otherwise.
pub const HANDLER_TIME_MAX: Duration = Duration::from_secs(30);

/// Who may reach a route, besides needing its permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Surface {
    /// Only the control listener, for operators.
    Operator,
    /// The control listener, and members and keys of tenants at `api.<base_domain>`.
    Both,
    /// As [`Surface::Both`], and the app's own services at the service listener.
    Service,
    /// Members and keys of tenants first of all; operators reach it through the control listener.
    Member,
}

impl Surface {
    /// The name used in snapshots and in the OpenAPI document.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Both => "both",
            Self::Service => "service",
            Self::Member => "member",
        }
    }

    /// Whether a listener of surface `self` serves a route that declares `route`. The operator's listener has all.
    #[must_use]
    pub fn serves(self, route: Self) -> bool {
        match self {
            Self::Operator => true,
            Self::Service => route == Self::Service,
            Self::Member | Self::Both => route != Self::Operator,
        }
    }
}

/// What a caller needs.
#[derive(Debug, Clone, Copy)]
pub enum Access {
    /// This permission.
    Needs(Permission),
    /// Nothing, for the reason that [`PUBLIC`] states.
    Public(&'static str),
}

/// Every path that needs no permission, with the reason. The access test and `xtask check` compare the routes
/// with it; a public route that is not listed is refused when the server is built.
pub const PUBLIC: &[(&str, &str)] = &[
    ("/health", "probes of the host have no credential; the same as /livez"),
    ("/livez", "probes of the host have no credential; tells only that the process runs"),
    ("/readyz", "probes of the host have no credential; names conditions, holds no data"),
    ("/api/health", "probes and status pages; states and latencies of parts, no data"),
    ("/metrics", "scrapers have no credential; the control listener is on loopback unless told otherwise"),
    ("/api/metrics", "as /metrics"),
    ("/.well-known/jwks.json", "public keys, by which apps verify assertions"),
    ("/api/openapi.json", "the description of the API, the same in every installation"),
    ("/api/docs", "as /api/openapi.json, for people"),
    ("/.well-known/openid-configuration", "how to sign in here, which clients read before they know anybody"),
    ("/api/v1/auth/signup", "the first owner has the one-time link alone"),
    ("/api/v1/auth/login", "where people get their credential; slowed down for who guesses"),
    ("/api/v1/auth/refresh", "the refresh token is the credential"),
    ("/api/v1/auth/logout", "the refresh token is the credential"),
    ("/api/v1/auth/reset", "who forgot the password has no credential; the answer is the same for all"),
    ("/api/v1/auth/reset/confirm", "the mailed token is the credential"),
    ("/api/v1/auth/invitations", "the mailed token is the credential"),
    ("/api/v1/auth/invitations/look", "the mailed token is the credential"),
    ("/api/v1/auth/issuers/{i}/start", "sends people without a session to where they sign in"),
    (
        "/api/v1/auth/issuers/{i}/callback",
        "the issuer's code and the browser's own cookie are the credential",
    ),
    ("/setup", "a form for the first owner's link, which is the credential"),
    ("/invitation", "a form for a mailed link, which is the credential"),
    ("/reset", "a form for a mailed link, which is the credential"),
    ("/oauth2/authorize", "where people without a session are asked to sign in"),
    ("/oauth2/login", "the sign-in form; slowed down for who guesses"),
    ("/oauth2/token", "clients prove themselves by their secret and the code's verifier"),
    ("/oauth2/userinfo", "reads the access token itself, whose scopes say what is told"),
    ("/oauth2/revoke", "whoever has a token may end it"),
    ("/oauth2/logout", "ends the session of the browser's own cookie"),
    ("/oauth2/logout/confirm", "as /oauth2/logout, by the form of a page of ours"),
    ("/.well-known/oauth-authorization-server", "as /.well-known/openid-configuration"),
];

/// What a streamed reply consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Server-sent events, `text/event-stream`.
    Sse,
    /// One JSON value a line, `application/x-ndjson`.
    Ndjson,
    /// Text, `text/plain`.
    Text,
    /// Anything, `application/octet-stream`.
    Bytes,
}

impl StreamKind {
    /// The content type on the wire.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Text => "text/plain; charset=utf-8",
            Self::Bytes => "application/octet-stream",
        }
    }
}

/// Describes one route: the only way to make one is `Routes::route` with such a value, and the only way to
/// make such a value is to state a permission, or a path of [`PUBLIC`].
#[derive(Debug, Clone)]
pub struct Spec {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) surface: Surface,
    pub(crate) summary: &'static str,
    pub(crate) details: &'static str,
    pub(crate) codes: Vec<&'static Code>,
    pub(crate) success: Option<u16>,
    pub(crate) stream: Option<StreamKind>,
    pub(crate) body_bytes_max: usize,
    pub(crate) time_max: Duration,
    pub(crate) repeatable: Option<&'static str>,
    pub(crate) in_environment: bool,
    pub(crate) example: Option<&'static str>,
    pub(crate) hot: bool,
    pub(crate) form: bool,
    pub(crate) page: bool,
    pub(crate) lenient: bool,
    pub(crate) refusals: Shape,
    pub(crate) cookies: &'static [&'static str],
    pub(crate) reads_authorization: bool,
}

impl Spec {
    /// A read. `path` is like `/api/v1/tenants/{t}`.
    #[must_use]
    pub fn get(path: &'static str, permission: Permission) -> Self {
        Self::new(Method::GET, path, Access::Needs(permission))
    }

    /// Makes something or starts something. Takes an `Idempotency-Key`.
    #[must_use]
    pub fn post(path: &'static str, permission: Permission) -> Self {
        Self::new(Method::POST, path, Access::Needs(permission))
    }

    /// Sets the whole of something.
    #[must_use]
    pub fn put(path: &'static str, permission: Permission) -> Self {
        Self::new(Method::PUT, path, Access::Needs(permission))
    }

    /// Changes the named fields, leaves the others.
    #[must_use]
    pub fn patch(path: &'static str, permission: Permission) -> Self {
        Self::new(Method::PATCH, path, Access::Needs(permission))
    }

    /// Removes something.
    #[must_use]
    pub fn delete(path: &'static str, permission: Permission) -> Self {
        Self::new(Method::DELETE, path, Access::Needs(permission))
    }

    /// A read that needs no permission. `path` must be in [`PUBLIC`], which holds the reason.
    #[must_use]
    pub fn public(path: &'static str) -> Self {
        let reason = PUBLIC.iter().find(|(listed, _)| *listed == path).map_or("", |(_, reason)| reason);
        Self::new(Method::GET, path, Access::Public(reason))
    }

    /// As [`Spec::public`], but a POST.
    #[must_use]
    pub fn public_post(path: &'static str) -> Self {
        Self { method: Method::POST, ..Self::public(path) }
    }

    /// The body is `application/x-www-form-urlencoded`, as forms of pages and clients of OAuth send it: each field known, given
    /// once, and of its type. Takes no `Idempotency-Key`.
    #[must_use]
    pub fn form(mut self) -> Self {
        self.form = true;
        self
    }

    /// Query and form may have fields that nobody knows, and empty ones count as left out (RFC 6749, 3.1 asks for both). Only
    /// for protocols whose clients send what they like; everywhere else what is not known is refused.
    #[must_use]
    pub fn ignores_unknown(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// The reply is a page for people ([`crate::Reply::page`]), and so are refusals where the client asks for HTML.
    #[must_use]
    pub fn page(mut self) -> Self {
        self.page = true;
        self.refusals = Shape::Page;
        self
    }

    /// Refusals are written as clients of OAuth expect them (RFC 6749, 5.2).
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.refusals = Shape::OAuth;
        self
    }

    /// The handler reads these cookies (`Call::request.cookies`), and no others; each name starts with
    /// [`crate::COOKIE_PREFIX`]. A route that changes anything (all but GET) then refuses forms of other sites' pages.
    #[must_use]
    pub fn cookies(mut self, names: &'static [&'static str]) -> Self {
        self.cookies = names;
        self
    }

    /// The handler reads `Authorization` itself (`Call::request.authorization`): credentials of OAuth clients, and tokens with
    /// rules of their own. Only for public routes.
    #[must_use]
    pub fn reads_authorization(mut self) -> Self {
        self.reads_authorization = true;
        self
    }

    /// One line for the reference, such as "List tenants".
    #[must_use]
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// A paragraph for the reference.
    #[must_use]
    pub fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// Who reaches it; [`Surface::Operator`] when nothing is said.
    #[must_use]
    pub fn surface(mut self, surface: Surface) -> Self {
        self.surface = surface;
        self
    }

    /// Error codes that this route can give besides those that every route of its kind can.
    #[must_use]
    pub fn codes(mut self, codes: &[&'static Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// The status of success, for the reference, where it is not the usual one (201 for POST, else 200; 204
    /// where the reply is `()`).
    #[must_use]
    pub fn success(mut self, status: u16) -> Self {
        self.success = Some(status);
        self
    }

    /// The reply is a stream of this kind. The handler still returns `Reply<()>`, made by [`crate::Reply::stream`].
    #[must_use]
    pub fn stream(mut self, kind: StreamKind) -> Self {
        self.stream = Some(kind);
        self
    }

    /// Bytes that the body may have, where [`BODY_BYTES_MAX`] does not fit.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Time until the reply begins, where [`HANDLER_TIME_MAX`] does not fit (long polls).
    #[must_use]
    pub fn time_max(mut self, time: Duration) -> Self {
        self.time_max = time;
        self
    }

    /// A POST that may be repeated without harm, for this reason; it takes no `Idempotency-Key`.
    #[must_use]
    pub fn repeatable(mut self, reason: &'static str) -> Self {
        self.repeatable = Some(reason);
        self
    }

    /// What the route is about is keyed by environment: the permission is asked for in the environment of the
    /// call, and a call without one is refused. Without this, it is asked for outside of all environments.
    #[must_use]
    pub fn in_environment(mut self) -> Self {
        self.in_environment = true;
        self
    }

    /// An example of the request's body, as JSON text, for the reference.
    #[must_use]
    pub fn example(mut self, json: &'static str) -> Self {
        self.example = Some(json);
        self
    }

    /// Whether the route takes an `Idempotency-Key`.
    pub(crate) fn takes_idempotency_key(&self) -> bool {
        self.method == Method::POST && self.repeatable.is_none() && !self.form
    }

    /// Names of the parameters in the path, in order.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| {
            part.strip_prefix('{')?.strip_suffix('}').map(|name| name.trim_start_matches('*'))
        })
    }

    fn new(method: Method, path: &'static str, access: Access) -> Self {
        Self {
            method,
            path,
            access,
            surface: Surface::Operator,
            summary: "",
            details: "",
            codes: Vec::new(),
            success: None,
            stream: None,
            body_bytes_max: BODY_BYTES_MAX,
            time_max: HANDLER_TIME_MAX,
            repeatable: None,
            in_environment: false,
            example: None,
            hot: false,
            form: false,
            page: false,
            lenient: false,
            refusals: Shape::Problem,
            cookies: &[],
            reads_authorization: false,
        }
    }
}
