//! How often something may begin: the generic cell rate algorithm (ITU-T I.371), as virtual scheduling.

use base::{Rate, Timestamp};

/// One limiter: 8 bytes. Up to the rate's count may begin at once, then evenly, so that over any of its spans at most
/// twice the count begins, and the rate in the long run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    /// Theoretical arrival time, microseconds.
    due: i64,
}

impl Meter {
    /// When the next may begin; in the past or now means that it may. `share` processes divide the rate.
    pub(crate) fn ready_at(&self, rate: &Rate, share: u32) -> Timestamp {
        let span = span(rate);
        Timestamp::from_micros(self.due.saturating_sub(span.saturating_sub(interval(rate, share))))
    }

    /// Counts one that begins now.
    pub(crate) fn begin(&mut self, now: Timestamp, rate: &Rate, share: u32) {
        self.due = self.due.max(now.micros()).saturating_add(interval(rate, share));
    }

    /// Takes one back that did not begin after all.
    pub(crate) fn give_back(&mut self, rate: &Rate, share: u32) {
        self.due = self.due.saturating_sub(interval(rate, share));
    }

    /// Whether it is as if nothing had ever begun.
    pub(crate) fn is_idle(&self, now: Timestamp) -> bool {
        self.due <= now.micros()
    }
}

fn span(rate: &Rate) -> i64 {
    i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX)
}

fn interval(rate: &Rate, share: u32) -> i64 {
    (span(rate).saturating_mul(i64::from(share.max(1))) / i64::from(rate.count.max(1))).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_evenly() {
        let rate = Rate { count: 10, per: Duration::from_secs(1) };
        let (mut meter, start) = (Meter::default(), Timestamp::from_micros(1_000_000_000));
        let (mut begun, mut by_second) = (0, [0; 10]);
        for milli in 0..10_000_u64 {
            let now = start + Duration::from_millis(milli);
            while meter.ready_at(&rate, 1) <= now {
                meter.begin(now, &rate, 1);
                begun += 1;
                by_second[(milli / 1_000) as usize] += 1;
            }
        }
        assert!((109..=111).contains(&begun), "{begun}");
        assert!(by_second[0] <= 20 && by_second[1..].iter().all(|count| (9..=11).contains(count)));
    }

    #[test]
    fn processes_share_and_what_did_not_begin_is_given_back() {
        let rate = Rate { count: 10, per: Duration::from_secs(1) };
        let now = Timestamp::from_micros(1_000_000_000);
        let mut meter = Meter::default();
        let mut begun = 0;
        while meter.ready_at(&rate, 2) <= now {
            meter.begin(now, &rate, 2);
            begun += 1;
        }
        assert_eq!(begun, 5);
        meter.give_back(&rate, 2);
        assert!(meter.ready_at(&rate, 2) <= now && !meter.is_idle(now));
    }
}
