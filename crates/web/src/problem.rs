//! Problem documents (RFC 9457): how every refusal leaves the process.

use authority::Denied;
use base::{Code, codes};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use std::fmt;
use std::time::Duration;

/// What the `type` of a problem document starts with; the code's name follows. Each has a page there, made from
/// `docs/errors/<code>.md`. Stable: clients may compare it.
pub const PROBLEM_TYPE_BASE: &str = "https://switchyard.dev/errors/";
/// The content type of problem documents.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";
/// Faults that one document lists; a body with more mistakes is told the first so many.
pub const FAULTS_MAX: usize = 100;
/// When nothing better is known, a client is asked to wait so long before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refusal. Only its code, detail, faults and members are told to the client; what [`Problem::internal`] takes
/// is logged once, under the request's id, and never leaves.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: &'static Code,
    status: Option<u16>,
    detail: Option<String>,
    faults: Vec<(String, String)>,
    members: Map<String, Value>,
    headers: HeaderMap,
    internal: Option<String>,
    oauth: Option<&'static str>,
}

impl Problem {
    /// A refusal with this code, its usual status and title.
    #[must_use]
    pub fn new(code: &'static Code) -> Self {
        Self(Box::new(Inner {
            code,
            status: None,
            detail: None,
            faults: Vec::new(),
            members: Map::new(),
            headers: HeaderMap::new(),
            internal: None,
            oauth: None,
        }))
    }

    /// A fault of our own. `why` goes to the log only.
    #[must_use]
    pub fn internal(why: impl fmt::Display) -> Self {
        let mut problem = Self::new(&codes::INTERNAL);
        problem.0.internal = Some(why.to_string());
        problem
    }

    /// A refusal in the words of OAuth (RFC 6749, 5.2), such as `invalid_grant`. Written so by routes that declare
    /// [`crate::Spec::oauth`]; the status follows from the word.
    #[must_use]
    pub fn oauth(error: &'static str, description: impl Into<String>) -> Self {
        let code = match error {
            "invalid_client" | "invalid_token" => &codes::UNAUTHENTICATED,
            "access_denied" | "insufficient_scope" => &codes::FORBIDDEN,
            "temporarily_unavailable" => &codes::UNAVAILABLE,
            _ => &codes::BAD_REQUEST,
        };
        let mut problem = Self::new(code).detail(description);
        problem.0.oauth = Some(error);
        problem
    }

    /// What is wrong in this case and what to do about it, in a sentence for people.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds one wrong value. `pointer` is a JSON pointer into the body, or `/query/<name>`, `/path/<name>`,
    /// `/header/<name>`.
    #[must_use]
    pub fn fault(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        if self.0.faults.len() < FAULTS_MAX {
            self.0.faults.push((pointer.into(), detail.into()));
        }
        self
    }

    /// Adds faults of a checked value, each pointer below `base`.
    #[must_use]
    pub fn faults(mut self, base: &str, faults: &[shape::Fault]) -> Self {
        for fault in faults.iter().take(FAULTS_MAX) {
            self = self.fault(format!("{base}{}", fault.pointer), fault.sentence());
        }
        self
    }

    /// Adds a member of the document, such as `limit` or `resets_at`.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Another status than the code's usual one.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Asks the client to wait so long (`Retry-After`, rounded up to seconds).
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, &seconds.to_string())
    }

    /// Adds a header to the reply. A value that a header cannot hold is left out.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// The status of the reply.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status.unwrap_or(self.0.code.status))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The word of OAuth that it was made with.
    pub(crate) fn oauth_error(&self) -> Option<&'static str> {
        self.0.oauth
    }

    /// The headers of the reply, without its content type.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Detail and faults as one text.
    #[must_use]
    pub fn sentence(&self) -> String {
        let detail = self.0.detail.clone().unwrap_or_else(|| format!("{}.", self.0.code.title));
        let faults = self.0.faults.iter().map(|(pointer, fault)| format!(" {pointer}: {fault}."));
        std::iter::once(detail).chain(faults).collect()
    }

    /// What only the log may know.
    pub(crate) fn secret_reason(&self) -> Option<&str> {
        self.0.internal.as_deref()
    }

    /// Status, headers and document.
    #[must_use]
    pub fn render(&self, request_id: &str) -> (StatusCode, HeaderMap, Bytes) {
        let inner = &self.0;
        let status = self.status_code();
        let mut document = inner.members.clone();
        document.insert("type".into(), json!(format!("{PROBLEM_TYPE_BASE}{}", inner.code.name)));
        document.insert("title".into(), json!(inner.code.title));
        document.insert("status".into(), json!(status.as_u16()));
        document.insert("code".into(), json!(inner.code.name));
        document.insert("request_id".into(), json!(request_id));
        if let Some(detail) = &inner.detail {
            document.insert("detail".into(), json!(detail));
        }
        if !inner.faults.is_empty() {
            let errors =
                inner.faults.iter().map(|(pointer, detail)| json!({"pointer": pointer, "detail": detail}));
            document.insert("errors".into(), errors.collect());
        }
        let mut headers = inner.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        (status, headers, Bytes::from(Value::Object(document).to_string()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code.name)?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        match &error {
            db::Error::Conflict { .. } => Self::new(&codes::CONFLICT).detail(
                "Something with the same name or value exists already; choose another or change that one.",
            ),
            db::Error::Busy | db::Error::Timeout | db::Error::Unavailable(_) => {
                unavailable("The store does not answer now; try again.")
            }
            db::Error::ReadOnly | db::Error::Fenced => {
                unavailable("The store accepts no changes now; `switchyard doctor` tells why.")
            }
            db::Error::Full => Self::new(&codes::STORE_FULL).detail(
                "The disk of the store is full; reads go on, changes are refused until there is room.",
            ),
            db::Error::Sealed => Self::new(&codes::SEALED)
                .detail("The master key is missing or wrong; put it back and start again."),
            db::Error::Decode(_) | db::Error::Statement(_) | db::Error::Panicked => Self::internal(&error),
        }
        .because(&error)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => ports::AuthError::Missing.into(),
            Denied::NotFound => Self::new(&codes::NOT_FOUND),
            Denied::Suspended => Self::new(&codes::TENANT_SUSPENDED).detail(
                "Until it is resumed, its members and keys see the tenant, its plan, usage and events, and nothing else.",
            ),
            Denied::Forbidden => Self::new(&codes::FORBIDDEN)
                .detail("The role or the scopes of this credential do not grant what the route needs."),
        }
    }
}

impl From<ports::Unavailable> for Problem {
    fn from(error: ports::Unavailable) -> Self {
        unavailable("A part that this needs does not answer now; try again.").because(&error)
    }
}

impl From<ports::AuthError> for Problem {
    fn from(error: ports::AuthError) -> Self {
        match error {
            ports::AuthError::Unavailable => unavailable("Credentials cannot be checked now; try again."),
            ports::AuthError::UnknownTenant => Self::new(&codes::NOT_FOUND)
                .detail("This environment has no tenant of the id or slug that `Switchyard-Tenant` names."),
            ports::AuthError::Missing => Self::new(&codes::UNAUTHENTICATED)
                .detail(
                    "Send `Authorization: Bearer <key>` or `X-API-Key: <key>`. Cookies are not read here.",
                )
                .header(header::WWW_AUTHENTICATE, "Bearer"),
            ports::AuthError::Invalid => Self::new(&codes::UNAUTHENTICATED)
                .detail("The credential is malformed, unknown, expired or revoked.")
                .header(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
        }
    }
}

impl From<ports::ApplyError> for Problem {
    fn from(error: ports::ApplyError) -> Self {
        match error {
            ports::ApplyError::Invalid(faults) => Self::new(&codes::INVALID).faults("", &faults),
            ports::ApplyError::HoldsData(things) => Self::new(&codes::CONFLICT).detail(format!(
                "These hold data and would be removed: {}. Apply with `--prune` (`prune: true`) to remove them.",
                things.join(", ")
            )),
            ports::ApplyError::ManagedByApi(what) => Self::new(&codes::CONFLICT)
                .detail(format!("{what} is managed by API; remove it there before the file claims it.")),
            ports::ApplyError::Store(error) => error.into(),
        }
    }
}

impl Problem {
    /// Keeps the cause for the log of a refusal that is a fault of ours (5xx).
    fn because(mut self, error: &dyn fmt::Display) -> Self {
        if self.status_code().is_server_error() {
            self.0.internal = Some(error.to_string());
        }
        self
    }
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(&codes::UNAVAILABLE).detail(detail).retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.render("req_1").2).expect("a JSON document")
    }

    #[test]
    fn a_document_has_the_members_of_the_specification() {
        let problem = Problem::new(&codes::INVALID)
            .detail("Two values are not allowed.")
            .fault("/slug", "a DNS label is expected")
            .fault("/plan", "no such plan")
            .member("limit", 5);
        let (status, headers, _) = problem.render("req_1");
        assert_eq!(status, 422);
        assert_eq!(headers[header::CONTENT_TYPE], PROBLEM_CONTENT_TYPE);
        let text = document(&problem);
        assert_eq!(text["type"], "https://switchyard.dev/errors/invalid");
        assert_eq!(text["code"], "invalid");
        assert_eq!(text["status"], 422);
        assert_eq!(text["request_id"], "req_1");
        assert_eq!(text["limit"], 5);
        assert_eq!(text["errors"][1], json!({"pointer": "/plan", "detail": "no such plan"}));
    }

    #[test]
    fn m8_internal_text_never_leaves() {
        for problem in [
            Problem::internal("canary at 0x1f"),
            db::Error::Statement("canary in sql".into()).into(),
            db::Error::Unavailable("canary host".into()).into(),
            db::Error::Decode("canary column".into()).into(),
            db::Error::Conflict { constraint: "canary_index".into() }.into(),
        ] {
            let (_, headers, body) = problem.render("req_1");
            assert!(!String::from_utf8_lossy(&body).contains("canary"), "{problem}");
            assert!(!format!("{headers:?}").contains("canary"));
        }
        assert_eq!(Problem::internal("canary").secret_reason(), Some("canary"));
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let problem = Problem::new(&codes::OVERLOADED).retry_after(Duration::from_millis(1_200));
        assert_eq!(problem.render("r").1[header::RETRY_AFTER], "2");
    }
}
