//! Services and deployments from outside, with real processes.

mod app;
mod apply;
mod releases;
mod steps;
mod stopping;
mod supervision;
mod volumes;
