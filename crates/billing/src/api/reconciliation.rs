//! The report of where usage and a sink differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use authority::SystemCtx;
use base::{Amount, Cursor, TenantId, Timestamp, codes};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use web::{Call, Problem, Reply};

use super::views::{AtSinkView, LineView, ReconciliationQuery, ReconciliationView};
use super::{State, name, place};
use crate::error::Error;
use crate::model::{Kind, Period, Secrets, Sink, reported_float};
use crate::ops;
use crate::ops::reconcile::{self, Lines};
use crate::store::sinks;
use crate::stripe::Stripe;

/// Lines for which Stripe is asked in one report: some seconds of its answers.
const AT_SINK_MAX: usize = 200;
/// Questions to Stripe at once.
const AT_ONCE: usize = 8;
/// Microseconds of a minute, on which Stripe's summaries begin and end.
const MINUTE: i64 = 60_000_000;
/// Floats that differ by less than this part of them are the same: Stripe adds floats up.
const SLACK: f64 = 1e-9;

pub(crate) async fn report(
    state: Arc<State>,
    call: Call<(), ReconciliationQuery>,
) -> Result<Reply<ReconciliationView>, Problem> {
    let ctx = call.caller.system_ctx("compare usage with a billing sink")?;
    let (environment, name) = (place(&call)?, name(&call)?);
    let query = call.query;
    let wrong = |place: &str, text: String| Problem::new(&codes::BAD_REQUEST).fault(place, text);
    let period = Period::parse(&query.period).map_err(|error| wrong("/query/period", error.to_string()))?;
    let page = query.page.page();
    let (sink, period, lines) = {
        let read = state.tools.db.read_system(&ctx, move |tx| -> Result<_, Error> {
            let sink = ops::get(tx, environment, &name)?;
            let period = period.not_before(sink.since);
            let lines = reconcile::sent(tx, &sink, period)?;
            Ok((sink, period, lines))
        });
        read.await?
    };
    if query.at_sink && sink.definition.kind != Kind::Stripe {
        return Err(wrong("/query/at_sink", "a webhook does not tell what it has".to_owned()));
    }
    let totals = state.ledger.totals(environment, period.from, period.until).await?;
    let caught_up = state.ledger.after(environment, sink.position, 1).await?.is_empty();
    let mut lines = views(reconcile::beside(lines, &sink, totals), query.tenant);
    if query.at_sink {
        if lines.len() > AT_SINK_MAX {
            let text = format!("there are more than {AT_SINK_MAX} lines to ask Stripe about; name a tenant");
            return Err(wrong("/query/tenant", text));
        }
        ask(&state, &ctx, &sink, period, &mut lines).await?;
    }
    let after = page.after().unwrap_or_default().to_owned();
    let shown = lines.into_iter().filter(|line| query.all || !line.agrees());
    let rest = shown.filter(|line| key(line) > after).take(page.fetch() as usize);
    let page = base::Page::of(rest.collect::<Vec<_>>(), &page, key);
    let (data, next_cursor): (Vec<LineView>, Option<Cursor>) = (page.data, page.next_cursor);
    let Period { from, until } = period;
    Ok(Reply::ok(ReconciliationView { sink: sink.name, from, until, caught_up, data, next_cursor }))
}

fn key(line: &LineView) -> String {
    format!("{}/{}", line.tenant, line.meter)
}

/// Lines as they are shown, in their order.
fn views(lines: Lines, tenant: Option<TenantId>) -> Vec<LineView> {
    let wanted = lines.into_iter().filter(|((of, _), _)| tenant.is_none_or(|tenant| tenant == *of));
    wanted.map(|(of, line)| LineView::of(of, line)).collect()
}

/// Asks Stripe about each line. Lines of one customer and name are one sum there, and are told as that.
async fn ask(
    state: &State,
    ctx: &SystemCtx,
    sink: &Sink,
    period: Period,
    lines: &mut [LineView],
) -> Result<(), Error> {
    let (id, now) = (sink.id, state.tools.now());
    let secrets = state.tools.db.read_system(ctx, move |tx| sinks::secrets(tx, id, now)).await?;
    let Some(Secrets { now: key, .. }) = secrets else {
        return Err(Error::Remote("it has no key yet".to_owned()));
    };
    let stripe = Stripe {
        wire: &state.wire,
        base: sink.definition.url(),
        api: sink.definition.api,
        key: key.expose(),
    };
    let meters: BTreeMap<String, String> = stripe
        .meters()
        .await
        .map_err(Error::Remote)?
        .into_iter()
        .map(|meter| (meter.event_name, meter.id))
        .collect();
    let mut expected: BTreeMap<(String, String), f64> = BTreeMap::new();
    for line in lines.iter_mut() {
        let Some((event, multiply)) = sink.definition.map(line.meter.as_str()) else { continue };
        let customer = state.customers.external_id(line.tenant, &sink.definition.customer).await?;
        let own = reported_float(line.accepted, multiply);
        if let Some(customer) = &customer {
            *expected.entry((customer.clone(), event.clone())).or_default() += own;
        }
        let agrees = customer.is_some() || line.accepted == Amount::ZERO;
        line.at_sink = Some(AtSinkView { customer, event, expected: own, counted: None, agrees });
    }
    let time = minutes(period, now);
    let pairs: Vec<(String, String)> = expected.keys().cloned().collect();
    let asked = stream::iter(pairs).map(|(customer, event)| {
        let (meter, stripe) = (meters.get(&event).cloned(), &stripe);
        async move {
            let counted = match meter {
                Some(meter) => Some(stripe.counted(&meter, &customer, time).await.map_err(Error::Remote)?),
                None => None,
            };
            Ok::<_, Error>(((customer, event), counted))
        }
    });
    let counted: BTreeMap<(String, String), Option<f64>> =
        asked.buffer_unordered(AT_ONCE).try_collect().await?;
    for at_sink in lines.iter_mut().filter_map(|line| line.at_sink.as_mut()) {
        let Some(customer) = &at_sink.customer else { continue };
        let of = (customer.clone(), at_sink.event.clone());
        at_sink.expected = expected.get(&of).copied().unwrap_or_default();
        at_sink.counted = counted.get(&of).copied().flatten();
        at_sink.agrees = same(at_sink.expected, at_sink.counted.unwrap_or_default());
    }
    Ok(())
}

/// A period as Stripe takes it: full minutes, and not far into what is to come.
fn minutes(period: Period, now: Timestamp) -> (Timestamp, Timestamp) {
    let full = |at: Timestamp| at.micros().div_euclid(MINUTE) * MINUTE;
    let from = full(period.from);
    let until = full(period.until).min(full(now) + MINUTE).max(from + MINUTE);
    (Timestamp::from_micros(from), Timestamp::from_micros(until))
}

fn same(one: f64, other: f64) -> bool {
    (one - other).abs() <= SLACK * one.abs().max(other.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_floats_agree_when_they_are_as_good_as_the_same() {
        assert!(same(0.1 + 0.2, 0.3) && same(1e12, 1e12 + 1e-3) && same(0.0, 0.0));
        assert!(!same(1.0, 1.001) && !same(0.0, 0.5));
    }

    #[test]
    fn stripe_is_asked_for_full_minutes() {
        let at = |text: &str| Timestamp::parse(text).expect("a time");
        let period = Period::parse("2026-11").expect("a month").not_before(at("2026-11-20T13:30:45Z"));
        let (from, until) = minutes(period, at("2026-11-21T00:00:30Z"));
        assert_eq!((from, until), (at("2026-11-20T13:30:00Z"), at("2026-11-21T00:01:00Z")));
    }
}
