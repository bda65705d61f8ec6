//! The gateway (being laid out; the story follows with the data path).
pub mod balance;
pub mod client;
pub mod config;
pub mod limits;
pub mod model;
pub mod snapshot;
pub mod wire;
pub mod metrics;
mod gateway;
mod path;
pub use gateway::{Gateway, Parts};
