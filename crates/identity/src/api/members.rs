//! `/api/v1/tenants/{t}/members`.

use std::sync::Arc;

use authority::{Role, permissions};
use base::{Email, MemberId, Page, Slug, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::error::Error;
use crate::model::{Member, MemberStatus, Rights, RoleRef};
use crate::ops::members as op;
use crate::store::members as rows;

const MEMBERS: &str = "/api/v1/tenants/{t}/members";
const MEMBER: &str = "/api/v1/tenants/{t}/members/{m}";
const INVITE: &str = "/api/v1/tenants/{t}/members/{m}/invite";

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
                .details(
                    "The person gets a mail with a link that works once, for a week. Nobody gives a role that allows more \
                     than their own.",
                )
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
            Spec::post(INVITE, permissions::MEMBERS_WRITE)
                .summary("Invite a member again")
                .details("For somebody who has not accepted yet. The link of the earlier invitation works no more.")
                .surface(Surface::Both)
                .codes(&[&codes::ROLE_EXCEEDS, &codes::CONFLICT]),
            Arc::clone(state),
            invite_again,
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
    /// The custom role that it is; `null` for built-in ones and for patterns.
    #[serde(default)]
    pub role_name: Option<Slug>,
    /// Whether the person has accepted.
    pub status: MemberStatus,
    /// When the person was invited.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> MemberView {
        let Member { id, email, role, role_name, status, revision: _, created_at, updated_at } = member;
        let role_name = role_name.map(|named| named.name);
        MemberView { id, email, role, role_name, status, created_at, updated_at }
    }
}

/// A person to be invited.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteMember {
    /// The person's mail address.
    pub email: Email,
    /// `owner`, `admin`, `developer`, `viewer`, a custom role of the project, or a list of patterns.
    pub role: RoleRef,
}

/// A merge patch of a member.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchMember {
    /// Another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RoleRef")]
    pub role: Option<RoleRef>,
}

impl State {
    fn hands<'a>(&'a self, rights: &'a Rights) -> op::Hands<'a> {
        op::Hands {
            sources: &self.sources,
            rights,
            revocations: &self.revocations,
            places: &*self.places,
            invitations: self.invitations.as_deref(),
        }
    }
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
    let tenant = ctx.tenant();
    let shared = Arc::clone(&state);
    let made: MemberView = state
        .db
        .write_system(&ctx.crossing("invite a member and its mail"), move |tx| {
            once.once(tx, |tx| {
                let hands = shared.hands(&rights);
                op::invite(tx, &hands, tenant, &email, &role).map(MemberView::from)
            })
        })
        .await?;
    Ok(Reply::created(&format!("/api/v1/tenants/{tenant}/members/{}", made.id), made).etag(1))
}

async fn invite_again(state: Arc<State>, call: Call) -> Result<Reply<MemberView>, Problem> {
    let ctx = call.tenant_ctx(&*state.tenants).await?;
    let id = call.path.id::<MemberId>("m")?;
    let rights = state.rights(&call);
    let once = call.idempotency.clone();
    let tenant = ctx.tenant();
    let shared = Arc::clone(&state);
    let ctx = ctx.crossing("invite a member once more");
    let write = state.db.write_system(&ctx, move |tx| {
        once.once(tx, |tx| op::invite_again(tx, &shared.hands(&rights), tenant, id).map(MemberView::from))
    });
    Ok(Reply::ok(write.await?))
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
    let role = call.body.role;
    let tenant = ctx.tenant();
    let shared = Arc::clone(&state);
    let ctx = ctx.crossing("change a member and its tokens");
    let write = state.db.write_system(&ctx, move |tx| match &role {
        Some(role) => op::set_role(tx, &shared.hands(&rights), tenant, (id, role), &accepts),
        None => rows::one(&mut tx.for_tenant(tenant), id)?.ok_or(Error::NotFound),
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
    let tenant = ctx.tenant();
    let shared = Arc::clone(&state);
    let ctx = ctx.crossing("remove a member and its tokens");
    let write =
        state.db.write_system(&ctx, move |tx| op::remove(tx, &shared.hands(&rights), tenant, id, &accepts));
    write.await?;
    Ok(Reply::no_content())
}
