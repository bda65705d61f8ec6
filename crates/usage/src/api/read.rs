//! Usage out.

use std::sync::Arc;

use base::{MeterName, Timestamp, codes};
use jiff::civil::Date;
use ports::MeterPeriod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply};

use super::views::{MeterView, UsageView, UsedView};
use super::{State, of_path};
use crate::book::Account;
use crate::model::Span;
use crate::ops::Report;

/// All meters: there are few.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MetersView {
    /// By name.
    data: Vec<MeterView>,
}

pub(crate) async fn meters(state: Arc<State>, call: Call) -> Result<Reply<MetersView>, Problem> {
    let meters = state.engine.book.meters(call.environment()?.id).await?;
    let view = |(name, meter): (&MeterName, &crate::store::limits::Meter)| MeterView {
        name: name.clone(),
        unit: meter.unit.clone(),
        negative: meter.negative,
        period: meters.period(name),
    };
    Ok(Reply::ok(MetersView { data: meters.all().iter().map(view).collect() }))
}

/// Parts that usage is shown in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// The whole period.
    #[default]
    Period,
    /// Days of the tenant's calendar.
    Day,
    /// Hours of the tenant's clock.
    Hour,
}

/// Which usage.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    /// `current` (which it is where nothing is said), `previous`, a month such as `2026-05`: the billing period that begins in
    /// it, or a date such as `2026-05-17`: the one that it is in.
    #[serde(default)]
    #[schemars(length(min = 1, max = 10))]
    period: Option<String>,
    /// In which parts.
    #[serde(default)]
    by: By,
    /// Of one meter only.
    #[serde(default)]
    meter: Option<MeterName>,
}

pub(crate) async fn usage(
    state: Arc<State>,
    call: Call<(), UsageQuery>,
) -> Result<Reply<UsageView>, Problem> {
    let account = of_path(&state, &call).await?;
    let UsageQuery { period, by, meter } = call.query;
    let span = period_of(&account, period.as_deref(), state.engine.now())?;
    let by = match by {
        By::Period => MeterPeriod::Month,
        By::Day => MeterPeriod::Day,
        By::Hour => MeterPeriod::Hour,
    };
    let reports = state.engine.report(&account, meter, span, by).await?;
    let now = state.engine.now();
    let view = |report: Report| {
        let limit = account.limit(&report.meter);
        let resets_at = match limit.map(|limit| limit.period) {
            None | Some(MeterPeriod::Month) => span.resets_at(),
            Some(period) => account.calendar.span(period, now).resets_at(),
        };
        UsedView::new(report, (limit.and_then(|limit| limit.max), resets_at))
    };
    Ok(Reply::ok(UsageView {
        from: Timestamp::from_micros(span.from),
        until: Timestamp::from_micros(span.until),
        time_zone: account.terms.time_zone.clone(),
        data: reports.into_iter().map(view).collect(),
    }))
}

/// Characters of a month, such as `2026-05`.
const MONTH_CHARS: usize = 7;

/// The billing period that a text names.
fn period_of(account: &Account, named: Option<&str>, now: Timestamp) -> Result<Span, Problem> {
    let month = |at| account.calendar.span(MeterPeriod::Month, at);
    let current = month(now);
    match named.unwrap_or("current") {
        "current" => Ok(current),
        "previous" => Ok(month(Timestamp::from_micros(current.from - 1))),
        date => {
            // A month is that which the tenant's billing day of it begins.
            let of_month = |month: &str| format!("{month}-{:02}", account.calendar.anchor_day());
            let date = if date.len() == MONTH_CHARS { of_month(date) } else { date.to_owned() };
            let date: Date = date.parse().map_err(|_| {
                let expected =
                    "current, previous, a month such as 2026-05, or a date such as 2026-05-17 is expected";
                Problem::new(&codes::BAD_REQUEST).fault("/query/period", expected)
            })?;
            Ok(month(Timestamp::from_micros(account.calendar.midnight(date))))
        }
    }
}
