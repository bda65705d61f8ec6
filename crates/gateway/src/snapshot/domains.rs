//! Domains of tenants' own, over all environments.

use arc_swap::ArcSwap;
use base::TenantId;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

const SHARDS: usize = 64;

/// Whose domain it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// The number of the environment.
    pub environment: u16,
    /// The tenant.
    pub tenant: TenantId,
}

type Shard = ArcSwap<HashMap<Box<str>, Domain>>;

/// All domains.
#[derive(Debug)]
pub struct Domains {
    hasher: RandomState,
    shards: Box<[Shard]>,
}

impl Domains {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| ArcSwap::default()).collect() }
    }

    /// Whose domain a canonical host is.
    #[must_use]
    pub fn get(&self, host: &str) -> Option<Domain> {
        self.shard(host).load().get(host).copied()
    }

    /// Puts those of `after` in the place of those of `before`, all of one tenant.
    pub(crate) fn change<'a>(
        &self,
        domain: Domain,
        before: impl Iterator<Item = &'a str>,
        after: impl Iterator<Item = &'a str>,
    ) {
        for host in before {
            if self.get(host) == Some(domain) {
                self.edit(host, |map| {
                    map.remove(host);
                });
            }
        }
        for host in after {
            self.edit(host, |map| {
                map.insert(host.into(), domain);
            });
        }
    }

    fn edit(&self, host: &str, change: impl FnOnce(&mut HashMap<Box<str>, Domain>)) {
        let shard = self.shard(host);
        let mut next = HashMap::clone(&shard.load());
        change(&mut next);
        shard.store(Arc::new(next));
    }

    /// Replaces the domains of an environment.
    pub(crate) fn replace(&self, environment: u16, domains: Vec<(Box<str>, TenantId)>) {
        let mut next: Vec<HashMap<Box<str>, Domain>> =
            self.shards.iter().map(|shard| HashMap::clone(&shard.load())).collect();
        for shard in &mut next {
            shard.retain(|_, domain| domain.environment != environment);
        }
        for (host, tenant) in domains {
            next[self.number(&host)].insert(host, Domain { environment, tenant });
        }
        for (shard, next) in self.shards.iter().zip(next) {
            shard.store(Arc::new(next));
        }
    }

    fn shard(&self, host: &str) -> &Shard {
        &self.shards[self.number(host)]
    }

    fn number(&self, host: &str) -> usize {
        (self.hasher.hash_one(host) >> 58) as usize % SHARDS
    }
}
