//! Rules without I/O: what a sink is, what it is told, when.

mod delivery;
mod period;
mod sink;
mod value;

pub use delivery::{Delivery, Settlement, State, event_key, hour_key};
pub use period::{Period, PeriodError, hour_end, hour_of, hour_start};
pub use sink::{Api, Definition, Grain, Kind, MeterMap, STRIPE_URL, Secrets, Sink, Status};
pub use value::{reported, reported_float};
