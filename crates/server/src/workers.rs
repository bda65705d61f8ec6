//! The workers of this process: who gets the handlers of all capabilities.

use std::sync::Arc;

use jobs::workers::{self, Config, Deps};
use module::Module;
use ports::{EnvironmentDirectory, JobHandler, ServiceDirectory, ServiceTokens};
use web::Routes;

use crate::build::Ground;

/// Percent of the grace period that running jobs have to end: with the listeners' share before it, and the store's after it,
/// the whole is not exceeded.
const PATIENCE_PERCENT: u32 = 40;

/// What workers are handed of other capabilities.
pub(crate) struct Hands {
    pub(crate) engine: jobs::Engine,
    pub(crate) handlers: Vec<Arc<dyn JobHandler>>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) services: Arc<dyn ServiceDirectory>,
    pub(crate) tokens: Arc<dyn ServiceTokens>,
}

/// Both tasks; which of them runs here, the roles say.
pub(crate) fn module(ground: &Ground, hands: Hands) -> Module {
    let Hands { engine, handlers, environments, services, tokens } = hands;
    let settings = &ground.settings;
    let named = settings.worker_queues.iter().cloned().collect();
    let config = Config {
        queues: (!settings.worker_queues.is_empty()).then_some(named),
        concurrency: settings.queue_concurrency,
        patience: settings.grace * PATIENCE_PERCENT / 100,
    };
    let deps = Deps { engine, handlers, environments, services, tokens, clock: ground.clock.clone() };
    Module::new("jobs", Routes::new("jobs"))
        .task(workers::built_in(config.clone(), deps.clone()))
        .task(workers::pushes(config, deps))
}
