//! Tenants as the scheduler needs them: what their plan weighs, and whether they are served at all.

use std::sync::Arc;
use std::time::Duration;

use base::{EnvironmentId, TenantId};
use lifecycle::Stop;
use ports::TenantStatus;

use super::queue::rest;
use super::{Engine, Inner};

/// Tenants that are looked up in one round.
const STRANGERS_MAX: usize = 256;
/// Events of one look at the log.
const EVENTS_MAX: u32 = 1_000;
/// Between two attempts while the event log cannot be read.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Follows changes of tenants (their plan, their being served) until `stop`.
    pub(super) async fn follow_tenants(&self, stop: Stop) {
        let inner = &self.0;
        if inner.tenants.is_none() {
            return stop.stopped().await;
        }
        let log = inner.db.events();
        let mut position = log.head();
        loop {
            match log.after(position, EVENTS_MAX).await {
                Ok(events) => {
                    for event in &events {
                        let tenant = TenantId::parse(&event.subject).ok().or(event.tenant);
                        if let Some(tenant) = tenant.filter(|_| event.kind.starts_with("tenant.")) {
                            inner.memory.lock().forget_tenant(tenant);
                        }
                    }
                    inner.meet_strangers().await;
                    inner.kick();
                    position = events.last().map_or(position, |event| event.position);
                }
                Err(error) => {
                    tracing::debug!(%error, "the event log cannot be read");
                    if stop.sleep(FAILED_PAUSE).await {
                        return;
                    }
                }
            }
            tokio::select! {
                () = stop.stopped() => return,
                _ = log.wait_beyond(position) => {}
            }
        }
    }
}

impl Inner {
    /// Looks up tenants that are new to their queues.
    pub(crate) async fn meet_strangers(self: &Arc<Self>) {
        let Some(directory) = &self.tenants else {
            self.memory.lock().all().for_each(|queue| queue.strangers.clear());
            return;
        };
        let strangers: Vec<(EnvironmentId, TenantId)> = self.memory.lock().strangers();
        for (environment, tenant) in strangers {
            match directory.one(environment, tenant).await {
                Ok(Some(record)) => {
                    let served = record.status == TenantStatus::Active;
                    self.memory.lock().know_tenant(environment, tenant, record.plan.as_str(), served);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "a tenant cannot be looked up"),
            }
        }
    }
}

impl super::memory::Memory {
    fn strangers(&mut self) -> Vec<(EnvironmentId, TenantId)> {
        let mut found = Vec::new();
        for queue in self.all() {
            let left = STRANGERS_MAX.saturating_sub(found.len()).min(queue.strangers.len());
            match queue.key.environment {
                Some(environment) => {
                    found.extend(queue.strangers.drain(..left).map(|tenant| (environment, tenant)));
                }
                None => queue.strangers.clear(),
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn know_tenant(&mut self, environment: EnvironmentId, tenant: TenantId, plan: &str, served: bool) {
        for queue in self.all().filter(|queue| queue.key.environment == Some(environment)) {
            let Some(lane) = queue.find_lane(Some(tenant)) else { continue };
            let weight = queue.settings.weights.get(plan).copied().unwrap_or(1);
            queue.fair.weigh(lane, weight);
            if served {
                queue.unrest(lane, rest::TENANT);
            } else {
                queue.rest(lane, rest::TENANT);
            }
        }
    }

    /// Has a tenant looked up again in all its queues.
    fn forget_tenant(&mut self, tenant: TenantId) {
        for queue in self.all() {
            if queue.find_lane(Some(tenant)).is_some() {
                queue.strangers.push(tenant);
            }
        }
    }
}
