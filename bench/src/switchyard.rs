//! Our own binary as it is shipped, with a project in front of the upstream.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::client;
use crate::process::Process;
use crate::report::sibling;

/// A running Switchyard.
pub(crate) struct Switchyard {
    pub(crate) process: Process,
    pub(crate) gateway_port: u16,
    /// From the start of the process until `/readyz` said yes.
    pub(crate) ready_after: Duration,
    control: String,
    operator_key: String,
}

/// What to start.
pub(crate) struct Setup {
    /// The project file.
    pub(crate) project: String,
    /// PostgreSQL instead of the store in the folder.
    pub(crate) database_url: Option<String>,
}

/// The project file: every check on, a plan that never refuses, and one for floods.
fn project(upstream: Option<u16>, flood_per_minute: u32) -> String {
    let service = upstream.map_or_else(String::new, |port| {
        format!(
            "[services.upstream]\nurls = [\"http://127.0.0.1:{port}\"]\n\
             [[routes]]\nhost = \"*.localhost\"\npath = \"/\"\nservice = \"upstream\"\nauth = \"required\"\nlimits = true\n"
        )
    });
    format!(
        "schema = 1\n[project]\nname = \"bench\"\n\
         [tenants]\nresolve = [\"domain\", \"subdomain\", \"api-key\"]\nbase_domain = \"localhost\"\ndefault_plan = \"pro\"\n\
         {service}[plans.pro]\nrequests = \"1000000000/min\"\n[plans.flood]\nrequests = \"{flood_per_minute}/min\"\n"
    )
}

impl Switchyard {
    /// Starts it in `folder`, which keeps its data between starts, and waits until it is ready.
    pub(crate) fn start(
        folder: &Path,
        upstream: Option<u16>,
        flood_per_minute: u32,
    ) -> Result<Switchyard, String> {
        let project = project(upstream, flood_per_minute);
        Switchyard::start_with(folder, &Setup { project, database_url: None })
    }

    /// As [`Switchyard::start`], with a project of the caller's.
    pub(crate) fn start_with(folder: &Path, setup: &Setup) -> Result<Switchyard, String> {
        let listeners = folder.join(".switchyard/listeners.json");
        fs::write(folder.join("switchyard.toml"), &setup.project)
            .and_then(|()| fs::remove_file(&listeners).or_else(ignore_missing))
            .map_err(|error| format!("prepare the project: {error}"))?;
        let mut command = Command::new(sibling("switchyard")?);
        command.arg("up").current_dir(folder);
        command.envs(setup.database_url.iter().map(|url| ("SWITCHYARD_DATABASE_URL", url)));
        for listener in ["GATEWAY", "CONTROL", "SERVICE"] {
            command.env(format!("SWITCHYARD_{listener}_ADDR"), "127.0.0.1:0");
        }
        let clock = SystemClock::new();
        let began = clock.monotonic();
        let mut process = Process::start("switchyard", command, folder)?;
        process.wait(|| ready(&listeners).is_some())?;
        let ready_after = clock.monotonic() - began;
        let operator_key = fs::read_to_string(folder.join(".switchyard/operator.key"))
            .map_err(|error| format!("read the operator key: {error}"))?;
        let operator_key = operator_key.trim().to_owned();
        let addresses = ready(&listeners).ok_or("listeners.json is gone")?;
        let address = |name: &str| {
            addresses[name].as_str().map(str::to_owned).ok_or(format!("no {name} in listeners.json"))
        };
        let gateway = address("gateway")?;
        let gateway_port = gateway.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        // `up` applies the project file once all is ready.
        let control = address("control")?;
        process.wait(|| {
            client::call(&control, &operator_key, "GET", "/api/v1/environments", &Value::Null).is_ok_and(
                |(_, list)| list["data"].as_array().is_some_and(|environments| !environments.is_empty()),
            )
        })?;
        Ok(Switchyard {
            process,
            gateway_port: gateway_port.ok_or("no port in listeners.json")?,
            ready_after,
            control,
            operator_key,
        })
    }

    /// Where the control API is, as `listeners.json` says.
    pub(crate) fn control_address(&self) -> &str {
        &self.control
    }

    /// Makes a tenant.
    pub(crate) fn tenant(&self, slug: &str, plan: &str) -> Result<(), String> {
        let body =
            json!({ "slug": slug, "name": slug, "email": format!("{slug}@bench.example"), "plan": plan });
        self.post("/api/v1/tenants", &body).map(drop)
    }

    /// Makes a key of a tenant and gives its text.
    pub(crate) fn key(&self, tenant: &str) -> Result<String, String> {
        let made = self.post(&format!("/api/v1/tenants/{tenant}/keys"), &json!({ "name": "bench" }))?;
        made["key"].as_str().map(str::to_owned).ok_or_else(|| format!("no key in {made}"))
    }

    /// Waits until the gateway lets a tenant's key through.
    pub(crate) fn wait_for_route(&mut self, head: &str) -> Result<(), String> {
        let probe = client::Paced {
            port: self.gateway_port,
            head: head.to_owned(),
            connections: 1,
            rate: 100.0,
            span: Duration::from_millis(10),
        };
        self.process.wait(|| probe.run().is_ok_and(|seen| !seen.latencies_ms.is_empty()))
    }

    /// What the control API has at a path.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        match client::call(&self.control, &self.operator_key, "GET", path, &Value::Null)? {
            (200..=299, answer) => Ok(answer),
            (status, problem) => Err(format!("GET {path} answers {status}: {problem}")),
        }
    }

    /// A call of the control API that must succeed.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        match client::call(&self.control, &self.operator_key, "POST", path, body)? {
            (200..=299, answer) => Ok(answer),
            (status, problem) => Err(format!("POST {path} answers {status}: {problem}")),
        }
    }
}

/// Lines of a head for a tenant with its key.
pub(crate) fn head(tenant: &str, key: &str) -> String {
    format!("Host: {tenant}.localhost\r\nAuthorization: Bearer {key}\r\n")
}

/// The addresses, once they are written and the control listener says that it is ready.
fn ready(listeners: &PathBuf) -> Option<Value> {
    let addresses: Value = serde_json::from_str(&fs::read_to_string(listeners).ok()?).ok()?;
    let (status, _) =
        client::call(addresses["control"].as_str()?, "", "GET", "/readyz", &Value::Null).ok()?;
    (status == 200).then_some(addresses)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
