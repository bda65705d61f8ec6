//! `bench tokens`: checks of access tokens and API keys, in a loop and over HTTP, beside jsonwebtoken in Node.js and express with a
//! middleware that does the same.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use authority::key_format::{self, KeyKind};
use base::{
    Clock as _, DeploymentId, EnvironmentId, ProjectId, SharedClock, SystemClock, SystemRandom, TenantId,
    UserId,
};
use db::{Db, Location, Options, SystemTx};
use identity::{ACCESS_TOKEN_TYP, AUDIENCE, ISSUER, Revocations, Signer, Tokens};
use ports::{
    ServiceIdentities, ServiceIdentity, SigningAlgorithm, TokenCheck as _, TokenSigner, TokenVerdict,
};
use serde_json::{Value, json};
use testkit::Places;
use vault::{MasterKey, Vault};

use crate::Plan;
use crate::peers::find;
use crate::process::{Process, free_port};
use crate::report::{Table, median, say};
use crate::switchyard::Switchyard;

/// Different tokens and keys that are checked in turn: the users that a process meets within a minute.
const CREDENTIALS: usize = 1_000;
/// Connections of wrk.
const CONNECTIONS: u32 = 64;
const SCRIPT: &str = "bench/peers/tokens.mjs";
const PATH: &str = "/api/v1/me";

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    in_a_loop(plan)?.publish()?;
    over_http(plan)?.publish()
}

/// Checks a second by one thread.
fn in_a_loop(plan: Plan) -> Result<Table, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("start a runtime: {error}"))?;
    fs::create_dir_all("target").map_err(|error| format!("make target: {error}"))?;
    let folder =
        tempfile::tempdir_in("target").map_err(|error| format!("make a temporary folder: {error}"))?;
    let ours = runtime.block_on(Ours::open(folder.path()))?;
    let peer = find("node").filter(|_| Path::new("bench/peers/node_modules/jsonwebtoken").is_dir());
    let mut figures: HashMap<&str, Vec<f64>> = HashMap::new();
    for round in 1..=plan.rounds {
        let mut note = |name, rate: f64| {
            say(&format!("round {round}, {name}: {rate:.0}/s"));
            figures.entry(name).or_default().push(rate);
        };
        note("first", ours.first_checks(plan.span)?);
        note("again", ours.repeated_checks(plan.span)?);
        note("key", ours.keys(plan.span));
        if let Some(node) = &peer {
            let told = peer_loop(node, plan)?;
            for (name, field) in [("ES256", "ES256"), ("RS256", "RS256"), ("peer key", "key")] {
                note(name, told[field].as_f64().unwrap_or(f64::NAN));
            }
        }
    }
    let lines = [
        ("Switchyard: an access token that is new (EdDSA)", "first"),
        ("Switchyard: an access token that was seen before", "again"),
        ("jsonwebtoken 9, ES256", "ES256"),
        ("jsonwebtoken 9, RS256", "RS256"),
        ("Switchyard: form, checksum and look-up of a key", "key"),
        ("Node.js: SHA-256 and look-up of a key", "peer key"),
    ];
    let measured = lines.iter().filter_map(|(title, name)| Some((title, median(figures.remove(name)?))));
    let rows = measured
        .map(|(title, rate)| vec![(*title).to_owned(), format!("{rate:.0}"), format!("{:.2}", 1e6 / rate)])
        .collect();
    Ok(Table {
        title: "Checks of tokens and keys, one thread".to_owned(),
        head: ["", "checks/s", "CPU µs each"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "Median of {} runs of {} s over {CREDENTIALS} different credentials in turn. A check of ours reads the \
             token within its limits, verifies it, and asks whether its session, user, membership or role was \
             revoked; jsonwebtoken has no revocation and does not read EdDSA.",
            plan.rounds,
            plan.span.as_secs()
        )],
    })
}

/// Identity over a store of its own, without a server.
struct Ours {
    tokens: Arc<Tokens>,
    signer: Arc<Signer>,
    project: ProjectId,
    environment: EnvironmentId,
    tenant: TenantId,
    clock: SystemClock,
}

impl Ours {
    async fn open(folder: &Path) -> Result<Ours, String> {
        let random = SystemRandom::shared();
        let key: String = random.array::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        let master = MasterKey::parse(&key, "bench").map_err(|error| error.to_string())?;
        let vault = Vault::new(master, random.clone());
        let clock: SharedClock = SystemClock::shared();
        let location = Location::Sqlite { dir: folder.to_path_buf() };
        let options =
            Options::new(location, clock.clone(), random.clone(), vault, vec![identity::MANIFEST.migrations]);
        let db = Db::open(options).await.map_err(|error| format!("open the store: {error:?}"))?;
        let failed = |error: db::Error| format!("load the keys: {error}");
        let signer = Signer::load(&db, clock.clone(), &random).await.map_err(failed)?;
        let revocations = Revocations::load(&db, clock.clone()).await.map_err(failed)?;
        let places = Places::empty(clock.clone(), random.clone()).with("development", "localhost");
        let places = Arc::new(places);
        let (project, environment, tenant) = (places.project(), places.environment(), places.tenant("acme"));
        let built = identity::build(identity::Deps {
            db,
            clock,
            random,
            tenants: places.clone(),
            environments: places.clone(),
            services: Arc::new(NoServices),
            signer: signer.clone(),
            revocations,
            places: places.clone(),
            invitations: None,
            external: None,
        });
        Ok(Ours { tokens: built.tokens, signer, project, environment, tenant, clock: SystemClock::new() })
    }

    /// Tokens of different users, as sign-in makes them.
    fn issue(&self) -> Result<Vec<String>, String> {
        let random = SystemRandom::shared();
        let now = self.clock.now().seconds();
        let token = |number: usize| {
            let claims = json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": UserId::new(&self.clock, &*random),
                "project": self.project, "tenant": self.tenant, "role": "developer",
                "email": format!("user{number}@example.com"), "name": "", "iat": now, "iat_us": 0, "exp": now + 900,
            });
            TokenSigner::sign(&*self.signer, SigningAlgorithm::EdDsa, ACCESS_TOKEN_TYP, &claims)
                .map_err(|error| error.to_string())
        };
        (0..CREDENTIALS).map(token).collect()
    }

    fn check(&self, token: &str) -> Result<(), String> {
        match black_box(self.tokens.check(self.environment, token)) {
            TokenVerdict::Valid(_) => Ok(()),
            other => Err(format!("a good token is {other:?}")),
        }
    }

    /// Of tokens that nobody saw before; making them is not counted.
    fn first_checks(&self, span: Duration) -> Result<f64, String> {
        let (mut spent, mut count) = (Duration::ZERO, 0_usize);
        while spent < span {
            let tokens = self.issue()?;
            let began = self.clock.monotonic();
            for token in &tokens {
                self.check(token)?;
            }
            spent += self.clock.monotonic() - began;
            count += tokens.len();
        }
        Ok(count as f64 / spent.as_secs_f64())
    }

    /// Of tokens that come again and again.
    fn repeated_checks(&self, span: Duration) -> Result<f64, String> {
        let tokens = self.issue()?;
        let (began, mut count) = (self.clock.monotonic(), 0_usize);
        while self.clock.monotonic() - began < span {
            for token in &tokens {
                self.check(token)?;
            }
            count += tokens.len();
        }
        Ok(count as f64 / (self.clock.monotonic() - began).as_secs_f64())
    }

    /// What every check of a key does before anything is asked of the store.
    fn keys(&self, span: Duration) -> f64 {
        let random = SystemRandom::shared();
        let make = |_| key_format::encode(KeyKind::Live, &random.array());
        let keys: Vec<String> = (0..CREDENTIALS).map(make).collect();
        let known: HashMap<[u8; 32], usize> =
            keys.iter().enumerate().map(|(number, key)| (key_format::hash(key.as_bytes()), number)).collect();
        let (began, mut count) = (self.clock.monotonic(), 0_usize);
        while self.clock.monotonic() - began < span {
            for key in &keys {
                let found =
                    key_format::check(key).ok().and_then(|_| known.get(&key_format::hash(key.as_bytes())));
                black_box(found);
            }
            count += keys.len();
        }
        count as f64 / (self.clock.monotonic() - began).as_secs_f64()
    }
}

fn peer_loop(node: &Path, plan: Plan) -> Result<Value, String> {
    let output = Command::new(node)
        .args([SCRIPT, "loop", &plan.span.as_secs().to_string()])
        .output()
        .map_err(|error| format!("cannot run node: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{SCRIPT} says: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Requests a second to an address that tells who calls.
fn over_http(plan: Plan) -> Result<Table, String> {
    let wrk = find("wrk").ok_or("wrk is not installed (apt-get install wrk)")?;
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let ours = Switchyard::start(folder.path(), None, 1)?;
    ours.tenant("acme", "pro")?;
    let key = ours.key("acme")?;
    let acting = json!({ "reason": "bench tokens", "ttl": "1h", "role": "developer" });
    let acting = ours.post("/api/v1/tenants/acme/impersonate", &acting)?;
    let token = acting["access_token"].as_str().ok_or_else(|| format!("no token in {acting}"))?.to_owned();
    let peer = express(folder.path())?;
    let control = ours.control_address().to_owned();
    let mut targets = vec![
        ("Switchyard, access token", control.clone(), token, &ours.process),
        ("Switchyard, key", control, key, &ours.process),
    ];
    if let Some((process, address, told)) = &peer {
        let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        targets.push(("express and jsonwebtoken, ES256", address.clone(), text("token"), process));
        targets.push(("express, key", address.clone(), text("key"), process));
    }
    let mut runs: HashMap<&str, Vec<(f64, f64)>> = HashMap::new();
    for round in 1..=plan.rounds {
        for (name, address, credential, process) in &targets {
            let run = drive(&wrk, (address, credential), process, plan)?;
            say(&format!("round {round}, {name}: {run:?}"));
            runs.entry(name).or_default().push(run);
        }
    }
    let rows = targets.iter().map(|(name, ..)| {
        let of = runs.get(name).map(Vec::as_slice).unwrap_or_default();
        let rate = median(of.iter().map(|run| run.0));
        let cpu = median(of.iter().map(|run| run.1));
        vec![(*name).to_owned(), format!("{rate:.0}"), format!("{cpu:.2}")]
    });
    Ok(Table {
        title: "Requests with a token or a key".to_owned(),
        head: ["", "requests/s", "CPU s / 100k"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
        notes: vec![format!(
            "Median of {} alternating runs of {} s with `wrk -t1 -c{CONNECTIONS}`, `GET {PATH}`. Ours answers with every \
             permission of the caller, is the whole platform on all cores, and keeps a record; express is one process.",
            plan.rounds,
            plan.span.as_secs()
        )],
    })
}

/// The peer's process, its address, and the credentials that it knows; `None` where it is not installed.
fn express(folder: &Path) -> Result<Option<(Process, String, Value)>, String> {
    let Some(node) = find("node").filter(|_| Path::new("bench/peers/node_modules/express").is_dir()) else {
        return Ok(None);
    };
    let (port, file) = (free_port()?, folder.join("express.json"));
    let mut command = Command::new(node);
    command.args([SCRIPT, "serve", &port.to_string()]).arg(&file);
    let mut process = Process::start("express", command, folder)?;
    let read = || serde_json::from_str::<Value>(&fs::read_to_string(&file).ok()?).ok();
    process.wait(|| read().is_some())?;
    let told = read().ok_or("express told no credentials")?;
    Ok(Some((process, format!("http://127.0.0.1:{port}"), told)))
}

/// Requests a second, and CPU seconds of the server for 100,000 of them.
fn drive(
    wrk: &Path,
    (address, credential): (&str, &str),
    process: &Process,
    plan: Plan,
) -> Result<(f64, f64), String> {
    let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let before = process.usage();
    let output = Command::new(wrk)
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", plan.span.as_secs())])
        .args(["-H", &format!("Authorization: Bearer {credential}")])
        .arg(format!("{address}{PATH}"))
        .output()
        .map_err(|error| format!("cannot run wrk: {error}"))?;
    let after = process.usage();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("Non-2xx") {
        return Err(format!("requests are refused: {text}"));
    }
    let line = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name).map(str::trim));
    let rate = line("Requests/sec:").and_then(|rate| rate.parse::<f64>().ok());
    let total = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok());
    match (rate, total) {
        (Some(rate), Some(total)) => Ok((rate, (after.cpu_seconds - before.cpu_seconds) / total * 1e5)),
        _ => Err(format!("wrk says: {text}")),
    }
}

/// No service has a deployment here.
struct NoServices;

impl ServiceIdentities for NoServices {
    fn of_deployment(&self, _: &mut SystemTx, _: DeploymentId) -> Result<Option<ServiceIdentity>, db::Error> {
        Ok(None)
    }
}
