//! API keys of all environments, by the hash of their text.

use arc_swap::ArcSwap;
use base::{Cidr, KeyId, TenantId, Timestamp};
use parking_lot::RwLock;
use ports::KeyRecord;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Shards, by the first bits of the hash: at 1,000,000 keys a change copies some 55 KB.
const SHARDS: usize = 1_024;

/// Bytes of the hash that are kept. A half of SHA-256 is still 128 bits: nobody finds a second text for it, and a
/// million keys take 16 MB less.
const HASH_BYTES: usize = 16;

/// One key: 56 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    hash: [u8; HASH_BYTES],
    id: [u8; 16],
    tenant: [u8; 16],
    /// Seconds since 1970 after which it no longer works; 0 for never.
    expires: u32,
    /// The number of its environment.
    pub environment: u16,
    /// The number of its grant, with [`RESTRICTED`].
    grant: u16,
}

/// Set in the number of a grant that holds for some addresses only, so that other keys need not look.
const RESTRICTED: u16 = 1 << 15;
/// The number of grants beyond the last that can be numbered.
const NO_GRANT: u16 = RESTRICTED - 1;

/// What a key permits. Few differ, so that they are shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The role's name, as the application is told.
    pub role: Arc<str>,
    /// From where; empty for anywhere.
    pub allowed_ips: Box<[Cidr]>,
}

/// All keys.
#[derive(Debug)]
pub struct KeyTable {
    shards: Box<[ArcSwap<Shard>]>,
    grants: RwLock<Grants>,
}

/// Keys below which a shard is searched by halves: a few lines of memory.
const HALVED_MAX: usize = 16;
/// Keys beyond which the starts of parts could not be numbered.
const PARTED_MAX: usize = u16::MAX as usize;

/// The keys whose hashes begin alike, in order. Where there are many, they are parted by the next bits of the hash into
/// as many parts as there are keys or half of that: a search by halves among a thousand would wait for memory ten times, this
/// does three times.
#[derive(Debug, Default)]
struct Shard {
    entries: Vec<KeyEntry>,
    /// Where each part begins, and where the last one ends; none where the shard is small.
    starts: Box<[u16]>,
}

impl Shard {
    fn new(mut entries: Vec<KeyEntry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.hash);
        entries.shrink_to_fit();
        if !(HALVED_MAX..=PARTED_MAX).contains(&entries.len()) {
            return Self { entries, starts: Box::default() };
        }
        let parts = entries.len().next_power_of_two() / 2;
        let mut starts = vec![0_u16; parts + 1];
        // How many are in each part, one place further on; their sums are where the parts begin.
        for entry in &entries {
            starts[part_of(&entry.hash, parts) + 1] += 1;
        }
        for part in 1..=parts {
            starts[part] += starts[part - 1];
        }
        Self { entries, starts: starts.into() }
    }

    fn find(&self, hash: &[u8; HASH_BYTES]) -> Option<&KeyEntry> {
        if self.starts.is_empty() {
            let at = self.entries.binary_search_by(|entry| entry.hash.cmp(hash)).ok()?;
            return self.entries.get(at);
        }
        let part = part_of(hash, self.starts.len() - 1);
        let (start, end) = (usize::from(self.starts[part]), usize::from(self.starts[part + 1]));
        self.entries[start..end].iter().find(|entry| entry.hash == *hash)
    }
}

/// The part of a hash, among so many (a power of two, at most 2^16), by the bits behind those of the shard.
fn part_of(hash: &[u8; HASH_BYTES], parts: usize) -> usize {
    let bits = u32::from_be_bytes([hash[1], hash[2], hash[3], hash[4]]) << 2;
    ((u64::from(bits) * parts as u64) >> 32) as usize
}

#[derive(Debug, Default)]
struct Grants {
    all: Vec<Grant>,
    numbers: HashMap<Grant, u16>,
}

impl KeyEntry {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::from_uuid_bytes(self.id)
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        TenantId::from_uuid_bytes(self.tenant)
    }

    /// When it stops working; `None` for never.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        (self.expires != 0).then(|| Timestamp::from_micros(i64::from(self.expires) * 1_000_000))
    }

    /// Whether it works from some addresses only.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.grant & RESTRICTED != 0
    }

    /// Whether it has expired.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires != 0 && now.seconds() >= i64::from(self.expires)
    }
}

impl KeyTable {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(), grants: RwLock::default() }
    }

    /// The key of a hash.
    #[must_use]
    pub fn get(&self, hash: &[u8; 32]) -> Option<KeyEntry> {
        self.find(&hash[..HASH_BYTES].try_into().expect("16 bytes of 32"))
    }

    fn find(&self, kept: &[u8; HASH_BYTES]) -> Option<KeyEntry> {
        self.shards[shard_of(kept)].load().find(kept).copied()
    }

    /// Whether a key that was found before is still there, and permits the same.
    #[must_use]
    pub fn is_current(&self, entry: &KeyEntry) -> bool {
        self.find(&entry.hash).is_some_and(|now| now == *entry)
    }

    /// Whether a key works from an address. A restriction that is not known lets nobody in.
    #[must_use]
    pub fn allows(&self, entry: &KeyEntry, client: IpAddr) -> bool {
        let allowed = |grant: Grant| grant.allowed_ips.iter().any(|range| range.contains(client));
        !entry.is_restricted() || self.grant(entry).is_some_and(allowed)
    }

    /// What a key permits.
    #[must_use]
    pub fn grant(&self, entry: &KeyEntry) -> Option<Grant> {
        self.grants.read().all.get(usize::from(entry.grant & !RESTRICTED)).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.load().entries.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn entry(&self, environment: u16, record: &KeyRecord) -> KeyEntry {
        let grant =
            Grant { role: record.role.to_string().into(), allowed_ips: record.allowed_ips.clone().into() };
        let restricted = if grant.allowed_ips.is_empty() { 0 } else { RESTRICTED };
        let expires =
            record.expires_at.map_or(0, |at| u32::try_from(at.seconds().max(1)).unwrap_or(u32::MAX));
        KeyEntry {
            hash: record.hash[..HASH_BYTES].try_into().expect("16 bytes of 32"),
            id: *record.id.as_bytes(),
            tenant: *record.tenant.as_bytes(),
            expires,
            environment,
            grant: self.grants.write().number(grant) | restricted,
        }
    }

    /// Replaces the keys of some tenants of an environment. What they had is found by a walk through all keys, some
    /// 10 ms for a million, once for a whole batch of changes: an index from tenant to keys would cost more memory
    /// than keys themselves.
    pub(crate) fn replace_tenants(
        &self,
        environment: u16,
        tenants: &HashSet<TenantId>,
        entries: &[KeyEntry],
    ) {
        let mut by_shard: HashMap<usize, Vec<KeyEntry>> = HashMap::new();
        for entry in entries {
            by_shard.entry(shard_of(&entry.hash)).or_default().push(*entry);
        }
        let theirs = |entry: &KeyEntry| entry.environment == environment && tenants.contains(&entry.tenant());
        for (number, shard) in self.shards.iter().enumerate() {
            let before = shard.load();
            let added = by_shard.remove(&number).unwrap_or_default();
            if added.is_empty() && !before.entries.iter().any(theirs) {
                continue;
            }
            let mut next: Vec<KeyEntry> =
                before.entries.iter().filter(|entry| !theirs(entry)).copied().collect();
            next.extend(added);
            shard.store(Arc::new(Shard::new(next)));
        }
    }

    /// Replaces all keys of an environment by those of a bulk load.
    pub(crate) fn replace(&self, environment: u16, load: KeyLoad) {
        for (shard, added) in self.shards.iter().zip(load.shards) {
            let before = shard.load();
            let mut next = added;
            next.extend(before.entries.iter().filter(|entry| entry.environment != environment));
            shard.store(Arc::new(Shard::new(next)));
        }
    }
}

impl Grants {
    fn number(&mut self, grant: Grant) -> u16 {
        if let Some(number) = self.numbers.get(&grant) {
            return *number;
        }
        let number = u16::try_from(self.all.len()).unwrap_or(NO_GRANT).min(NO_GRANT);
        // Beyond 32,767 different grants the rest have no role to tell of, and no address from which they work if only
        // some may.
        if number < NO_GRANT {
            self.all.push(grant.clone());
            self.numbers.insert(grant, number);
        }
        number
    }
}

/// Keys on their way in, already in the order in which they are kept, so that no second copy of all is made.
#[derive(Debug)]
pub(crate) struct KeyLoad {
    shards: Vec<Vec<KeyEntry>>,
}

impl KeyLoad {
    pub(crate) fn new() -> Self {
        Self { shards: vec![Vec::new(); SHARDS] }
    }

    pub(crate) fn push(&mut self, entry: KeyEntry) {
        self.shards[shard_of(&entry.hash)].push(entry);
    }
}

fn shard_of(hash: &[u8; HASH_BYTES]) -> usize {
    (usize::from(hash[0]) << 2) | usize::from(hash[1] >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use authority::Role;
    use authority::key_format;
    use base::EnvironmentId;

    fn record(n: u32, tenant: u8) -> KeyRecord {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        KeyRecord {
            id: KeyId::from_uuid_bytes(id),
            hash: key_format::hash(&n.to_be_bytes()),
            tenant: TenantId::from_uuid_bytes([tenant; 16]),
            environment: EnvironmentId::from_uuid_bytes([0; 16]),
            role: Role::Admin,
            scopes: None,
            expires_at: (n == 7).then(|| Timestamp::from_micros(5_000_000)),
            name: String::new(),
            allowed_ips: Vec::new(),
        }
    }

    #[test]
    fn keys_are_found_and_replaced_by_tenant() {
        let table = KeyTable::new();
        let mut load = KeyLoad::new();
        (0..10_000).for_each(|n| load.push(table.entry(3, &record(n, (n % 10) as u8))));
        table.replace(3, load);
        assert_eq!(table.len(), 10_000);
        let found = table.get(&key_format::hash(&77_u32.to_be_bytes())).unwrap();
        assert_eq!((found.tenant(), found.environment), (TenantId::from_uuid_bytes([7; 16]), 3));
        assert_eq!(&*table.grant(&found).unwrap().role, "admin");

        let tenants = HashSet::from([TenantId::from_uuid_bytes([7; 16])]);
        table.replace_tenants(3, &tenants, &[table.entry(3, &record(87, 7))]);
        assert_eq!(table.len(), 9_001);
        assert!(table.get(&key_format::hash(&77_u32.to_be_bytes())).is_none());
        assert!(table.get(&key_format::hash(&87_u32.to_be_bytes())).is_some());
    }

    #[test]
    fn every_key_is_found_however_many_there_are() {
        let table = KeyTable::new();
        for count in [0, 1, 15, 16, 17, 100, 1_000, 70_000] {
            // All of one shard, with hashes that are spread evenly, and two that begin alike.
            let entries = (0..count).map(|n: u32| {
                let mut record = record(n, 1);
                record.hash[0] = 0;
                record.hash[1] &= 0x3f;
                if n == 1 {
                    record.hash[1..8].fill(0x0f);
                }
                table.entry(0, &record)
            });
            let entries: Vec<KeyEntry> = entries.collect();
            let shard = Shard::new(entries.clone());
            for entry in &entries {
                assert_eq!(shard.find(&entry.hash), Some(entry));
                let mut other = entry.hash;
                other[15] ^= 1;
                assert!(shard.find(&other).is_none());
            }
        }
    }

    #[test]
    fn a_key_works_from_its_addresses_alone() {
        let table = KeyTable::new();
        let ranges = |text: &str| vec![Cidr::parse(text).unwrap()];
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let anywhere = table.entry(0, &record(1, 1));
        let office = table.entry(0, &KeyRecord { allowed_ips: ranges("203.0.113.0/24"), ..record(2, 1) });
        assert!(table.allows(&anywhere, address("198.51.100.1")) && !anywhere.is_restricted());
        assert!(
            table.allows(&office, address("203.0.113.77")) && !table.allows(&office, address("203.0.114.1"))
        );
        assert!(!table.allows(&office, address("2001:db8::1")));
        assert_eq!(&*table.grant(&office).unwrap().role, "admin");
        // More restrictions than can be numbered let nobody in, rather than everybody.
        for n in 0..40_000_u32 {
            let range = format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255);
            table.entry(0, &KeyRecord { allowed_ips: ranges(&range), ..record(3, 1) });
        }
        let beyond = table.entry(0, &KeyRecord { allowed_ips: ranges("203.0.113.9/32"), ..record(4, 1) });
        assert!(beyond.is_restricted() && !table.allows(&beyond, address("203.0.113.9")));
        assert!(table.allows(&anywhere, address("198.51.100.1")));
    }

    #[test]
    fn a_key_is_small_and_expires() {
        assert_eq!(size_of::<KeyEntry>(), 56);
        let table = KeyTable::new();
        let entry = table.entry(0, &record(7, 0));
        assert!(!entry.is_expired(Timestamp::from_micros(4_999_999)));
        assert!(entry.is_expired(Timestamp::from_micros(5_000_000)));
        assert!(!table.entry(0, &record(8, 0)).is_expired(Timestamp::from_micros(i64::MAX)));
    }
}
