//! `/api/v1/roles`.

use std::sync::Arc;

use authority::{Pattern, permissions};
use base::{Page, Slug, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::error::Error;
use crate::model::CustomRole;
use crate::ops::roles as op;
use crate::store::roles as rows;

const ROLES: &str = "/api/v1/roles";
const ROLE: &str = "/api/v1/roles/{name}";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("identity")
        .route(
            Spec::get(ROLES, permissions::ROLES_READ)
                .summary("List the project's custom roles")
                .details("Members and keys of its tenants may have one of them by name, as they may have a built-in one.")
                .surface(Surface::Both),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::get(ROLE, permissions::ROLES_READ).summary("Get a custom role").surface(Surface::Both),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::put(ROLE, permissions::ROLES_WRITE)
                .summary("Make or change a custom role")
                .details(
                    "What it grants from now on holds at once for every member and key that has it: tokens from before \
                     are refused within a second, and are to be refreshed.",
                )
                .codes(&[&codes::CONFLICT, &codes::PRECONDITION_FAILED])
                .example(r#"{"patterns": ["read:*", "write:jobs"], "description": "Looks after the queues"}"#),
            Arc::clone(state),
            set,
        )
        .route(
            Spec::delete(ROLE, permissions::ROLES_DELETE)
                .summary("Remove a custom role")
                .details("One that a member or key has is not removed.")
                .codes(&[&codes::CONFLICT, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            remove,
        )
}

/// A custom role, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RoleView {
    /// Its name, unique in the project.
    pub name: Slug,
    /// What it grants.
    pub patterns: Vec<Pattern>,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<CustomRole> for RoleView {
    fn from(role: CustomRole) -> RoleView {
        let CustomRole { name, patterns, description, revision: _, created_at, updated_at } = role;
        RoleView { name, patterns, description, created_at, updated_at }
    }
}

/// What a custom role is to be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRole {
    /// What it grants: patterns `verb:resource`, or `verb:resource@environment`, such as `read:*` or `write:jobs@test`.
    #[schemars(length(min = 1, max = 64))]
    pub patterns: Vec<Pattern>,
    /// What it is for, at most 200 characters.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub description: String,
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<RoleView>>, Problem> {
    let project = call.environment()?.project;
    let page = call.query.page();
    let request = page.clone();
    let ctx = authority::SystemCtx::because("read the roles of a project");
    let read = state.db.read_system(&ctx, move |tx| {
        rows::page(tx, project, request.after().unwrap_or_default(), request.fetch())
    });
    let page = Page::of(read.await?, &page, |role| role.name.to_string());
    Ok(Reply::ok(page.map(RoleView::from)))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<RoleView>, Problem> {
    let project = call.environment()?.project;
    let name = name(&call)?;
    let ctx = authority::SystemCtx::because("read a role of a project");
    let found = state.db.read_system(&ctx, move |tx| rows::one(tx, project, &name)).await?;
    let role = found.ok_or(Error::NotFound)?;
    let revision = role.revision;
    Ok(Reply::ok(RoleView::from(role)).etag(revision))
}

async fn set(state: Arc<State>, call: Call<PutRole>) -> Result<Reply<RoleView>, Problem> {
    let project = call.environment()?.project;
    let ctx = call.caller.system_ctx("change a role of a project")?;
    let name = name(&call)?;
    let if_match = call.if_match.clone();
    let accepts = move |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
    let PutRole { patterns, description } = call.body;
    let command = op::SetRole { project, name, patterns, description };
    let (sources, revocations) = (state.sources.clone(), Arc::clone(&state.revocations));
    let write =
        state.db.write_system(&ctx, move |tx| op::set(tx, (&sources, &revocations), &command, &accepts));
    let (role, is_new) = write.await?;
    let (location, revision) = (format!("{ROLES}/{}", role.name), role.revision);
    let view = RoleView::from(role);
    let reply = if is_new { Reply::created(&location, view) } else { Reply::ok(view) };
    Ok(reply.etag(revision))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let project = call.environment()?.project;
    let ctx = call.caller.system_ctx("remove a role of a project")?;
    let name = name(&call)?;
    let if_match = call.if_match.clone();
    let accepts = move |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
    state.db.write_system(&ctx, move |tx| op::remove(tx, project, &name, &accepts)).await?;
    Ok(Reply::no_content())
}

/// The name of the path. What cannot be one is no role's.
fn name<B, Q>(call: &Call<B, Q>) -> Result<Slug, Problem> {
    Ok(Slug::parse(call.path.get("name")?).map_err(|_| Error::NotFound)?)
}
