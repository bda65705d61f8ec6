//! The API's framework: how a route is made, and what happens to a request before and after its handler.
//!
//! # Purpose
//! Capabilities state what they offer: [`Spec`] says path, permission and words, a handler says types. Everything that
//! must hold for all routes is done here, once: authentication, permission, strict parsing, problem documents,
//! idempotency, revisions, limits, headers, records, and the description of the API.
//!
//! # Life of a request
//! 1. hyper reads the head within [`HEAD_TIME_MAX`] and [`HEAD_BYTES_MAX`]; the request gets its id (`X-Request-Id`).
//! 2. The path finds its endpoint, the method its route; else 404, or 405 with `Allow`.
//! 3. `ports::Authenticate` turns the headers into a caller; the route's permission is asked of it, where the route is about
//!    an environment, in that of the call. Until here not a byte of the body was read.
//! 4. Query and body are read strictly: size, time, type, depth, duplicate keys, and the schema of the handler's own
//!    type; what it does not name is refused, whatever serde would do. All faults are told at once.
//! 5. The handler runs, within its time. What it panics with fails this request alone.
//! 6. The reply gets its headers, the log one record without the query, the metrics one count. Hot routes
//!    ([`Routes::hot`]) leave out the record of what succeeded, and the detour by which faults of a body are found.
//! 7. A stream or socket goes on for as long as its credential holds; it is looked at again every [`RECHECK_EVERY`].
//!
//! # Invariants
//! - [`Routes::route`] is the only way to make a route, and takes a permission or a path that [`PUBLIC`] lists with a reason.
//! - A tenant is reached only by a context that the caller gives ([`Call::tenant_ctx`]); another's is 404.
//! - Text of internal errors goes to the log under the request's id, never to the client.
//! - A POST's `Idempotency-Key` is looked at inside the operation's own transaction ([`Idempotency::once`]).
//! - Cookies are read by the few routes that declare them, which refuse forms of other sites' pages; a credential is never one.
//!   So no page of another site can act for anybody, and no CORS header is ever sent.
//!
//! # Deliberately absent
//! Sessions, CORS, compression, HTTP/2, TLS, middleware that capabilities could add, and routes that the OpenAPI
//! document does not know.

mod api;
mod body;
mod call;
mod cookie;
mod environment;
mod etag;
mod idempotency;
mod openapi;
mod page;
mod problem;
mod query;
mod recall;
mod record;
mod reference;
mod refusal;
mod reply;
mod routes;
mod schema;
mod server;
mod socket;
mod spec;
mod stalled;
mod strict;
mod vouch;

pub use api::{AGENT_BYTES_MAX, RECHECK_EVERY, REQUEST_ID, SSE_PING, URI_BYTES_MAX};
pub use body::{BODY_TIME_MAX, HOT_DEPTH_MAX, HotBody, JSON_DEPTH_MAX};
pub use call::{Call, PageQuery, PathParams, RequestMeta, check_revision};
pub use cookie::{COOKIE_CHARS_MAX, COOKIE_PREFIX, Cookie, Cookies};
pub use environment::ENVIRONMENT;
pub use etag::ETag;
pub use idempotency::{Idempotency, KEY_CHARS_MAX, REPLY_BYTES_MAX, REPLY_KEPT};
pub use openapi::{ApiInfo, document as openapi};
pub use page::{Field, Form, Page};
pub use problem::{FAULTS_MAX, PROBLEM_CONTENT_TYPE, PROBLEM_TYPE_BASE, Problem};
pub use query::PARAMETERS_MAX;
pub use recall::{RECALL_MAX, Recall};
pub use reply::{Reply, sse_event};
pub use routes::{RouteMeta, Routes};
pub use server::{
    CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_TIME_MAX, HEADERS_MAX, RouteError, Server, ServerDeps,
};
pub use socket::{CloseCode, MESSAGE_BYTES_MAX, PING_EVERY, Socket, SocketReply};
pub use spec::{Access, BODY_BYTES_MAX, HANDLER_TIME_MAX, PUBLIC, Spec, StreamKind, Surface};
pub use stalled::WRITE_TIME_MAX;
pub use vouch::VOUCH;
