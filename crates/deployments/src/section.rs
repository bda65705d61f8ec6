//! The section `services` of the project file: its schema, its rules, and what it means.
//!
//! What is not implemented is not here: such a key is unknown, and the file is refused.

use crate::keeper::protocol::Limits;
use crate::model::{
    HealthSpec, ProcessSpec, Replicas, RestartPolicy, ServiceSpec, Smoke, UrlsSpec, Variable, VolumeSpec,
};
use base::{ByteSize, HumanDuration, Slug};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;
use std::collections::BTreeMap;
use std::time::Duration;

/// The key of the section.
pub(crate) const KEY: &str = "services";

/// Replicas that one service may have.
const REPLICAS_MAX: u32 = 64;

/// Services that one environment may have.
const SERVICES_MAX: usize = 100;

/// Bytes that the value of a variable may have; the kernel allows 128 KiB for one.
const VARIABLE_BYTES_MAX: usize = 64 * 1024;

/// Processes and threads of a replica where its memory or CPU is limited: a fork bomb ends there.
const TASKS_MAX: u32 = 4_096;

/// One service: either one that runs on this machine (`start`) or one that runs elsewhere (`urls`).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Command that builds it, run by `sh -c` in a copy of the project folder. Nothing by default.
    build: Option<String>,
    /// Command that runs it, by `sh -c` in the built copy. It listens on 127.0.0.1 at `$PORT`.
    start: Option<String>,
    /// Addresses where it runs already, such as `["http://10.0.0.7:9000"]`.
    urls: Option<Vec<String>>,
    /// How its health is asked, before it gets requests and as long as it runs. Without this, a replica that
    /// accepts connections at `$PORT` gets requests.
    healthcheck: Option<HealthCheck>,
    /// When a replica that ended is started again. By default on failure, any number of times.
    restart: Option<Restart>,
    /// How many replicas run. By default one.
    replicas: Option<ReplicaRange>,
    /// What one replica may use. By default all there is.
    resources: Option<Resources>,
    /// Folders that outlive deployments. Such a service has one replica, which stops before the next starts.
    volumes: Option<BTreeMap<String, Volume>>,
    /// Variables of its processes.
    variables: Option<BTreeMap<String, VariableValue>>,
    /// Names of variables without which it is refused.
    requires: Option<Vec<String>>,
    /// Commands that must succeed in a copy of what was built, before the release.
    checks: Option<Vec<String>>,
    /// Command that must succeed before the first new replica starts, such as a migration of the database.
    pre_deploy: Option<String>,
    /// Requests that the first new replica must answer before it gets others, such as `["GET /health 200"]`.
    smoke: Option<Vec<String>>,
}

/// How health is asked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HealthCheck {
    /// Path of a GET that must answer 2xx or 3xx. Without it, a connection must be accepted.
    path: Option<String>,
    /// Time between two checks. 5s by default.
    interval: Option<HumanDuration>,
    /// Time that one check may take. 3s by default.
    timeout: Option<HumanDuration>,
    /// Time after the start in which failed checks do not count. 30s by default.
    start_period: Option<HumanDuration>,
    /// Failed checks in a row after which a replica is unhealthy. 3 by default.
    #[schemars(range(min = 1, max = 100))]
    retries: Option<u32>,
}

/// When a replica that ended is started again.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Restart {
    /// `never`, `on-failure` or `always`.
    policy: RestartPolicy,
    /// Failures in a row that are followed by a restart. Any number by default.
    max_retries: Option<u32>,
}

/// How many replicas run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplicaRange {
    /// So many run. 1 by default.
    #[schemars(range(min = 1, max = 64))]
    min: Option<u32>,
    /// Up to so many may be asked for by `switchyard scale`; nothing scales by itself yet. `min` by default.
    #[schemars(range(min = 1, max = 64))]
    max: Option<u32>,
}

/// What one replica may use, with all processes it starts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Resources {
    /// Upper bounds, enforced by cgroups where the host lets us write them; else memory holds for each process
    /// alone and the CPU is not limited, which the service's log says.
    limit: ResourceLimit,
}

/// Upper bounds of one replica.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResourceLimit {
    /// Cores, such as `0.5`.
    #[schemars(range(min = 0.01, max = 1024.0))]
    cpu: Option<f64>,
    /// Memory, such as `512MiB`.
    memory: Option<ByteSize>,
}

/// A folder that outlives deployments. Every replica finds it at `SWITCHYARD_VOLUME_<NAME>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Volume {
    /// Where it also appears in the working folder, such as `data`.
    path: Option<String>,
}

/// A variable: its value, or a table that also says whether the build sees it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum VariableValue {
    /// The value as text.
    Text(String),
    /// The value as a number.
    Number(serde_json::Number),
    /// The value as true or false.
    Boolean(bool),
    /// With options.
    Full(VariableTable),
}

/// A variable with options.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VariableTable {
    /// The value.
    value: String,
    /// Whether the build sees it as well. False by default.
    #[serde(default)]
    build: bool,
}

/// Times of health checks where the file says nothing.
const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3);
const START_PERIOD: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// The schema of the section.
pub(crate) fn schema() -> Value {
    shape::schema_of::<BTreeMap<String, Service>>()
}

/// The rules that a schema cannot say; a service that breaks the schema is left to it. Pointers begin at the section.
pub(crate) fn check(section: &Value, _whole: &Value) -> Vec<Fault> {
    read(section).broken_rules
}

/// Reads the section.
///
/// # Errors
/// All its faults, with pointers that begin at the section.
pub(crate) fn parse(section: &Value) -> Result<BTreeMap<Slug, ServiceSpec>, Vec<Fault>> {
    let Read { specs, broken_schema, broken_rules } = read(section);
    let faults: Vec<Fault> = broken_schema.into_iter().chain(broken_rules).collect();
    if faults.is_empty() { Ok(specs) } else { Err(faults) }
}

/// What the section says, as far as it can be read.
#[derive(Default)]
struct Read {
    specs: BTreeMap<Slug, ServiceSpec>,
    broken_schema: Vec<Fault>,
    broken_rules: Vec<Fault>,
}

fn read(section: &Value) -> Read {
    let mut read = Read::default();
    let Value::Object(services) = section else {
        if !section.is_null() {
            read.broken_schema.push(Fault::new("", shape::shown(section), "a table of services"));
        }
        return read;
    };
    if services.len() > SERVICES_MAX {
        let found = format!("{} services", services.len());
        read.broken_rules.push(Fault::new("", found, format!("at most {SERVICES_MAX} are allowed")));
    }
    for (name, value) in services {
        let at = shape::below("", name);
        let slug = Slug::parse(name);
        if let Err(error) = &slug {
            read.broken_rules.push(Fault::new(&at, format!("the name {name:?}"), error.to_string()));
        }
        match shape::parse::<Service>(value.clone()) {
            Ok(service) => {
                let spec = Reader { at, faults: &mut read.broken_rules }.service(service);
                if let (Some(spec), Ok(slug)) = (spec, slug) {
                    read.specs.insert(slug, spec);
                }
            }
            Err(faults) => read.broken_schema.extend(faults.into_iter().map(|fault| fault.under(&at))),
        }
    }
    read
}

/// Reads one service and gathers what is wrong with it.
struct Reader<'a> {
    at: String,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, below: &str, found: impl Into<String>, allowed: impl Into<String>) {
        self.faults.push(Fault::new(format!("{}{below}", self.at), found, allowed));
    }

    fn service(&mut self, service: Service) -> Option<ServiceSpec> {
        match (&service.start, &service.urls) {
            (Some(_), None) => self.process(service).map(ServiceSpec::Process),
            (None, Some(_)) => self.urls(service).map(ServiceSpec::Urls),
            (None, None) => {
                self.fault("", "neither `start` nor `urls`", "one of them says what the service is");
                None
            }
            (Some(_), Some(_)) => {
                self.fault("/urls", "both `start` and `urls`", "a service runs here or elsewhere, not both");
                None
            }
        }
    }

    fn urls(&mut self, service: Service) -> Option<UrlsSpec> {
        let Service {
            build,
            start: _,
            urls,
            healthcheck,
            restart,
            replicas,
            resources,
            volumes,
            variables,
            requires,
            checks,
            pre_deploy,
            smoke,
        } = service;
        let given = [
            ("build", build.is_some()),
            ("restart", restart.is_some()),
            ("replicas", replicas.is_some()),
            ("resources", resources.is_some()),
            ("volumes", volumes.is_some()),
            ("variables", variables.is_some()),
            ("requires", requires.is_some()),
            ("checks", checks.is_some()),
            ("pre_deploy", pre_deploy.is_some()),
            ("smoke", smoke.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            self.fault(
                &format!("/{key}"),
                format!("`{key}` beside `urls`"),
                "it is for services that run here",
            );
        }
        let urls = urls.unwrap_or_default();
        if urls.is_empty() || urls.len() > REPLICAS_MAX as usize {
            self.fault(
                "/urls",
                format!("{} addresses", urls.len()),
                format!("1 to {REPLICAS_MAX} are allowed"),
            );
        }
        let mut authorities = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            match authority(url) {
                Ok(authority) => authorities.push(authority),
                Err(allowed) => self.fault(&format!("/urls/{index}"), format!("{url:?}"), allowed),
            }
        }
        let healthcheck = self.health(healthcheck).unwrap_or(HealthSpec {
            path: None,
            interval: INTERVAL,
            timeout: TIMEOUT,
            start_period: Duration::ZERO,
            retries: RETRIES,
        });
        Some(UrlsSpec { authorities, healthcheck })
    }

    fn process(&mut self, service: Service) -> Option<ProcessSpec> {
        let start = service.start?;
        self.command("/start", &start);
        for (key, command) in [("/build", &service.build), ("/pre_deploy", &service.pre_deploy)] {
            if let Some(command) = command {
                self.command(key, command);
            }
        }
        let checks = service.checks.unwrap_or_default();
        for (index, command) in checks.iter().enumerate() {
            self.command(&format!("/checks/{index}"), command);
        }
        let volumes = self.volumes(service.volumes.unwrap_or_default());
        let replicas = self.replicas(service.replicas, !volumes.is_empty());
        let variables = self.variables(service.variables.unwrap_or_default());
        for (index, name) in service.requires.unwrap_or_default().iter().enumerate() {
            if variables.get(name).is_none_or(|variable| variable.value.is_empty()) {
                let allowed = "a variable that the service requires needs a value in its `variables`";
                self.fault(&format!("/requires/{index}"), format!("{name:?} without a value"), allowed);
            }
        }
        let mut smoke = Vec::new();
        for (index, text) in service.smoke.unwrap_or_default().iter().enumerate() {
            match parse_smoke(text) {
                Some(one) => smoke.push(one),
                None => {
                    let at = format!("/smoke/{index}");
                    self.fault(&at, format!("{text:?}"), "`GET <path> <status>` such as `GET /health 200`");
                }
            }
        }
        let restart = service.restart;
        Some(ProcessSpec {
            build: service.build,
            start,
            healthcheck: self.health(service.healthcheck),
            restart: restart.as_ref().map_or(RestartPolicy::OnFailure, |restart| restart.policy),
            restart_retries_max: restart.and_then(|restart| restart.max_retries),
            replicas,
            limits: limits(service.resources),
            volumes,
            variables,
            checks,
            pre_deploy: service.pre_deploy,
            smoke,
        })
    }

    fn command(&mut self, below: &str, command: &str) {
        if command.trim().is_empty() {
            self.fault(below, "an empty command", "a command for `sh -c`");
        }
        if command.contains('\0') {
            self.fault(below, "a NUL character", "a command for `sh -c`");
        }
    }

    fn health(&mut self, check: Option<HealthCheck>) -> Option<HealthSpec> {
        let HealthCheck { path, interval, timeout, start_period, retries } = check?;
        if let Some(path) = &path
            && !is_path(path)
        {
            self.fault("/healthcheck/path", format!("{path:?}"), "a path such as `/health`");
        }
        let or = |given: Option<HumanDuration>, default| given.map_or(default, |given| given.0);
        let spec = HealthSpec {
            path,
            interval: or(interval, INTERVAL),
            timeout: or(timeout, TIMEOUT),
            start_period: or(start_period, START_PERIOD),
            retries: retries.unwrap_or(RETRIES),
        };
        if spec.interval < Duration::from_millis(100) {
            self.fault("/healthcheck/interval", "less than 100ms", "100ms or more");
        }
        if spec.timeout.is_zero() {
            self.fault("/healthcheck/timeout", "no time at all", "more than zero");
        }
        Some(spec)
    }

    fn replicas(&mut self, range: Option<ReplicaRange>, exclusive: bool) -> Replicas {
        let min = range.as_ref().and_then(|range| range.min).unwrap_or(1);
        let max = range.and_then(|range| range.max).unwrap_or(min);
        if max < min {
            self.fault("/replicas/max", format!("{max}, below min = {min}"), "max is at least min");
        }
        if exclusive && max > 1 {
            let allowed = "a service with volumes has one replica, so that two never write the same files";
            self.fault("/replicas", format!("up to {max} replicas beside volumes"), allowed);
        }
        Replicas { min, max }
    }

    fn volumes(&mut self, volumes: BTreeMap<String, Volume>) -> BTreeMap<String, VolumeSpec> {
        for (name, volume) in &volumes {
            let at = format!("/volumes/{name}");
            if let Err(error) = Slug::parse(name) {
                self.fault(&at, format!("the name {name:?}"), error.to_string());
            }
            let Some(path) = &volume.path else { continue };
            if path.starts_with('/') {
                let variable = volume_variable(name);
                let allowed = format!(
                    "a path inside the working folder, such as `data`: processes share this machine's file system, \
                     so `{path}` cannot be theirs alone; without `path` the program finds the folder in ${variable}"
                );
                self.fault(&format!("{at}/path"), format!("{path:?}"), allowed);
            } else if !is_inside(path) {
                self.fault(&format!("{at}/path"), format!("{path:?}"), "a path inside the working folder");
            }
        }
        volumes.into_iter().map(|(name, Volume { path })| (name, VolumeSpec { path })).collect()
    }

    fn variables(&mut self, variables: BTreeMap<String, VariableValue>) -> BTreeMap<String, Variable> {
        let mut read = BTreeMap::new();
        for (name, value) in variables {
            let at = format!("/variables/{name}");
            if let Some(allowed) = refused_name(&name) {
                self.fault(&at, format!("the name {name:?}"), allowed);
            }
            let (value, build) = match value {
                VariableValue::Text(value) => (value, false),
                VariableValue::Number(number) => (number.to_string(), false),
                VariableValue::Boolean(boolean) => (boolean.to_string(), false),
                VariableValue::Full(VariableTable { value, build }) => (value, build),
            };
            if value.contains("${{") {
                let allowed = "a literal value: references `${{ … }}` are not available yet";
                self.fault(&at, "a reference", allowed);
            }
            if value.contains('\0') || value.len() > VARIABLE_BYTES_MAX {
                let allowed = format!("text without NUL, of at most {VARIABLE_BYTES_MAX} bytes");
                self.fault(&at, "a value that no process can take", allowed);
            }
            read.insert(name, Variable { value, build });
        }
        read
    }
}

fn limits(resources: Option<Resources>) -> Limits {
    let Some(Resources { limit: ResourceLimit { cpu, memory } }) = resources else {
        return Limits::default();
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema allows 0.01 to 1024 cores"
    )]
    let cpu_millis = cpu.map(|cores| (cores * 1000.0).round() as u32);
    Limits { memory_bytes: memory.map(|size| size.0), cpu_millis, tasks: Some(TASKS_MAX) }
}

/// `http://host:port` as `host:port`.
fn authority(url: &str) -> Result<String, &'static str> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err("an address that begins with http:// (TLS to services is not available yet)");
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let is_host = |host: &str| {
        let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match plain {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.parse::<std::net::Ipv4Addr>().is_ok() || base::HostName::parse(host).is_ok(),
        }
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, "80"),
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 && is_host(host) => Ok(format!("{host}:{port}")),
        _ => Err("an address such as http://10.0.0.7:9000, without a path"),
    }
}

/// `GET <path> <status>`.
fn parse_smoke(text: &str) -> Option<Smoke> {
    let mut words = text.split_whitespace();
    let (Some("GET"), Some(path), Some(status), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    let status = status.parse().ok().filter(|status| (100..600).contains(status))?;
    is_path(path).then(|| Smoke { path: path.to_owned(), status })
}

/// Whether it can stand in a request line.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 2_048 && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a relative path stays inside its folder.
fn is_inside(path: &str) -> bool {
    use std::path::{Component, Path};
    let mut components = Path::new(path).components().peekable();
    components.peek().is_some() && components.all(|component| matches!(component, Component::Normal(_)))
}

/// Why a variable may not have this name (P4); `None` when it may.
fn refused_name(name: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
        return Some("letters, digits and underscores, not beginning with a digit");
    }
    if name.starts_with("LD_") {
        return Some(
            "names beginning with LD_ load code into processes; say it in `start` where it is meant",
        );
    }
    if name.starts_with("SWITCHYARD_") || matches!(name, "PORT" | "HOST" | "PATH" | "TMPDIR") {
        return Some("another name: Switchyard sets this one itself");
    }
    None
}

/// The variable that holds the path of a volume.
pub(crate) fn volume_variable(name: &str) -> String {
    format!("SWITCHYARD_VOLUME_{}", name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(section: &Value) -> Vec<String> {
        let faults = parse(section).err().unwrap_or_default();
        faults.iter().map(|fault| format!("{} {}", fault.pointer, fault.found)).collect()
    }

    #[test]
    fn the_goals_example_is_read() {
        let section = json!({"web": {
            "build": "npm ci", "start": "node server.js", "checks": ["npm test"], "smoke": ["GET /health 200"],
            "healthcheck": {"path": "/health", "interval": "5s", "timeout": "3s", "start_period": "5s", "retries": 3},
            "restart": {"policy": "on-failure", "max_retries": 3},
            "resources": {"limit": {"cpu": 1.0, "memory": "512MiB"}},
            "replicas": {"min": 2, "max": 10},
            "variables": {"A": "b", "N": 5, "V": {"value": "x", "build": true}},
            "requires": ["A"],
        }});
        let specs = parse(&section).expect("it is right");
        let Some(ServiceSpec::Process(web)) = specs.get("web") else { panic!("web is a process") };
        assert_eq!(web.replicas, Replicas { min: 2, max: 10 });
        assert_eq!(web.limits.cpu_millis, Some(1000));
        assert_eq!(web.variables["N"].value, "5");
        assert_eq!(web.build_variables(), BTreeMap::from([("V".to_owned(), "x".to_owned())]));
    }

    #[test]
    fn a_service_elsewhere_is_read() {
        let section =
            json!({"legacy": {"urls": ["http://10.0.0.7:9000", "http://[::1]:80/", "http://app.internal"]}});
        let specs = parse(&section).expect("it is right");
        let Some(ServiceSpec::Urls(legacy)) = specs.get("legacy") else { panic!("legacy runs elsewhere") };
        assert_eq!(legacy.authorities, ["10.0.0.7:9000", "[::1]:80", "app.internal:80"]);
    }

    #[test]
    fn p4_variables_that_load_code_or_replace_ours_are_refused() {
        for name in ["LD_PRELOAD", "PATH", "PORT", "SWITCHYARD_TOKEN", "A B", "1A", "A=B", "A\nB"] {
            let section = json!({"web": {"start": "x", "variables": {name: "1"}}});
            assert_eq!(faults(&section).len(), 1, "{name:?}");
        }
        let section = json!({"web": {"start": "x", "variables": {"A": "1\n2"}}});
        assert!(faults(&section).is_empty(), "a value may have lines: it is never a line of anything");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let section = json!({
            "a": {},
            "b": {"start": "x", "urls": ["http://h:1"]},
            "c": {"urls": ["https://h:1", "http://h:1/path"], "build": "x"},
            "d": {"start": " ", "volumes": {"data": {"path": "/data"}}, "replicas": {"min": 2},
                  "variables": {"X": "${{ shared.X }}"}, "requires": ["Y"], "smoke": ["POST / 200"]},
            "Ee": {"start": "x", "volumes": {"v": {"path": "../v"}}},
        });
        let found = faults(&section);
        for pointer in [
            "/a ",
            "/b/urls ",
            "/c/urls/0",
            "/c/urls/1",
            "/c/build",
            "/d/start",
            "/d/volumes/data/path",
            "/d/replicas",
            "/d/variables/X",
            "/d/requires/0",
            "/d/smoke/0",
            "/Ee ",
            "/Ee/volumes/v/path",
        ] {
            assert!(found.iter().any(|fault| fault.starts_with(pointer)), "{pointer} is told in {found:#?}");
        }
    }

    #[test]
    fn what_is_not_there_yet_is_unknown() {
        for key in ["image", "dockerfile", "static", "scale", "isolation"] {
            let section = json!({"web": {"start": "x", key: "y"}});
            assert_eq!(faults(&section).len(), 1, "{key}");
            assert!(check(&section, &Value::Null).is_empty(), "the schema says it already");
        }
    }
}
