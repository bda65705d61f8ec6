//! Tenants of an environment, by id and by slug.

use crate::hash::Fold;
use arc_swap::ArcSwap;
use base::{HostName, Rate, TenantId};
use ports::TenantStatus;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Shards of each index: at 100,000 tenants a change copies some 400 pointers.
const SHARDS: usize = 256;

/// One tenant. About 150 bytes with its two index entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its id as text.
    pub text: Arc<str>,
    /// Its slug.
    pub slug: Arc<str>,
    /// The number of its plan.
    pub plan: u16,
    /// Whether it is served.
    pub status: TenantStatus,
    /// A rate of its own.
    pub rate_override: Option<Rate>,
    /// Domains of its own.
    pub domains: Box<[HostName]>,
}

/// Tenants by the hash of their id or slug, in its order.
type Shard = ArcSwap<Vec<(u64, Arc<Tenant>)>>;

/// All tenants of an environment.
#[derive(Debug)]
pub struct TenantTable {
    hasher: Fold,
    by_id: Box<[Shard]>,
    by_slug: Box<[Shard]>,
}

impl TenantTable {
    /// No tenants.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: Fold::default(),
            by_id: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            by_slug: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
        }
    }

    /// The tenant of an id.
    #[must_use]
    pub fn get(&self, id: TenantId) -> Option<Arc<Tenant>> {
        let hash = self.hasher.hash_one(id);
        let shard = self.by_id[shard_of_hash(hash)].load();
        find(&shard, hash, |tenant| tenant.id == id).cloned()
    }

    /// The tenant of a slug.
    #[must_use]
    pub fn by_slug(&self, slug: &str) -> Option<Arc<Tenant>> {
        let hash = self.hasher.hash_one(slug);
        let shard = self.by_slug[shard_of_hash(hash)].load();
        find(&shard, hash, |tenant| &*tenant.slug == slug).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.iter().map(|shard| shard.load().len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts one tenant, or what it is now in the place of what it was. Returns what it was.
    pub(crate) fn put(&self, tenant: Arc<Tenant>) -> Option<Arc<Tenant>> {
        let before = self.remove_slug_of(tenant.id);
        let hash = self.hasher.hash_one(tenant.id);
        let shard = &self.by_id[shard_of_hash(hash)];
        let mut next = Vec::clone(&shard.load());
        match next.iter_mut().find(|(_, other)| other.id == tenant.id) {
            Some((_, known)) => *known = tenant.clone(),
            None => next.insert(first_of(&next, hash), (hash, tenant.clone())),
        }
        shard.store(Arc::new(next));
        let hash = self.hasher.hash_one(&*tenant.slug);
        let shard = &self.by_slug[shard_of_hash(hash)];
        let mut next = Vec::clone(&shard.load());
        next.insert(first_of(&next, hash), (hash, tenant));
        shard.store(Arc::new(next));
        before
    }

    /// Takes a tenant away.
    pub(crate) fn remove(&self, id: TenantId) -> Option<Arc<Tenant>> {
        let before = self.remove_slug_of(id)?;
        let shard = &self.by_id[shard_of_hash(self.hasher.hash_one(id))];
        let mut next = Vec::clone(&shard.load());
        next.retain(|(_, tenant)| tenant.id != id);
        shard.store(Arc::new(next));
        Some(before)
    }

    fn remove_slug_of(&self, id: TenantId) -> Option<Arc<Tenant>> {
        let before = self.get(id)?;
        let shard = &self.by_slug[shard_of_hash(self.hasher.hash_one(&*before.slug))];
        let mut next = Vec::clone(&shard.load());
        next.retain(|(_, tenant)| tenant.id != id);
        shard.store(Arc::new(next));
        Some(before)
    }

    /// Replaces all tenants at once.
    pub(crate) fn replace(&self, tenants: Vec<Arc<Tenant>>) {
        let empty = || -> Vec<Vec<(u64, Arc<Tenant>)>> { (0..SHARDS).map(|_| Vec::new()).collect() };
        let (mut by_id, mut by_slug) = (empty(), empty());
        for tenant in tenants {
            let hash = self.hasher.hash_one(&*tenant.slug);
            by_slug[shard_of_hash(hash)].push((hash, tenant.clone()));
            let hash = self.hasher.hash_one(tenant.id);
            by_id[shard_of_hash(hash)].push((hash, tenant));
        }
        let shards = self.by_id.iter().zip(by_id).chain(self.by_slug.iter().zip(by_slug));
        for (shard, mut next) in shards {
            next.sort_unstable_by_key(|(hash, _)| *hash);
            next.shrink_to_fit();
            shard.store(Arc::new(next));
        }
    }
}

impl Default for TenantTable {
    fn default() -> Self {
        Self::new()
    }
}

/// The tenant of a hash that is the one.
fn find(shard: &[(u64, Arc<Tenant>)], hash: u64, is: impl Fn(&Tenant) -> bool) -> Option<&Arc<Tenant>> {
    let same = shard[first_of(shard, hash)..].iter().take_while(|(other, _)| *other == hash);
    same.map(|(_, tenant)| tenant).find(|tenant| is(tenant))
}

/// The place of the first entry that is not before a hash. Hashes are spread evenly, so that it is near where it would be if they
/// were spread exactly: within ten places or so of four hundred. A search by halves would wait for memory at each of its
/// first steps.
fn first_of(shard: &[(u64, Arc<Tenant>)], hash: u64) -> usize {
    // What of the hash did not choose the shard, as a part of the whole.
    let part = hash << 8;
    let mut at = ((u128::from(part) * shard.len() as u128) >> 64) as usize;
    while at > 0 && shard[at - 1].0 >= hash {
        at -= 1;
    }
    while shard.get(at).is_some_and(|(other, _)| *other < hash) {
        at += 1;
    }
    at
}

fn shard_of_hash(hash: u64) -> usize {
    (hash >> 56) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u32, slug: &str) -> Arc<Tenant> {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        bytes[15] = n as u8;
        let id = TenantId::from_uuid_bytes(bytes);
        Arc::new(Tenant {
            id,
            text: id.to_string().into(),
            slug: slug.into(),
            plan: 0,
            status: TenantStatus::Active,
            rate_override: None,
            domains: Box::default(),
        })
    }

    #[test]
    fn tenants_are_found_by_id_and_slug_through_changes() {
        let table = TenantTable::new();
        table.replace((0..1_000).map(|n| tenant(n, &format!("t{n}"))).collect());
        assert_eq!(table.len(), 1_000);
        assert_eq!(table.by_slug("t77").unwrap().id, tenant(77, "").id);
        assert_eq!(&*table.get(tenant(500, "").id).unwrap().slug, "t500");

        assert_eq!(&*table.put(tenant(77, "renamed")).unwrap().slug, "t77");
        assert!(table.by_slug("t77").is_none());
        assert_eq!(table.by_slug("renamed").unwrap().id, tenant(77, "").id);
        assert!(table.put(tenant(2_000, "new")).is_none());
        assert!(table.remove(tenant(500, "").id).is_some());
        assert!(table.get(tenant(500, "").id).is_none() && table.by_slug("t500").is_none());
        assert_eq!(table.len(), 1_000);
    }
}
