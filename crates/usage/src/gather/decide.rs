//! What becomes of an ask, given how its counter stands.

use base::{Amount, ReservationId};
use db::SystemTx;
use ports::Grace;

use super::work::Desk;
use super::{Answer, Ask, Stand, Told};
use crate::book::Counter;
use crate::error::Error;
use crate::model::calendar::CounterKey;
use crate::model::event::{Entry, plus};
use crate::store::reservations::{self, Reservation, State};

/// To be filled in when all is written.
const LATER: Stand = Stand { used: Amount::ZERO, reserved: Amount::ZERO };

impl Desk {
    /// Decides one ask. The inner error is its own refusal, the outer one the store's.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn decide(&mut self, tx: &mut SystemTx<'_>, index: usize, ask: &Ask) -> Result<Answer, Error> {
        Ok(match ask {
            Ask::Record { entries, .. } => {
                self.entries.extend(entries.iter().map(|entry| (index, entry.clone())));
                Ok(Told::Recorded { accepted: 0, duplicates: entries.len(), stands: Vec::new() })
            }
            Ask::Reserve { id, counter, amount, now, expires_at } => {
                let made = Reservation {
                    id: *id,
                    key: counter.key.clone(),
                    amount: *amount,
                    state: State::Held,
                    used: Amount::ZERO,
                    created_at: *now,
                    expires_at: *expires_at,
                };
                self.reserve(tx, counter, made)?
            }
            Ask::Commit { id, amount, environment, .. } => match self.held(*id, *environment) {
                Ok(one) => self.commit(index, one, *amount),
                Err(error) => Err(error),
            },
            Ask::Release { id, environment, .. } => match self.held(*id, *environment) {
                Ok(one) => Ok(self.give_back(one, State::Released)),
                Err(error) => Err(error),
            },
            Ask::Set { counter, value, entry } => Ok(self.set(index, counter, *value, entry)),
            Ask::Lapse => Ok(self.lapse()),
        })
    }

    /// Holds an amount if there is room for it.
    fn reserve(
        &mut self,
        tx: &mut SystemTx<'_>,
        counter: &Counter,
        made: Reservation,
    ) -> Result<Answer, Error> {
        // Without a limit, amounts have an end all the same.
        let max = match (counter.limit.max, counter.limit.grace) {
            (Some(max), Grace::Hard) => max,
            (Some(_), Grace::Soft) | (None, _) => Amount::MAX,
        };
        let is_over = |used: Amount| made.amount.checked_add(used).is_none_or(|sum| sum > max);
        // What is held has an end by itself too: where events took away, used may lie far below zero.
        let held = self.standings.get(&counter.key).map_or(Amount::ZERO, |standing| standing.reserved);
        if made.amount.checked_add(held).is_none_or(|sum| sum > Amount::MAX) {
            let (meter, resets_at) = (counter.key.meter.clone(), counter.key.span.resets_at());
            return Ok(Err(Error::Exceeded { meter, limit: Amount::MAX, used: held, resets_at }));
        }
        let mut used = self.used(&counter.key);
        if is_over(used) {
            // What was lost may just not have been given back yet.
            for (id, amount) in reservations::lapse(tx, &counter.key, self.now)? {
                self.has_lapsed(&counter.key, id, amount);
            }
            used = self.used(&counter.key);
        }
        if is_over(used) {
            return Ok(Err(Error::Exceeded {
                meter: counter.key.meter.clone(),
                limit: max,
                used,
                resets_at: counter.key.span.resets_at(),
            }));
        }
        self.hold(&counter.key, made.amount);
        self.made.push(made);
        Ok(Ok(Told::Stands { key: counter.key.clone(), stand: LATER, used: Amount::ZERO }))
    }

    /// Gives back what the store has just ended, unless this batch has ended it before.
    fn has_lapsed(&mut self, key: &CounterKey, id: ReservationId, amount: Amount) {
        match self.reservations.get_mut(&id) {
            Some(one) if one.state != State::Held => return,
            Some(one) => one.state = State::Lapsed,
            None => {}
        }
        self.hold(key, Amount::from_millionths(-amount.millionths()));
    }

    /// What is used and reserved of a counter by now.
    fn used(&self, key: &CounterKey) -> Amount {
        self.standings.get(key).map_or(Amount::ZERO, |standing| plus(standing.used, standing.reserved))
    }

    /// Reserves more or (negative) less.
    fn hold(&mut self, key: &CounterKey, amount: Amount) {
        if let Some(standing) = self.standings.get_mut(key) {
            standing.reserved = plus(standing.reserved, amount);
        }
        let delta = self.reserved.entry(key.clone()).or_default();
        *delta = plus(*delta, amount);
    }

    /// Uses more or (negative) less, as far as decisions that follow are concerned.
    fn uses(&mut self, key: &CounterKey, amount: Amount) {
        if let Some(standing) = self.standings.get_mut(key) {
            standing.used = plus(standing.used, amount);
        }
    }

    /// The reservation, in whatever state.
    fn held(&self, id: ReservationId, environment: base::EnvironmentId) -> Result<Reservation, Error> {
        let found = self.reservations.get(&id).filter(|one| one.key.environment == environment);
        found.cloned().ok_or(Error::ReservationUnknown)
    }

    fn commit(&mut self, index: usize, one: Reservation, amount: Option<Amount>) -> Answer {
        let wanted = amount.unwrap_or(one.amount);
        if wanted > one.amount {
            return Err(Error::BeyondReserved { wanted, reserved: one.amount });
        }
        match one.state {
            // A repeat of the same.
            State::Committed if one.used == wanted => {
                return Ok(Told::Stands { key: one.key, stand: LATER, used: wanted });
            }
            State::Held if self.now < one.expires_at => {}
            State::Held => return Err(Error::Ended { id: one.id, how: State::Lapsed.word() }),
            ended => return Err(Error::Ended { id: one.id, how: ended.word() }),
        }
        self.hold(&one.key, Amount::from_millionths(-one.amount.millionths()));
        self.uses(&one.key, wanted);
        let CounterKey { tenant, environment, meter, .. } = one.key.clone();
        // In the period that it was reserved in.
        let (id, at) = (format!("reservation:{}", one.id), one.created_at);
        self.entries.push((index, Entry { tenant, environment, id, meter, value: wanted, at }));
        let key = one.key.clone();
        self.end(Reservation { state: State::Committed, used: wanted, ..one });
        Ok(Told::Stands { key, stand: LATER, used: wanted })
    }

    fn give_back(&mut self, one: Reservation, state: State) -> Told {
        let key = one.key.clone();
        if one.state == State::Held {
            self.hold(&key, Amount::from_millionths(-one.amount.millionths()));
            self.end(Reservation { state, ..one });
        }
        Told::Stands { key, stand: LATER, used: Amount::ZERO }
    }

    fn end(&mut self, one: Reservation) {
        self.ended.insert(one.id);
        self.reservations.insert(one.id, one);
    }

    fn set(&mut self, index: usize, counter: &Counter, value: Amount, entry: &str) -> Told {
        let used = self.standings.get(&counter.key).map_or(Amount::ZERO, |standing| standing.used);
        let difference = Amount::from_millionths(value.millionths().saturating_sub(used.millionths()));
        if difference != Amount::ZERO {
            self.uses(&counter.key, difference);
            let CounterKey { tenant, environment, meter, .. } = counter.key.clone();
            let id = format!("gauge:{entry}");
            self.entries
                .push((index, Entry { tenant, environment, id, meter, value: difference, at: self.now }));
        }
        Told::Stands { key: counter.key.clone(), stand: LATER, used: value }
    }

    /// Gives back all that lapsed; a second ask in a batch finds nothing left.
    fn lapse(&mut self) -> Told {
        let mut count = 0;
        for (_, id) in std::mem::take(&mut self.lapsed) {
            let Some(one) = self.reservations.get(&id).cloned() else { continue };
            if one.state == State::Held && one.expires_at <= self.now {
                self.give_back(one, State::Lapsed);
                count += 1;
            }
        }
        Told::Lapsed { count, next: None }
    }
}
