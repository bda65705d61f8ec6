//! The worker of the built-in queue `billing`: sends one batch, and notes what came of it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use authority::SystemCtx;
use base::{MeterName, SinkId, TenantId};
use futures_util::StreamExt as _;
use futures_util::stream;
use ports::{BoxFuture, Cancelled, ExternalIds, JobFailure, JobHandler, Work};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::error::Error;
use crate::metrics::Counters;
use crate::model::{Delivery, Kind};
use crate::ops::sending::{self, Batch, Found, Tally};
use crate::ops::{QUEUE, Tools};
use crate::stripe::{Stripe, Verdict};
use crate::webhook;
use crate::wire::Wire;

/// Requests of one batch that are on their way at once. Those of one tenant and meter go one after the other: Stripe takes one
/// at a time of a customer and meter.
const AT_ONCE: usize = 8;

/// Sends batches.
pub(crate) struct Sender {
    pub(crate) tools: Tools,
    pub(crate) customers: Arc<dyn ExternalIds>,
    pub(crate) wire: Wire,
    pub(crate) counters: Counters,
}

/// What a job says.
#[derive(Debug, Deserialize)]
struct Payload {
    sink: SinkId,
    batch: i64,
}

impl JobHandler for Sender {
    fn queue(&self) -> &'static str {
        QUEUE
    }

    fn run(&self, work: Work) -> BoxFuture<'_, Result<Value, JobFailure>> {
        Box::pin(async move {
            let payload: Payload = serde_json::from_value(work.payload).map_err(JobFailure::fatal)?;
            self.send(payload, &work.cancelled).await
        })
    }
}

impl Sender {
    async fn send(&self, job: Payload, cancelled: &Cancelled) -> Result<Value, JobFailure> {
        let Payload { sink, batch } = job;
        let tools = self.tools.clone();
        let ctx = SystemCtx::because("read what a billing sink is to be sent");
        let read = self.tools.db.read_system(&ctx, move |tx| sending::load(tx, &tools, sink, batch)).await;
        let found = match read.map_err(JobFailure::retry)? {
            Found::Nothing => return Ok(json!({ "accepted": 0 })),
            Found::Resting(status) => {
                return Err(JobFailure::retry(format_args!("the sink is {}", status.word())));
            }
            Found::Pausing(until) => {
                return Err(JobFailure::retry(format_args!("the sink asked for a pause until {until}")));
            }
            Found::Batch(batch) => *batch,
        };
        let going = self.begin(&found).await?;
        let outcomes = match found.sink.definition.kind {
            Kind::Stripe => self.to_stripe(&found, going, cancelled).await,
            Kind::Webhook => self.to_webhook(&found, batch, going).await,
        };
        self.finish(found, outcomes).await
    }

    /// Finds the customers, and notes that they are about to be told.
    async fn begin(&self, found: &Batch) -> Result<Vec<Delivery>, JobFailure> {
        let name = found.sink.definition.customer.as_str();
        let mut customers = BTreeMap::new();
        for one in &found.deliveries {
            if let Entry::Vacant(vacant) = customers.entry(one.tenant) {
                let known = self.customers.external_id(one.tenant, name).await;
                vacant.insert(known.map_err(JobFailure::retry)?);
            }
        }
        let (tools, sink, batch) = (self.tools.clone(), found.sink.clone(), found.deliveries.clone());
        let ctx = SystemCtx::because("note what a billing sink is about to be sent");
        let write =
            self.tools.db.write_system(&ctx, move |tx| sending::begin(tx, &tools, &sink, &batch, &customers));
        write.await.map_err(JobFailure::retry)
    }

    async fn to_stripe(
        &self,
        found: &Batch,
        going: Vec<Delivery>,
        cancelled: &Cancelled,
    ) -> Vec<(Delivery, Verdict)> {
        let stripe = Stripe {
            wire: &self.wire,
            base: found.sink.definition.url(),
            api: found.sink.definition.api,
            key: found.secrets.now.expose(),
        };
        let (stop, stopped) = watch::channel(None::<String>);
        let (stripe, stop, stopped) = (&stripe, &stop, &stopped);
        let groups = stream::iter(grouped(going)).map(|group| async move {
            let mut outcomes = Vec::with_capacity(group.len());
            for one in group {
                let stopped = stopped.borrow().clone();
                let stopped = stopped.or_else(|| cancelled.is().then(|| "stopped".to_owned()));
                let verdict = match stopped {
                    Some(why) => Verdict::Later { why, arrived: false, answered: false, pause: None },
                    None => stripe.send(&one, one.customer.as_deref().unwrap_or_default()).await,
                };
                // What is not about one event is about all: the others are spared the wait.
                if let Verdict::Later { why, .. } = &verdict {
                    stop.send_replace(Some(why.clone()));
                }
                outcomes.push((one, verdict));
            }
            outcomes
        });
        groups.buffer_unordered(AT_ONCE).concat().await
    }

    async fn to_webhook(&self, found: &Batch, batch: i64, going: Vec<Delivery>) -> Vec<(Delivery, Verdict)> {
        let at = self.tools.now();
        let verdict = webhook::send(&self.wire, &found.sink, &found.secrets, (batch, at), &going).await;
        going.into_iter().map(|one| (one, verdict.clone())).collect()
    }

    async fn finish(&self, found: Batch, outcomes: Vec<(Delivery, Verdict)>) -> Result<Value, JobFailure> {
        let why = outcomes.iter().find_map(|(_, verdict)| match verdict {
            Verdict::Later { why, .. } => Some(why.clone()),
            Verdict::Accepted | Verdict::Refused(_) => None,
        });
        let (tools, sink) = (self.tools.clone(), found.sink);
        let ctx = SystemCtx::because("note what a billing sink accepted");
        let write = self.tools.db.write_system(&ctx, move |tx| -> Result<Tally, Error> {
            sending::note(tx, &tools, &sink, &outcomes)
        });
        let tally = write.await.map_err(JobFailure::retry)?;
        self.counters.count(tally);
        match why.filter(|_| tally.later > 0) {
            Some(why) => Err(JobFailure::retry(why)),
            None => Ok(json!({ "accepted": tally.accepted, "refused": tally.refused })),
        }
    }
}

/// By tenant and meter, in order.
fn grouped(going: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let mut groups: BTreeMap<(TenantId, MeterName), Vec<Delivery>> = BTreeMap::new();
    for one in going {
        groups.entry((one.tenant, one.meter.clone())).or_default().push(one);
    }
    groups.into_values().collect()
}
