//! `GET /api/v1/logs`, and the live stream.

use std::sync::Arc;
use std::time::Duration;

use authority::permissions;
use base::{Cursor, HumanDuration, Page, TenantId, Timestamp, codes};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use ports::TenantDirectory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::{Level, LogRecord, Source};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, StreamKind, Surface};

use crate::follow::Followed;
use crate::model::{Filter, Position, SourceKind};
use crate::search::SearchError;
use crate::sink::Logs;

/// Silence after which a stream sends an empty line, by which each end notices that the other has gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Records that go into one chunk of a stream, when they wait.
const CHUNK_RECORDS_MAX: usize = 256;

/// Records that a stream may begin with.
const TAIL_MAX: u32 = 1_000;

struct State {
    logs: Arc<Logs>,
    tenants: Arc<dyn TenantDirectory>,
}

pub(crate) fn routes(logs: Arc<Logs>, tenants: Arc<dyn TenantDirectory>) -> Routes {
    let state = Arc::new(State { logs, tenants });
    Routes::new("logs")
        .route(
            Spec::get("/api/v1/logs", permissions::LOGS_READ)
                .summary("Search logs")
                .details(
                    "The newest records first. A page may hold fewer than `limit` (even none) although there is more: \
                     follow `next_cursor` until it is missing. Members and keys of a tenant see the records of services \
                     and requests that name it.",
                )
                .surface(Surface::Both),
            state.clone(),
            search,
        )
        .route(
            Spec::get("/api/v1/logs/stream", permissions::LOGS_READ)
                .summary("Follow logs")
                .details(
                    "One record a line, as it comes; an empty line in silence. Who falls more than 4,096 records behind \
                     gets a last line `{\"cut\": n}`.",
                )
                .surface(Surface::Both)
                .stream(StreamKind::Ndjson),
            state.clone(),
            follow,
        )
        .route(
            Spec::get("/api/v1/services/{s}/logs", permissions::LOGS_READ)
                .summary("Search a service's logs")
                .surface(Surface::Operator),
            state,
            search_service,
        )
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// When it was captured.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// Reads alone.
    pub message: String,
    /// Who it comes from.
    pub source: Source,
    /// The tenant's id, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What else is known, by name.
    #[serde(default)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl From<LogRecord> for LogEntry {
    fn from(record: LogRecord) -> LogEntry {
        let LogRecord { at, level, message, source, tenant, fields } = record;
        LogEntry { at, level, message, source, tenant, fields }
    }
}

/// One line of the stream.
#[derive(Serialize)]
#[serde(untagged)]
enum StreamLine {
    Entry(Box<LogEntry>),
    Cut { cut: u64 },
}

#[derive(Deserialize, JsonSchema)]
struct SearchQuery {
    #[serde(flatten)]
    page: PageQuery,
    #[serde(flatten)]
    wanted: Wanted,
    /// Before: a time, or how long ago.
    #[serde(default)]
    until: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct FollowQuery {
    /// Begin with so many of the records that are already there.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    tail: u32,
    #[serde(flatten)]
    wanted: Wanted,
}

/// Which records are wanted, whether they are searched or followed. (Names that nobody knows are refused by `web`.)
#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// The service that wrote it, or answered the request.
    #[serde(default)]
    service: Option<String>,
    /// The replica's id.
    #[serde(default)]
    replica: Option<String>,
    /// The deployment's id.
    #[serde(default)]
    deployment: Option<String>,
    /// The environment's name.
    #[serde(default)]
    environment: Option<String>,
    /// The tenant's id or slug.
    #[serde(default)]
    tenant: Option<String>,
    /// The request's id.
    #[serde(default)]
    request: Option<String>,
    /// At least so important.
    #[serde(default)]
    level: Option<Level>,
    /// Only of this source.
    #[serde(default)]
    source: Option<SourceKind>,
    /// In the message or a field's value; ASCII letters in either case.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1024))]
    text: Option<String>,
    /// Whether to show requests to the control API that went well.
    #[serde(default = "yes")]
    control: bool,
    /// Not before: a time, or how long ago (`10m`); of a stream, of those already there.
    #[serde(default)]
    since: Option<String>,
}

impl Wanted {
    fn filter(&self, now: Timestamp) -> Result<Filter, Problem> {
        Ok(Filter {
            service: self.service.clone(),
            replica: self.replica.clone(),
            deployment: self.deployment.clone(),
            environment: self.environment.clone(),
            tenant: self.tenant.clone(),
            request: self.request.clone(),
            level: self.level,
            source: self.source,
            text: self.text.clone(),
            since: self.since.as_deref().map(|text| time(text, now, "/query/since")).transpose()?,
            until: None,
            hide_platform: false,
            hide_control: !self.control,
        })
    }
}

fn yes() -> bool {
    true
}

async fn search(state: Arc<State>, call: Call<(), SearchQuery>) -> Result<Reply<Page<LogEntry>>, Problem> {
    found(&state, &call, call.query.wanted.service.clone()).await
}

async fn search_service(
    state: Arc<State>,
    call: Call<(), SearchQuery>,
) -> Result<Reply<Page<LogEntry>>, Problem> {
    let service = call.path.get("s")?.to_owned();
    if call.query.wanted.service.as_ref().is_some_and(|other| *other != service) {
        return Err(
            Problem::new(&codes::BAD_REQUEST).fault("/query/service", "the path names another service")
        );
    }
    found(&state, &call, Some(service)).await
}

async fn found(
    state: &State,
    call: &Call<(), SearchQuery>,
    service: Option<String>,
) -> Result<Reply<Page<LogEntry>>, Problem> {
    let query = &call.query;
    let now = state.logs.clock.now();
    let until = query.until.as_deref().map(|text| time(text, now, "/query/until")).transpose()?;
    let wanted = Filter { service, until, ..query.wanted.filter(now)? };
    let filter = visible(state, call, wanted).await?;
    let before = query.page.cursor.as_ref().map(|cursor| {
        Position::parse(cursor.key()).ok_or_else(|| {
            Problem::new(&codes::BAD_REQUEST).fault("/query/cursor", "not a cursor of this list")
        })
    });
    let limit = usize::try_from(query.page.limit).unwrap_or(usize::MAX);
    let found = state.logs.search(filter, before.transpose()?, limit).await.map_err(problem)?;
    let data = found.records.into_iter().map(|(_, record)| record.into()).collect();
    let next_cursor = found.next.map(|position| Cursor::from_key(&position.to_string()));
    Ok(Reply::ok(Page { data, next_cursor }))
}

async fn follow(state: Arc<State>, call: Call<(), FollowQuery>) -> Result<Reply<()>, Problem> {
    let query = &call.query;
    let filter = visible(&state, &call, query.wanted.filter(state.logs.clock.now())?).await?;
    let tail = usize::try_from(query.tail.min(TAIL_MAX)).unwrap_or_default();
    let records = state.logs.clone().follow(filter, tail).await.map_err(problem)?;
    Ok(Reply::stream(StreamKind::Ndjson, lines(records)))
}

/// What of the wanted the caller may see. A tenant's callers see what names their tenant, in the environment that
/// their credential is for; whoever else is named does not exist for them.
async fn visible<Q>(state: &State, call: &Call<(), Q>, mut wanted: Filter) -> Result<Filter, Problem> {
    if let Some(name) = &wanted.tenant {
        let tenant = tenant_named(state, call, name).await?;
        call.caller.tenant_ctx(tenant)?;
        wanted.tenant = Some(tenant.to_string());
    }
    let Some(own) = call.caller.tenant_id() else { return Ok(wanted) };
    wanted.tenant = Some(own.to_string());
    wanted.hide_platform = true;
    let bound = call.caller.environment().and(call.environment.as_ref());
    if let Some(environment) = bound {
        let slug = environment.slug.to_string();
        if wanted.environment.as_ref().is_some_and(|other| *other != slug) {
            return Err(Problem::new(&codes::NOT_FOUND));
        }
        wanted.environment = Some(slug);
    }
    Ok(wanted)
}

async fn tenant_named<Q>(state: &State, call: &Call<(), Q>, name: &str) -> Result<TenantId, Problem> {
    // The logs of a tenant that was removed can still be read by its id.
    if let Ok(id) = TenantId::parse(name) {
        return Ok(id);
    }
    let project = call.environment.as_ref().map(|environment| environment.project);
    let tenant = state.tenants.find(name, project).await?;
    tenant.map(|tenant| tenant.id).ok_or_else(|| Problem::new(&codes::NOT_FOUND))
}

/// A time, or a span before now.
fn time(text: &str, now: Timestamp, pointer: &str) -> Result<Timestamp, Problem> {
    let ago = HumanDuration::parse(text).map(|span| now - span.0).ok();
    ago.or_else(|| Timestamp::parse(text).ok()).ok_or_else(|| {
        Problem::new(&codes::BAD_REQUEST)
            .fault(pointer, "expected a time like 2026-01-31T12:00:00Z, or how long ago, like 10m")
    })
}

fn problem(error: SearchError) -> Problem {
    match error {
        SearchError::Io(_) => Problem::internal(error),
        SearchError::Stopped => Problem::new(&codes::UNAVAILABLE),
    }
}

/// Records as lines, those that wait together, and an empty line in silence.
fn lines(
    records: impl Stream<Item = Followed> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let chunks = records.ready_chunks(CHUNK_RECORDS_MAX).boxed();
    stream::unfold(chunks, |mut chunks| async move {
        match tokio::time::timeout(HEARTBEAT, chunks.next()).await {
            Ok(None) => None,
            Ok(Some(records)) => Some((chunk(records), chunks)),
            Err(_) => Some((Bytes::from_static(b"\n"), chunks)),
        }
    })
}

fn chunk(records: Vec<Followed>) -> Bytes {
    let mut out = Vec::new();
    for followed in records {
        let line = match followed {
            Followed::Record(record) => StreamLine::Entry(Box::new(record.into())),
            Followed::Cut(cut) => StreamLine::Cut { cut },
        };
        // Writing our own plain types to memory cannot fail.
        if serde_json::to_writer(&mut out, &line).is_ok() {
            out.push(b'\n');
        }
    }
    Bytes::from(out)
}
