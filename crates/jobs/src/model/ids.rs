//! Ids in strictly growing order: the order of ids is the order of a queue.

use base::{JobId, Random, Timestamp};

/// Makes ids that grow, however fast they are asked for and whatever the clock does. Their layout is that of
/// [`base::id::TypeId::new`]; within one instant the twelve bits after the version count on.
#[derive(Debug)]
pub(crate) struct IdSource {
    /// Milliseconds and the 4,096th part of one, of the newest id.
    last: u64,
    /// Of SplitMix64. Ids tell ids apart and guard nothing, so one seed of the system's randomness does.
    state: u64,
}

impl IdSource {
    pub(crate) fn new(random: &dyn Random) -> Self {
        Self { last: 0, state: random.u64() }
    }

    /// The next id.
    pub(crate) fn next(&mut self, now: Timestamp) -> JobId {
        let micros = u64::try_from(now.micros()).unwrap_or(0);
        let at = ((micros / 1_000) << 12) | ((micros % 1_000) * 4_096 / 1_000);
        self.last = at.max(self.last + 1);
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&(self.last >> 12).to_be_bytes()[2..]);
        let fraction = (self.last & 0xfff) as u16 | 0x7000;
        bytes[6..8].copy_from_slice(&fraction.to_be_bytes());
        bytes[8..].copy_from_slice(&self.random().to_be_bytes());
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        JobId::from_uuid_bytes(bytes)
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A tenant's id as a number, for the index of ready jobs: FNV-1a of its text, stored and therefore never changed. Two
/// tenants may have the same one (of a million, with a chance of one in eighteen million); statements compare the text too. 0 is nobody's.
pub(crate) fn lane_number(tenant: &str) -> i64 {
    let hash = tenant.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.cast_signed() | 1
}

#[cfg(test)]
mod tests {
    use base::SeededRandom;

    use super::*;

    #[test]
    fn the_number_of_a_tenant_is_what_the_store_has_of_it() {
        // FNV-1a of "a" is 0xaf63dc4c8601ec8c (draft-eastlake-fnv); the last bit is ours.
        assert_eq!(lane_number("a"), 0xaf63_dc4c_8601_ec8d_u64.cast_signed());
        assert_ne!(lane_number("-"), lane_number("ten_00041061050r3gg28a1c60t3gf"));
    }

    #[test]
    fn ids_grow_in_one_instant_and_when_the_clock_goes_back() {
        let mut ids = IdSource::new(&SeededRandom::new(7));
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        let mut last = ids.next(at);
        for step in 0..20_000 {
            let now = if step == 10_000 { Timestamp::from_micros(at.micros() - 3_600_000_000) } else { at };
            let next = ids.next(now);
            assert!(next > last);
            last = next;
        }
        assert_eq!(JobId::parse(&last.to_string()), Ok(last));
    }
}
