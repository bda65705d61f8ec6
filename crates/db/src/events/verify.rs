//! Proves that the log is what it was: every link recomputed, every place counted (TORTURE S8).
//!
//! What the store alone cannot show: that its log was cut at its end together with its chains' records, or that an older
//! copy was put in its place. An [`Anchor`] that was kept outside shows that.

use std::collections::HashMap;
use std::time::Duration;

use base::TenantId;

use super::anchor::Anchor;
use super::chain::{Link, Stored, origin, stored_columns};
use super::follow::{open, tenant_of};
use crate::tx::Core;
use crate::{Db, Error, Row, Sql};

/// Events read in one transaction: about 10 ms.
const BATCH_MAX: i64 = 1_000;

const HEAD: Sql = Sql::One("SELECT coalesce(max(position), 0) FROM sy_events");
const CHAINS: Sql = Sql::One("SELECT tenant, length, position, hash FROM sy_chains ORDER BY tenant");
const TAIL: Sql = Sql::One(
    "SELECT count(*), coalesce(min(at), 0) FROM sy_events WHERE position IS NULL
       AND (CAST($1 AS TEXT) IS NULL OR tenant = $1)",
);
const BY_POSITION: Sql = Sql::One(concat!(
    "SELECT ",
    stored_columns!(),
    ", position, chain_index, hash FROM sy_events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"
));
const BY_CHAIN: Sql = Sql::One(concat!(
    "SELECT ",
    stored_columns!(),
    ", position, chain_index, hash FROM sy_events
     WHERE tenant = $4 AND chain_index > $1 AND chain_index <= $2 ORDER BY chain_index LIMIT $3"
));

/// What a verification of the log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// True when nothing was changed or removed.
    pub ok: bool,
    /// Sequenced events that were read.
    pub events: u64,
    /// Chains that were read.
    pub chains: u64,
    /// The first place where the log is not what it was.
    pub first_bad: Option<FirstBad>,
    /// Events that have no position yet, and so are not covered.
    pub unsequenced_tail: u64,
    /// Age of the oldest of them.
    pub tail_age: Duration,
    /// Where the log stands now, to be kept outside the store. `None` when it is not whole, or was not read whole.
    pub anchor: Option<Anchor>,
}

/// Where and how the log was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBad {
    /// Global position; for something that is gone, where it was.
    pub position: i64,
    /// The chain; `None` for the installation's own.
    pub tenant: Option<TenantId>,
    /// Index in that chain, from 1.
    pub chain_index: i64,
    /// What is wrong there.
    pub why: String,
}

/// The end of a chain as its record says.
#[derive(Debug, Clone)]
struct Recorded {
    length: i64,
    position: i64,
    hash: Link,
}

/// What was there when the verification began.
struct Beginning {
    head: i64,
    chains: HashMap<String, Recorded>,
    tail: u64,
    tail_since: i64,
}

struct Walk {
    /// Only this chain; positions have gaps then.
    only: Option<String>,
    head: i64,
    /// Last place read: a position, or with `only` an index.
    place: i64,
    ends: HashMap<String, (i64, Link)>,
    events: u64,
    /// What the log has to pass through.
    anchor: Option<Anchor>,
}

pub(crate) async fn verify(
    db: &Db,
    tenant: Option<TenantId>,
    anchor: Option<Anchor>,
) -> Result<VerifyReport, Error> {
    let only = tenant.map(|tenant| tenant.to_string());
    let scope = only.clone();
    let beginning = db.read_core(move |mut core| begin(&mut core, scope.as_deref())).await?;
    let end = match &only {
        Some(tenant) => beginning.chains.get(tenant).map_or(0, |chain| chain.length),
        None => beginning.head,
    };
    let mut walk = Walk { only, head: end, place: 0, ends: HashMap::new(), events: 0, anchor };
    let mut first_bad = None;
    while first_bad.is_none() && walk.place < walk.head {
        let (only, from, to) = (walk.only.clone(), walk.place, walk.head);
        let batch = db.read_core(move |mut core| batch(&mut core, only.as_deref(), from, to)).await?;
        let complete = batch.is_empty();
        first_bad = walk.check(&batch)?;
        if complete {
            break;
        }
    }
    let first_bad = match first_bad {
        Some(bad) => Some(bad),
        None => walk.check_ends(&beginning)?.or_else(|| walk.short_of_anchor()),
    };
    let whole = first_bad.is_none() && walk.only.is_none();
    let now = db.0.shared.clock.now().micros();
    let age = if beginning.tail == 0 { 0 } else { now.saturating_sub(beginning.tail_since).max(0) };
    Ok(VerifyReport {
        ok: first_bad.is_none(),
        events: walk.events,
        chains: walk.ends.len() as u64,
        first_bad,
        unsequenced_tail: beginning.tail,
        tail_age: Duration::from_micros(age.unsigned_abs()),
        anchor: whole.then(|| Anchor::at(walk.place, &walk.ends)),
    })
}

fn begin(core: &mut Core<'_>, only: Option<&str>) -> Result<Beginning, Error> {
    let head = core.query(&HEAD, &[])?.first().map_or(Ok(0), |row| row.get(0))?;
    let mut chains = HashMap::new();
    for row in core.query(&CHAINS, &[])? {
        let tenant: String = row.get(0)?;
        if only.is_none_or(|only| only == tenant) {
            chains.insert(tenant, Recorded { length: row.get(1)?, position: row.get(2)?, hash: row.get(3)? });
        }
    }
    let rows = core.query(&TAIL, &[only.into()])?;
    let row = rows.first().ok_or_else(|| Error::Decode("a count has no row".into()))?;
    Ok(Beginning { head, chains, tail: row.get::<u64>(0)?, tail_since: row.get(1)? })
}

/// A stored event, its place, and whether its payload opens.
struct Read {
    event: Stored,
    position: i64,
    chain_index: i64,
    hash: Link,
    opens: bool,
}

fn batch(core: &mut Core<'_>, only: Option<&str>, from: i64, to: i64) -> Result<Vec<Read>, Error> {
    let rows = match only {
        Some(tenant) => core.query(&BY_CHAIN, &[from.into(), to.into(), BATCH_MAX.into(), tenant.into()])?,
        None => core.query(&BY_POSITION, &[from.into(), to.into(), BATCH_MAX.into()])?,
    };
    rows.iter().map(|row| read(core, row)).collect()
}

fn read(core: &mut Core<'_>, row: &Row) -> Result<Read, Error> {
    let event = Stored::read(row)?;
    // A sealed store proves its links all the same.
    let opens = core.shared.sealed.is_some() || open(core, &event).is_ok();
    // A link of a wrong length is a wrong link.
    let hash = row.get::<Vec<u8>>(9).ok().and_then(|hash| hash.try_into().ok()).unwrap_or([0; 32]);
    Ok(Read {
        event,
        position: row.get(7)?,
        chain_index: row.get::<Option<i64>>(8)?.unwrap_or(0),
        hash,
        opens,
    })
}

impl Walk {
    fn check(&mut self, batch: &[Read]) -> Result<Option<FirstBad>, Error> {
        for read in batch {
            let expected = self.place + 1;
            let (length, last) =
                self.ends.entry(read.event.tenant.clone()).or_insert_with(|| (0, origin(&read.event.tenant)));
            let next = *length + 1;
            let bad = |position: i64, why: String| -> Result<Option<FirstBad>, Error> {
                let tenant = tenant_of(&read.event.tenant)?;
                Ok(Some(FirstBad { position, tenant, chain_index: next, why }))
            };
            if self.only.is_none() && read.position != expected {
                return bad(expected, format!("events {expected} to {} are gone", read.position - 1));
            }
            if read.chain_index != next {
                return bad(
                    read.position,
                    format!(
                        "index {} stands where {next} must be: an event was removed, added or moved",
                        read.chain_index
                    ),
                );
            }
            let link = read.event.link(last, next, read.position);
            if link != read.hash {
                return bad(
                    read.position,
                    "the event is not the one that was linked: it was changed or moved".into(),
                );
            }
            if !read.opens {
                return bad(read.position, "the payload was not sealed by this store for this event".into());
            }
            (*length, *last) = (next, link);
            self.place = if self.only.is_some() { read.chain_index } else { read.position };
            self.events += 1;
            if self
                .anchor
                .is_some_and(|a| a.position() == self.place && a != Anchor::at(self.place, &self.ends))
            {
                let why = "the log up to here is not the one of the anchor: it was written anew".into();
                let tenant = tenant_of(&read.event.tenant)?;
                return Ok(Some(FirstBad { position: read.position, tenant, chain_index: next, why }));
            }
        }
        Ok(None)
    }

    /// A log that does not reach its anchor was longer once.
    fn short_of_anchor(&self) -> Option<FirstBad> {
        let reached = self.anchor?.position();
        let why = format!(
            "the log ends at {}, and once reached {reached}: it is an older copy, or was cut",
            self.place
        );
        let bad = FirstBad { position: self.place + 1, tenant: None, chain_index: 0, why };
        (reached > self.place).then_some(bad)
    }

    /// Compares where the chains ended with what their records say.
    fn check_ends(&self, beginning: &Beginning) -> Result<Option<FirstBad>, Error> {
        let mut bad: Vec<FirstBad> = Vec::new();
        for (scope, recorded) in &beginning.chains {
            let (length, last) = self.ends.get(scope).copied().unwrap_or_else(|| (0, origin(scope)));
            if length == recorded.length && last == recorded.hash {
                continue;
            }
            let why = format!("the chain ends at index {length}, its record says {}", recorded.length);
            let tenant = tenant_of(scope)?;
            bad.push(FirstBad { position: recorded.position, tenant, chain_index: length + 1, why });
        }
        for scope in self.ends.keys().filter(|scope| !beginning.chains.contains_key(*scope)) {
            let tenant = tenant_of(scope)?;
            bad.push(FirstBad {
                position: self.head,
                tenant,
                chain_index: 1,
                why: "the chain has no record".into(),
            });
        }
        bad.sort_by_key(|bad| (bad.position, bad.chain_index));
        Ok(bad.into_iter().next())
    }
}
