//! What this capability knows of a tenant's health.

use std::time::Duration;

use base::Timestamp;
use db::TenantTx;
use ports::HealthSign;

use crate::error::Error;
use crate::model::{DOMAINS_MAX, Domain, Status};
use crate::store::{domains, onboarding, tenants};

/// What takes longer than this to be done is told.
const PATIENCE: Duration = Duration::from_secs(600);
/// Signs about domains.
const DOMAIN_SIGNS_MAX: usize = 20;

/// Status, onboarding and domains of the transaction's own tenant.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn own_signs(tx: &mut TenantTx, now: Timestamp) -> Result<Vec<HealthSign>, Error> {
    let tenant = tenants::own(tx)?.ok_or(Error::NotFound)?;
    let mut signs = Vec::new();
    if tenant.fields.status != Status::Active {
        let text = format!("The tenant is {}: it is refused everywhere.", tenant.fields.status.word());
        signs.push(HealthSign { topic: "status", is_urgent: true, text });
    }
    let late = now.since(tenant.created_at) > PATIENCE;
    for step in onboarding::all(tx)?.into_iter().filter(|step| step.done_at.is_none() && late) {
        let text = format!("Step `{}` of its onboarding is not done.", step.step.word());
        signs.push(HealthSign { topic: "onboarding", is_urgent: false, text });
    }
    let own = domains::page(tx, "", DOMAINS_MAX)?;
    signs.extend(own.iter().filter_map(|domain| of_domain(domain, now)).take(DOMAIN_SIGNS_MAX));
    Ok(signs)
}

fn of_domain(domain: &Domain, now: Timestamp) -> Option<HealthSign> {
    let host = &domain.host;
    let why = domain.problem.as_deref().unwrap_or("it was not looked for yet");
    let (is_urgent, text) = match (domain.verified_at, domain.failing_since) {
        (Some(_), Some(_)) => (true, format!("{host} will be served no longer: {why}.")),
        (None, _) if now.since(domain.created_at) > PATIENCE => {
            (false, format!("{host} is not proven: {why}."))
        }
        _ => return None,
    };
    Some(HealthSign { topic: "domains", is_urgent, text })
}
