//! What a handler is given.

use crate::cookie::Cookies;
use crate::etag::ETag;
use crate::idempotency::Idempotency;
use crate::problem::Problem;
use crate::spec::Surface;
use authority::{Caller, TenantCtx};
use base::{Cursor, LIMIT_DEFAULT, PageRequest, RequestId, Secret, codes};
use ports::{EnvironmentRecord, TenantDirectory};
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;

/// One authenticated, permitted, parsed request. `B` is the body (`()` for none), `Q` the query.
pub struct Call<B = (), Q = ()> {
    /// Who asks. Has the permission that the route needs; which tenant's things it may touch is for
    /// [`Call::tenant_ctx`] or [`Caller::tenant_ctx`] to say.
    pub caller: Caller,
    /// The parameters of the path.
    pub path: PathParams,
    /// The query, strictly parsed.
    pub query: Q,
    /// The body, strictly parsed.
    pub body: B,
    /// Makes a POST safe to repeat.
    pub idempotency: Idempotency,
    /// What `If-Match` asks for; `None` when any revision will do.
    pub if_match: Option<ETag>,
    /// The environment of the call: that of the credential, else the one that `Switchyard-Environment` names,
    /// else the only or current one; `None` before there is any.
    pub environment: Option<EnvironmentRecord>,
    /// The request itself.
    pub request: RequestMeta,
}

impl<B, Q> Call<B, Q> {
    /// Resolves the path's `{t}`, an id or a slug, to a context of that tenant.
    ///
    /// # Errors
    /// `not_found`, the same for a tenant that does not exist and for one that the caller may not see.
    pub async fn tenant_ctx(&self, tenants: &dyn TenantDirectory) -> Result<TenantCtx, Problem> {
        let name = self.path.get("t")?;
        let project = self.environment.as_ref().map(|environment| environment.project);
        let tenant = tenants.find(name, project).await?.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
        Ok(self.caller.tenant_ctx(tenant.id)?)
    }

    /// The environment of the call.
    ///
    /// # Errors
    /// `bad_request` when there is none, or several and none was named.
    pub fn environment(&self) -> Result<&EnvironmentRecord, Problem> {
        self.environment.as_ref().ok_or_else(|| {
            Problem::new(&codes::BAD_REQUEST).fault(
                "/header/switchyard-environment",
                "name one of the environments; when there is none yet, apply a project file first",
            )
        })
    }

    /// Refuses the change when the caller knew another revision of the thing.
    ///
    /// # Errors
    /// `precondition_failed`.
    pub fn check_revision(&self, current: i64) -> Result<(), Problem> {
        check_revision(self.if_match.as_ref(), current)
    }
}

/// As [`Call::check_revision`], for use inside a transaction, where the call itself cannot go.
///
/// # Errors
/// `precondition_failed`.
pub fn check_revision(if_match: Option<&ETag>, current: i64) -> Result<(), Problem> {
    match if_match {
        Some(tag) if !tag.accepts(current) => Err(Problem::new(&codes::PRECONDITION_FAILED)
            .detail("It has changed since the revision that `If-Match` names; read it again and repeat the change.")
            .header(http::header::ETAG, &ETag::text(current))),
        _ => Ok(()),
    }
}

/// The parameters of a path, percent-decoded.
#[derive(Debug, Clone, Default)]
pub struct PathParams(pub(crate) Vec<(&'static str, String)>);

impl PathParams {
    /// The parameter of this name, as in the route's path.
    ///
    /// # Errors
    /// An internal error when the route has no such parameter.
    pub fn get(&self, name: &str) -> Result<&str, Problem> {
        self.0
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| Problem::internal(format_args!("the route has no path parameter `{name}`")))
    }

    /// The parameter, parsed. What is not even well-formed cannot exist, so it is `not_found`.
    ///
    /// # Errors
    /// `not_found`; an internal error when the route has no such parameter.
    pub fn parse<T, E>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Problem> {
        parse(self.get(name)?).map_err(|_| Problem::new(&codes::NOT_FOUND))
    }

    /// The parameter as an id. What is not even well-formed cannot exist, so it is `not_found`.
    ///
    /// # Errors
    /// `not_found`; an internal error when the route has no such parameter.
    pub fn id<T: base::id::Id>(&self, name: &str) -> Result<T, Problem> {
        self.parse(name, T::parse)
    }
}

/// The request itself.
#[derive(Debug, Clone)]
pub struct RequestMeta {
    /// Its id, also in the reply (`X-Request-Id`), the log and the events it causes.
    pub id: RequestId,
    /// The other end of the socket.
    pub peer: Option<IpAddr>,
    /// What the server that was asked is for: people of tenants sign in elsewhere than operators.
    pub surface: Surface,
    /// `User-Agent`, cut to 256 bytes.
    pub agent: Option<String>,
    /// `Switchyard-Tenant`: for whom a service acts, an id or slug.
    pub tenant: Option<String>,
    /// `Accept`, for the few routes with more than one form.
    pub accept: Option<String>,
    /// `Last-Event-ID`: after which event a client that was cut off wants a stream to go on.
    pub last_event_id: Option<String>,
    /// The cookies that the route declared by `Spec::cookies`.
    pub cookies: Cookies,
    /// `Authorization`, where the route declared `Spec::reads_authorization`; at most 16 KiB.
    pub authorization: Option<Secret<String>>,
}

/// The query of a list; to be used as `Q`, or flattened into a struct with filters.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// At most so many entries.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 500))]
    pub limit: u32,
    /// Where to go on: `next_cursor` of the page before.
    #[serde(default)]
    pub cursor: Option<Cursor>,
}

fn default_limit() -> u32 {
    LIMIT_DEFAULT
}

impl PageQuery {
    /// The page that is asked for.
    #[must_use]
    pub fn page(&self) -> PageRequest {
        PageRequest::new(Some(self.limit), self.cursor.clone()).unwrap_or_default()
    }
}
