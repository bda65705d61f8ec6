//! One transaction for all that waits.
//!
//! Whoever asks leaves it here and waits. When the store is free, all that waits becomes one batch; while that is made durable, the next
//! one gathers. So sixty-four clients on one tenant wait for one commit, not for sixty-four of them behind each other, and a decision is still
//! made in a transaction that holds the counter.

mod decide;
mod notice;
mod work;

pub(crate) use notice::{REACHED, level};

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use authority::SystemCtx;
use base::{Amount, EnvironmentId, ReservationId, TenantId, Timestamp};
use db::{Db, SystemTx};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Letters;
use crate::book::{Book, Counter};
use crate::error::Error;
use crate::metrics::Counters;
use crate::model::calendar::CounterKey;
use crate::model::event::Entry;

/// Asks that wait: far more than clients there can be before they give up.
const WAITING_MAX: usize = 20_000;
/// Asks of one batch, and events of them: some 20 ms of the 50 ms that a transaction may take.
const BATCH_ASKS_MAX: usize = 512;
const BATCH_EVENTS_MAX: usize = 2_000;
/// Batches on their way: one that is made durable, and one that follows on its heels.
const IN_FLIGHT_MAX: usize = 2;
/// Counters of which is known that they have a row; all are forgotten when there are more.
const KNOWN_MAX: usize = 100_000;
/// Reservations that lapse in one batch.
pub(crate) const LAPSE_MAX: u32 = 500;

/// What somebody wants.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// Takes events; counters say where limits may be reached, or what the asker wants to know.
    Record {
        /// Checked before.
        entries: Vec<Entry>,
        /// Of their meters with limits.
        counters: Vec<Counter>,
    },
    /// Holds an amount.
    Reserve {
        /// Its id.
        id: ReservationId,
        /// Of what, and the limit.
        counter: Counter,
        /// How much.
        amount: Amount,
        /// Now, by the store's clock.
        now: Timestamp,
        /// Until when.
        expires_at: Timestamp,
    },
    /// Makes usage of a reservation.
    Commit {
        /// Whose.
        tenant: TenantId,
        /// Of which environment.
        environment: EnvironmentId,
        /// Which.
        id: ReservationId,
        /// How much of it; `None` for all.
        amount: Option<Amount>,
    },
    /// Gives a reservation back.
    Release {
        /// Whose.
        tenant: TenantId,
        /// Of which environment.
        environment: EnvironmentId,
        /// Which.
        id: ReservationId,
    },
    /// Sets a gauge.
    Set {
        /// Which.
        counter: Counter,
        /// To what.
        value: Amount,
        /// The ledger's entry of the difference.
        entry: String,
    },
    /// Gives back what lapsed.
    Lapse,
}

/// How a counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) used: Amount,
    pub(crate) reserved: Amount,
}

/// What became of an ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    /// Events were taken.
    Recorded {
        /// How many are new.
        accepted: usize,
        /// How many were known.
        duplicates: usize,
        /// How the ask's counters stand, in their order.
        stands: Vec<Stand>,
    },
    /// An amount is held, a reservation committed or given back, or a gauge set; how its counter stands.
    Stands {
        /// The counter.
        key: CounterKey,
        /// How it stands.
        stand: Stand,
        /// What became usage.
        used: Amount,
    },
    /// Reservations lapsed.
    Lapsed {
        /// How many.
        count: usize,
        /// When the next one will.
        next: Option<Timestamp>,
    },
}

/// What becomes of an ask: something, or a refusal of its own.
pub(crate) type Answer = Result<Told, Error>;

/// One transaction's worth of asks.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) now: Timestamp,
    pub(crate) asks: Vec<Ask>,
    /// Whether each counter that it needs is known to have a row.
    pub(crate) known: HashSet<CounterKey>,
}

struct Waiting {
    ask: Ask,
    reply: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
    known: HashSet<CounterKey>,
}

struct Inner {
    db: Db,
    ctx: SystemCtx,
    book: Arc<Book>,
    letters: Option<Letters>,
    counters: Counters,
    state: Mutex<State>,
}

/// Takes asks and answers them. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Gather(Arc<Inner>);

impl Gather {
    pub(crate) fn new(db: Db, book: Arc<Book>, letters: Option<Letters>, counters: Counters) -> Self {
        let ctx = SystemCtx::because("count usage");
        Self(Arc::new(Inner { db, ctx, book, letters, counters, state: Mutex::default() }))
    }

    /// Asks, and waits until what became of it is durable.
    ///
    /// # Errors
    /// What the ask refuses; `Busy` when too much waits; `Store`.
    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.0.state.lock();
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::Busy);
            }
            state.waiting.push_back(Waiting { ask, reply });
        }
        Inner::kick(&self.0);
        let stopped = || Err(Error::Store(db::Error::Unavailable("the store is stopping".into())));
        answer.await.unwrap_or_else(|_| stopped())
    }

    /// Does one ask inside a transaction of the caller's.
    ///
    /// # Errors
    /// As [`Gather::ask`].
    pub(crate) fn ask_in(&self, tx: &mut SystemTx<'_>, ask: &Ask) -> Answer {
        let inner = &self.0;
        let now = inner.db.store_now();
        let batch = Batch { now, asks: vec![ask.clone()], known: HashSet::new() };
        let mut answers = work::run(tx, &batch, &inner.book, inner.letters.as_ref())?;
        answers.pop().unwrap_or(Err(Error::Busy))
    }
}

impl Inner {
    /// Posts batches while something waits and the store takes more.
    fn kick(self: &Arc<Self>) {
        loop {
            let (batch, replies) = {
                let mut state = self.state.lock();
                if state.in_flight >= IN_FLIGHT_MAX || state.waiting.is_empty() {
                    return;
                }
                state.in_flight += 1;
                self.take(&mut state)
            };
            self.post(batch, replies);
        }
    }

    fn take(&self, state: &mut State) -> (Batch, Vec<oneshot::Sender<Answer>>) {
        let (mut asks, mut replies, mut events) = (Vec::new(), Vec::new(), 0);
        let mut known = HashSet::new();
        while let Some(next) = state.waiting.front() {
            let weight = next.ask.events();
            if !asks.is_empty() && (asks.len() >= BATCH_ASKS_MAX || events + weight > BATCH_EVENTS_MAX) {
                break;
            }
            let Some(Waiting { ask, reply }) = state.waiting.pop_front() else { break };
            events += weight;
            known.extend(
                ask.counters().map(|counter| &counter.key).filter(|key| state.known.contains(key)).cloned(),
            );
            asks.push(ask);
            replies.push(reply);
        }
        self.counters.batches.inc();
        (Batch { now: self.db.store_now(), asks, known }, replies)
    }

    fn post(self: &Arc<Self>, batch: Batch, replies: Vec<oneshot::Sender<Answer>>) {
        let batch = Arc::new(batch);
        let (inner, posted) = (Arc::clone(self), Arc::clone(&batch));
        let (book, letters) = (Arc::clone(&self.book), self.letters.clone());
        self.db.post_hot(
            &self.ctx,
            move |tx| work::run(tx, &posted, &book, letters.as_ref()),
            move |outcome| {
                inner.settle(&batch, replies, outcome);
                inner.kick();
            },
        );
    }

    fn settle(
        &self,
        batch: &Batch,
        replies: Vec<oneshot::Sender<Answer>>,
        outcome: Result<Vec<Answer>, Error>,
    ) {
        {
            let mut state = self.state.lock();
            state.in_flight -= 1;
            match &outcome {
                Ok(_) => {
                    if state.known.len() > KNOWN_MAX {
                        state.known.clear();
                    }
                    let counters = batch.asks.iter().flat_map(Ask::counters);
                    state.known.extend(counters.map(|counter| counter.key.clone()));
                }
                // Among the reasons is a counter that is gone.
                Err(_) => state.known.clear(),
            }
        }
        match outcome {
            Ok(answers) => {
                for (reply, answer) in replies.into_iter().zip(answers) {
                    self.counters.count(&answer);
                    drop(reply.send(answer));
                }
            }
            Err(error) => {
                for reply in replies {
                    drop(reply.send(Err(error.clone())));
                }
            }
        }
    }
}

impl Ask {
    fn events(&self) -> usize {
        match self {
            Ask::Record { entries, .. } => entries.len(),
            Ask::Lapse => LAPSE_MAX as usize,
            Ask::Reserve { .. } | Ask::Commit { .. } | Ask::Release { .. } | Ask::Set { .. } => 1,
        }
    }

    /// The counters that it names.
    pub(crate) fn counters(&self) -> std::slice::Iter<'_, Counter> {
        match self {
            Ask::Record { counters, .. } => counters.iter(),
            Ask::Reserve { counter, .. } | Ask::Set { counter, .. } => std::slice::from_ref(counter).iter(),
            Ask::Commit { .. } | Ask::Release { .. } | Ask::Lapse => [].iter(),
        }
    }
}
