//! Pure rules of plans: the four defaults, and what lies over them.

use base::{Rate, Slug, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meters::Meters;

/// The plans that every environment has unless it says otherwise (SPEC 5), with requests a minute.
pub const DEFAULTS: [(&str, u32); 4] =
    [("free", 60), ("starter", 300), ("pro", 1_000), ("enterprise", 10_000)];
/// Most plans of an environment: every gateway holds them in memory, and a price list has fewer.
pub const PLANS_MAX: u32 = 200;

/// Who decides about a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// Nobody yet: it is one of the four that come along.
    Default,
    /// The project file.
    File,
    /// The API.
    Api,
}

impl ManagedBy {
    /// The word in the store; a default has no row.
    pub const fn word(self) -> &'static str {
        match self {
            ManagedBy::Default => "default",
            ManagedBy::File => "file",
            ManagedBy::Api => "api",
        }
    }

    /// The value for a stored word.
    pub fn parse(word: &str) -> Option<ManagedBy> {
        [ManagedBy::Default, ManagedBy::File, ManagedBy::Api].into_iter().find(|by| by.word() == word)
    }
}

/// What each tenant on a plan may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests through the gateway.
    pub requests: Rate,
    /// Meters; what is not named has no limit.
    pub meters: Meters,
}

impl Limits {
    /// A rate alone.
    pub fn requests(requests: Rate) -> Limits {
        Limits { requests, meters: Meters::new() }
    }
}

/// A plan as it is in force in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name, unique in the environment.
    pub name: Slug,
    /// What each tenant on it may use.
    pub limits: Limits,
    /// Who decides about it.
    pub managed_by: ManagedBy,
    /// +1 a change; 0 for a default that was never changed.
    pub revision: i64,
    /// When it was made; `None` for a default.
    pub created_at: Option<Timestamp>,
    /// When it last changed; `None` for a default.
    pub updated_at: Option<Timestamp>,
}

/// The default plan of a name.
pub fn default_plan(name: &Slug) -> Option<Plan> {
    DEFAULTS.iter().find(|(default, _)| *default == name.as_str()).map(|(_, rate)| Plan {
        name: name.clone(),
        limits: Limits::requests(Rate::per_minute(*rate)),
        managed_by: ManagedBy::Default,
        revision: 0,
        created_at: None,
        updated_at: None,
    })
}

/// An environment's plans: its rows laid over the defaults, by name.
pub fn in_force(rows: Vec<Plan>) -> Vec<Plan> {
    let names = DEFAULTS.iter().filter_map(|(name, _)| Slug::parse(name).ok());
    let untouched = names.filter(|name| !rows.iter().any(|row| row.name == *name));
    let mut plans: Vec<Plan> = untouched.filter_map(|name| default_plan(&name)).collect();
    plans.extend(rows);
    plans.sort_by(|one, other| one.name.cmp(&other.name));
    plans
}

/// How the rate of a plan's tenants would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The plan is new.
    Added,
    /// Its tenants may make more requests.
    Raised,
    /// Its tenants may make fewer requests.
    Lowered,
    /// The same number over another time.
    Reshaped,
    /// The plan goes; one of the four defaults goes back to what comes along instead.
    Removed,
    /// The rate stays; meters change.
    Meters,
}

/// What a change of a plan's rate means for its tenants, `None` where nothing changes.
pub fn effect(from: Option<Rate>, to: Option<Rate>) -> Option<Effect> {
    match (from, to) {
        (None, None) => None,
        (None, Some(_)) => Some(Effect::Added),
        (Some(_), None) => Some(Effect::Removed),
        (Some(from), Some(to)) if from == to => None,
        (Some(from), Some(to)) => Some(match per_day(to).cmp(&per_day(from)) {
            std::cmp::Ordering::Greater => Effect::Raised,
            std::cmp::Ordering::Less => Effect::Lowered,
            std::cmp::Ordering::Equal => Effect::Reshaped,
        }),
    }
}

/// Requests a day at a rate, for comparison.
fn per_day(rate: Rate) -> u128 {
    const DAY_NANOS: u128 = 86_400 * 1_000_000_000;
    u128::from(rate.count) * DAY_NANOS / rate.per.as_nanos().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    #[test]
    fn rows_lie_over_the_defaults() {
        let row = Plan {
            limits: Limits::requests(rate("90/min")),
            managed_by: ManagedBy::File,
            revision: 1,
            ..default_plan(&Slug::parse("free").unwrap()).unwrap()
        };
        let plans = in_force(vec![row]);
        let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["enterprise", "free", "pro", "starter"]);
        assert_eq!(plans[1].limits.requests, rate("90/min"));
        assert_eq!(plans[0].limits.requests, rate("10000/min"));
        assert_eq!(plans[0].managed_by, ManagedBy::Default);
    }

    #[test]
    fn effects_compare_rates_over_different_times() {
        let effect = |from: &str, to: &str| effect(Some(rate(from)), Some(rate(to)));
        assert_eq!(effect("60/min", "60/min"), None);
        assert_eq!(effect("60/min", "1/s"), Some(Effect::Reshaped));
        assert_eq!(effect("60/min", "2/s"), Some(Effect::Raised));
        assert_eq!(effect("60/min", "1000/d"), Some(Effect::Lowered));
    }
}
