//! Where the store and a sink differ.

use std::collections::BTreeMap;

use base::{Amount, MeterName, TenantId};
use db::SystemTx;
use ports::UsageTotal;

use crate::error::Error;
use crate::model::{Period, Sink, State, hour_of, hour_start};
use crate::store::hours::Sum;
use crate::store::{deliveries, hours};

/// Usage of one tenant and meter in a period, as the store and the sink have it. All in the meter's own units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    /// What the ledger says was used.
    pub used: Amount,
    /// What the sink accepted.
    pub accepted: Amount,
    /// On its way, or in an hour that is not over.
    pub pending: Amount,
    /// Held for want of a customer.
    pub held: Amount,
    /// Refused by the sink.
    pub refused: Amount,
    /// Perhaps accepted.
    pub unsure: Amount,
    /// Dropped by hand.
    pub dropped: Amount,
}

/// By tenant and meter.
pub type Lines = BTreeMap<(TenantId, MeterName), Line>;

impl Line {
    /// What the sink lacks of what was used; below zero when it has more.
    #[must_use]
    pub fn difference(&self) -> Amount {
        self.used.checked_sub(self.accepted).unwrap_or(Amount::MAX)
    }

    /// What of the difference no delivery accounts for: nobody will send it.
    #[must_use]
    pub fn unexplained(&self) -> Amount {
        let known = [self.pending, self.held, self.refused, self.unsure, self.dropped];
        let left = known.iter().try_fold(self.difference(), |left, part| left.checked_sub(*part));
        left.unwrap_or(Amount::MAX)
    }
}

/// What the sink's side of the report is in the store.
///
/// # Errors
/// `Store`.
pub fn sent(tx: &mut SystemTx, sink: &Sink, period: Period) -> Result<Lines, Error> {
    // Hours of use are whole; what is before `since` in the first one was never sent.
    let first = hour_of(period.from);
    let hours_of = (first, hour_of(period.until));
    let mut lines = Lines::new();
    for Sum { tenant, meter, value, .. } in hours::accepted(tx, sink.id, hours_of)? {
        add(&mut lines.entry((tenant, meter)).or_default().accepted, value);
    }
    for Sum { tenant, meter, value, .. } in hours::waiting(tx, sink.id, hours_of)? {
        add(&mut lines.entry((tenant, meter)).or_default().pending, value);
    }
    for one in deliveries::sums(tx, sink.id, (hour_start(first), period.until))? {
        let line = lines.entry((one.tenant, one.meter)).or_default();
        let part = match one.state {
            State::Pending => &mut line.pending,
            State::Accepted => &mut line.accepted,
            State::Refused => &mut line.refused,
            State::Held => &mut line.held,
            State::Unsure => &mut line.unsure,
            State::Dropped => &mut line.dropped,
        };
        add(part, one.value);
    }
    Ok(lines)
}

/// Puts the ledger's totals beside it, of the meters that the sink gets.
#[must_use]
pub fn beside(mut lines: Lines, sink: &Sink, totals: Vec<UsageTotal>) -> Lines {
    for UsageTotal { tenant, meter, value, .. } in totals {
        if sink.definition.map(meter.as_str()).is_some() {
            add(&mut lines.entry((tenant, meter)).or_default().used, value);
        }
    }
    lines
}

fn add(sum: &mut Amount, value: Amount) {
    *sum = sum.checked_add(value).unwrap_or(Amount::MAX);
}
