//! Reading schedules, their firings past and to come.

use std::sync::Arc;

use base::{Page, ScheduleId, Slug};
use schemars::JsonSchema;
use serde::Deserialize;
use web::{Call, PageQuery, Problem, Reply};

use super::views::{FiringView, FiringsView, PreviewSchedule, PreviewView, ScheduleView};
use super::{State, Which, name, place};
use crate::error::Error;
use crate::model::{HISTORY_MAX, Schedule};
use crate::ops;

/// The query of the list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct ListQuery {
    #[serde(flatten)]
    page: PageQuery,
    /// The installation's own, instead of the environment's.
    #[serde(default)]
    built_in: bool,
}

pub(crate) async fn list(
    state: Arc<State>,
    call: Call<(), ListQuery>,
) -> Result<Reply<Page<ScheduleView>>, Problem> {
    let (environment, ctx) = place(&call, call.query.built_in, "list schedules")?;
    let page = call.query.page.page();
    let after = page.after().unwrap_or_default().to_owned();
    let fetch = page.fetch();
    let read = state.tools.db.read_system(&ctx, move |tx| ops::list(tx, environment, &after, fetch));
    let page = Page::of(read.await?, &page, |schedule: &Schedule| schedule.name.to_string());
    Ok(Reply::ok(page.map(|schedule| ScheduleView::short(schedule, &state.tools.zones))))
}

pub(crate) async fn get(state: Arc<State>, call: Call<(), Which>) -> Result<Reply<ScheduleView>, Problem> {
    let (environment, ctx) = place(&call, call.query.built_in, "get a schedule")?;
    let name = name(&call)?;
    let schedule = state.tools.db.read_system(&ctx, move |tx| ops::get(tx, environment, &name)).await?;
    let revision = schedule.revision;
    Ok(Reply::ok(ScheduleView::whole(schedule, &state.tools.zones, state.tools.now())).etag(revision))
}

pub(crate) async fn firings(state: Arc<State>, call: Call<(), Which>) -> Result<Reply<FiringsView>, Problem> {
    let (environment, ctx) = place(&call, call.query.built_in, "list firings of a schedule")?;
    let name = name(&call)?;
    let read =
        state.tools.db.read_system(&ctx, move |tx| ops::history(tx, environment, &name, HISTORY_MAX)).await?;
    Ok(Reply::ok(FiringsView { data: read.into_iter().map(FiringView::from).collect() }))
}

pub(crate) async fn preview(
    state: Arc<State>,
    call: Call<PreviewSchedule>,
) -> Result<Reply<PreviewView>, Problem> {
    let now = state.tools.now();
    let definition = call.body.definition(Slug::parse("preview").map_err(Problem::internal)?);
    let clockwork = definition
        .check(&state.tools.zones, ScheduleId::from_uuid_bytes([0; 16]), now)
        .map_err(Error::Wrong)?;
    Ok(Reply::ok(PreviewView::of(&clockwork, call.body.after.unwrap_or(now))))
}
