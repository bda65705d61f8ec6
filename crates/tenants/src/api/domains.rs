//! `/api/v1/tenants/{t}/domains`.

use std::sync::Arc;

use authority::permissions;
use base::{HostName, Page, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, PageQuery, Problem, Reply, Routes, Spec, Surface};

use super::State;
use crate::model::Domain;
use crate::ops;
use crate::store::domains as rows;

const DOMAINS: &str = "/api/v1/tenants/{t}/domains";
const DOMAIN: &str = "/api/v1/tenants/{t}/domains/{host}";

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
                     served until its ownership is proven.",
                )
                .surface(Surface::Both)
                .codes(&[&codes::CONFLICT])
                .example(r#"{"host": "app.acme.example"}"#),
            Arc::clone(state),
            add,
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
    /// When its ownership was proven; `null` while it is not, and it is not served.
    pub verified_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl From<Domain> for DomainView {
    fn from(domain: Domain) -> DomainView {
        let Domain { host, verified_at, created_at } = domain;
        DomainView { host, verified_at, created_at }
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
    let host = call.body.host.clone();
    let once = call.idempotency.clone();
    let shared = Arc::clone(&state);
    let location = format!("/api/v1/tenants/{tenant}/domains/{host}");
    let made: DomainView = if call.caller.is_operator() {
        let ctx = call.caller.system_ctx("add a domain that an operator vouches for")?;
        let write = state.db.write_system(&ctx, move |tx| {
            once.once(tx, |tx| {
                ops::domains::add_verified(tx, &shared.sources, tenant, &host).map(DomainView::from)
            })
        });
        write.await?
    } else {
        let write = state.db.write(&ctx, move |tx| {
            once.once(tx, |tx| ops::domains::claim(tx, &shared.sources, &host).map(DomainView::from))
        });
        write.await?
    };
    Ok(Reply::created(&location, made))
}

async fn remove(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.tenant_ctx(&*state.directory).await?;
    let host = call.path.parse("host", HostName::parse)?;
    let shared = Arc::clone(&state);
    state.db.write(&ctx, move |tx| ops::domains::remove(tx, &shared.sources, &host)).await?;
    Ok(Reply::no_content())
}
