//! `/api/v1/me` and `/.well-known/jwks.json`.

use std::sync::Arc;

use authority::{Caller, Pattern, PrincipalKind, Role, SystemCtx, permissions};
use base::{Email, EnvironmentId, SessionId, TenantId};
use ports::{AssertionSigner as _, Membership, Memberships as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::State;

const JWKS: &str = "/.well-known/jwks.json";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("identity")
        .route(
            Spec::get("/api/v1/me", permissions::ME_READ)
                .summary("Who I am and what I may")
                .surface(Surface::Service)
                .in_environment(),
            Arc::clone(state),
            me,
        )
        .route(
            Spec::public(JWKS)
                .summary("The public keys of assertions and tokens")
                .details("A JWK set (RFC 7517), by which an app verifies `Switchyard-Assertion` and tokens.")
                .surface(Surface::Service),
            Arc::clone(state),
            jwks,
        )
}

/// Who a credential turned out to be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MeView {
    /// `operator`, `user`, `key` or `service`.
    pub kind: String,
    /// The id of the user, key or service.
    pub id: Option<String>,
    /// What it is called.
    pub name: String,
    /// The tenant it acts for; `null` for operators.
    pub tenant: Option<TenantId>,
    /// The session that it is of; `null` for keys and services.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// The environment it is bound to.
    pub environment: Option<EnvironmentId>,
    /// Its role.
    pub role: Option<Role>,
    /// What narrows the role; empty leaves it whole.
    pub scopes: Vec<Pattern>,
    /// Where the person is an active member; empty for keys, services and operators.
    #[serde(default)]
    pub tenants: Vec<MembershipView>,
    /// What it may in the environment of this call, as `verb:resource`.
    pub permissions: Vec<String>,
}

/// A tenant of a person.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MembershipView {
    /// The tenant.
    pub tenant: TenantId,
    /// What the person may do there.
    pub role: Role,
}

/// Where a user of ours is an active member.
async fn memberships(state: &State, caller: &Caller) -> Result<Vec<MembershipView>, Problem> {
    let principal = caller.principal();
    let (PrincipalKind::User(_), Some(project)) = (principal.kind, caller.project()) else {
        return Ok(Vec::new());
    };
    let Ok(email) = Email::parse(&principal.name) else { return Ok(Vec::new()) };
    let known = state.memberships.clone();
    let ctx = SystemCtx::because("tell a person their own memberships");
    let all = state.db.read_system(&ctx, move |tx| known.of(tx, project, &email)).await?;
    let active = all.into_iter().filter(|membership| membership.active);
    Ok(active.map(|Membership { tenant, role, .. }| MembershipView { tenant, role }).collect())
}

async fn me(state: Arc<State>, call: Call) -> Result<Reply<MeView>, Problem> {
    let caller = &call.caller;
    let environment = call.environment.as_ref();
    let place = environment.map(|environment| &environment.slug);
    let principal = caller.principal();
    let (kind, id) = match principal.kind {
        PrincipalKind::Operator => ("operator", None),
        PrincipalKind::User(id) => ("user", Some(id.to_string())),
        PrincipalKind::External(id) => ("external", Some(id.to_string())),
        PrincipalKind::ApiKey(id) => ("key", Some(id.to_string())),
        PrincipalKind::Service(id) => ("service", Some(id.to_string())),
        PrincipalKind::System => ("system", None),
        PrincipalKind::Nobody => ("nobody", None),
    };
    let tenants = memberships(&state, caller).await?;
    let may = permissions::ALL.iter().filter(|permission| caller.may(permission, place));
    Ok(Reply::ok(MeView {
        kind: kind.to_owned(),
        id,
        name: principal.name.clone(),
        tenant: caller.tenant_id(),
        session: caller.session(),
        environment: caller.environment(),
        role: caller.role().cloned(),
        scopes: caller.scopes().unwrap_or_default().to_vec(),
        tenants,
        permissions: may.map(ToString::to_string).collect(),
    }))
}

async fn jwks(state: Arc<State>, _: Call) -> Result<Reply<Value>, Problem> {
    Ok(Reply::ok(state.signer.jwks()))
}
