//! An overview of all queues, for whoever runs the installation.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply};

use super::State;
use super::views::Queue;
use crate::{Error, Scope};

/// All queues, and what they add up to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QueuesStatus {
    /// Due and not begun.
    pub waiting: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Held by workers.
    pub active: u64,
    /// Attempts that failed since Switchyard started.
    pub failed: u64,
    /// Dead ones that are kept.
    pub dead: u64,
    /// Ended well since Switchyard started.
    pub completed: u64,
    /// Workers that wait for jobs at this moment.
    pub connections: u64,
    /// The longest that a job has been due without being begun.
    pub oldest_waiting_ms: u64,
    /// Queues on which no job begins.
    pub paused: u64,
    /// Each queue: those of every environment, then the installation's own.
    pub queues: Vec<Queue>,
}

pub(crate) async fn overview(state: Arc<State>, call: Call) -> Result<Reply<QueuesStatus>, Problem> {
    call.caller.system_ctx("look over all queues")?;
    let mut all = QueuesStatus {
        waiting: 0,
        delayed: 0,
        active: 0,
        failed: 0,
        dead: 0,
        completed: 0,
        connections: 0,
        oldest_waiting_ms: 0,
        paused: 0,
        queues: Vec::new(),
    };
    let environments = state.environments.shared();
    let places = environments.iter().map(|environment| Some(environment.id)).chain([None]);
    for place in places {
        for view in state.engine.queues(place) {
            match state.engine.status(&view.key, Scope::Environment(place)).await {
                Ok(status) => all.add(Queue::from(status)),
                Err(Error::QueueUnknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(Reply::ok(all))
}

impl QueuesStatus {
    fn add(&mut self, queue: Queue) {
        self.waiting += queue.waiting;
        self.delayed += queue.delayed;
        self.active += queue.active;
        self.failed += queue.failed;
        self.dead += queue.dead;
        self.completed += queue.completed;
        self.connections += queue.claims_waiting;
        self.oldest_waiting_ms = self.oldest_waiting_ms.max(queue.oldest_waiting_ms);
        self.paused += u64::from(queue.paused);
        self.queues.push(queue);
    }
}
