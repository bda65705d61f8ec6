//! Writing an event in the transaction of its change.

use std::net::IpAddr;

use authority::{Origin, Principal, SystemCtx, TenantCtx};
use base::{EnvironmentId, EventId, RequestId, TenantId};
use serde::{Deserialize, Serialize};

use crate::tx::{Core, SYSTEM_SCOPE};
use crate::{Error, NewEvent, Sql, Value, keys};

/// The sealed part of an event. What is larger than this is no description of a change.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// PostgreSQL numbers the unsequenced events of all processes; on SQLite the one process does.
const INSERT: Sql = Sql::Split {
    sqlite: "INSERT INTO sy_events (tenant, id, emitted, environment, kind, subject, at, payload)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    postgres: "INSERT INTO sy_events (tenant, id, emitted, environment, kind, subject, at, payload)
               VALUES ($1, $2, coalesce(nextval('sy_event_order'), $3), $4, $5, $6, $7, $8)",
};

/// Who writes an event, and about whom.
pub(crate) struct Author<'a> {
    scope: String,
    principal: &'a Principal,
    origin: &'a Origin,
    reason: Option<&'static str>,
    environment: Option<EnvironmentId>,
}

impl<'a> Author<'a> {
    pub(crate) fn of_tenant(ctx: &'a TenantCtx) -> Self {
        Self {
            scope: ctx.tenant().to_string(),
            principal: ctx.principal(),
            origin: ctx.origin(),
            reason: None,
            environment: ctx.environment(),
        }
    }

    pub(crate) fn of_system(ctx: &'a SystemCtx, tenant: Option<TenantId>) -> Self {
        Self {
            scope: tenant.map_or_else(|| SYSTEM_SCOPE.to_owned(), |tenant| tenant.to_string()),
            principal: ctx.principal(),
            origin: ctx.origin(),
            reason: Some(ctx.reason()),
            environment: None,
        }
    }
}

/// What is sealed of an event: all that may be personal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<RequestId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<serde_json::Value>,
}

/// Binds a payload to its event: moved to another row it does not open.
pub(crate) fn payload_aad(scope: &str, id: &str) -> Vec<u8> {
    vault::aad(&[b"event", scope.as_bytes(), id.as_bytes()])
}

pub(crate) fn emit(core: &mut Core<'_>, author: &Author<'_>, event: NewEvent) -> Result<EventId, Error> {
    let NewEvent { kind, subject, environment, before, after } = event;
    let payload = Payload {
        actor: author.principal.to_string(),
        reason: author.reason.map(Into::into),
        ip: author.origin.ip,
        agent: author.origin.agent.clone(),
        request: author.origin.request,
        before,
        after,
    };
    let payload = serde_json::to_vec(&payload)
        .map_err(|error| Error::Statement(format!("encode an event: {error}")))?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::Statement(format!("an event of {} bytes is too large", payload.len())));
    }
    let id = EventId::new(&*core.shared.clock, &*core.shared.random);
    let aad = payload_aad(&author.scope, &id.to_string());
    let sealed = keys::for_writing(core, &author.scope)?.seal(&aad, &payload).map_err(keys::error)?;
    let params: [Value; 8] = [
        author.scope.as_str().into(),
        id.into(),
        core.shared.next_event_order().into(),
        environment.or(author.environment).into(),
        kind.into(),
        subject.into(),
        core.shared.clock.now().into(),
        sealed.into(),
    ];
    core.execute(&INSERT, &params)?;
    core.effects.events += 1;
    Ok(id)
}
