//! What a service is to be: the project file's words, resolved.

use super::restart::RestartPolicy;
use crate::keeper::protocol::Limits;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A service as the project file wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum ServiceSpec {
    /// Runs on this machine.
    Process(ProcessSpec),
    /// Runs elsewhere.
    Urls(UrlsSpec),
}

/// A service that this machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    pub(crate) build: Option<String>,
    pub(crate) start: String,
    pub(crate) healthcheck: Option<HealthSpec>,
    pub(crate) restart: RestartPolicy,
    pub(crate) restart_retries_max: Option<u32>,
    pub(crate) replicas: Replicas,
    pub(crate) limits: Limits,
    pub(crate) volumes: BTreeMap<String, VolumeSpec>,
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) checks: Vec<String>,
    pub(crate) pre_deploy: Option<String>,
    pub(crate) smoke: Vec<Smoke>,
}

/// A service that runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlsSpec {
    /// `host:port` of each.
    pub(crate) authorities: Vec<String>,
    pub(crate) healthcheck: HealthSpec,
}

/// How health is asked. Without a path, a TCP connection has to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthSpec {
    pub(crate) path: Option<String>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) start_period: Duration,
    pub(crate) retries: u32,
}

/// How many replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replicas {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

/// A folder that outlives deployments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeSpec {
    /// Where it appears in the source tree, if anywhere.
    pub(crate) path: Option<String>,
}

/// A variable of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variable {
    pub(crate) value: String,
    /// Whether the build sees it as well.
    pub(crate) build: bool,
}

/// A request that a new replica must answer with this status before it takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Smoke {
    pub(crate) path: String,
    pub(crate) status: u16,
}

/// A SHA-256, in hexadecimal.
pub(crate) type Digest = String;

impl ProcessSpec {
    /// The digest of all that makes a new deployment when it changes. How many replicas there are does not.
    pub(crate) fn release_digest(&self) -> Digest {
        let Self { replicas: _, .. } = self;
        let fixed = Self { replicas: Replicas { min: 1, max: 1 }, ..self.clone() };
        digest([serde_json::to_vec(&fixed).unwrap_or_default()])
    }

    /// Whether two processes of it must never run at once.
    pub(crate) fn is_exclusive(&self) -> bool {
        !self.volumes.is_empty()
    }

    /// The variables that the build sees.
    pub(crate) fn build_variables(&self) -> BTreeMap<String, String> {
        let seen = self.variables.iter().filter(|(_, variable)| variable.build);
        seen.map(|(name, variable)| (name.clone(), variable.value.clone())).collect()
    }
}

/// The digest of what a build depends on. Deployments that agree in it share what was built, also those of other
/// services of the environment, unless volumes appear in the tree: then the tree is the service's own.
pub(crate) fn build_digest(source: &str, service: &str, spec: &ProcessSpec) -> Digest {
    let variables = serde_json::to_vec(&spec.build_variables()).unwrap_or_default();
    let paths: Vec<&String> = spec.volumes.values().filter_map(|volume| volume.path.as_ref()).collect();
    let own = if paths.is_empty() { String::new() } else { format!("{service} {paths:?}") };
    digest([
        source.as_bytes().to_vec(),
        spec.build.clone().unwrap_or_default().into_bytes(),
        variables,
        own.into_bytes(),
    ])
}

/// Parts are told apart by their lengths.
fn digest<const N: usize>(parts: [Vec<u8>; N]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(&part);
    }
    hexadecimal(context.finish().as_ref())
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn spec() -> ProcessSpec {
        ProcessSpec {
            build: Some("make".to_owned()),
            start: "./app".to_owned(),
            healthcheck: None,
            restart: RestartPolicy::OnFailure,
            restart_retries_max: None,
            replicas: Replicas { min: 1, max: 1 },
            limits: Limits::default(),
            volumes: BTreeMap::new(),
            variables: BTreeMap::new(),
            checks: Vec::new(),
            pre_deploy: None,
            smoke: Vec::new(),
        }
    }

    #[test]
    fn what_makes_a_new_deployment() {
        let one = spec();
        let scaled = ProcessSpec { replicas: Replicas { min: 3, max: 5 }, ..spec() };
        assert_eq!(one.release_digest(), scaled.release_digest());
        let started = ProcessSpec { start: "./other".to_owned(), ..spec() };
        assert_ne!(one.release_digest(), started.release_digest());
    }

    #[test]
    fn what_makes_a_new_build() {
        let one = spec();
        let started = ProcessSpec { start: "./other".to_owned(), ..spec() };
        assert_eq!(build_digest("a", "web", &one), build_digest("a", "worker", &started));
        assert_ne!(build_digest("a", "web", &one), build_digest("b", "web", &one));
        let volume = VolumeSpec { path: Some("data".to_owned()) };
        let with = ProcessSpec { volumes: BTreeMap::from([("data".to_owned(), volume)]), ..spec() };
        assert_ne!(build_digest("a", "web", &with), build_digest("a", "worker", &with));
        let mut seen = spec();
        seen.variables.insert("A".to_owned(), Variable { value: "1".to_owned(), build: true });
        assert_ne!(build_digest("a", "web", &seen), build_digest("a", "web", &one));
    }
}
