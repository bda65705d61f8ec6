//! Usage in.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Amount, MeterName, TenantId, Timestamp, codes};
use web::{Call, Problem, Reply};

use super::views::{EventBody, EventsBody, GaugeBody, RecordedView, StandView};
use super::{State, Who, meter, unknown_meter};
use crate::book::Account;
use crate::error::Error;
use crate::model::event::{Entry, id_fault, time_fault};
use crate::ops::Recorded;

pub(crate) async fn events(
    state: Arc<State>,
    call: Call<EventsBody>,
) -> Result<Reply<RecordedView>, Problem> {
    let who = state.who(&call).await?;
    let mut checks = Checks { state: &state, who: &who, now: state.engine.now(), names: HashMap::new() };
    let (mut entries, mut faults) = (Vec::with_capacity(call.body.events.len()), Vec::new());
    for (index, event) in call.body.events.into_iter().enumerate() {
        let mut told = Vec::new();
        match checks.entry(event, &mut told).await? {
            Some(entry) if told.is_empty() => entries.push(entry),
            _ => {
                faults.extend(told.into_iter().map(|(field, why)| (format!("/events/{index}/{field}"), why)))
            }
        }
    }
    if !faults.is_empty() {
        let problem = Problem::new(&codes::INVALID).detail("Nothing of the batch was taken.");
        return Err(faults.into_iter().fold(problem, |problem, (place, why)| problem.fault(place, why)));
    }
    let Recorded { accepted, duplicates } = state.engine.record(entries).await?;
    Ok(Reply::accepted(RecordedView { accepted: accepted as u64, duplicates: duplicates as u64 }))
}

/// A field and what is wrong with it.
type Told = (&'static str, String);

struct Checks<'a> {
    state: &'a State,
    who: &'a Who,
    now: Timestamp,
    /// Tenants by the names that events give them; `None` for those that there are not.
    names: HashMap<Option<String>, Option<Arc<Account>>>,
}

impl Checks<'_> {
    /// The entry of an event, or what is wrong with it.
    async fn entry(&mut self, event: EventBody, told: &mut Vec<Told>) -> Result<Option<Entry>, Problem> {
        let EventBody { id, meter, value, at, tenant } = event;
        if let Some(why) = id_fault(&id) {
            told.push(("id", why.to_owned()));
        }
        let at = at.unwrap_or(self.now);
        if let Some(why) = time_fault(at, self.now) {
            told.push(("at", why.to_owned()));
        }
        let value = value.amount().map_err(|why| told.push(("value", why))).unwrap_or(Amount::ZERO);
        let Some(account) = self.account(tenant).await? else {
            told.push(("tenant", "there is no such tenant; name the one that it is for".to_owned()));
            return Ok(None);
        };
        let Ok(meter) = MeterName::parse(&meter).map_err(|why| told.push(("meter", why.to_string()))) else {
            return Ok(None);
        };
        match account.meters.meter(&meter) {
            Ok(known) if value.is_negative() => {
                if self.who.is_tenant || !(known.negative || account.meters.is_gauge(&meter)) {
                    told.push(("value", "0 or more is expected".to_owned()));
                }
            }
            Ok(_) => {}
            Err(Error::MeterUnknown { nearest, .. }) => {
                told.push(("meter", unknown_meter(&meter, nearest.as_deref())));
            }
            Err(error) => return Err(error.into()),
        }
        let (tenant, environment) = (account.terms.id, account.environment);
        Ok(Some(Entry { tenant, environment, id, meter, value, at }))
    }

    async fn account(&mut self, name: Option<String>) -> Result<Option<Arc<Account>>, Problem> {
        if let Some(known) = self.names.get(&name) {
            return Ok(known.clone());
        }
        let environment = &self.who.environment;
        let named: Option<TenantId> = match &name {
            Some(name) => self.state.engine.book.tenant(environment.project, name).await?,
            None => self.who.tenant,
        };
        let account = match named.filter(|named| self.who.tenant.is_none_or(|own| own == *named)) {
            Some(tenant) => Some(self.state.engine.book.account(environment.id, tenant).await?),
            None => None,
        };
        self.names.insert(name, account.clone());
        Ok(account)
    }
}

pub(crate) async fn gauge(state: Arc<State>, call: Call<GaugeBody>) -> Result<Reply<StandView>, Problem> {
    let meter = meter(&call)?;
    let who = state.who(&call).await?;
    if who.is_tenant {
        return Err(Problem::new(&codes::FORBIDDEN).detail("Gauges are set by services and operators."));
    }
    if call.body.value.is_negative() {
        return Err(Problem::new(&codes::INVALID).fault("/value", "0 or more is expected"));
    }
    let account = state.account(&who, call.body.tenant.as_deref()).await?;
    let ask = state.engine.setting(&account, &meter, call.body.value)?;
    let (key, stand, _) = state.engine.end(ask).await?;
    Ok(Reply::ok(StandView::new(key.meter, key.span, stand)))
}
