//! What a plan allows of each meter.

use std::collections::BTreeMap;

use base::{Amount, MeterName};
use ports::{Grace, MeterLimit, MeterPeriod};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shape::Fault;

/// Most meters of a plan: a price list has fewer, and usage holds them all in memory.
pub const METERS_MAX: usize = 100;

/// A plan's meters by their names.
pub type Meters = BTreeMap<MeterName, MeterLimit>;

/// How much of a meter a plan allows, as the project file and the API say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterTerms {
    /// The most in a period; without it there is no end, and usage is only counted.
    #[serde(default)]
    pub max: Option<Amount>,
    /// When it begins anew: `hour`, `day` or `month` (the billing period) makes it a counter; `none`, which is the default, a
    /// gauge.
    #[serde(default = "no_period")]
    pub period: MeterPeriod,
    /// What happens at the end: `hard` refuses, which is the default; `soft` goes on as overage.
    #[serde(default = "hard")]
    pub grace: Grace,
    /// Whether people are told at 80 and 100 %; `true` by default.
    #[serde(default = "yes")]
    pub notify: bool,
}

const fn no_period() -> MeterPeriod {
    MeterPeriod::None
}

const fn hard() -> Grace {
    Grace::Hard
}

const fn yes() -> bool {
    true
}

impl From<MeterTerms> for MeterLimit {
    fn from(MeterTerms { max, period, grace, notify }: MeterTerms) -> Self {
        Self { max, period, grace, notify }
    }
}

impl From<MeterLimit> for MeterTerms {
    fn from(MeterLimit { max, period, grace, notify }: MeterLimit) -> Self {
        Self { max, period, grace, notify }
    }
}

/// What is wrong with meters as somebody gave them; places are below `meters`.
pub(crate) fn faults<'a>(terms: impl IntoIterator<Item = (&'a str, Option<&'a MeterTerms>)>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut count = 0;
    for (name, terms) in terms {
        count += 1;
        let place = shape::below("", name);
        if let Err(error) = MeterName::parse(name) {
            faults.push(Fault::new(place.clone(), format!("{name:?}"), error.to_string()));
        }
        if let Some(max) = terms.and_then(|terms| terms.max).filter(|max| max.is_negative()) {
            faults.push(Fault::new(format!("{place}/max"), max.to_string(), "0 or more is expected"));
        }
    }
    if count > METERS_MAX {
        faults.push(Fault::new("", format!("{count} meters"), format!("at most {METERS_MAX} are allowed")));
    }
    faults
}

/// The meters of names that were checked.
pub(crate) fn named(terms: &BTreeMap<String, MeterTerms>) -> Meters {
    terms.iter().filter_map(|(name, terms)| Some((MeterName::parse(name).ok()?, (*terms).into()))).collect()
}

/// Whether a tenant could be over the new limit who was not over the old one.
pub(crate) fn is_tighter(from: Option<MeterLimit>, to: MeterLimit) -> bool {
    let Some(max) = to.max else { return false };
    let Some(from) = from else { return true };
    let Some(before) = from.max else { return true };
    max < before || from.period != to.period || (from.grace == Grace::Soft && to.grace == Grace::Hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max: u64) -> MeterLimit {
        let period = MeterPeriod::Month;
        MeterLimit { max: Some(Amount::whole(max)), period, grace: Grace::Hard, notify: true }
    }

    #[test]
    fn a_limit_is_tighter_when_somebody_may_newly_be_over_it() {
        assert!(is_tighter(None, limit(5)));
        assert!(is_tighter(Some(limit(6)), limit(5)));
        assert!(!is_tighter(Some(limit(5)), limit(5)));
        assert!(!is_tighter(Some(limit(5)), limit(6)));
        assert!(!is_tighter(Some(limit(5)), MeterLimit { max: None, ..limit(5) }));
        assert!(is_tighter(Some(MeterLimit { max: None, ..limit(5) }), limit(5)));
        assert!(is_tighter(Some(MeterLimit { period: MeterPeriod::Day, ..limit(5) }), limit(5)));
        assert!(is_tighter(Some(MeterLimit { grace: Grace::Soft, ..limit(5) }), limit(5)));
    }
}
