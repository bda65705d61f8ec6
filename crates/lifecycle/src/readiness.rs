//! Whether the process should be given work, condition by condition.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Conditions by name, each met or with a reason why not. Ready means: all are met and the process does not stop.
/// Cloning shares them.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<State>>);

#[derive(Debug, Default)]
struct State {
    conditions: BTreeMap<String, Result<(), String>>,
    stopping: bool,
}

impl Readiness {
    /// Without a condition yet, so ready. Declare each with [`Readiness::expect`] before listeners open.
    #[must_use]
    pub fn new() -> Readiness {
        Readiness(Arc::new(watch::Sender::new(State::default())))
    }

    /// Declares a condition that is not met yet.
    pub fn expect(&self, condition: &str) {
        self.set(condition, Err("not yet".to_owned()));
    }

    /// Says how a condition stands; the reason is for operators.
    pub fn set(&self, condition: &str, state: Result<(), String>) {
        self.0.send_if_modified(|all| {
            if all.conditions.get(condition) == Some(&state) {
                return false;
            }
            all.conditions.insert(condition.to_owned(), state);
            true
        });
    }

    /// From now on never ready again: the first step of stopping.
    pub fn stopping(&self) {
        self.0.send_modify(|all| all.stopping = true);
    }

    /// Whether work may come.
    ///
    /// # Errors
    /// All reasons why not, `condition: reason`, in the order of names.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        self.0.borrow().verdict()
    }

    /// Resolves when ready.
    pub async fn wait(&self) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self.0.subscribe().wait_for(|all| all.verdict().is_ok()).await;
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness::new()
    }
}

impl State {
    fn verdict(&self) -> Result<(), Vec<String>> {
        let stopping = self.stopping.then(|| "process: stopping".to_owned());
        let unmet = self
            .conditions
            .iter()
            .filter_map(|(name, state)| state.as_ref().err().map(|reason| format!("{name}: {reason}")));
        let reasons: Vec<String> = stopping.into_iter().chain(unmet).collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_conditions_count_and_stopping_is_final() {
        let readiness = Readiness::new();
        readiness.expect("store");
        readiness.set("gateway", Err("no routes".to_owned()));
        assert_eq!(
            readiness.ready(),
            Err(vec!["gateway: no routes".to_owned(), "store: not yet".to_owned()])
        );
        readiness.set("store", Ok(()));
        readiness.set("gateway", Ok(()));
        readiness.wait().await;
        readiness.stopping();
        assert_eq!(readiness.ready(), Err(vec!["process: stopping".to_owned()]));
    }
}
