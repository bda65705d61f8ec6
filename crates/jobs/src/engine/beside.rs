//! A plan on SQLite: claims and ends are small rows beside the jobs ([`crate::store::claims`]), taken over in steps.

use std::sync::Arc;

use db::{Error as StoreError, Rows, SystemTx};

use super::Inner;
use super::batch::{Outcome, insert};
use super::plan::{Plan, TakeOver};
use super::run;
use crate::Error;
use crate::store::{claims, done, live};

/// Ended jobs that stand beside their rows until they are taken over: one or two milliseconds of work.
const ENDED_MAX: usize = 400;
/// Running jobs that stand beside their rows: more are looked through each time that the ended ones are taken over.
const RUNNING_MAX: usize = 2_000;

/// How many jobs stand beside their rows, or more: what else takes them over does not count down.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    running: usize,
    ended: usize,
}

impl Beside {
    pub(crate) fn is_empty(&self) -> bool {
        self.running + self.ended == 0
    }

    /// What is to be taken over with the next batch.
    pub(crate) fn due(&self, is_to_be_read: bool) -> TakeOver {
        match () {
            () if is_to_be_read || self.running > RUNNING_MAX => TakeOver::All,
            () if self.ended >= ENDED_MAX => TakeOver::Ended,
            () => TakeOver::Nothing,
        }
    }

    /// Follows a batch: its ends, what was taken over after them, its claims.
    pub(crate) fn follow(&mut self, take_over: TakeOver, outcome: &Outcome) {
        self.running = self.running.saturating_sub(outcome.ended_beside);
        self.ended += outcome.ended_beside;
        match take_over {
            TakeOver::Nothing => {}
            TakeOver::Ended => self.ended = 0,
            TakeOver::All => (self.running, self.ended) = (0, 0),
        }
        self.running += outcome.claims.as_ref().map_or(0, db::Hits::count);
    }
}

impl Inner {
    /// Reads of jobs, with all that the store has beside them.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, f: F) -> Result<T, Error>
    where
        F: Fn(&mut SystemTx<'_>) -> Result<T, Error> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let f = Arc::new(f);
        let again = Arc::clone(&f);
        if self.take_over().await.is_err() {
            // The disk is full, say. What is there can be seen all the same: in a transaction that is undone.
            let look = move |tx: &mut SystemTx<'_>| -> Result<(), Seen<T>> {
                claims::take_over(tx)?;
                Err(Seen(f(tx)))
            };
            if let Err(Seen(seen)) = self.db.write_hot(&self.ctx, look).await
                && !matches!(seen, Err(Error::Store(_)))
            {
                return seen;
            }
        }
        self.db.read_system(&self.ctx, move |tx| again(tx)).await
    }

    /// Before jobs are read: has the store take over what stands beside them. Others may be claimed right after.
    async fn take_over(self: &Arc<Self>) -> Result<(), Error> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        {
            let mut memory = self.memory.lock();
            if memory.beside.is_empty() {
                return Ok(());
            }
            memory.pending.readers.push(super::plan::Call { rows: 0, reply });
        }
        self.kick();
        super::calls::answered(answer).await
    }
}

/// What a transaction saw that is to be undone.
struct Seen<T>(Result<T, Error>);

impl<T> From<StoreError> for Seen<T> {
    fn from(error: StoreError) -> Self {
        Self(Err(error.into()))
    }
}

/// Does a plan. May run again.
pub(super) fn run(tx: &mut SystemTx<'_>, plan: &Plan) -> Result<Outcome, Error> {
    let mut outcome = Outcome::of(plan);
    if !plan.inserts.is_empty() {
        insert(tx, plan.inserts.iter())?;
    }
    end(tx, plan, &mut outcome)?;
    match plan.take_over {
        TakeOver::Nothing => {}
        TakeOver::Ended => claims::take_over_ended(tx)?,
        TakeOver::All => claims::take_over(tx)?,
    }
    beat(tx, plan, &mut outcome)?;
    claim(tx, plan, &mut outcome)?;
    Ok(outcome)
}

/// Ends jobs beside their rows; in their rows where they were taken over.
fn end(tx: &mut SystemTx<'_>, plan: &Plan, outcome: &mut Outcome) -> Result<(), StoreError> {
    if plan.acks.is_empty() {
        return Ok(());
    }
    let all: Vec<usize> = (0..plan.acks.len()).collect();
    let hits = tx.many(&claims::END, &run::ends(plan, &all))?;
    run::mark(&mut outcome.acks, &all, &hits);
    outcome.ended_beside = hits.count();
    let (kept_at, gone_at): (Vec<usize>, Vec<usize>) = all
        .into_iter()
        .filter(|index| !hits.is_hit(*index))
        .partition(|index| plan.acks[*index].keep_until.is_some());
    if !kept_at.is_empty() {
        run::mark(&mut outcome.acks, &kept_at, &tx.many(&done::KEEP, &run::ends(plan, &kept_at))?);
        tx.many(&live::GONE, &run::bare(plan, &kept_at))?;
    }
    if !gone_at.is_empty() {
        run::mark(&mut outcome.acks, &gone_at, &tx.many(&live::GONE, &run::bare(plan, &gone_at))?);
    }
    Ok(())
}

fn beat(tx: &mut SystemTx<'_>, plan: &Plan, outcome: &mut Outcome) -> Result<(), StoreError> {
    let mut left: Vec<usize> = (0..plan.beats.len()).collect();
    for statement in [&claims::BEAT, &live::BEAT] {
        if left.is_empty() {
            break;
        }
        let mut rows = Rows::new(3, left.len());
        left.iter().for_each(|index| rows.push(run::beat(&plan.beats[*index])));
        for (at, row) in tx.query_many(statement, &rows)? {
            outcome.beats[left[at]] = Some(row.get(0)?);
        }
        left.retain(|index| outcome.beats[*index].is_none());
    }
    Ok(())
}

fn claim(tx: &mut SystemTx<'_>, plan: &Plan, outcome: &mut Outcome) -> Result<(), Error> {
    if plan.claims.is_empty() {
        return Ok(());
    }
    outcome.claims = Some(tx.many(&claims::CLAIM, &run::claims(plan, &[]))?);
    let (unread, bodies) = run::unread(plan);
    if !unread.is_empty() {
        for (at, row) in tx.query_many(&live::BODIES, &bodies)? {
            outcome.bodies.insert(unread[at], run::body(&row)?);
        }
    }
    Ok(())
}
