//! What services, deployments and replicas are: pure rules, no I/O.

mod health;
mod restart;
mod spec;
mod state;

pub(crate) use health::{Health, Probe, Turn};
pub(crate) use restart::{Next, RestartPolicy, Restarts, Verdict};
pub(crate) use spec::{
    HealthSpec, ProcessSpec, Replicas, ServiceSpec, Smoke, UrlsSpec, Variable, VolumeSpec, build_digest,
    hexadecimal,
};
pub(crate) use state::DeploymentState;
pub use state::ReplicaState;
