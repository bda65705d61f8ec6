//! The stable codes of errors, one `const` each. A code has a page `docs/errors/<name>.md`, to which the `type` of the
//! problem document points; `cargo xtask check` compares the two lists. Codes are added, never renamed.

/// One error as clients tell it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Stable, `snake_case`; also the name of its page.
    pub name: &'static str,
    /// The usual HTTP status.
    pub status: u16,
    /// What happened, in a few words, the same each time.
    pub title: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $status:literal, $title:literal;)+) => {
        $($(#[$doc])* pub const $constant: Code = Code { name: $name, status: $status, title: $title };)+
        /// Every code, in the order of this file.
        pub static ALL: &[&Code] = &[$(&$constant),+];
    };
}

codes! {
    /// No tenant answers to this host, key or token; or not any more.
    TENANT_UNKNOWN = "tenant_unknown", 404, "No such tenant";
    /// The tenant is suspended.
    TENANT_SUSPENDED = "tenant_suspended", 403, "The tenant is suspended";
    /// The credential belongs to another tenant than the host.
    TENANT_MISMATCH = "tenant_mismatch", 403, "The credential belongs to another tenant";
    /// A credential is needed and is missing, malformed, expired or revoked.
    UNAUTHENTICATED = "unauthenticated", 401, "A valid credential is needed";
    /// Address, password or code are wrong; which of them is not told.
    SIGN_IN_FAILED = "sign_in_failed", 401, "Signing in failed";
    /// The password is right, and a code of the second factor is asked for.
    CODE_NEEDED = "code_needed", 401, "A code is needed";
    /// The link of a letter was used, is too old, or was withdrawn.
    LINK_INVALID = "link_invalid", 410, "The link is not valid any more";
    /// The credential is valid but does not permit this.
    FORBIDDEN = "forbidden", 403, "Not permitted";
    /// The request rate of the tenant, key or address is used up.
    RATE_LIMITED = "rate_limited", 429, "Too many requests";
    /// A quota of the plan is used up. At the gateway 429; at the API 409.
    QUOTA_EXCEEDED = "quota_exceeded", 429, "A quota is used up";
    /// Switchyard or the service has more to do than it can queue.
    OVERLOADED = "overloaded", 503, "Overloaded";
    /// No replica of the service could be reached. 503 when there is none.
    UPSTREAM_UNAVAILABLE = "upstream_unavailable", 502, "The service cannot be reached";
    /// The service did not answer in time.
    UPSTREAM_TIMEOUT = "upstream_timeout", 504, "The service did not answer in time";
    /// The service failed so often that requests to it are held back for a while.
    CIRCUIT_OPEN = "circuit_open", 503, "The service is resting after failures";
    /// The environment or tenant is in maintenance.
    MAINTENANCE = "maintenance", 503, "In maintenance";
    /// The body is larger than allowed.
    PAYLOAD_TOO_LARGE = "payload_too_large", 413, "The body is too large";
    /// A rule of the operator refuses this request.
    BLOCKED = "blocked", 403, "Blocked by a rule";
    /// No route of the project matches host and path.
    ROUTE_UNKNOWN = "route_unknown", 404, "No route matches";

    /// The request cannot be understood.
    BAD_REQUEST = "bad_request", 400, "The request cannot be understood";
    /// The body is understood but its values are not allowed; `errors` lists them all.
    INVALID = "invalid", 422, "The request has invalid values";
    /// A key that is not known; in `errors` of another problem, or alone for query parameters.
    UNKNOWN_FIELD = "unknown_field", 400, "Unknown field";
    /// Nothing is here, or nothing that the caller may know of.
    NOT_FOUND = "not_found", 404, "Not found";
    /// The change contradicts the present state, such as a name that is taken.
    CONFLICT = "conflict", 409, "In conflict with the present state";
    /// The object is managed by the project file.
    MANAGED_BY_FILE = "managed_by_file", 409, "Managed by the project file";
    /// The object changed since the `If-Match` that was sent.
    PRECONDITION_FAILED = "precondition_failed", 412, "The object has changed since";
    /// An `Idempotency-Key` was used before with another request.
    IDEMPOTENCY_CONFLICT = "idempotency_conflict", 422, "The idempotency key belongs to another request";
    /// The last owner cannot leave, nor become less.
    LAST_OWNER = "last_owner", 409, "The last owner cannot go";
    /// The role to be given or taken away allows more than the caller may.
    ROLE_EXCEEDS = "role_exceeds", 409, "The role allows more than yours";
    /// The key would allow more than whoever makes it may.
    SCOPE_EXCEEDS = "scope_exceeds", 403, "The key would allow more than you may";
    /// Tenants are on the plan.
    PLAN_IN_USE = "plan_in_use", 409, "The plan is in use";
    /// No queue of this name is declared.
    QUEUE_UNKNOWN = "queue_unknown", 404, "No such queue";
    /// The queue holds as much as it may.
    QUEUE_FULL = "queue_full", 429, "The queue is full";
    /// The queue still has jobs.
    QUEUE_IN_USE = "queue_in_use", 409, "The queue still has jobs";
    /// The cron is well-formed, but no moment ever matches it.
    CRON_NEVER_FIRES = "cron_never_fires", 422, "The cron can never fire";
    /// The database of time zones has no zone of this name.
    TIMEZONE_UNKNOWN = "timezone_unknown", 422, "No such time zone";
    /// A job with the same unique key is there already.
    JOB_DUPLICATE = "job_duplicate", 409, "The job is there already";
    /// The job's lease is over or was given to another worker.
    LEASE_LOST = "lease_lost", 409, "The lease is lost";
    /// The body's type is not the one that is read here.
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "The body's type is not read here";
    /// The path exists, but not with this method.
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The method is not allowed here";
    /// The head of the request is larger than allowed.
    HEADER_TOO_LARGE = "header_too_large", 431, "The headers are too large";
    /// The path and query are longer than allowed.
    URI_TOO_LONG = "uri_too_long", 414, "The URI is too long";
    /// The request's framing is ambiguous or broken.
    BAD_FRAMING = "bad_framing", 400, "The request's framing is broken";
    /// The client took too long to send its request.
    REQUEST_TIMEOUT = "request_timeout", 408, "The request took too long to arrive";
    /// A fault of Switchyard's own; the log has more under the request id.
    INTERNAL = "internal", 500, "Internal error";
    /// Something that Switchyard needs does not answer; trying again later may help.
    UNAVAILABLE = "unavailable", 503, "Unavailable for now";
    /// The store has no room left, and refuses changes.
    STORE_FULL = "store_full", 507, "The store is full";
    /// The master key is missing or wrong: nothing sealed can be read or written.
    SEALED = "sealed", 503, "The vault is sealed";
    /// Switchyard is starting or stopping.
    NOT_READY = "not_ready", 503, "Not ready";
}

/// The code of this name.
pub fn find(name: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.name == name)
}
