//! `/api/v1/users` and `/api/v1/outbox`: people and letters, for operators.

use std::sync::Arc;

use authority::{Role, permissions};
use base::{Email, Page, TenantId, Timestamp, UserId, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec};

use super::own::{SessionView, SessionsView};
use super::{State, etag_of, name_of};
use crate::error::Error;
use crate::model::{MailId, Realm, SESSIONS_MAX, User};
use crate::ops::users::{self as op, Change};
use crate::ops::{links, session};
use crate::store;

const USERS: &str = "/api/v1/users";
const USER: &str = "/api/v1/users/{u}";
const SESSIONS: &str = "/api/v1/users/{u}/sessions";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    people(state).and(rest(state))
}

fn people(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::get(USERS, permissions::USERS_READ)
                .summary("List users")
                .details("Of the team that runs the installation, or (`of=project`) of the project of the call's environment."),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(USERS, permissions::USERS_WRITE)
                .summary("Invite somebody to the team")
                .details("They may sign in once they have chosen a password by the link in the letter.")
                .codes(&[&codes::CONFLICT, &codes::ROLE_EXCEEDS])
                .example(r#"{"email": "grace@example.com", "role": "admin"}"#),
            Arc::clone(state),
            invite,
        )
        .route(Spec::get(USER, permissions::USERS_READ).summary("Get a user"), Arc::clone(state), get)
        .route(
            Spec::patch(USER, permissions::USERS_WRITE)
                .summary("Change or disable a user")
                .details("Who is disabled is out within a second.")
                .codes(&[&codes::ROLE_EXCEEDS, &codes::LAST_OWNER, &codes::PRECONDITION_FAILED])
                .example(r#"{"disabled": true}"#),
            Arc::clone(state),
            patch,
        )
        .route(
            Spec::delete(USER, permissions::USERS_WRITE)
                .summary("Remove a user")
                .codes(&[&codes::ROLE_EXCEEDS, &codes::LAST_OWNER]),
            Arc::clone(state),
            remove,
        )
}

fn rest(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::get(SESSIONS, permissions::USERS_READ).summary("List a user's sessions"),
            Arc::clone(state),
            sessions,
        )
        .route(
            Spec::delete(SESSIONS, permissions::USERS_WRITE)
                .summary("End all sessions of a user")
                .details("Their tokens stop working within a second, everywhere."),
            Arc::clone(state),
            end_sessions,
        )
        .route(
            Spec::get("/api/v1/outbox", permissions::USERS_READ)
                .summary("Read the letters that would have been sent")
                .details("The newest first; kept here until there is a way to send mail, at most a thousand of them."),
            Arc::clone(state),
            outbox,
        )
}

/// A person, as operators see them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserView {
    /// The id.
    pub id: UserId,
    /// The address.
    pub email: Email,
    /// What people call them.
    pub name: String,
    /// Whether the person is of the team that runs the installation.
    pub operator: bool,
    /// Of operators: what they may.
    pub role: Option<Role>,
    /// Whether the person has a password yet.
    pub has_password: bool,
    /// Whether a second factor is asked for.
    pub mfa: bool,
    /// Whether the person is kept from signing in.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl From<User> for UserView {
    fn from(user: User) -> UserView {
        UserView {
            id: user.id,
            email: user.email,
            name: user.name,
            operator: user.realm == Realm::Operators,
            role: user.role,
            has_password: user.password.is_some(),
            mfa: user.factor.since.is_some(),
            disabled: user.disabled_at.is_some(),
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// Whose people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Of {
    /// The team that runs the installation.
    #[default]
    Operators,
    /// The project of the call's environment.
    Project,
}

/// Which users to list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct ListQuery {
    #[serde(flatten)]
    page: PageQuery,
    /// `operators` or `project`.
    #[serde(default)]
    of: Of,
}

/// Which letters to list.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct OutboxQuery {
    #[serde(flatten)]
    page: PageQuery,
    /// Those to this address alone.
    #[serde(default)]
    #[schemars(with = "Email")]
    to: Option<Email>,
}

/// Somebody to be invited to the team.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteUser {
    /// The address.
    pub email: Email,
    /// `owner`, `admin`, `developer`, `viewer`, or a list of patterns.
    pub role: Role,
    /// What people call them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 200))]
    pub name: Option<String>,
}

/// A merge patch of a user.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 200))]
    pub name: Option<String>,
    /// Another role; of operators alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Role")]
    pub role: Option<Role>,
    /// Whether the person is kept from signing in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub disabled: Option<bool>,
}

/// A letter that would have been sent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LetterView {
    /// Its id.
    pub id: MailId,
    /// To whom.
    pub to: Email,
    /// What kind, such as `invitation` or `password_reset`.
    pub kind: String,
    /// Its subject.
    pub subject: String,
    /// Its text, with links that work.
    pub text: String,
    /// The tenant in whose name it is written.
    pub tenant: Option<TenantId>,
    /// When it was written.
    pub created_at: Timestamp,
}

async fn list(state: Arc<State>, call: Call<(), ListQuery>) -> Result<Reply<Page<UserView>>, Problem> {
    let ctx = call.caller.system_ctx("list users")?;
    let page = call.query.page.page();
    let realm = match call.query.of {
        Of::Operators => Realm::Operators,
        Of::Project => Realm::Project(call.environment()?.project),
    };
    let request = page.clone();
    let read = state.accounts.db.read_system(&ctx, move |tx| {
        store::users::page(tx, realm, request.after().unwrap_or_default(), request.fetch())
    });
    let page = Page::of(read.await?, &page, |user| user.id.to_string());
    Ok(Reply::ok(page.map(UserView::from)))
}

async fn invite(state: Arc<State>, call: Call<InviteUser>) -> Result<Reply<UserView>, Problem> {
    let ctx = call.caller.system_ctx("invite somebody to the team")?;
    let InviteUser { email, role, name } = call.body;
    op::covered(&call.caller, &role, &state.slugs())?;
    let (name, once) = (name_of(name)?, call.idempotency.clone());
    let (tools, inviter) = (state.accounts.tools.clone(), state.accounts.inviter.clone());
    let made: UserView = state
        .accounts
        .db
        .write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                if store::users::by_email(tx, Realm::Operators, &email)?.is_some() {
                    return Err(Error::Exists);
                }
                let about = (name.as_str(), Some(role.clone()), None);
                let user = links::new_user(tx, &tools, (Realm::Operators, &email), about)?;
                inviter.invite_operator(tx, user.id, &email)?;
                Ok(UserView::from(user))
            })
        })
        .await?;
    Ok(Reply::created(&format!("{USERS}/{}", made.id), made).etag(1))
}

async fn get(state: Arc<State>, call: Call) -> Result<Reply<UserView>, Problem> {
    let ctx = call.caller.system_ctx("read a user")?;
    let id = call.path.id::<UserId>("u")?;
    let user = state.accounts.db.read_system(&ctx, move |tx| store::users::one(tx, id)).await?;
    let user = user.ok_or(Error::NotFound)?;
    let revision = etag_of(&user);
    Ok(Reply::ok(UserView::from(user)).etag(revision))
}

async fn patch(state: Arc<State>, call: Call<PatchUser>) -> Result<Reply<UserView>, Problem> {
    let ctx = call.caller.system_ctx("change a user")?;
    let id = call.path.id::<UserId>("u")?;
    let PatchUser { name, role, disabled } = call.body;
    let name = name.map(|name| name_of(Some(name))).transpose()?;
    let change = Change { name, role, disabled };
    let if_match = call.if_match.clone();
    let (tools, caller, slugs) = (state.accounts.tools.clone(), call.caller.clone(), state.slugs());
    let accepts = move |revision| if_match.as_ref().is_none_or(|tag| tag.accepts(revision));
    let user = state
        .accounts
        .db
        .write_system(&ctx, move |tx| op::change(tx, &tools, (&caller, &slugs), (id, &change), &accepts))
        .await?;
    let revision = etag_of(&user);
    Ok(Reply::ok(UserView::from(user)).etag(revision))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("remove a user")?;
    let id = call.path.id::<UserId>("u")?;
    let (tools, caller, slugs) = (state.accounts.tools.clone(), call.caller.clone(), state.slugs());
    state.accounts.db.write_system(&ctx, move |tx| op::remove(tx, &tools, (&caller, &slugs), id)).await?;
    Ok(Reply::no_content())
}

async fn sessions(state: Arc<State>, call: Call) -> Result<Reply<SessionsView>, Problem> {
    let ctx = call.caller.system_ctx("list a user's sessions")?;
    let id = call.path.id::<UserId>("u")?;
    let now = state.accounts.tools.sources.clock.now();
    let read: Result<_, Error> = state
        .accounts
        .db
        .read_system(&ctx, move |tx| {
            store::users::one(tx, id)?.ok_or(Error::NotFound)?;
            Ok(store::sessions::of_user(tx, id, SESSIONS_MAX)?)
        })
        .await;
    let live = read?.into_iter().filter(|one| now < one.expires_at);
    let data = live.map(|one| SessionView::new(one, call.caller.session())).collect();
    Ok(Reply::ok(SessionsView { data, next_cursor: None }))
}

async fn end_sessions(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("end a user's sessions")?;
    let id = call.path.id::<UserId>("u")?;
    let tools = state.accounts.tools.clone();
    let ended: Result<(), Error> = state
        .accounts
        .db
        .write_system(&ctx, move |tx| {
            store::users::one(tx, id)?.ok_or(Error::NotFound)?;
            session::end_all(tx, &tools, id, None, "ended by an operator")?;
            Ok(())
        })
        .await;
    ended?;
    Ok(Reply::no_content())
}

async fn outbox(state: Arc<State>, call: Call<(), OutboxQuery>) -> Result<Reply<Page<LetterView>>, Problem> {
    let ctx = call.caller.system_ctx("read the outbox")?;
    let page = call.query.page.page();
    let (request, to) = (page.clone(), call.query.to);
    let read = state.accounts.db.read_system(&ctx, move |tx| {
        store::outbox::page(tx, to.as_ref(), request.after().unwrap_or_default(), request.fetch())
    });
    let page = Page::of(read.await?, &page, |letter| letter.id.to_string());
    Ok(Reply::ok(page.map(|letter| LetterView {
        id: letter.id,
        to: letter.to,
        kind: letter.kind,
        subject: letter.subject,
        text: letter.text,
        tenant: letter.tenant,
        created_at: letter.created_at,
    })))
}
