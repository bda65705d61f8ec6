//! `/api/v1/tenants/{t}/members`.

use std::sync::Arc;

use authority::{Role, permissions};
use base::{Email, MemberId, Page, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::error::Error;
use crate::model::{Member, MemberStatus};
use crate::ops::members as op;
use crate::store::members as rows;

const MEMBERS: &str = "/api/v1/tenants/{t}/members";
const MEMBER: &str = "/api/v1/tenants/{t}/members/{m}";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("identity")
        .route(
            Spec::get(MEMBERS, permissions::MEMBERS_READ)
                .summary("List a tenant's members")
                .surface(Surface::Both),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(MEMBERS, permissions::MEMBERS_WRITE)
                .summary("Invite a member")
                .details("Nobody gives a role that allows more than their own.")
                .surface(Surface::Both)
                .codes(&[&codes::ROLE_EXCEEDS, &codes::CONFLICT])
                .example(r#"{"email": "ada@acme.example", "role": "developer"}"#),
            Arc::clone(state),
            invite,
        )
        .route(
            Spec::get(MEMBER, permissions::MEMBERS_READ).summary("Get a member").surface(Surface::Both),
            Arc::clone(state),
            get,
        )
        .route(
            Spec::patch(MEMBER, permissions::MEMBERS_WRITE)
                .summary("Change a member's role")
                .details("A tenant that has an owner keeps one.")
                .surface(Surface::Both)
                .codes(&[&codes::ROLE_EXCEEDS, &codes::LAST_OWNER, &codes::PRECONDITION_FAILED])
                .example(r#"{"role": "admin"}"#),
            Arc::clone(state),
            patch,
        )
        .route(
            Spec::delete(MEMBER, permissions::MEMBERS_DELETE)
                .summary("Remove a member")
                .surface(Surface::Both)
                .codes(&[&codes::ROLE_EXCEEDS, &codes::LAST_OWNER, &codes::PRECONDITION_FAILED]),
            Arc::clone(state),
            remove,
        )
}

/// A member, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Its id.
    pub id: MemberId,
    /// The person.
    pub email: Email,
    /// What the person may do.
    pub role: Role,
    /// Whether the person has accepted.
    pub status: MemberStatus,
    /// When the person was invited.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> MemberView {
        let Member { id, email, role, role_name: _, status, revision: _, created_at, updated_at } = member;
        MemberView { id, email, role, status, created_at, updated_at }
    }
}

/// A person to be invited.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteMember {
    /// The person's mail address.
    pub email: Email,
    /// `owner`, `admin`, `developer`, `viewer`, or a list of patterns.
    pub role: Role,
}

/// A merge patch of a member.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchMember {
    /// Another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Role")]
    pub role: Option<Role>,
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<MemberView>>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let page = call.query.page();
    let request = page.clone();
    let read =
        state.db.read(&ctx, move |tx| rows::page(tx, request.after().unwrap_or_default(), request.fetch()));
    let page = Page::of(read.await?, &page, |member| member.id.to_string());
    Ok(Reply::ok(page.map(MemberView::from)))
}

async fn invite(state: Arc<State>, call: Call<InviteMember>) -> Result<Reply<MemberView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let rights = state.rights(&call);
    let once = call.idempotency.clone();
    let InviteMember { email, role } = call.body;
    let sources = state.sources.clone();
    let tenant = ctx.tenant();
    let made: MemberView = state
        .db
        .write(&ctx, move |tx| {
            once.once(tx, |tx| op::invite(tx, &sources, &rights, &email, &role).map(MemberView::from))
        })
        .await?;
    Ok(Reply::created(&format!("/api/v1/tenants/{tenant}/members/{}", made.id), made).etag(1))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<MemberView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let id = call.path.id::<MemberId>("m")?;
    let member = state.db.read(&ctx, move |tx| rows::one(tx, id)).await?.ok_or(Error::NotFound)?;
    let revision = member.revision;
    Ok(Reply::ok(MemberView::from(member)).etag(revision))
}

async fn patch(state: Arc<State>, call: Call<PatchMember>) -> Result<Reply<MemberView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let id = call.path.id::<MemberId>("m")?;
    let rights = state.rights(&call);
    let if_match = call.if_match.clone();
    let accepts = move |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
    let sources = state.sources.clone();
    let role = call.body.role;
    let write = state.db.write(&ctx, move |tx| match &role {
        Some(role) => op::set_role(tx, &sources, &rights, (id, role), &accepts),
        None => rows::one(tx, id)?.ok_or(Error::NotFound),
    });
    let member = write.await?;
    let revision = member.revision;
    Ok(Reply::ok(MemberView::from(member)).etag(revision))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let id = call.path.id::<MemberId>("m")?;
    let rights = state.rights(&call);
    let if_match = call.if_match.clone();
    let accepts = move |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
    state.db.write(&ctx, move |tx| op::remove(tx, &rights, id, &accepts)).await?;
    Ok(Reply::no_content())
}
