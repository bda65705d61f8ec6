//! Add and remove custom domains.

use base::{HostName, TenantId};
use db::{NewEvent, SystemTx, TenantTx};
use serde_json::{Value, json};

use super::Sources;
use crate::error::Error;
use crate::model::{DOMAINS_MAX, Domain};
use crate::store::{domains, environments, tenants};

/// Gives a tenant a host name that an operator vouches for. It is served at once.
///
/// # Errors
/// `NotFound` (the tenant), `DomainUnderBase`, `DomainTaken`, `TooManyDomains`, `Store`.
pub fn add_verified(
    tx: &mut SystemTx,
    sources: &Sources,
    tenant: TenantId,
    host: &HostName,
) -> Result<Domain, Error> {
    for environment in environments::all(tx)? {
        let base = environment.base_domain;
        if *host == base || host.under(&base).is_some() {
            return Err(Error::DomainUnderBase { host: host.clone(), base });
        }
    }
    if domains::owner(tx, host)?.is_some() {
        return Err(Error::DomainTaken(host.clone()));
    }
    let now = sources.clock.now();
    let mut own = tx.for_tenant(tenant);
    let domain = claim(&mut own, sources, host)?;
    domains::verify(&mut own, host, now).map_err(|error| match error {
        db::Error::Conflict { .. } => Error::DomainTaken(host.clone()),
        other => Error::Store(other),
    })?;
    changed(&mut own, sources, None, Some(json!({ "domain_verified": host })))?;
    Ok(Domain { verified_at: Some(now), ..domain })
}

/// Notes that the transaction's own tenant claims a host name. It is not served until the claim is proven, and
/// says nothing about whether another tenant claims or has it.
///
/// # Errors
/// `NotFound`, `TooManyDomains`, `Store`.
pub fn claim(tx: &mut TenantTx, sources: &Sources, host: &HostName) -> Result<Domain, Error> {
    if tenants::own(tx)?.is_none() {
        return Err(Error::NotFound);
    }
    if let Some(domain) = domains::own(tx, host)? {
        return Ok(domain);
    }
    let count = domains::count(tx)?;
    if count >= DOMAINS_MAX {
        return Err(Error::TooManyDomains(count));
    }
    let domain = Domain { host: host.clone(), verified_at: None, created_at: sources.clock.now() };
    domains::insert(tx, &domain)?;
    changed(tx, sources, None, Some(json!({ "domain_added": host })))?;
    Ok(domain)
}

/// Takes a host name from the transaction's own tenant.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn remove(tx: &mut TenantTx, sources: &Sources, host: &HostName) -> Result<(), Error> {
    if !domains::delete(tx, host)? {
        return Err(Error::NotFound);
    }
    changed(tx, sources, Some(json!({ "domain_removed": host })), None)
}

/// A change of domains is one of the tenant: it takes a revision, and followers read the tenant again.
fn changed(
    tx: &mut TenantTx,
    sources: &Sources,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), Error> {
    tenants::touch(tx, sources.clock.now())?;
    let subject = tx.tenant().to_string();
    tx.emit(NewEvent { kind: "tenant.updated", subject, environment: None, before, after })?;
    Ok(())
}
