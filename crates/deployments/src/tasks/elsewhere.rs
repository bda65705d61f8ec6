//! Services that run elsewhere: their addresses are resolved and asked for their health.
//!
//! The gateway asks as well, from its own side, and decides by that. An address counts as ready here until it failed
//! as often as its health check allows, so that a start does not begin with refusals.

use super::Work;
use crate::model::{Health, Turn, UrlsSpec};
use crate::probe::{self, Question};
use base::ServiceId;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Time after which names are resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// Addresses that one service may come to have.
const ADDRESSES_MAX: usize = 256;

/// Asks for as long as it is polled.
pub(super) async fn run(work: Arc<Work>, service: ServiceId, spec: UrlsSpec) {
    let mut known: BTreeMap<SocketAddr, (Health, bool)> = BTreeMap::new();
    let mut resolved_at: Option<Duration> = None;
    let clock = &work.rt.clock;
    let check = &spec.healthcheck;
    loop {
        let due = resolved_at.is_none_or(|at| clock.monotonic().saturating_sub(at) >= RESOLVE_INTERVAL);
        if due {
            let addresses = resolve(&spec).await;
            known.retain(|addr, _| addresses.contains(addr));
            for addr in addresses {
                known.entry(addr).or_insert_with(|| (Health::new(check.retries, Duration::ZERO), true));
            }
            resolved_at = Some(clock.monotonic());
            publish(&work, service, &known);
        }
        let asked = known.keys().map(|addr| {
            probe::ask(Question { addr: *addr, path: check.path.as_deref(), timeout: check.timeout })
        });
        let answers = join_all(asked).await;
        for ((addr, (health, ready)), answer) in known.iter_mut().zip(answers) {
            match health.probed(answer, Duration::ZERO) {
                Turn::Healthy => *ready = true,
                Turn::Unhealthy => {
                    let why = health.last_failure().unwrap_or("it does not answer");
                    tracing::warn!(service.id = %service, %addr, why, "an address is unhealthy");
                    *ready = false;
                }
                Turn::None => {}
            }
        }
        let endpoints: Vec<(SocketAddr, bool)> =
            known.iter().map(|(addr, (_, ready))| (*addr, *ready)).collect();
        work.rt.directory.put_elsewhere(service, &endpoints);
        tokio::time::sleep(check.interval).await;
    }
}

fn publish(work: &Work, service: ServiceId, known: &BTreeMap<SocketAddr, (Health, bool)>) {
    let endpoints: Vec<(SocketAddr, bool)> = known.iter().map(|(addr, (_, ready))| (*addr, *ready)).collect();
    work.rt.directory.put_elsewhere(service, &endpoints);
}

async fn resolve(spec: &UrlsSpec) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for authority in &spec.authorities {
        match tokio::net::lookup_host(authority.as_str()).await {
            Ok(found) => addresses.extend(found),
            Err(error) => tracing::warn!(%authority, %error, "the address of a service cannot be resolved"),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}
