//! Writing an event in the transaction of its change.

use std::net::IpAddr;

use authority::{Origin, Principal, SystemCtx, TenantCtx};
use base::{EnvironmentId, EventId, RequestId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tx::{Core, SYSTEM_SCOPE};
use crate::{Column, Error, Many, NewEvent, Param, Rows, Sql, Value, keys};

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

// Two texts for the same reason as [`INSERT`].
const INSERT_MANY: Many = Many {
    sqlite: "INSERT INTO sy_events (tenant, id, emitted, environment, kind, subject, at, payload)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    postgres: "INSERT INTO sy_events (tenant, id, emitted, environment, kind, subject, at, payload)
               SELECT u.tenant, u.id, coalesce(nextval('sy_event_order'), u.emitted), u.environment, u.kind, u.subject,
               u.at, u.payload FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
               $7::bigint[], $8::bytea[]) WITH ORDINALITY
               AS u(tenant, id, emitted, environment, kind, subject, at, payload, ord)",
    columns: &[
        Column::Text,
        Column::Text,
        Column::Int,
        Column::Text,
        Column::Text,
        Column::Text,
        Column::Int,
        Column::Blob,
    ],
};

/// An event as it is stored, not sequenced yet.
struct Sealed {
    id: EventId,
    emitted: i64,
    environment: Option<EnvironmentId>,
    kind: &'static str,
    subject: String,
    at: Timestamp,
    payload: Vec<u8>,
}

pub(crate) fn emit(core: &mut Core<'_>, author: &Author<'_>, event: NewEvent) -> Result<EventId, Error> {
    let Sealed { id, emitted, environment, kind, subject, at, payload } = seal(core, author, event)?;
    let params: [Value; 8] = [
        author.scope.as_str().into(),
        id.into(),
        emitted.into(),
        environment.into(),
        kind.into(),
        subject.into(),
        at.into(),
        payload.into(),
    ];
    core.execute(&INSERT, &params)?;
    core.effects.events += 1;
    Ok(id)
}

/// The same for many, in one statement.
pub(crate) fn emit_many(core: &mut Core<'_>, events: Vec<(Author<'_>, NewEvent)>) -> Result<(), Error> {
    let mut sealed = Vec::with_capacity(events.len());
    for (author, event) in events {
        let one = seal(core, &author, event)?;
        let texts = [author.scope, one.id.to_string()];
        sealed.push((texts, one.environment.map(|id| id.to_string()), one));
    }
    let mut rows = Rows::new(8, sealed.len());
    for ([scope, id], environment, one) in &sealed {
        rows.push([
            Param::Text(scope),
            Param::Text(id),
            Param::Int(one.emitted),
            environment.as_deref().map_or(Param::Null, Param::Text),
            Param::Text(one.kind),
            Param::Text(&one.subject),
            one.at.into(),
            Param::Blob(&one.payload),
        ]);
    }
    core.session.many(&INSERT_MANY, &rows)?;
    core.effects.events += u32::try_from(sealed.len()).unwrap_or(u32::MAX);
    Ok(())
}

fn seal(core: &mut Core<'_>, author: &Author<'_>, event: NewEvent) -> Result<Sealed, Error> {
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
    let payload = keys::for_writing(core, &author.scope)?.seal(&aad, &payload).map_err(keys::error)?;
    Ok(Sealed {
        id,
        emitted: core.shared.next_event_order(),
        environment: environment.or(author.environment),
        kind,
        subject,
        at: core.shared.clock.now(),
        payload,
    })
}
