//! Requests, replies and routes of billing.

mod reconciliation;
mod views;

use std::sync::Arc;

use authority::{SystemCtx, permissions};
use base::{EnvironmentId, Page, Secret, Slug, codes};
use http::StatusCode;
use ports::{ExternalIds, ManagedBy, UsageLedger};
use web::{Call, ETag, PageQuery, Problem, Reply, Routes, Spec};

use crate::error::Error;
use crate::model::{Sink, State as DeliveryState};
use crate::ops::sinks::Wanted;
use crate::ops::{self, Tools, decide, sinks as sink_ops};
use crate::store::{deliveries, sinks};
use crate::wire::Wire;

use views::{DeliveriesQuery, Removal, Retry, SetSecret, Settle};
pub use views::{DeliveryView, LineView, PutSink, ReconciliationView, RetriedView, SecretView, SinkView};

const SINKS: &str = "/api/v1/billing/sinks";
const SINK: &str = "/api/v1/billing/sinks/{s}";

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) tools: Tools,
    pub(crate) ledger: Arc<dyn UsageLedger>,
    pub(crate) customers: Arc<dyn ExternalIds>,
    pub(crate) wire: Wire,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    deciding(changing(reading(Routes::new("billing"), state), state), state)
}

fn reading(routes: Routes, state: &Arc<State>) -> Routes {
    let get = |path| Spec::get(path, permissions::BILLING_READ).in_environment();
    routes
        .route(
            get(SINKS)
                .summary("List billing sinks")
                .details("Where the usage of the call's environment is sent, by name."),
            Arc::clone(state),
            list,
        )
        .route(
            get(SINK)
                .summary("Get a billing sink")
                .details("With what it accepted, and what it did not yet."),
            Arc::clone(state),
            show,
        )
        .route(
            get("/api/v1/billing/sinks/{s}/deliveries")
                .summary("List what a billing sink was sent")
                .details("Usage events or sums of hours, the oldest first, with what became of each."),
            Arc::clone(state),
            list_deliveries,
        )
        .route(
            get("/api/v1/billing/sinks/{s}/reconciliation")
                .summary("Tell where usage and a billing sink differ")
                .details(
                    "By tenant and meter, for a month or day of UTC: what was used, what the sink accepted, and what became of the \
                     rest. With `at_sink=true` also what Stripe itself has counted, to which it comes a while after it accepted.",
                )
                .codes(&[&codes::UNAVAILABLE]),
            Arc::clone(state),
            reconciliation::report,
        )
}

fn changing(routes: Routes, state: &Arc<State>) -> Routes {
    routes
        .route(
            Spec::put(SINK, permissions::BILLING_WRITE)
                .in_environment()
                .summary("Set a billing sink")
                .details(
                    "Makes it, or replaces the one of that name. A new webhook comes with its signing secret, which is shown once; \
                     Stripe needs its key (`POST …/secret`) before anything is sent.",
                )
                .codes(&[&codes::INVALID, &codes::MANAGED_BY_FILE, &codes::CONFLICT, &codes::PRECONDITION_FAILED])
                .example(r#"{"kind": "stripe", "meters": {"tokens": {"event": "llm_tokens"}}, "send": "hourly"}"#),
            Arc::clone(state),
            put,
        )
        .route(
            Spec::delete(SINK, permissions::BILLING_DELETE)
                .in_environment()
                .summary("Remove a billing sink")
                .details("Refused while something is not accepted, unless `force=true`.")
                .codes(&[&codes::MANAGED_BY_FILE, &codes::CONFLICT, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            remove,
        )
        .route(
            Spec::post("/api/v1/billing/sinks/{s}/secret", permissions::BILLING_WRITE)
                .in_environment()
                .summary("Give a billing sink another secret")
                .details("A webhook's former one goes on signing beside the new one for 24 hours.")
                .success(200)
                .codes(&[&codes::INVALID])
                .example(r#"{"secret": "sk_test_1234"}"#),
            Arc::clone(state),
            secret,
        )
}

fn deciding(routes: Routes, state: &Arc<State>) -> Routes {
    let post = |path| Spec::post(path, permissions::BILLING_WRITE).in_environment().success(200);
    routes
        .route(
            post("/api/v1/billing/sinks/{s}/pause")
                .summary("Pause a billing sink")
                .details("Nothing is sent; usage waits.")
                .repeatable("pausing again changes nothing"),
            Arc::clone(state),
            pause,
        )
        .route(
            post("/api/v1/billing/sinks/{s}/resume")
                .summary("Resume a billing sink")
                .details("It goes on where it was.")
                .repeatable("resuming again changes nothing")
                .codes(&[&codes::QUEUE_FULL]),
            Arc::clone(state),
            resume,
        )
        .route(
            post("/api/v1/billing/sinks/{s}/retry")
                .summary("Send deliveries once more")
                .details("Those that the sink refused, or those of another state. A thousand at most.")
                .repeatable("what is on its way already keeps its key, by which the sink counts it once")
                .codes(&[&codes::INVALID, &codes::QUEUE_FULL])
                .example(r#"{"state": "refused"}"#),
            Arc::clone(state),
            retry,
        )
        .route(
            post("/api/v1/billing/sinks/{s}/deliveries/{n}/settle")
                .summary("Decide about a delivery")
                .details("One that is refused, held or unsure: the sink has it, or it is not to be billed.")
                .repeatable("what is settled is settled no more")
                .codes(&[&codes::INVALID, &codes::CONFLICT])
                .example(r#"{"as": "accepted"}"#),
            Arc::clone(state),
            settle,
        )
}

/// The environment of a call.
fn place<B, Q>(call: &Call<B, Q>) -> Result<EnvironmentId, Problem> {
    Ok(call.environment()?.id)
}

fn name<B, Q>(call: &Call<B, Q>) -> Result<Slug, Problem> {
    call.path.parse("s", Slug::parse)
}

impl State {
    /// A sink with what is not accepted.
    async fn view(&self, ctx: &SystemCtx, sink: Sink) -> Result<Reply<SinkView>, Problem> {
        let (id, revision, status) = (sink.id, sink.revision, self.tools.status(&sink));
        let open = self.tools.db.read_system(ctx, move |tx| deliveries::open(tx, id)).await?;
        Ok(Reply::ok(SinkView::of(sink, status, open)).etag(revision))
    }
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<SinkView>>, Problem> {
    let ctx = call.caller.system_ctx("list billing sinks")?;
    let environment = place(&call)?;
    let page = call.query.page();
    let (after, limit) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let read = state.tools.db.read_system(&ctx, move |tx| -> Result<_, Error> {
        let sinks = sinks::page(tx, environment, &after, limit)?;
        let with = |sink: Sink| Ok((deliveries::open(tx, sink.id)?, sink));
        sinks.into_iter().map(with).collect::<Result<Vec<_>, Error>>()
    });
    let page = Page::of(read.await?, &page, |(_, sink)| sink.name.to_string());
    Ok(Reply::ok(page.map(|(open, sink)| {
        let status = state.tools.status(&sink);
        SinkView::of(sink, status, open)
    })))
}

async fn show(state: Arc<State>, call: Call) -> Result<Reply<SinkView>, Problem> {
    let ctx = call.caller.system_ctx("get a billing sink")?;
    let (environment, name) = (place(&call)?, name(&call)?);
    let sink = state.tools.db.read_system(&ctx, move |tx| ops::get(tx, environment, &name)).await?;
    state.view(&ctx, sink).await
}

async fn put(state: Arc<State>, call: Call<PutSink>) -> Result<Reply<SinkView>, Problem> {
    let ctx = call.caller.system_ctx("set a billing sink")?;
    let (environment, name) = (place(&call)?, name(&call)?);
    let location = SINK.replace("{s}", name.as_str());
    let if_match = call.if_match.clone();
    let (tools, definition) = (state.tools.clone(), call.body);
    let wanted = Wanted { environment, name, definition, by: ManagedBy::Api };
    let write = state.tools.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        sink_ops::put(tx, &tools, &wanted, accepts)
    });
    let put = write.await?;
    let (revision, status) = (put.sink.revision, state.tools.status(&put.sink));
    if !put.is_new {
        return state.view(&ctx, put.sink).await;
    }
    let mut view = SinkView::of(put.sink, status, Vec::new());
    view.secret = put.secret.map(|secret| secret.expose().clone());
    let reply = Reply::ok(view).etag(revision).status(StatusCode::CREATED);
    Ok(reply.header(http::header::LOCATION, &location))
}

async fn remove(state: Arc<State>, call: Call<(), Removal>) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("remove a billing sink")?;
    let (environment, name, force) = (place(&call)?, name(&call)?, call.query.force);
    let (tools, if_match) = (state.tools.clone(), call.if_match.clone());
    let write = state.tools.db.write_system(&ctx, move |tx| {
        let accepts = |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
        sink_ops::remove(tx, &tools, (environment, &name), force, accepts)
    });
    write.await?;
    Ok(Reply::no_content())
}

async fn secret(state: Arc<State>, call: Call<SetSecret>) -> Result<Reply<SecretView>, Problem> {
    let ctx = call.caller.system_ctx("give a billing sink another secret")?;
    let (environment, name) = (place(&call)?, name(&call)?);
    let (tools, once) = (state.tools.clone(), call.idempotency.clone());
    let given = call.body.secret;
    let write = state.tools.db.write_system(&ctx, move |tx| {
        once.once(tx, |tx| {
            let given = given.clone().map(Secret::new);
            let (sink, made) = sink_ops::set_secret(tx, &tools, (environment, &name), given)?;
            let secret = made.map(|secret| secret.expose().clone());
            Ok::<_, Error>(SecretView { name: sink.name, secret })
        })
    });
    Ok(Reply::ok(write.await?))
}

async fn pause(state: Arc<State>, call: Call) -> Result<Reply<SinkView>, Problem> {
    let ctx = call.caller.system_ctx("pause a billing sink")?;
    let (environment, name, tools) = (place(&call)?, name(&call)?, state.tools.clone());
    let write = state.tools.db.write_system(&ctx, move |tx| sink_ops::pause(tx, &tools, environment, &name));
    state.view(&ctx, write.await?).await
}

async fn resume(state: Arc<State>, call: Call) -> Result<Reply<SinkView>, Problem> {
    let ctx = call.caller.system_ctx("resume a billing sink")?;
    let (environment, name, tools) = (place(&call)?, name(&call)?, state.tools.clone());
    let write = state.tools.db.write_system(&ctx, move |tx| sink_ops::resume(tx, &tools, environment, &name));
    state.view(&ctx, write.await?).await
}

async fn retry(state: Arc<State>, call: Call<Retry>) -> Result<Reply<RetriedView>, Problem> {
    let ctx = call.caller.system_ctx("send usage to a billing sink once more")?;
    let (environment, name, tools) = (place(&call)?, name(&call)?, state.tools.clone());
    let wanted = call.body.state.unwrap_or(DeliveryState::Refused);
    let write =
        state.tools.db.write_system(&ctx, move |tx| decide::retry(tx, &tools, environment, &name, wanted));
    Ok(Reply::ok(RetriedView { deliveries: write.await? }))
}

async fn settle(state: Arc<State>, call: Call<Settle>) -> Result<Reply<DeliveryView>, Problem> {
    let ctx = call.caller.system_ctx("decide about usage on its way to a billing sink")?;
    let (environment, name, tools) = (place(&call)?, name(&call)?, state.tools.clone());
    let number: i64 = call.path.parse("n", str::parse)?;
    let to = call.body.to;
    let write = state
        .tools
        .db
        .write_system(&ctx, move |tx| decide::settle(tx, &tools, (environment, &name), number, to));
    Ok(Reply::ok(write.await?.into()))
}

async fn list_deliveries(
    state: Arc<State>,
    call: Call<(), DeliveriesQuery>,
) -> Result<Reply<Page<DeliveryView>>, Problem> {
    let ctx = call.caller.system_ctx("list what a billing sink was sent")?;
    let (environment, name) = (place(&call)?, name(&call)?);
    let DeliveriesQuery { page, state: wanted } = call.query;
    let page = page.page();
    let after: i64 = match page.after() {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::new(&codes::BAD_REQUEST).fault("/query/cursor", "it is of another list"))?,
    };
    let limit = page.fetch();
    let read = state.tools.db.read_system(&ctx, move |tx| -> Result<_, Error> {
        let sink = ops::get(tx, environment, &name)?;
        Ok(deliveries::page(tx, sink.id, wanted, after, limit)?)
    });
    let page = Page::of(read.await?, &page, |one| one.number.to_string());
    Ok(Reply::ok(page.map(DeliveryView::from)))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Wrong(faults) => Problem::new(&codes::INVALID).faults("", &faults),
            Error::ManagedByFile(name) => Problem::new(&codes::MANAGED_BY_FILE)
                .detail(format!("Change `[billing.{name}]` in the project file and apply it.")),
            Error::Open { .. } => Problem::new(&codes::CONFLICT)
                .detail(format!("{said}, and would never be sent. Wait, settle them, or say `force=true`.")),
            Error::ManagedByApi(_) | Error::TooMany(_) | Error::Settled(_) => {
                Problem::new(&codes::CONFLICT).detail(format!("{said}."))
            }
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Queue(_) => Problem::new(&codes::QUEUE_FULL).detail(format!("{said}.")),
            Error::Remote(_) => Problem::new(&codes::UNAVAILABLE).detail(format!("{said}.")),
            Error::Unavailable(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}
