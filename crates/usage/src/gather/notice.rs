//! What people and other capabilities are told of a batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Amount, EnvironmentId, MeterName, TenantId, Timestamp};
use db::{NewEvent, SystemTx};
use ports::{Mail, MeterPeriod};
use serde_json::json;

use super::Batch;
use crate::Letters;
use crate::book::{Account, Book};
use crate::error::Error;
use crate::model::calendar::CounterKey;
use crate::model::event::plus;
use crate::store::counters::{self, Standing};
use crate::store::ledger::{Added, TotalKey};

/// Percent of a limit at which people are warned, and at which they are told that it is reached.
const WARNED: i64 = 80;
pub(crate) const REACHED: i64 = 100;

/// Tells of limits that were nearly or wholly reached, once a period; of a gauge once each time that it rises so far. A tenant
/// that has just been forgotten is read again: what is not told now may never be.
pub(super) fn tell(
    tx: &mut SystemTx<'_>,
    (batch, book): (&Batch, &Book),
    letters: Option<&Letters>,
    changed: &[(CounterKey, Standing)],
) -> Result<(), Error> {
    for (key, standing) in changed {
        let account = match book.peek(key.environment, key.tenant) {
            Some(account) => account,
            None => match book.read(tx, key.environment, key.tenant)? {
                Some(account) => Arc::new(account),
                None => continue,
            },
        };
        let Some(limit) = account.limit(&key.meter).filter(|limit| limit.notify) else { continue };
        let Some(max) = limit.max.filter(|_| account.calendar.span(limit.period, batch.now) == key.span)
        else {
            continue;
        };
        let level = level(standing.used, max);
        // What was told of another limit does not count.
        let told = if standing.noticed.1 == max { standing.noticed.0 } else { 0 };
        let falls = level < told && limit.period == MeterPeriod::None;
        if level > told || falls {
            counters::noticed(tx, key, (level, max))?;
        }
        if level > told {
            notice(tx, letters, &account, key, Notice { level, used: standing.used, max })?;
        }
    }
    Ok(())
}

/// How much of a limit is used, in the steps that people are told of.
pub(crate) fn level(used: Amount, max: Amount) -> i64 {
    if used <= Amount::ZERO {
        return 0;
    }
    let percent = i128::from(used.millionths()) * 100 / i128::from(max.millionths().max(1));
    match percent {
        100.. => REACHED,
        80.. => WARNED,
        _ => 0,
    }
}

struct Notice {
    level: i64,
    used: Amount,
    max: Amount,
}

fn notice(
    tx: &mut SystemTx<'_>,
    letters: Option<&Letters>,
    account: &Account,
    key: &CounterKey,
    notice: Notice,
) -> Result<(), Error> {
    let Notice { level, used, max } = notice;
    let (kind, mail_kind) = match level {
        REACHED => ("quota.reached", "quota_reached"),
        _ => ("quota.warning", "quota_warning"),
    };
    let resets_at = key.span.resets_at();
    let after = json!({
        "meter": key.meter,
        "percent": level,
        "limit": max,
        "used": used,
        "resets_at": resets_at,
    });
    let subject = key.meter.to_string();
    let event =
        NewEvent { kind, subject, environment: Some(key.environment), before: None, after: Some(after) };
    tx.emit(Some(key.tenant), event)?;
    let Some(Letters { mailer, owners }) = letters else { return Ok(()) };
    let mut addresses = owners.owners(tx, key.tenant)?;
    if addresses.is_empty() {
        addresses.push(account.terms.email.clone());
    }
    for to in addresses {
        let letter = Mail {
            to,
            kind: mail_kind,
            subject: format!("{}: {level} % of {} used", account.terms.slug, key.meter),
            text: text(account, &key.meter, (used, max), resets_at),
            tenant: Some(key.tenant),
        };
        mailer.send(tx, letter)?;
    }
    Ok(())
}

fn text(
    account: &Account,
    meter: &MeterName,
    (used, max): (Amount, Amount),
    resets_at: Option<Timestamp>,
) -> String {
    let reset = resets_at.map_or_else(String::new, |at| format!(" It begins anew at {at}."));
    format!(
        "{} has used {used} of the {max} of {meter} that the plan {} allows.{reset}\n",
        account.terms.slug, account.terms.plan
    )
}

/// Writes one event for each tenant whose usage was taken.
pub(super) fn recorded(tx: &mut SystemTx<'_>, totals: &BTreeMap<TotalKey, Added>) -> Result<(), Error> {
    let mut tenants: BTreeMap<(TenantId, EnvironmentId), BTreeMap<&MeterName, Added>> = BTreeMap::new();
    for ((tenant, environment, meter, _), added) in totals {
        let meters = tenants.entry((*tenant, *environment)).or_default();
        let sum = meters.entry(meter).or_insert(Added { value: Amount::ZERO, events: 0 });
        sum.value = plus(sum.value, added.value);
        sum.events += added.events;
    }
    let event =
        |((tenant, environment), meters): ((TenantId, EnvironmentId), BTreeMap<&MeterName, Added>)| {
            let events: i64 = meters.values().map(|added| added.events).sum();
            let sums: BTreeMap<&MeterName, Amount> =
                meters.into_iter().map(|(meter, added)| (meter, added.value)).collect();
            let event = NewEvent {
                kind: "usage.recorded",
                subject: tenant.to_string(),
                environment: Some(environment),
                before: None,
                after: Some(json!({ "events": events, "meters": sums })),
            };
            (Some(tenant), event)
        };
    tx.emit_many(tenants.into_iter().map(event).collect())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_at_eighty_and_a_hundred_percent() {
        let of = |used: &str, max: &str| level(Amount::parse(used).unwrap(), Amount::parse(max).unwrap());
        assert_eq!(of("79.999999", "100"), 0);
        assert_eq!((of("80", "100"), of("99.9", "100")), (WARNED, WARNED));
        assert_eq!((of("100", "100"), of("9000000000000", "1")), (REACHED, REACHED));
        assert_eq!((of("0", "0"), of("-5", "1"), of("1", "0")), (0, 0, REACHED));
    }
}
