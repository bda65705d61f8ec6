//! Usage events as they come in, and what is asked of them.

use std::time::Duration;

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};

/// Events of one request.
pub const BATCH_MAX: usize = 1_000;
/// How far back an event may lie: ids are known at least as long, so that a repeat is one.
pub const BACK_MAX: Duration = Duration::from_hours(35 * 24);
/// How far ahead: clocks differ.
pub const AHEAD_MAX: Duration = Duration::from_mins(5);
/// How long the ledger is kept: a year of billing, and a month to argue about it.
pub(crate) const LEDGER_KEPT: Duration = Duration::from_hours(400 * 24);
/// Characters of an event's id.
pub const ID_CHARS_MAX: usize = 128;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) tenant: TenantId,
    pub(crate) environment: EnvironmentId,
    pub(crate) id: String,
    pub(crate) meter: MeterName,
    pub(crate) value: Amount,
    pub(crate) at: Timestamp,
}

/// Why a text cannot be an event's id.
pub(crate) fn id_fault(id: &str) -> Option<&'static str> {
    // Those with a colon are ours: of reservations, gauges and routes.
    let allowed = |c: char| c.is_ascii_graphic() && c != ':';
    let fits = !id.is_empty() && id.chars().count() <= ID_CHARS_MAX && id.chars().all(allowed);
    (!fits).then_some("1 to 128 printable ASCII characters without space and colon are expected")
}

/// Why a time cannot be an event's.
pub(crate) fn time_fault(at: Timestamp, now: Timestamp) -> Option<&'static str> {
    if now.since(at) > BACK_MAX {
        return Some("it lies more than 35 days back");
    }
    (at.since(now) > AHEAD_MAX).then_some("it lies more than 5 minutes ahead")
}

/// The sum, at most as large as amounts can be.
pub(crate) fn plus(one: Amount, other: Amount) -> Amount {
    let (least, most) = (-Amount::MAX.millionths(), Amount::MAX.millionths());
    Amount::from_millionths(one.millionths().saturating_add(other.millionths()).clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_times_are_bounded() {
        assert_eq!(id_fault("run-17/step.3"), None);
        for wrong in ["", "a b", "a:b", "ä", &"x".repeat(129)] {
            assert!(id_fault(wrong).is_some(), "{wrong}");
        }
        let now = Timestamp::parse("2026-05-01T00:00:00Z").unwrap();
        let moved = |micros: i64| Timestamp::from_micros(now.micros() + micros);
        let back = i64::try_from(BACK_MAX.as_micros()).unwrap();
        let ahead = i64::try_from(AHEAD_MAX.as_micros()).unwrap();
        assert_eq!((time_fault(moved(-back), now), time_fault(moved(ahead), now)), (None, None));
        assert!(time_fault(moved(-back - 1), now).is_some());
        assert!(time_fault(moved(ahead + 1), now).is_some());
    }

    #[test]
    fn sums_stop_where_amounts_do() {
        assert_eq!(plus(Amount::MAX, Amount::ONE), Amount::MAX);
        assert_eq!(Amount::of_sums(i64::MAX, i64::MAX), Amount::MAX);
        assert_eq!(Amount::of_sums(i64::MIN, 0), Amount::from_millionths(-Amount::MAX.millionths()));
        assert_eq!(Amount::of_sums(3, -500_000), Amount::parse("2.5").unwrap());
    }
}
