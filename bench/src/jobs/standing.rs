//! Who is measured: servers that are started once and stand by while another's turn is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::client::Access;
use super::ours::{Driver, Outcome, TENANTS};
use super::peers::{Peer, bullmq, on_postgres, through_the_package};
use super::{Plan, Scenario};
use crate::peers::find;
use crate::report::say;
use crate::switchyard::{Setup, Switchyard};

pub(super) const BULLMQ: &str = "BullMQ, Redis everysec";
pub(super) const BULLMQ_ALWAYS: &str = "BullMQ, Redis always";
pub(super) const PACKAGE: &str = "Switchyard, SQLite, in Node.js";
/// Our queues: one for short runs, one that is filled.
const QUEUE: &str = "bench";
const FILLED: &str = "filled";

/// All that are measured. What they need ends with this value.
pub(super) struct Targets {
    pub(super) all: Vec<Target>,
    _postgres: Option<pgserver::Server>,
    _folder: tempfile::TempDir,
}

/// One that is measured.
pub(super) enum Target {
    Peer(Peer),
    Ours(Box<Ours>),
}

/// A Switchyard of its own.
pub(super) struct Ours {
    name: &'static str,
    switchyard: Switchyard,
    driver: Driver,
    filled: Driver,
}

impl Targets {
    pub(super) fn start(plan: &Plan) -> Result<Targets, String> {
        // Beside the build rather than in the system's temporary folder, which may be memory.
        fs::create_dir_all("target").map_err(|error| format!("make target: {error}"))?;
        let folder = tempfile::tempdir_in("target").map_err(|error| format!("make a folder: {error}"))?;
        let place = fs::canonicalize(folder.path()).map_err(|error| format!("find the folder: {error}"))?;
        let mut all = Vec::new();
        if plan.has("bullmq") {
            for (name, fsync) in [(BULLMQ, "everysec"), (BULLMQ_ALWAYS, "always")] {
                all.extend(bullmq(&place, name, fsync)?.map(Target::Peer));
            }
        }
        let postgres = if plan.has("postgres") {
            let started = pgserver::Server::start(pgserver::Options::MEASURED);
            Some(started.map_err(|error| error.to_string())?)
        } else {
            None
        };
        if let Some(server) = &postgres {
            let peers = [
                ("graphile-worker", "graphile-worker.mjs", "graphile"),
                ("pg-boss", "pg-boss.mjs", "pgboss"),
            ];
            for (name, script, database) in peers.into_iter().filter(|(name, ..)| plan.has(name)) {
                let url = make_database(server, database)?;
                all.extend(on_postgres(name, script, url).map(Target::Peer));
            }
        }
        if plan.has("switchyard") && plan.has("sqlite") {
            let ours = Ours::start(&place.join("sqlite"), "Switchyard, SQLite", None)?;
            let package =
                plan.has("package").then(|| through_the_package(PACKAGE, &ours.driver.access)).flatten();
            all.push(Target::Ours(Box::new(ours)));
            all.extend(package.map(Target::Peer));
        }
        if let Some(server) = postgres.as_ref().filter(|_| plan.has("switchyard")) {
            let url = make_database(server, "switchyard")?;
            let ours = Ours::start(&place.join("postgres"), "Switchyard, PostgreSQL", Some(url))?;
            all.push(Target::Ours(Box::new(ours)));
        }
        let names: Vec<&str> = all.iter().map(Target::name).collect();
        say(&format!("measured: {}", names.join("; ")));
        Ok(Targets { all, _postgres: postgres, _folder: folder })
    }
}

fn make_database(server: &pgserver::Server, name: &str) -> Result<String, String> {
    let psql = find("psql").ok_or("psql is not installed (apt-get install postgresql-client)")?;
    let admin = server.admin_url();
    let made = Command::new(psql)
        .args(["-q", "-c", &format!("CREATE DATABASE {name}"), &admin])
        .status()
        .map_err(|error| format!("cannot run psql: {error}"))?;
    let (base, _) = admin.rsplit_once('/').ok_or("a URL without a database")?;
    made.success().then(|| format!("{base}/{name}")).ok_or_else(|| format!("psql: {made}"))
}

impl Target {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Target::Peer(peer) => peer.name,
            Target::Ours(ours) => ours.name,
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Target::Ours(_))
    }

    /// Runs a scenario on an empty queue, which is empty again in the end.
    pub(super) fn run(&self, scenario: &Scenario, span: Duration) -> Result<Outcome, String> {
        match self {
            Target::Peer(peer) => peer.run(scenario, span),
            Target::Ours(ours) => {
                let outcome = ours.driver.run(scenario, span)?;
                ours.drain(QUEUE)?;
                Ok(outcome)
            }
        }
    }

    /// Fills the queue with jobs of one tenant.
    pub(super) fn fill(&self, jobs: usize) -> Result<(), String> {
        match self {
            Target::Peer(peer) => peer.load(jobs),
            Target::Ours(ours) => ours.filled.load_of(jobs),
        }
    }

    /// Runs a scenario on what [`Target::fill`] left.
    pub(super) fn on_backlog(&self, scenario: &Scenario, span: Duration) -> Result<Outcome, String> {
        match self {
            Target::Peer(peer) => peer.run(scenario, span),
            Target::Ours(ours) => ours.filled.run(scenario, span),
        }
    }

    /// Empties what was filled. The peers empty their queue before each run.
    pub(super) fn empty(&self) -> Result<(), String> {
        match self {
            Target::Peer(_) => Ok(()),
            Target::Ours(ours) => ours.drain(FILLED),
        }
    }

    pub(super) fn rss_mb(&self) -> Option<f64> {
        match self {
            Target::Peer(peer) => peer.rss_mb(),
            Target::Ours(ours) => Some(ours.switchyard.process.usage().rss_bytes as f64 / 1e6),
        }
    }
}

impl Ours {
    fn start(folder: &Path, name: &'static str, database_url: Option<String>) -> Result<Ours, String> {
        fs::create_dir_all(folder).map_err(|error| format!("make a folder: {error}"))?;
        let mut switchyard = Switchyard::start_with(folder, &Setup { project: project(), database_url })?;
        let data = folder.join(".switchyard");
        // The project is applied once its service runs.
        switchyard.process.wait(|| service_access(&data).is_some())?;
        for tenant in (0..TENANTS).map(|index| format!("tenant-{index}")) {
            switchyard.tenant(&tenant, "pro")?;
        }
        switchyard.tenant("quiet", "pro")?;
        switchyard.tenant("loud", "pro")?;
        let access = service_access(&data).ok_or("the service's environment is gone")?;
        let driver = |queue: &str| Driver { access: access.clone(), queue: queue.to_owned() };
        Ok(Ours { name, driver: driver(QUEUE), filled: driver(FILLED), switchyard })
    }

    fn drain(&self, queue: &str) -> Result<(), String> {
        // A call ends after a minute and says whether there is more.
        loop {
            let left = self.switchyard.post(&format!("/api/v1/queues/{queue}/drain"), &json!({}))?;
            if left["more"] != json!(true) {
                return Ok(());
            }
        }
    }
}

/// Two queues whose limits are counted but never reached, and a service that shows what it was given.
fn project() -> String {
    let queue = |name: &str| {
        format!(
            "[queues.{name}]\nconcurrency = 100000\nper_tenant = {{ concurrency = 100000, rate = \"100000000/min\" }}\n\
             keep = {{ completed = \"0s\" }}\n"
        )
    };
    format!(
        "schema = 1\n[project]\nname = \"bench\"\n\
         [tenants]\nresolve = [\"subdomain\"]\nbase_domain = \"localhost\"\ndefault_plan = \"pro\"\n\
         [services.worker]\nstart = \"env > $SWITCHYARD_SHARED_DIR/{GIVEN} && exec sleep 1000000\"\n\
         [plans.pro]\nrequests = \"1000000000/min\"\n{}{}",
        queue(QUEUE),
        queue(FILLED)
    )
}

/// The file in which the service shows its environment.
const GIVEN: &str = "given";

/// Where the service was told to ask, and its token.
fn service_access(data: &Path) -> Option<Access> {
    let text = fs::read_to_string(find_below(data, GIVEN, 6)?).ok()?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let address = value("SWITCHYARD_URL")?.strip_prefix("http://")?.trim_end_matches('/').to_owned();
    // The last line is there once all is written.
    Some(Access { address, token: value("SWITCHYARD_TOKEN")?.to_owned() })
}

fn find_below(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let found =
        entries.iter().find(|path| path.is_file() && path.file_name().is_some_and(|file| file == name));
    found.cloned().or_else(|| {
        let folders = entries.iter().filter(|path| depth > 0 && path.is_dir());
        folders.into_iter().find_map(|folder| find_below(folder, name, depth - 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_has_both_queues() {
        let text = project();
        assert!(text.contains("[queues.bench]") && text.contains("[queues.filled]"), "{text}");
    }

    #[test]
    fn the_services_token_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(GIVEN), "A=1\nSWITCHYARD_URL=http://127.0.0.1:1\nSWITCHYARD_TOKEN=t\n").unwrap();
        let access = service_access(folder.path()).unwrap();
        assert_eq!((access.address.as_str(), access.token.as_str()), ("127.0.0.1:1", "t"));
    }
}
