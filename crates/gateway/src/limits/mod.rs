//! Who may ask how often.
//!
//! Windows live beside the snapshot, not in it: they survive each change of it and are forgotten at a restart. All
//! threads share them. A window is found and asked under one short lock, that of its shard; two threads meet there
//! only when they serve the same tenant (or one in 256 others), and hold it for some fifty nanoseconds.

mod headers;
mod window;

pub use headers::{push_limit_headers, retry_after_seconds};
pub use window::{PARTS, Verdict, Window};

use crate::hash::Fold;
use base::{KeyId, Rate, SharedClock, TenantId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

/// Shards of the table; a power of two. Enough that threads do not meet, few enough to walk.
const SHARDS: usize = 256;

/// Windows of addresses that one shard keeps: 256 x 512 are 131,072 in all, about 50 MB under attack. Beyond,
/// addresses of a shard share one window. Tenants and keys are bounded by how many there are.
const ADDRESSES_A_SHARD_MAX: usize = 512;

/// The least time between two walks through a full shard, so that a flood of addresses does not buy a walk each.
const WALK_EVERY: Duration = Duration::from_secs(1);

/// Whose limit it is. `environment` is the index of the environment, since all counts are kept apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The plan's limit of a tenant.
    Tenant(u16, TenantId),
    /// A route's own limit on what each tenant may ask of it.
    TenantOnRoute(u64, TenantId),
    /// A route's own limit on each key.
    Key(u64, KeyId),
    /// An address, where no tenant is known: an IPv4 address, or the first 64 bits of an IPv6 one, because a
    /// single customer of a provider has at least that many.
    Address(u16, u64),
    /// A route's own limit on each address.
    AddressOnRoute(u64, u64),
    /// All addresses of a shard that has too many.
    Others,
}

impl Subject {
    /// The number by which an address is counted.
    #[must_use]
    pub fn address(address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(u32::from(v4)),
            // No global IPv6 prefix is below 2^32, so that the two do not meet.
            IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
        }
    }

    /// What policies are called in headers.
    #[must_use]
    pub fn policy(self) -> &'static str {
        match self {
            Self::Tenant(..) => "tenant",
            Self::TenantOnRoute(..) => "route",
            Self::Key(..) => "key",
            Self::Address(..) | Self::AddressOnRoute(..) | Self::Others => "address",
        }
    }

    fn is_address(self) -> bool {
        matches!(self, Self::Address(..) | Self::AddressOnRoute(..) | Self::Others)
    }
}

/// One limit that a request is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Whose.
    pub subject: Subject,
    /// How much.
    pub rate: Rate,
}

/// What a request met, with the limit that decided or that is nearest to deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The limit.
    pub limit: Limit,
    /// What it said.
    pub verdict: Verdict,
}

#[derive(Debug, Default)]
struct Shard {
    windows: HashMap<Subject, Box<Window>, Fold>,
    addresses: usize,
    walked_at: Duration,
}

/// All windows of the process.
#[derive(Debug)]
pub struct Limits {
    clock: SharedClock,
    hasher: Fold,
    shards: Box<[Mutex<Shard>]>,
}

impl Limits {
    /// An empty table.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Self { clock, hasher: Fold::default(), shards }
    }

    /// Asks all limits that a request is under, in the order given: tenant, key, route, address. It passes when each
    /// of them lets it; otherwise none has counted it. The answer tells of the first that refused, else of the one
    /// with the smallest share left. `None` when there is no limit. `now` is the time of the request on the monotonic clock.
    pub fn take(&self, limits: &[Limit], now: Duration) -> Option<Outcome> {
        let mut tightest: Option<Outcome> = None;
        for (index, limit) in limits.iter().enumerate() {
            let verdict = self.take_one(*limit, now);
            let outcome = Outcome { limit: *limit, verdict };
            if !verdict.allowed {
                for earlier in &limits[..index] {
                    self.give_back(earlier.subject);
                }
                return Some(outcome);
            }
            if tightest.is_none_or(|other| share(&outcome.verdict) < share(&other.verdict)) {
                tightest = Some(outcome);
            }
        }
        tightest
    }

    fn take_one(&self, limit: Limit, now: Duration) -> Verdict {
        let mut shard = self.shard(limit.subject).lock();
        if let Some(window) = shard.windows.get_mut(&limit.subject) {
            return window.take(limit.rate, now);
        }
        let mut subject = limit.subject;
        if subject.is_address() {
            if shard.addresses >= ADDRESSES_A_SHARD_MAX && now >= shard.walked_at + WALK_EVERY {
                shard.forget_idle(now);
            }
            if shard.addresses >= ADDRESSES_A_SHARD_MAX {
                subject = Subject::Others;
            } else {
                shard.addresses += 1;
            }
        }
        let fresh = || Box::new(Window::new(limit.rate.per, now));
        shard.windows.entry(subject).or_insert_with(fresh).take(limit.rate, now)
    }

    fn give_back(&self, subject: Subject) {
        let mut shard = self.shard(subject).lock();
        if let Some(window) = shard.windows.get_mut(&subject) {
            window.give_back();
        }
    }

    /// Forgets the windows in which nothing is counted any more, of one shard; `turn` says which.
    pub fn forget_idle(&self, turn: usize) {
        let mut shard = self.shards[turn % SHARDS].lock();
        shard.forget_idle(self.clock.monotonic());
    }

    /// How many windows are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().windows.len()).sum()
    }

    /// Whether no window is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, subject: Subject) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(subject);
        // The high bits: each shard's own map has another hasher, but why depend on it.
        &self.shards[(hash >> 56) as usize % SHARDS]
    }
}

impl Shard {
    fn forget_idle(&mut self, now: Duration) {
        let mut addresses = 0;
        self.windows.retain(|subject, window| {
            let keep = !window.is_idle(now);
            addresses += usize::from(keep && subject.is_address());
            keep
        });
        self.addresses = addresses;
        self.walked_at = now;
        if self.windows.capacity() > 4 * self.windows.len().max(16) {
            self.windows.shrink_to_fit();
        }
    }
}

/// What is left of a limit, in parts of 2^32.
fn share(verdict: &Verdict) -> u64 {
    (u64::from(verdict.remaining) << 32) / u64::from(verdict.limit.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Clock, ManualClock, Timestamp};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn tenant(n: u8) -> TenantId {
        TenantId::from_uuid_bytes([n; 16])
    }

    #[test]
    fn n6_five_hundred_in_parallel_on_a_limit_of_a_hundred() {
        let clock = base::SystemClock::shared();
        let limits = Arc::new(Limits::new(clock.clone()));
        let passed = Arc::new(AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let limit = Limit { subject: Subject::Tenant(0, tenant(1)), rate: Rate::per_minute(100) };
                    for _ in 0..50 {
                        if limits
                            .take(&[limit], clock.monotonic())
                            .is_some_and(|outcome| outcome.verdict.allowed)
                        {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_refusal_by_one_limit_is_not_counted_by_another() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let limits = Limits::new(clock.shared());
        let of_tenant = Limit { subject: Subject::Tenant(0, tenant(1)), rate: Rate::per_minute(10) };
        let of_route = Limit { subject: Subject::TenantOnRoute(7, tenant(1)), rate: Rate::per_minute(2) };
        let both = [of_tenant, of_route];
        for _ in 0..2 {
            assert!(limits.take(&both, clock.monotonic()).unwrap().verdict.allowed);
        }
        let refused = limits.take(&both, clock.monotonic()).unwrap();
        assert_eq!((refused.verdict.allowed, refused.limit.subject.policy()), (false, "route"));
        let other = limits.take(&[of_tenant], clock.monotonic()).unwrap();
        assert_eq!(other.verdict.remaining, 7);
    }

    #[test]
    fn idle_windows_are_forgotten_and_addresses_are_bounded() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let limits = Limits::new(clock.shared());
        for n in 0..200_000_u64 {
            limits.take(
                &[Limit { subject: Subject::Address(0, n << 32), rate: Rate::per_minute(100) }],
                clock.monotonic(),
            );
        }
        assert!(limits.len() <= SHARDS * (ADDRESSES_A_SHARD_MAX + 1));
        clock.advance(Duration::from_secs(62));
        (0..SHARDS).for_each(|turn| limits.forget_idle(turn));
        assert!(limits.is_empty());
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let a = Subject::address("2001:db8:1:2::1".parse().unwrap());
        let b = Subject::address("2001:db8:1:2:ffff::9".parse().unwrap());
        assert_eq!(a, b);
        let mapped = Subject::address("::ffff:1.2.3.4".parse().unwrap());
        assert_eq!(mapped, Subject::address("1.2.3.4".parse().unwrap()));
    }
}
