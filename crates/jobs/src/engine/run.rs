//! What a plan does to PostgreSQL: statements that do not need each other's answers, so that they, and the commit,
//! go in one round trip. Where limits are counted over several processes, one more goes before.

use std::collections::HashMap;

use db::{Ask, Error as StoreError, Hits, Kind, Many, Param, Row, Rows, SystemTx, Told, Value, params};

use super::batch::{Active, Outcome, insert_rows};
use super::beside;
use super::plan::{AckRow, BeatRow, Plan};
use super::refill::Refill;
use crate::store::live;
use crate::store::{alone, done, queues};
use crate::{Error, Payload};

/// Does a plan. May run again.
pub(super) fn run(tx: &mut SystemTx<'_>, plan: &Plan) -> Result<Outcome, Error> {
    if tx.kind() == Kind::Sqlite {
        return beside::run(tx, plan);
    }
    let batches = Batches::of(plan);
    let mut outcome = Outcome::of(plan);
    // Where others may claim too, what they run is counted after this batch's jobs have ended, under the queue's lock.
    let counts = !plan.locks.is_empty() && plan.alone.is_none();
    if counts {
        let numbers: Vec<[Value; 1]> = plan.locks.iter().map(|lock| params![lock.queue]).collect();
        let mut round = Round::default();
        round.add(Part::Nothing, Ask::Query(&alone::HOLD, &[]));
        round.add(Part::Name, Ask::Query(&alone::NAME, &[]));
        batches.ask_acks(&mut round);
        for number in &numbers {
            round.add(Part::Nothing, Ask::Query(&queues::LOCK, number));
            round.add(Part::Active, Ask::Query(&live::ACTIVE, number));
        }
        let told = tx.at_once(&round.asks)?;
        batches.take(plan, &mut outcome, round.parts, told)?;
        if !outcome.is_contested {
            outcome.refused = beyond(plan, &outcome.active);
        }
    }
    let claims = claims(plan, &outcome.refused);
    let windows: Vec<[Value; 6]> = plan.refills.iter().map(Refill::params).collect();
    let mut round = Round::default();
    if plan.alone.is_some() {
        round.add(Part::Nothing, Ask::Query(&alone::HOLD, &[]));
        round.add(Part::Name, Ask::Query(&alone::NAME, &[]));
    }
    batches.ask_inserts(&mut round);
    if !counts {
        batches.ask_acks(&mut round);
    }
    round.add(Part::Beats, Ask::Find(&live::BEAT, &batches.beats));
    let claim: &Many = if plan.alone.is_some() { &live::CLAIM_ALONE } else { &live::CLAIM };
    round.add(Part::Claims, Ask::Change(claim, &claims));
    round.add(Part::Bodies, Ask::Find(&live::BODIES, &batches.bodies));
    windows.iter().for_each(|window| round.add(Part::Window, Ask::Query(&live::WINDOW, window)));
    let told = tx.at_last(&round.asks)?;
    batches.take(plan, &mut outcome, round.parts, told)?;
    Ok(outcome)
}

/// Statements that go together, and what each is about.
#[derive(Default)]
struct Round<'a> {
    asks: Vec<Ask<'a>>,
    parts: Vec<Part>,
}

impl<'a> Round<'a> {
    /// Adds a statement, if it has rows.
    fn add(&mut self, part: Part, ask: Ask<'a>) {
        let is_empty = matches!(ask, Ask::Change(_, rows) | Ask::Find(_, rows) if rows.is_empty());
        if !is_empty {
            self.parts.push(part);
            self.asks.push(ask);
        }
    }
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Name,
    Active,
    Kept,
    Gone,
    Beats,
    Claims,
    Bodies,
    Window,
}

/// The rows of a plan's statements, but for the claims.
struct Batches<'a> {
    inserts: Rows<'a>,
    insert_bodies: Rows<'a>,
    /// Which acks are in `kept` and `gone`.
    kept_at: Vec<usize>,
    gone_at: Vec<usize>,
    kept: Rows<'a>,
    gone: Rows<'a>,
    beats: Rows<'a>,
    /// Which claims are in `bodies`.
    unread: Vec<usize>,
    bodies: Rows<'a>,
}

impl<'a> Batches<'a> {
    fn of(plan: &'a Plan) -> Self {
        let (inserts, insert_bodies) = insert_rows(plan.inserts.iter());
        let (kept_at, gone_at): (Vec<usize>, Vec<usize>) =
            (0..plan.acks.len()).partition(|index| plan.acks[*index].keep_until.is_some());
        let mut beats = Rows::new(3, plan.beats.len());
        plan.beats.iter().for_each(|row| beats.push(beat(row)));
        let (unread, bodies) = unread(plan);
        Self {
            inserts,
            insert_bodies,
            kept: ends(plan, &kept_at),
            gone: bare(plan, &gone_at),
            kept_at,
            gone_at,
            beats,
            unread,
            bodies,
        }
    }

    fn ask_inserts<'b>(&'b self, round: &mut Round<'b>) {
        round.add(Part::Nothing, Ask::Change(&live::INSERT, &self.inserts));
        round.add(Part::Nothing, Ask::Change(&live::INSERT_BODIES, &self.insert_bodies));
    }

    fn ask_acks<'b>(&'b self, round: &mut Round<'b>) {
        round.add(Part::Kept, Ask::Change(&done::KEEP, &self.kept));
        round.add(Part::Gone, Ask::Change(&live::GONE, &self.gone));
    }

    /// Takes answers in.
    fn take(
        &self,
        plan: &Plan,
        outcome: &mut Outcome,
        parts: Vec<Part>,
        told: Vec<Told>,
    ) -> Result<(), Error> {
        for (part, told) in parts.into_iter().zip(told) {
            match part {
                Part::Nothing => {}
                Part::Name => {
                    let name = alone::name(told)?;
                    // Whoever claims alone does not wait for the lock of a queue, and nothing is claimed under a name that
                    // is not in the store any more.
                    outcome.is_contested = match &plan.alone {
                        Some(own) => *name != **own,
                        None => !name.is_empty() && *name != *plan.name,
                    };
                    if outcome.is_contested {
                        outcome.refused = vec![true; plan.claims.len()];
                    }
                }
                Part::Active => {
                    if let Some(lock) = plan.locks.get(outcome.active.len()) {
                        outcome.active.push((lock.queue, live::active_rows(&told.rows()?)?));
                    }
                }
                Part::Kept => mark(&mut outcome.acks, &self.kept_at, &told.hits()?),
                Part::Gone => mark(&mut outcome.acks, &self.gone_at, &told.hits()?),
                Part::Beats => {
                    for (index, row) in told.found()? {
                        outcome.beats[index] = Some(row.get(0)?);
                    }
                }
                Part::Claims => outcome.claims = Some(told.hits()?),
                Part::Bodies => {
                    for (at, row) in told.found()? {
                        outcome.bodies.insert(self.unread[at], body(&row)?);
                    }
                }
                Part::Window => {
                    if let Some(refill) = plan.refills.get(outcome.refills.len()) {
                        outcome.refills.push(refill.entries(&told.rows()?)?);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Running jobs as the store finds them.
pub(super) fn bare<'a>(plan: &'a Plan, at: &[usize]) -> Rows<'a> {
    let mut rows = Rows::new(2, at.len());
    for index in at {
        let ack = &plan.acks[*index];
        rows.push([Param::Blob(ack.id.as_bytes()), Param::Int(ack.fence)]);
    }
    rows
}

pub(super) fn beat(row: &BeatRow) -> [Param<'_>; 3] {
    [Param::Blob(row.id.as_bytes()), Param::Int(row.fence), Param::Int(row.until)]
}

/// Claims whose payloads are not in memory, and what finds these.
pub(super) fn unread(plan: &Plan) -> (Vec<usize>, Rows<'_>) {
    let is_unread = |index: &usize| plan.claims[*index].picked.entry.payload.is_none();
    let unread: Vec<usize> = (0..plan.claims.len()).filter(is_unread).collect();
    let mut bodies = Rows::new(1, unread.len());
    for index in &unread {
        bodies.push([Param::Blob(plan.claims[*index].picked.entry.id.as_bytes())]);
    }
    (unread, bodies)
}

pub(super) fn mark(acks: &mut [bool], of: &[usize], hits: &Hits) {
    of.iter().enumerate().for_each(|(at, index)| acks[*index] = hits.is_hit(at));
}

pub(super) fn body(row: &Row) -> Result<Payload, StoreError> {
    let text: Option<String> = row.get(0)?;
    Ok(text.map_or_else(Payload::null, Payload::from_json))
}

/// How jobs end; a result only where it is kept.
pub(super) fn ends<'a>(plan: &'a Plan, at: &[usize]) -> Rows<'a> {
    let mut rows = Rows::new(5, at.len());
    for index in at {
        let AckRow { id, fence, keep_until, result } = &plan.acks[*index];
        rows.push([
            Param::Blob(id.as_bytes()),
            Param::Int(*fence),
            Param::Int(plan.now.micros()),
            keep_until.map_or(Param::Null, Param::Int),
            result
                .as_ref()
                .filter(|_| keep_until.is_some())
                .map_or(Param::Null, |result| Param::Text(result.as_str())),
        ]);
    }
    rows
}

pub(super) fn claims<'a>(plan: &'a Plan, refused: &[bool]) -> Rows<'a> {
    let mut rows = Rows::new(if plan.alone.is_some() { 6 } else { 5 }, plan.claims.len());
    for (index, claim) in plan.claims.iter().enumerate() {
        let entry = &claim.picked.entry;
        // No job has this fence.
        let fence = if refused.get(index).is_some_and(|refused| *refused) { -1 } else { entry.fence };
        let row = [
            Param::Blob(entry.id.as_bytes()),
            Param::Int(fence),
            Param::Int(claim.until),
            Param::Int(plan.now.micros()),
            claim.worker.as_deref().map_or(Param::Null, Param::Text),
        ];
        match &plan.alone {
            None => rows.push(row),
            Some(name) => {
                let [id, fence, until, started, worker] = row;
                rows.push([id, fence, until, started, worker, Param::Text(name)]);
            }
        }
    }
    rows
}

/// Which claims are beyond the limits of their queues.
fn beyond(plan: &Plan, active: &[Active]) -> Vec<bool> {
    let mut refused = vec![false; plan.claims.len()];
    for (lock, (_, active)) in plan.locks.iter().zip(active) {
        let mut total: u64 = active.iter().map(|(_, count)| count).sum();
        let mut each: HashMap<&str, u64> =
            active.iter().map(|(tenant, count)| (tenant.as_str(), *count)).collect();
        let own = plan.claims.iter().zip(&mut refused).filter(|(claim, _)| claim.slot == lock.slot);
        for (claim, refused) in own {
            let own = each.entry(&claim.tenant).or_default();
            *refused = total >= lock.concurrency || *own >= lock.per_tenant;
            if !*refused {
                total += 1;
                *own += 1;
            }
        }
    }
    refused
}
