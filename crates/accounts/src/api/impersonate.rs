//! `/api/v1/tenants/{t}/impersonate`: acting as a tenant, for a limited time and with a reason that the tenant sees (Z16).

use std::sync::Arc;
use std::time::Duration;

use authority::{PrincipalKind, Role, permissions};
use base::{HumanDuration, SessionId, TenantId, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec};

use super::State;
use crate::error::Error;
use crate::model::{IMPERSONATION_MAX, REASON_CHARS};
use crate::ops::impersonate::{self as op, Impersonation};
use crate::ops::users::covered;

/// How long it lasts when nothing is said: a look at a support request.
const TTL_DEFAULT: Duration = Duration::from_mins(15);
/// Shortest.
const TTL_MIN: Duration = Duration::from_mins(1);

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::post("/api/v1/tenants/{t}/impersonate", permissions::IMPERSONATION_WRITE)
                .summary("Act as a tenant")
                .details(
                    "Gives an access token for the tenant, as a viewer unless another role is named. The tenant's own \
                     record says who, why and until when, and every change made with it names both.",
                )
                .repeatable("each is told to the tenant; a token that got lost is worth nothing to others")
                .codes(&[&codes::ROLE_EXCEEDS])
                .example(r#"{"reason": "ticket 4711: the import hangs", "ttl": "15m"}"#),
            Arc::clone(state),
            start,
        )
        .route(
            Spec::delete("/api/v1/tenants/{t}/impersonate/{s}", permissions::IMPERSONATION_WRITE)
                .summary("Stop acting as a tenant")
                .details("The token stops working within a second. Ending what has ended changes nothing."),
            Arc::clone(state),
            end,
        )
}

/// Why and how somebody wants to act as a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Impersonate {
    /// Why: 5 to 500 characters, which the tenant reads.
    #[schemars(length(max = 500))]
    pub reason: String,
    /// How long, `1m` to `1h`; `15m` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HumanDuration")]
    pub ttl: Option<HumanDuration>,
    /// As what; a viewer when nothing is said, and never more than whoever asks may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Role")]
    pub role: Option<Role>,
}

/// The right to act as a tenant.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct ImpersonationView {
    /// To be sent as `Authorization: Bearer …`. It cannot be refreshed.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Names it, to end it.
    pub session: SessionId,
    /// The tenant.
    pub tenant: TenantId,
    /// What the token allows there.
    pub role: Role,
    /// The reason, as the tenant reads it.
    pub reason: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

async fn start(state: Arc<State>, call: Call<Impersonate>) -> Result<Reply<ImpersonationView>, Problem> {
    let tenant = call.tenant_ctx(&*state.accounts.tenants).await?.tenant();
    let ctx = call.caller.system_ctx("act as a tenant")?;
    let found = state.accounts.tenants.find(&tenant.to_string(), None).await?.ok_or(Error::NotFound)?;
    let Impersonate { reason, ttl, role } = call.body;
    let reason = reason.trim().to_owned();
    if !REASON_CHARS.contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
        let detail = "5 to 500 characters in one line are expected; the tenant reads them";
        return Err(Error::Invalid { pointer: "/reason", detail }.into());
    }
    let ttl = ttl.map_or(TTL_DEFAULT, |ttl| ttl.0);
    if !(TTL_MIN..=IMPERSONATION_MAX).contains(&ttl) {
        return Err(Error::Invalid { pointer: "/ttl", detail: "1m to 1h are expected" }.into());
    }
    let role = role.unwrap_or(Role::Viewer);
    covered(&call.caller, &role, &state.slugs())?;
    let sources = &state.accounts.tools.sources;
    let granted = Impersonation {
        session: SessionId::new(&*sources.clock, &*sources.random),
        tenant,
        role,
        reason,
        expires_at: sources.clock.now() + ttl,
    };
    let principal = call.caller.principal();
    let sub = match principal.kind {
        PrincipalKind::User(id) => Some(id),
        _ => None,
    };
    let token = state.accounts.impersonation(&granted, (found.project, &principal.to_string(), sub))?;
    let (told, now) = (granted.clone(), sources.clock.now());
    let done: Result<(), Error> =
        state.accounts.db.write_system(&ctx, move |tx| Ok(op::start(tx, &told, now)?)).await;
    done?;
    let Impersonation { session, tenant, role, reason, expires_at } = granted;
    let location = format!("/api/v1/tenants/{tenant}/impersonate/{session}");
    let token_type = "Bearer".to_owned();
    let view =
        ImpersonationView { access_token: token, token_type, session, tenant, role, reason, expires_at };
    Ok(Reply::created(&location, view))
}

async fn end(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let tenant = call.tenant_ctx(&*state.accounts.tenants).await?.tenant();
    let session = call.path.id::<SessionId>("s")?;
    let ctx = call.caller.system_ctx("stop acting as a tenant")?;
    let tools = state.accounts.tools.clone();
    let done: Result<(), Error> =
        state.accounts.db.write_system(&ctx, move |tx| Ok(op::end(tx, &tools, tenant, session)?)).await;
    done?;
    Ok(Reply::no_content())
}
