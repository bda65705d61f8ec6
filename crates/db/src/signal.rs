//! Signals: a nudge to whoever cares, in this process and, on PostgreSQL, in the others. Lossy and coalescing: a signal
//! says "look", the rows say what there is to see.
//!
//! A signal reaches receivers of its own process at once. On PostgreSQL it also waits in a small set that the listening
//! connection sends as one NOTIFY statement, at most every 5 ms: a notification in the transaction of the change would
//! serialise all commits that have one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Different payloads that wait for one receiver; past it only "look at everything" is kept.
const WAITING_MAX: usize = 1_024;

/// Different signals that wait to be sent to other processes: one NOTIFY statement.
const SENDING_MAX: usize = 1_024;

/// A payload, bytes: eight are sent in one notification's limit many times over. Longer ones become the empty one.
const PAYLOAD_BYTES_MAX: usize = 512;

/// What a receiver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What the sender gave; empty when it gave nothing, or when signals were lost: then look at everything.
    pub payload: String,
}

/// Hears the signals of one topic from the moment it is made.
#[derive(Debug)]
pub struct SignalReceiver {
    mailbox: Arc<Mailbox>,
}

impl SignalReceiver {
    /// Waits for the next signal. Signals of the same payload that were not yet taken are one. Cancel-safe.
    pub async fn recv(&mut self) -> Signal {
        loop {
            let mailbox = self.mailbox.clone();
            let heard = mailbox.heard.notified();
            if let Some(signal) = self.try_recv() {
                return signal;
            }
            heard.await;
        }
    }

    /// The next signal, if one waits.
    pub fn try_recv(&mut self) -> Option<Signal> {
        let payload = self.mailbox.waiting.lock().pop_first()?;
        Some(Signal { payload })
    }
}

#[derive(Debug, Default)]
struct Mailbox {
    waiting: Mutex<BTreeSet<String>>,
    heard: Notify,
}

impl Mailbox {
    fn put(&self, payload: &str) {
        let mut waiting = self.waiting.lock();
        if !waiting.contains(payload) {
            // The empty one says it all.
            let lost = waiting.len() >= WAITING_MAX;
            if lost {
                waiting.clear();
            }
            waiting.insert(if lost { String::new() } else { payload.to_owned() });
        }
        drop(waiting);
        self.heard.notify_one();
    }
}

/// The receivers of a process, and what is to be told to other processes.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    receivers: Mutex<HashMap<String, Vec<Weak<Mailbox>>>>,
    sending: Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
    /// Wakes the listening connection, where there is one.
    pub(crate) nudge: Option<Arc<Notify>>,
}

impl Signals {
    pub(crate) fn new(nudge: Option<Arc<Notify>>) -> Self {
        Self { nudge, ..Self::default() }
    }

    pub(crate) fn subscribe(&self, topic: &str) -> SignalReceiver {
        let mailbox = Arc::new(Mailbox::default());
        let mut receivers = self.receivers.lock();
        let of_topic = receivers.entry(topic.to_owned()).or_default();
        of_topic.retain(|receiver| receiver.strong_count() > 0);
        of_topic.push(Arc::downgrade(&mailbox));
        SignalReceiver { mailbox }
    }

    /// Tells everybody.
    pub(crate) fn signal(&self, topic: &'static str, payload: &str) {
        let payload = if payload.len() > PAYLOAD_BYTES_MAX { "" } else { payload };
        self.deliver(topic, payload);
        let Some(nudge) = &self.nudge else { return };
        let mut sending = self.sending.lock();
        let of_topic = sending.entry(topic).or_default();
        if of_topic.len() >= SENDING_MAX {
            of_topic.clear();
            of_topic.insert(String::new());
        } else if !of_topic.contains("") && !of_topic.contains(payload) {
            of_topic.insert(payload.to_owned());
        }
        drop(sending);
        nudge.notify_one();
    }

    /// Tells the receivers of this process.
    pub(crate) fn deliver(&self, topic: &str, payload: &str) {
        let receivers = self.receivers.lock();
        for receiver in receivers.get(topic).into_iter().flatten().filter_map(Weak::upgrade) {
            receiver.put(payload);
        }
    }

    /// Tells every receiver of this process to look at everything: something may have been missed.
    pub(crate) fn deliver_to_all(&self) {
        let receivers = self.receivers.lock();
        for receiver in receivers.values().flatten().filter_map(Weak::upgrade) {
            receiver.put("");
        }
    }

    /// Takes what is to be sent, as `topic:payload`.
    pub(crate) fn take(&self) -> Vec<String> {
        let sending = std::mem::take(&mut *self.sending.lock());
        let named = |topic: &str, payloads: BTreeSet<String>| {
            payloads.into_iter().map(|payload| format!("{topic}:{payload}")).collect::<Vec<_>>()
        };
        sending.into_iter().flat_map(|(topic, payloads)| named(topic, payloads)).collect()
    }

    /// What another process sent.
    pub(crate) fn hear(&self, sent: &str) {
        if let Some((topic, payload)) = sent.split_once(':') {
            self.deliver(topic, payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_coalesce_and_an_overflow_says_look_at_everything() {
        let signals = Signals::new(Some(Arc::default()));
        let mut receiver = signals.subscribe("a");
        signals.signal("b", "other topic");
        for _ in 0..3 {
            signals.signal("a", "1");
        }
        assert_eq!(receiver.try_recv(), Some(Signal { payload: "1".into() }));
        assert_eq!(receiver.try_recv(), None);
        assert_eq!(signals.take(), ["a:1", "b:other topic"]);
        for number in 0..=WAITING_MAX {
            signals.signal("a", &number.to_string());
        }
        assert_eq!(receiver.try_recv(), Some(Signal { payload: String::new() }));
        assert_eq!(receiver.try_recv(), None);
        assert_eq!(signals.take(), ["a:"]);
        signals.signal("a", &"x".repeat(PAYLOAD_BYTES_MAX + 1));
        assert_eq!(receiver.try_recv(), Some(Signal { payload: String::new() }));
    }
}
