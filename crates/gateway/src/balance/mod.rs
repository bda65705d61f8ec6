//! Which replica answers, and when none is asked.
//!
//! What is here lives beside the snapshot and is shared by all threads through atomics: requests in flight, failures,
//! breakers, budgets. A new list of endpoints keeps the state of those that stay.

mod breaker;
mod budget;
mod endpoint;
mod health;
mod queue;
mod services;

pub use breaker::{BREAKER_OPEN, Breaker, Pass};
pub use budget::RetryBudget;
pub use endpoint::{ENDPOINT_IN_FLIGHT_MAX, Endpoint, InFlight};
pub use health::HealthChecks;
pub use queue::{QUEUE_MAX, QUEUE_OF_TENANT_MAX, QUEUE_WAIT_MAX, WaitQueue};
pub use services::{NoEndpoint, Service, Services};
