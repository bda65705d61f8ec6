//! How fast somebody may try passwords and codes.
//!
//! Never by account alone: whoever could lock an account from anywhere would lock its owner out. What is slowed down is one
//! address of the network at one account, one address of the network at many accounts, and codes of whoever already
//! knows the password. The owner, elsewhere, notices nothing. Whether there is such an account makes no difference.
//!
//! It is kept in memory: a process that restarts forgets, several processes count apiece. That is a factor of what an
//! attacker may try, not a hole: the delays grow by powers of two.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use base::{SharedClock, UserId};
use parking_lot::Mutex;

/// Tries at one account from one address before they are slowed down: a person who looks for the right one.
const PAIR_FREE: u32 = 5;
/// Tries from one address: an office behind one address on a Monday morning.
const ADDRESS_FREE: u32 = 50;
/// Codes for one account by whoever knows its password.
const CODES_FREE: u32 = 10;
/// Longest delay at one account, or for codes.
const PAIR_DELAY_MAX: Duration = Duration::from_mins(15);
/// Longest delay of all tries from one address: others may sit behind it.
const ADDRESS_DELAY_MAX: Duration = Duration::from_mins(1);
/// Tries are forgotten after this time without any.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Entries in memory, of about 100 bytes; when there are more, those that are not slowed down are forgotten first.
const ENTRIES_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// One address at one account.
    Pair([u8; 32]),
    /// One address; of IPv6 the /64, which one line has.
    Address(Option<IpAddr>),
    /// Codes of one account.
    Codes(UserId),
    /// Codes of one account from a line at which its owner is signed in.
    KnownCodes(UserId, IpAddr),
}

impl Key {
    fn free(self) -> u32 {
        match self {
            Self::Pair(_) => PAIR_FREE,
            Self::Address(_) => ADDRESS_FREE,
            Self::Codes(_) | Self::KnownCodes(..) => CODES_FREE,
        }
    }

    fn is_of_codes(self) -> bool {
        matches!(self, Self::Codes(_) | Self::KnownCodes(..))
    }

    fn delay_max(self) -> Duration {
        match self {
            Self::Pair(_) | Self::Codes(_) | Self::KnownCodes(..) => PAIR_DELAY_MAX,
            Self::Address(_) => ADDRESS_DELAY_MAX,
        }
    }

    /// What to wait after so many tries.
    fn delay(self, tries: u32) -> Duration {
        match tries.checked_sub(self.free()) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1_u64 << over.min(20)).min(self.delay_max()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    count: u32,
    last: Duration,
}

/// Counts tries.
pub(crate) struct Throttle {
    clock: SharedClock,
    tries: Mutex<HashMap<Key, Tries>>,
}

impl Throttle {
    pub(crate) fn new(clock: SharedClock) -> Throttle {
        Throttle { clock, tries: Mutex::default() }
    }

    /// Counts a try before it is made, so that a thousand at once are a thousand.
    ///
    /// # Errors
    /// How long to wait; then nothing was counted.
    pub(crate) fn attempt(&self, account: &str, ip: Option<IpAddr>) -> Result<(), Duration> {
        self.count(&[pair(account, ip), Key::Address(line(ip))])
    }

    /// Counts a code before it is looked at. `known`: the address, where the person is signed in on its line already; codes
    /// from there are counted apart, so that who has got hold of the password cannot keep its owner out by wrong codes.
    ///
    /// # Errors
    /// As [`Throttle::attempt`].
    pub(crate) fn attempt_code(&self, user: UserId, known: Option<IpAddr>) -> Result<(), Duration> {
        self.count(&[codes(user, known)])
    }

    /// The try was right: it does not count, nor do those before it at the same account.
    pub(crate) fn succeeded(&self, account: &str, ip: Option<IpAddr>) {
        let mut tries = self.tries.lock();
        tries.remove(&pair(account, ip));
        if let Some(entry) = tries.get_mut(&Key::Address(line(ip))) {
            entry.count = entry.count.saturating_sub(1);
        }
    }

    /// The code was right.
    pub(crate) fn code_succeeded(&self, user: UserId, known: Option<IpAddr>) {
        self.tries.lock().remove(&codes(user, known));
    }

    fn count(&self, keys: &[Key]) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut tries = self.tries.lock();
        let wait = |key: &Key| {
            let entry = tries.get(key).filter(|entry| now < entry.last + FORGOTTEN)?;
            (entry.last + key.delay(entry.count)).checked_sub(now).filter(|wait| !wait.is_zero())
        };
        if let Some(longest) = keys.iter().filter_map(wait).max() {
            return Err(longest);
        }
        if tries.len() + keys.len() > ENTRIES_MAX {
            make_room(&mut tries, now);
        }
        for key in keys {
            let entry = tries.entry(*key).or_insert(Tries { count: 0, last: now });
            if now >= entry.last + FORGOTTEN {
                entry.count = 0;
            }
            *entry = Tries { count: entry.count.saturating_add(1), last: now };
        }
        Ok(())
    }
}

fn make_room(tries: &mut HashMap<Key, Tries>, now: Duration) {
    // One try counts at two keys at most.
    let full = ENTRIES_MAX - 1;
    tries.retain(|_, entry| now < entry.last + FORGOTTEN);
    // Codes are counted for who knows a password, which nobody fills memory by: tries from many addresses free none of them.
    if tries.len() >= full {
        tries.retain(|key, entry| key.is_of_codes() || entry.count >= key.free());
    }
    if tries.len() >= full {
        tries.retain(|key, _| key.is_of_codes());
    }
    if tries.len() >= full {
        tries.clear();
    }
}

/// One address at one account; the account is as it was typed, whether there is one or not.
fn pair(account: &str, ip: Option<IpAddr>) -> Key {
    Key::Pair(authority::key_format::hash(format!("{account}\n{:?}", line(ip)).as_bytes()))
}

/// Codes of one account: from a line that is known, or from anywhere else.
fn codes(user: UserId, known: Option<IpAddr>) -> Key {
    line(known).map_or(Key::Codes(user), |line| Key::KnownCodes(user, line))
}

/// Whether two addresses are of one line to the network.
pub(crate) fn is_same_line(one: IpAddr, other: IpAddr) -> bool {
    line(Some(one)) == line(Some(other))
}

/// What one line to the network has: an IPv4 address, or an IPv6 /64.
fn line(ip: Option<IpAddr>) -> Option<IpAddr> {
    match ip?.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            Some(IpAddr::from([a, b, c, d, 0, 0, 0, 0]))
        }
        four @ IpAddr::V4(_) => Some(four),
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, Timestamp};

    use super::*;

    fn throttle() -> (Throttle, ManualClock) {
        let clock = ManualClock::new(Timestamp::from_micros(0));
        (Throttle::new(clock.shared()), clock)
    }

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn one_address_is_slowed_down_at_one_account_and_its_owner_elsewhere_is_not() {
        let (throttle, clock) = throttle();
        let thief = from("203.0.113.9");
        for _ in 0..PAIR_FREE {
            throttle.attempt("ada", thief).unwrap();
        }
        assert_eq!(throttle.attempt("ada", thief), Err(Duration::from_secs(1)));
        // Trying on does not make it longer.
        assert_eq!(throttle.attempt("ada", thief), Err(Duration::from_secs(1)));
        assert_eq!(throttle.attempt("ada", from("198.51.100.1")), Ok(()));
        assert_eq!(throttle.attempt("bob", thief), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(throttle.attempt("ada", thief), Ok(()));
        assert_eq!(throttle.attempt("ada", thief), Err(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        throttle.attempt("ada", thief).unwrap();
        throttle.succeeded("ada", thief);
        for _ in 0..PAIR_FREE {
            throttle.attempt("ada", thief).unwrap();
        }
    }

    #[test]
    fn one_address_at_many_accounts_is_slowed_down_too_and_delays_end() {
        let (throttle, clock) = throttle();
        let six = |n: u32| from(&format!("2001:db8:1:2::{n:x}"));
        for n in 0..ADDRESS_FREE {
            throttle.attempt(&format!("user{n}"), six(n)).unwrap();
        }
        assert_eq!(throttle.attempt("one more", six(1_000)), Err(Duration::from_secs(1)));
        assert_eq!(throttle.attempt("one more", from("2001:db8:1:3::1")), Ok(()));
        for n in 0..64 {
            clock.advance(ADDRESS_DELAY_MAX);
            throttle.attempt(&format!("other{n}"), six(7)).unwrap();
        }
        let wait = throttle.attempt("one more", six(8)).unwrap_err();
        assert!(wait <= ADDRESS_DELAY_MAX, "{wait:?}");
        clock.advance(FORGOTTEN);
        for _ in 0..PAIR_FREE {
            throttle.attempt("one more", six(8)).unwrap();
        }
    }

    #[test]
    fn codes_are_counted_by_account_and_memory_is_bounded() {
        let (throttle, _) = throttle();
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let user = UserId::new(&clock, &*base::SeededRandom::shared(1));
        for _ in 0..CODES_FREE {
            throttle.attempt_code(user, None).unwrap();
        }
        throttle.attempt_code(user, None).unwrap_err();
        // Where the owner is signed in there is room, of its own measure.
        let (home, near) = (from("2001:db8:1:2::1"), from("2001:db8:1:2::2"));
        assert!(is_same_line(home.unwrap(), near.unwrap()));
        for _ in 0..CODES_FREE {
            throttle.attempt_code(user, home).unwrap();
        }
        throttle.attempt_code(user, near).unwrap_err();
        throttle.code_succeeded(user, home);
        throttle.attempt_code(user, home).unwrap();
        throttle.attempt_code(user, None).unwrap_err();
        for n in 0..ENTRIES_MAX {
            let ip = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
            throttle.attempt("ada", Some(ip)).unwrap();
        }
        assert!(throttle.tries.lock().len() <= ENTRIES_MAX);
        throttle.attempt_code(user, None).unwrap_err();
        // Nor do tries that are slowed down themselves, from however many addresses.
        let (slow, last) = (Tries { count: PAIR_FREE, last: throttle.clock.monotonic() }, u32::MAX);
        let address = |n: usize| Some(IpAddr::from((last - u32::try_from(n).unwrap()).to_be_bytes()));
        throttle.tries.lock().extend((0..ENTRIES_MAX).map(|n| (pair("ada", address(n)), slow)));
        throttle.attempt("ada", from("203.0.113.9")).unwrap();
        assert!(throttle.tries.lock().len() < 10, "all but the codes are forgotten");
        throttle.attempt_code(user, None).unwrap_err();
    }
}
