//! Set, pause, resume and remove sinks; apply those of the project file.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Clock, EnvironmentId, Random, Secret, SinkId, Slug, Timestamp};
use db::SystemTx;
use ports::{Change, ManagedBy};
use serde_json::{Value, json};
use shape::Fault;

use super::{BATCH_MAX, Tools, emit, get};
use crate::error::Error;
use crate::model::{Definition, Kind, Sink, State};
use crate::store::{deliveries, hours, sinks};
use crate::webhook;

/// Sinks of an environment.
pub const SINKS_MAX: u32 = 20;
/// A webhook's former secret signs so long beside the new one.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// Deliveries that one transaction puts on their way again.
pub const REBATCH_MAX: u32 = 1_000;

/// A sink as somebody wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Whose usage it gets.
    pub environment: EnvironmentId,
    /// Its name.
    pub name: Slug,
    /// What it is.
    pub definition: Definition,
    /// Who decides about it.
    pub by: ManagedBy,
}

/// A sink that was set.
#[derive(Debug)]
pub struct Put {
    /// As it is now.
    pub sink: Sink,
    /// Whether it is new.
    pub is_new: bool,
    /// The signing secret of a new webhook, which is shown once.
    pub secret: Option<Secret<String>>,
}

/// Ids are made of the time that all processes agree on.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Makes a sink, or brings the one of that name in line. `accepts` judges the revision of one that exists (`If-Match`).
///
/// # Errors
/// `Wrong`, `ManagedByFile`, `ManagedByApi`, `TooMany`, `Stale`, `Store`.
pub fn put(
    tx: &mut SystemTx,
    tools: &Tools,
    wanted: &Wanted,
    accepts: impl Fn(i64) -> bool,
) -> Result<Put, Error> {
    let faults = wanted.definition.faults();
    if !faults.is_empty() {
        return Err(Error::Wrong(faults));
    }
    match sinks::by_name(tx, wanted.environment, &wanted.name)? {
        Some(existing) => {
            manageable(&existing, wanted.by)?;
            if !accepts(existing.revision) {
                return Err(Error::Stale { revision: existing.revision });
            }
            let sink = update(tx, tools, wanted, existing)?;
            Ok(Put { sink, is_new: false, secret: None })
        }
        None => create(tx, tools, wanted),
    }
}

fn create(tx: &mut SystemTx, tools: &Tools, wanted: &Wanted) -> Result<Put, Error> {
    let Wanted { environment, name, definition, by } = wanted;
    if sinks::count(tx, *environment)? >= u64::from(SINKS_MAX) {
        return Err(Error::TooMany(SINKS_MAX));
    }
    let now = tools.now();
    let mut sink = Sink {
        id: SinkId::new(&At(now), &*tools.random as &dyn Random),
        environment: *environment,
        name: name.clone(),
        definition: definition.clone(),
        managed_by: *by,
        paused: false,
        since: definition.since.unwrap_or(now),
        position: 0,
        next_delivery: 1,
        next_batch: 1,
        has_secret: false,
        accepted: 0,
        accepted_at: None,
        failure: None,
        failed_at: None,
        revision: 1,
        created_at: now,
        updated_at: now,
        rests_until: None,
    };
    sinks::insert(tx, &sink)?;
    let secret = (definition.kind == Kind::Webhook).then(|| webhook::new_secret(&tools.random));
    if let Some(secret) = &secret {
        sinks::set_secret(tx, sink.id, secret, None, now)?;
        sink = sinks::by_id(tx, sink.id)?.ok_or(Error::NotFound)?;
    }
    emit(tx, "billing.sink_created", &sink, (None, Some(view(&sink))))?;
    tools.nudge(tx);
    Ok(Put { sink, is_new: true, secret })
}

fn update(tx: &mut SystemTx, tools: &Tools, wanted: &Wanted, existing: Sink) -> Result<Sink, Error> {
    let mut sink = existing.clone();
    sink.definition = wanted.definition.clone();
    sink.managed_by = wanted.by;
    let mut faults = Vec::new();
    if sink.definition.kind != existing.definition.kind {
        let message = "a sink stays what it is; make another one";
        faults.push(Fault::new("/kind", "another kind", message));
    }
    match sink.definition.since {
        Some(since) if since != existing.since => {
            let message = format!("it was set to {} when the sink was made, and stays", existing.since);
            faults.push(Fault::new("/since", since.to_string(), message));
        }
        Some(_) => {}
        None => sink.definition.since = existing.definition.since,
    }
    if !faults.is_empty() {
        return Err(Error::Wrong(faults));
    }
    let begins = sink.definition.bill && !existing.definition.bill && !tools.is_production(sink.environment);
    if begins && sink.definition.since.is_none() {
        // What was used while nobody was billed is not.
        sink.since = sink.since.max(tools.now());
    }
    if sink == existing {
        return Ok(existing);
    }
    rewrite(tx, tools, sink, ("billing.sink_updated", &existing))
}

/// Stops sending; usage waits. Without effect when it is paused.
///
/// # Errors
/// `NotFound`, `Store`.
pub fn pause(
    tx: &mut SystemTx,
    tools: &Tools,
    environment: EnvironmentId,
    name: &Slug,
) -> Result<Sink, Error> {
    let existing = get(tx, environment, name)?;
    if existing.paused {
        return Ok(existing);
    }
    let sink = Sink { paused: true, ..existing.clone() };
    rewrite(tx, tools, sink, ("billing.sink_paused", &existing))
}

/// Goes on where it was, at once with the first [`REBATCH_MAX`] deliveries; the jobs of the others come back within their pause.
/// Without effect when it is not paused.
///
/// # Errors
/// `NotFound`, `Queue`, `Store`.
pub fn resume(
    tx: &mut SystemTx,
    tools: &Tools,
    environment: EnvironmentId,
    name: &Slug,
) -> Result<Sink, Error> {
    let existing = get(tx, environment, name)?;
    if !existing.paused {
        return Ok(existing);
    }
    let sink = Sink { paused: false, ..existing.clone() };
    let mut sink = rewrite(tx, tools, sink, ("billing.sink_resumed", &existing))?;
    rebatch(tx, tools, &mut sink, (State::Pending, 0))?;
    Ok(sink)
}

/// What was put on its way again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebatched {
    /// How many.
    pub count: u32,
    /// The number of the last one; 0 when there are no more after it.
    pub last: i64,
}

/// Puts what is in a state, after a number, into new batches, each with a job. At most [`REBATCH_MAX`].
///
/// # Errors
/// `Queue`, `Store`.
pub(crate) fn rebatch(
    tx: &mut SystemTx,
    tools: &Tools,
    sink: &mut Sink,
    (state, after): (State, i64),
) -> Result<Rebatched, Error> {
    let page = deliveries::page(tx, sink.id, Some(state), after, REBATCH_MAX)?;
    for chunk in page.chunks(BATCH_MAX) {
        let batch = sink.next_batch;
        sink.next_batch += 1;
        for one in chunk {
            match state {
                State::Pending | State::Held => deliveries::rebatch(tx, sink.id, one.number, batch)?,
                _ => deliveries::again(tx, sink.id, one.number, batch, state == State::Refused)?,
            }
        }
        tools.send_batch(tx, sink.id, batch)?;
    }
    sinks::set_numbers(tx, sink)?;
    let count = u32::try_from(page.len()).unwrap_or(u32::MAX);
    let last = page.last().filter(|_| count == REBATCH_MAX).map_or(0, |one| one.number);
    Ok(Rebatched { count, last })
}

/// Gives a sink another secret; of a webhook, the former one signs beside it for [`OVERLAP`]. `None` makes one, for a webhook only.
///
/// # Errors
/// `NotFound`, `Wrong`, `Store`.
pub fn set_secret(
    tx: &mut SystemTx,
    tools: &Tools,
    (environment, name): (EnvironmentId, &Slug),
    given: Option<Secret<String>>,
) -> Result<(Sink, Option<Secret<String>>), Error> {
    let existing = get(tx, environment, name)?;
    let now = tools.now();
    let wrong = |message: &str| Error::Wrong(vec![Fault::new("/secret", "this secret", message)]);
    let made = match (existing.definition.kind, &given) {
        (Kind::Webhook, None) => Some(webhook::new_secret(&tools.random)),
        (Kind::Webhook, Some(secret)) if !webhook::is_secret(secret.expose()) => {
            return Err(wrong("whsec_ and at least 16 bytes in base64 are expected"));
        }
        (Kind::Stripe, None) => return Err(wrong("Stripe's secret key is expected: sk_… or rk_…")),
        (Kind::Stripe, Some(secret)) if !is_key(secret.expose()) => {
            return Err(wrong("1 to 255 letters, digits and signs are expected"));
        }
        (_, Some(_)) => None,
    };
    let until = (existing.definition.kind == Kind::Webhook).then(|| now + OVERLAP);
    if let Some(secret) = made.as_ref().or(given.as_ref()) {
        sinks::set_secret(tx, existing.id, secret, until, now)?;
    }
    let sink = sinks::by_id(tx, existing.id)?.ok_or(Error::NotFound)?;
    emit(tx, "billing.secret_changed", &sink, (None, None))?;
    tools.nudge(tx);
    Ok((sink, made))
}

fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Removes a sink with all that it knows. Refused while something is not accepted, unless `force`.
///
/// # Errors
/// `NotFound`, `ManagedByFile`, `Open`, `Stale`, `Store`.
pub fn remove(
    tx: &mut SystemTx,
    tools: &Tools,
    (environment, name): (EnvironmentId, &Slug),
    force: bool,
    accepts: impl Fn(i64) -> bool,
) -> Result<(), Error> {
    let sink = get(tx, environment, name)?;
    manageable(&sink, ManagedBy::Api)?;
    if !accepts(sink.revision) {
        return Err(Error::Stale { revision: sink.revision });
    }
    let open = open(tx, &sink)?;
    if open > 0 && !force {
        return Err(Error::Open { name: sink.name, open });
    }
    erase(tx, tools, &sink)
}

/// Deliveries that are neither accepted nor dropped.
pub(crate) fn open(tx: &mut SystemTx, sink: &Sink) -> Result<u64, Error> {
    let all = deliveries::open(tx, sink.id)?;
    Ok(all.iter().filter(|(state, _)| *state != State::Dropped).map(|(_, count)| count).sum())
}

fn erase(tx: &mut SystemTx, tools: &Tools, sink: &Sink) -> Result<(), Error> {
    deliveries::remove_of_sink(tx, sink.id)?;
    hours::remove_of_sink(tx, sink.id)?;
    sinks::delete(tx, sink.id)?;
    emit(tx, "billing.sink_removed", sink, (Some(view(sink)), None))?;
    tools.nudge(tx);
    Ok(())
}

/// Why the sinks of the project file were not applied.
#[derive(Debug)]
pub enum ApplyError {
    /// One of them cannot be so.
    One(Slug, Error),
    /// These would go, and hold usage that is not accepted.
    HoldsData(Vec<String>),
}

/// Brings the sinks that the project file manages in line with it. `prune` allows the removal of those that hold usage.
///
/// # Errors
/// [`ApplyError`].
pub fn apply(
    tx: &mut SystemTx,
    tools: &Tools,
    environment: EnvironmentId,
    wanted: &BTreeMap<Slug, Definition>,
    prune: bool,
) -> Result<Vec<Change>, ApplyError> {
    let mut changes = Vec::new();
    for (name, definition) in wanted {
        let failed = |error: Error| ApplyError::One(name.clone(), error);
        let (name, definition) = (name.clone(), definition.clone());
        let one = Wanted { environment, name, definition, by: ManagedBy::File };
        let before = sinks::by_name(tx, environment, &one.name).map_err(|error| failed(error.into()))?;
        let put = put(tx, tools, &one, |_| true).map_err(failed)?;
        match before {
            None => changes.push(Change::created(format!("billing sink {}", one.name))),
            Some(before) if before.revision != put.sink.revision => {
                changes.push(Change::changed(format!("billing sink {}", one.name)));
            }
            Some(_) => {}
        }
    }
    let nameless = |error: Error| ApplyError::One(Slug::parse("billing").expect("a literal slug"), error);
    let mut holding = Vec::new();
    let of_file = sinks::of_file(tx, environment, SINKS_MAX).map_err(|error| nameless(error.into()))?;
    for sink in of_file.iter().filter(|sink| !wanted.contains_key(&sink.name)) {
        match open(tx, sink).map_err(nameless)? {
            open if open > 0 && !prune => {
                holding.push(format!("billing sink {} ({open} deliveries not accepted)", sink.name));
            }
            _ => {
                erase(tx, tools, sink).map_err(nameless)?;
                changes.push(Change::removed(format!("billing sink {}", sink.name)));
            }
        }
    }
    if holding.is_empty() { Ok(changes) } else { Err(ApplyError::HoldsData(holding)) }
}

/// Writes a changed sink and reads it back with its new revision.
fn rewrite(
    tx: &mut SystemTx,
    tools: &Tools,
    mut sink: Sink,
    (kind, before): (&'static str, &Sink),
) -> Result<Sink, Error> {
    sink.updated_at = tools.now();
    sinks::update(tx, &sink)?;
    emit(tx, kind, &sink, (Some(view(before)), Some(view(&sink))))?;
    tools.nudge(tx);
    sinks::by_id(tx, sink.id)?.ok_or(Error::NotFound)
}

/// Whether `by` decides about a sink.
fn manageable(sink: &Sink, by: ManagedBy) -> Result<(), Error> {
    match (sink.managed_by, by) {
        (ManagedBy::File, ManagedBy::Api) => Err(Error::ManagedByFile(sink.name.clone())),
        (ManagedBy::Api, ManagedBy::File) => Err(Error::ManagedByApi(sink.name.clone())),
        _ => Ok(()),
    }
}

/// A sink in an event.
fn view(sink: &Sink) -> Value {
    json!({ "definition": sink.definition, "paused": sink.paused, "managed_by": sink.managed_by })
}
