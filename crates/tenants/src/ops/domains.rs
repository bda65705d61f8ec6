//! Add, prove, lose and remove custom domains.

use base::{EnvironmentId, HostName, TenantId};
use db::{NewEvent, SystemTx, TenantTx};
use serde_json::{Value, json};

use super::Sources;
use crate::error::Error;
use crate::model::{COOL_OFF, DOMAINS_MAX, Domain, Found, Outcome, Proof};
use crate::store::{domains, environments, tenants};

/// Bytes of a token: nobody guesses what another is to put into a record.
const TOKEN_BYTES: usize = 16;

/// Gives a tenant a host name that an operator vouches for. It is served at once, whoever had it before.
///
/// # Errors
/// `NotFound` (the tenant), `DomainUnderBase`, `DomainTaken`, `TooManyDomains`, `Store`.
pub fn add_verified(
    tx: &mut SystemTx,
    sources: &Sources,
    (tenant, environment): (TenantId, EnvironmentId),
    host: &HostName,
) -> Result<Domain, Error> {
    check_base(tx, host)?;
    if domains::owner(tx, host)?.is_some() {
        return Err(Error::DomainTaken(host.clone()));
    }
    let mut own = tx.for_tenant(tenant);
    let mut domain = claim(&mut own, sources, environment, host)?;
    domain.environment = Some(environment);
    domain.verified_at = Some(sources.clock.now());
    domain.proof = Some(Proof::Operator);
    domain.next_check_at = None;
    domain.problem = None;
    write(&mut own, &domain)?;
    changed(&mut own, sources, None, Some(json!({ "domain_verified": host, "by": "operator" })))?;
    Ok(domain)
}

/// Notes that the transaction's own tenant claims a host name. It is not served until the claim is proven, and
/// says nothing about whether another tenant claims or has it.
///
/// # Errors
/// `NotFound`, `TooManyDomains`, `Store`.
pub fn claim(
    tx: &mut TenantTx,
    sources: &Sources,
    environment: EnvironmentId,
    host: &HostName,
) -> Result<Domain, Error> {
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
    let mut token = [0; TOKEN_BYTES];
    sources.random.fill(&mut token);
    let token = token.iter().map(|byte| format!("{byte:02x}")).collect();
    let domain = Domain::claim(host.clone(), environment, token, sources.clock.now());
    domains::insert(tx, &domain)?;
    changed(tx, sources, None, Some(json!({ "domain_added": host })))?;
    Ok(domain)
}

/// Takes in what a look at name servers found. Who has shown that the name is theirs is told what stands against it.
///
/// # Errors
/// `NotFound`, `DomainUnderBase`, `DomainTaken`, `DomainRests`, `Store`; nothing is then written.
pub fn looked(
    tx: &mut SystemTx,
    sources: &Sources,
    tenant: TenantId,
    host: &HostName,
    found: &Found,
) -> Result<Domain, Error> {
    let now = sources.clock.now();
    let mut domain = domains::own(&mut tx.for_tenant(tenant), host)?.ok_or(Error::NotFound)?;
    if !domain.is_judged_by_record() {
        return Ok(domain);
    }
    let outcome = domain.judge(found, now);
    if outcome == Outcome::Proven {
        check_base(tx, host)?;
        if domains::owner(tx, host)?.is_some() {
            return Err(Error::DomainTaken(host.clone()));
        }
        let rests = domains::released_by_others(tx, host, tenant)?.map(|at| at + COOL_OFF);
        if let Some(until) = rests.filter(|until| *until > now) {
            return Err(Error::DomainRests { host: host.clone(), until });
        }
    }
    let mut own = tx.for_tenant(tenant);
    write(&mut own, &domain)?;
    match outcome {
        Outcome::Same => {}
        Outcome::Proven => {
            changed(&mut own, sources, None, Some(json!({ "domain_verified": host, "by": "txt" })))?;
        }
        Outcome::Lost => {
            domains::release(&mut own, host, now)?;
            changed(&mut own, sources, Some(json!({ "domain_lost": host })), None)?;
        }
    }
    Ok(domain)
}

/// Notes what stands against a claim that would be proven otherwise. It is looked at again like any other.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn held_up(tx: &mut TenantTx, sources: &Sources, host: &HostName, why: &str) -> Result<Domain, Error> {
    let mut domain = domains::own(tx, host)?.ok_or(Error::NotFound)?;
    domain.judge(&Found::Nothing(0), sources.clock.now());
    domain.problem = Some(why.to_owned());
    domains::update(tx, &domain)?;
    Ok(domain)
}

/// Takes a host name from the transaction's own tenant. One that was proven rests before another may prove it.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn remove(tx: &mut TenantTx, sources: &Sources, host: &HostName) -> Result<(), Error> {
    let domain = domains::own(tx, host)?.ok_or(Error::NotFound)?;
    if domain.verified_at.is_some() {
        domains::release(tx, host, sources.clock.now())?;
    }
    domains::delete(tx, host)?;
    changed(tx, sources, Some(json!({ "domain_removed": host })), None)
}

fn check_base(tx: &mut SystemTx, host: &HostName) -> Result<(), Error> {
    for environment in environments::all(tx)? {
        let base = environment.base_domain;
        if *host == base || host.under(&base).is_some() {
            return Err(Error::DomainUnderBase { host: host.clone(), base });
        }
    }
    Ok(())
}

/// Two tenants may prove a name at once: the unique index then refuses the second.
fn write(tx: &mut TenantTx, domain: &Domain) -> Result<(), Error> {
    domains::update(tx, domain).map_err(|error| match error {
        db::Error::Conflict { .. } => Error::DomainTaken(domain.host.clone()),
        other => Error::Store(other),
    })
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
