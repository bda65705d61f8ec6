//! The one that gives events their place: leased, fenced, in batches.
//!
//! On PostgreSQL each process has a sequencer; one holds the lease, and every batch updates the lease's row in its own
//! transaction: one that was paused past its lease finds another holder or epoch there and writes nothing
//! (TORTURE F4, F29).

use std::collections::BTreeMap;
use std::time::Duration;

use lifecycle::Stop;
use serde_json::json;

use super::chain::{Link, Stored, hex, origin, stored_columns};
use crate::job::Scope;
use crate::lease::{Claim, hold};
use crate::tx::Core;
use crate::{Db, Epoch, Error, Kind, Sql};

/// Events in one batch: about 20 ms of work.
const BATCH_MAX: i64 = 500;

/// How long the first event of a batch waits for others: a batch costs a sync, and 100 ms are allowed.
const GATHER: Duration = Duration::from_millis(10);

/// The holder of the lease looks for events of other processes this often. (A notification with each event would
/// serialise all commits.)
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// Others look this often whether the lease is free.
const STAND_BY: Duration = Duration::from_secs(1);

/// A lease ends by itself after this, by the store's clock; it is renewed when a third is over. Another process takes
/// over within 10 s of a crash.
const LEASE: Duration = Duration::from_secs(8);

/// Between tries while the store fails.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);

/// The lease's name.
const NAME: &str = "sequencer";

const HAS_TAIL: Sql =
    Sql::One("SELECT count(*) FROM (SELECT emitted FROM sy_events WHERE position IS NULL LIMIT 1) AS tail");
const TAIL: Sql = Sql::One(concat!(
    "SELECT ",
    stored_columns!(),
    " FROM sy_events WHERE position IS NULL ORDER BY emitted, id LIMIT $1"
));
const HEAD: Sql = Sql::One("SELECT coalesce(max(position), 0) FROM sy_events");
/// A batch goes as one JSON text in and out of rows; the functions that take it apart differ.
const CHAINS: Sql = Sql::Split {
    sqlite: "SELECT tenant, length, position, hash FROM sy_chains WHERE tenant IN (SELECT value FROM json_each($1))",
    postgres: "SELECT tenant, length, position, hash FROM sy_chains
               WHERE tenant IN (SELECT json_array_elements_text($1::json) COLLATE \"C\")",
};
/// As [`CHAINS`].
const PLACE: Sql = Sql::Split {
    sqlite: "UPDATE sy_events SET position = new.position, chain_index = new.chain_index, hash = unhex(new.hash)
             FROM (SELECT value ->> 'tenant' AS tenant, value ->> 'id' AS id, value ->> 'position' AS position,
                   value ->> 'chain_index' AS chain_index, value ->> 'hash' AS hash FROM json_each($1)) AS new
             WHERE sy_events.tenant = new.tenant AND sy_events.id = new.id AND sy_events.position IS NULL",
    postgres: "UPDATE sy_events
               SET position = new.position, chain_index = new.chain_index, hash = decode(new.hash, 'hex')
               FROM json_to_recordset($1::json)
                 AS new (tenant text, id text, position bigint, chain_index bigint, hash text)
               WHERE sy_events.tenant = new.tenant COLLATE \"C\" AND sy_events.id = new.id COLLATE \"C\"
                 AND sy_events.position IS NULL",
};
/// As [`CHAINS`]. SQLite needs the WHERE to tell the upsert from a join.
const GROW: Sql = Sql::Split {
    sqlite: "INSERT INTO sy_chains (tenant, length, position, hash)
             SELECT value ->> 'tenant', value ->> 'length', value ->> 'position', unhex(value ->> 'hash')
             FROM json_each($1) WHERE true
             ON CONFLICT (tenant) DO UPDATE
             SET length = excluded.length, position = excluded.position, hash = excluded.hash",
    postgres: "INSERT INTO sy_chains (tenant, length, position, hash)
               SELECT tenant, length, position, decode(hash, 'hex')
               FROM json_to_recordset($1::json) AS new (tenant text, length bigint, position bigint, hash text)
               ON CONFLICT (tenant) DO UPDATE
               SET length = excluded.length, position = excluded.position, hash = excluded.hash",
};
/// PostgreSQL only; the function's answer has no type of ours.
const NOTIFY: Sql = Sql::One("SELECT pg_notify('sy_head', '') IS NULL");

pub(crate) struct Sequencer {
    db: Db,
    /// Who holds the lease: this opening of the store. One that begins anew has it at once.
    holder: String,
    epoch: Option<Epoch>,
    /// When the lease was last renewed; `None` while another process holds it.
    renewed: Option<Duration>,
    /// The last failure, so that it is told once.
    failing: Option<Error>,
}

/// What a turn did.
enum Turn {
    /// Another process holds the lease.
    StandBy,
    /// The lease is ours at this epoch; so many events were placed, up to this head.
    Placed { epoch: Epoch, events: usize, head: i64 },
}

impl Sequencer {
    pub(crate) fn new(db: Db) -> Self {
        let holder = format!("{}.{NAME}", db.0.shared.instance);
        Self { db, holder, epoch: None, renewed: None, failing: None }
    }

    /// Runs until `stop`, and then until the tail is empty.
    pub(crate) async fn run(mut self, stop: Stop) {
        loop {
            let wait = match self.turn().await {
                Ok(wait) => {
                    self.failing = None;
                    wait
                }
                Err(error) => {
                    if self.failing.as_ref() != Some(&error) {
                        tracing::warn!(%error, "events cannot be given their place; it is tried again");
                        self.failing = Some(error);
                    }
                    Some(PAUSE_AFTER_ERROR)
                }
            };
            match wait {
                Some(_) if stop.is_stopping() => return,
                Some(wait) => self.wait(wait, &stop).await,
                None => {}
            }
        }
    }

    /// One look at the tail; `None` when there may be more at once, else how long to wait at most.
    async fn turn(&mut self) -> Result<Option<Duration>, Error> {
        let idle = match (self.db.kind(), self.renewed) {
            (Kind::Sqlite, _) => Duration::MAX,
            (Kind::Postgres, Some(_)) => LOOK_EVERY,
            (Kind::Postgres, None) => STAND_BY,
        };
        let now = self.db.0.shared.clock.monotonic();
        let due = self.renewed.is_none_or(|renewed| now.saturating_sub(renewed) >= LEASE / 3);
        let renew = due && (self.db.kind() == Kind::Postgres || self.renewed.is_none());
        if !renew && !self.db.read_core(|mut core| has_tail(&mut core)).await? {
            return Ok(Some(idle));
        }
        let (holder, epoch) = (self.holder.clone(), self.epoch);
        let turn = self
            .db
            .write_core(Scope::Hot, move |mut core| {
                let claim = Claim { name: NAME, holder: &holder, ttl: LEASE };
                let Some(epoch) = hold(&mut core, &claim, epoch)? else { return Ok(Turn::StandBy) };
                let (events, head) = place(&mut core)?;
                Ok(Turn::Placed { epoch, events, head })
            })
            .await?;
        match turn {
            Turn::StandBy => {
                self.renewed = None;
                Ok(Some(STAND_BY))
            }
            Turn::Placed { epoch, events, head } => {
                self.epoch = Some(epoch);
                self.renewed = Some(now);
                self.db.0.head.advance(head);
                let full = i64::try_from(events).unwrap_or(i64::MAX) >= BATCH_MAX;
                Ok(if full { None } else { Some(idle) })
            }
        }
    }

    /// Waits for an event of this process, at most `longest`, then a moment for more.
    async fn wait(&self, longest: Duration, stop: &Stop) {
        if self.failing.is_some() || self.renewed.is_none() {
            // Whoever holds the lease finds the events; a store that fails is left alone for a moment.
            stop.sleep(longest).await;
            return;
        }
        tokio::select! {
            () = self.db.0.shared.emitted.notified() => { stop.sleep(GATHER).await; }
            () = stop.stopped() => {}
            () = tokio::time::sleep(longest) => {}
        }
    }
}

fn has_tail(core: &mut Core<'_>) -> Result<bool, Error> {
    let rows = core.query(&HAS_TAIL, &[])?;
    Ok(rows.first().map_or(Ok(0), |row| row.get::<i64>(0))? > 0)
}

/// Gives the oldest events of the tail their positions and links; answers how many, and the head.
fn place(core: &mut Core<'_>) -> Result<(usize, i64), Error> {
    let tail =
        core.query(&TAIL, &[BATCH_MAX.into()])?.iter().map(Stored::read).collect::<Result<Vec<_>, _>>()?;
    let mut head: i64 = core.query(&HEAD, &[])?.first().map_or(Ok(0), |row| row.get(0))?;
    if tail.is_empty() {
        return Ok((0, head));
    }
    let mut chains = chains(core, &tail)?;
    let mut placed = Vec::with_capacity(tail.len());
    for event in &tail {
        head += 1;
        let end = chains.entry(&event.tenant).or_insert_with(|| End::of_nothing(&event.tenant));
        end.length += 1;
        end.position = head;
        end.hash = event.link(&end.hash, end.length, head);
        placed.push(json!({
            "tenant": event.tenant, "id": event.id,
            "position": head, "chain_index": end.length, "hash": hex(&end.hash),
        }));
    }
    let grown: Vec<_> = chains
        .iter()
        .map(|(tenant, End { length, position, hash })| {
            json!({"tenant": tenant, "length": length, "position": position, "hash": hex(hash)})
        })
        .collect();
    let count = core.execute(&PLACE, &[json!(placed).to_string().into()])?;
    if count != tail.len() as u64 {
        return Err(Error::Statement("events changed while they were given their place".into()));
    }
    core.execute(&GROW, &[json!(grown).to_string().into()])?;
    if core.session.kind() == Kind::Postgres {
        core.query(&NOTIFY, &[])?;
    }
    Ok((tail.len(), head))
}

/// Where a chain ends.
struct End {
    length: i64,
    position: i64,
    hash: Link,
}

impl End {
    fn of_nothing(tenant: &str) -> Self {
        Self { length: 0, position: 0, hash: origin(tenant) }
    }
}

/// The ends of the chains that the events belong to, as far as they exist.
fn chains<'a>(core: &mut Core<'_>, tail: &'a [Stored]) -> Result<BTreeMap<&'a str, End>, Error> {
    let mut tenants: Vec<&str> = tail.iter().map(|event| event.tenant.as_str()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let rows = core.query(&CHAINS, &[json!(tenants).to_string().into()])?;
    let mut chains = BTreeMap::new();
    for row in &rows {
        let tenant: String = row.get(0)?;
        if let Ok(at) = tenants.binary_search(&tenant.as_str()) {
            chains.insert(tenants[at], End { length: row.get(1)?, position: row.get(2)?, hash: row.get(3)? });
        }
    }
    Ok(chains)
}
