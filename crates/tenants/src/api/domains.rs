//! `/api/v1/tenants/{t}/domains`.

use std::sync::Arc;

use authority::permissions;
use base::{EnvironmentId, HostName, Page, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::model::{Domain, Proof};
use crate::ops;
use crate::store::domains as rows;

const DOMAINS: &str = "/api/v1/tenants/{t}/domains";
const DOMAIN: &str = "/api/v1/tenants/{t}/domains/{host}";
const VERIFY: &str = "/api/v1/tenants/{t}/domains/{host}/verify";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("tenants")
        .route(
            Spec::get(DOMAINS, permissions::DOMAINS_READ)
                .summary("List a tenant's domains")
                .surface(Surface::Both),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::post(DOMAINS, permissions::DOMAINS_WRITE)
                .summary("Add a domain to a tenant")
                .details(
                    "An operator vouches for it, and it is served at once. What a tenant adds itself is not \
                     served until its ownership is proven by the TXT record that the reply names. It leads to \
                     the environment of the call.",
                )
                .surface(Surface::Both)
                .codes(&[&codes::CONFLICT])
                .example(r#"{"host": "app.acme.example"}"#),
            Arc::clone(state),
            add,
        )
        .route(
            Spec::post(VERIFY, permissions::DOMAINS_WRITE)
                .summary("Look for a domain's record")
                .details(
                    "Asks name servers for the TXT record and serves the domain from then on if it is there. \
                     Claims are looked at by themselves too, first every minute. A proven domain whose record \
                     is gone for 72 hours is served no longer. What another tenant had cannot be proven for \
                     seven days after it let go.",
                )
                .surface(Surface::Both)
                .success(200)
                .repeatable("it looks again, ten seconds after the last look at the soonest")
                .codes(&[&codes::CONFLICT]),
            Arc::clone(state),
            verify,
        )
        .route(
            Spec::delete(DOMAIN, permissions::DOMAINS_DELETE)
                .summary("Remove a domain from a tenant")
                .surface(Surface::Both),
            Arc::clone(state),
            remove,
        )
}

/// A tenant's own host name, as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DomainView {
    /// The host name.
    pub host: HostName,
    /// The environment that it leads to; `null` for a domain of before environments were noted.
    pub environment: Option<EnvironmentId>,
    /// When its ownership was proven; `null` while it is not, and it is not served.
    pub verified_at: Option<Timestamp>,
    /// By what it was proven.
    pub proof: Option<Proof>,
    /// The record that proves it; `null` where an operator vouches.
    pub record: Option<DomainRecord>,
    /// When its record was last looked for.
    pub checked_at: Option<Timestamp>,
    /// Since when the record of a proven domain has been missing: it is served for 72 hours more.
    pub failing_since: Option<Timestamp>,
    /// What the last look found wrong.
    pub problem: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A record for the zone of a domain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DomainRecord {
    /// Its whole name.
    pub name: String,
    /// Its type: `TXT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it holds.
    pub value: String,
}

impl From<Domain> for DomainView {
    fn from(domain: Domain) -> DomainView {
        let record = domain.is_judged_by_record().then(|| domain.record_value()).flatten();
        let record =
            record.map(|value| DomainRecord { name: domain.record_name(), kind: "TXT".to_owned(), value });
        let Domain { host, environment, token: _, verified_at, proof, .. } = domain;
        let Domain { checked_at, next_check_at: _, failing_since, problem, created_at, .. } = domain;
        DomainView {
            host,
            environment,
            verified_at,
            proof,
            record,
            checked_at,
            failing_since,
            problem,
            created_at,
        }
    }
}

/// A host name to be added.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDomain {
    /// The host name, without port; not under a base domain.
    pub host: HostName,
}

async fn list(state: Arc<State>, call: Call<(), PageQuery>) -> Result<Reply<Page<DomainView>>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let page = call.query.page();
    let request = page.clone();
    let read =
        state.db.read(&ctx, move |tx| rows::page(tx, request.after().unwrap_or_default(), request.fetch()));
    let page = Page::of(read.await?, &page, |domain| domain.host.to_string());
    Ok(Reply::ok(page.map(DomainView::from)))
}

async fn add(state: Arc<State>, call: Call<AddDomain>) -> Result<Reply<DomainView>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let tenant = ctx.tenant();
    let environment = call.environment()?.id;
    let host = call.body.host.clone();
    let once = call.idempotency.clone();
    let shared = Arc::clone(&state);
    let location = format!("/api/v1/tenants/{tenant}/domains/{host}");
    let made: DomainView = if call.caller.is_operator() {
        let ctx = call.caller.system_ctx("add a domain that an operator vouches for")?;
        let write = state.db.write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                ops::domains::add_verified(tx, &shared.sources, (tenant, environment), &host)
                    .map(DomainView::from)
            })
        });
        write.await?
    } else {
        let write = state.db.write(&ctx, move |tx| {
            once.once(tx, |tx| {
                ops::domains::claim(tx, &shared.sources, environment, &host).map(DomainView::from)
            })
        });
        write.await?
    };
    Ok(Reply::created(&location, made))
}

async fn verify(state: Arc<State>, call: Call) -> Result<Reply<DomainView>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let host = call.path.parse("host", HostName::parse)?;
    let domain = state.proofs.verify(&ctx, host).await?;
    Ok(Reply::ok(DomainView::from(domain)))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let host = call.path.parse("host", HostName::parse)?;
    let shared = Arc::clone(&state);
    state.db.write(&ctx, move |tx| ops::domains::remove(tx, &shared.sources, &host)).await?;
    Ok(Reply::no_content())
}
