//! A gateway over directories in memory, for measuring beside other proxies.
//!
//! `bench_gateway LISTEN UPSTREAM [TENANTS [KEYS_EACH [ROUTES]]]`: listens with a thread a core, passes everything to
//! UPSTREAM with every check on (tenant by subdomain, key, plan limit, breaker, metrics, record), and writes the
//! first tenants' keys to standard output, one `slug key` a line, then as many tokens of people, one `slug token <token>` a line:
//! signed with Ed25519 and verified as an issuer's are.

use base::{EnvironmentId, Slug};
use gateway::metrics::Metrics;
use gateway::testing::{Memory, NoLog, PlainSigner};
use gateway::{Config, Gateway, Parts};
use lifecycle::Supervisor;
use ports::{BoxFuture, TokenCheck, TokenIdentity, TokenTenant, TokenVerdict};
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Keys and tokens that are written out.
const SHOWN: usize = 1_000;

/// Who signs tokens here.
const ISSUER: &str = "https://issuer.test";

type AnyError = Box<dyn std::error::Error>;

/// Verifies tokens of one issuer. Keeps nothing, so that what is measured is what the gateway keeps.
#[derive(Debug)]
struct Judge {
    key: tokens::Key,
    clock: base::SharedClock,
}

impl Judge {
    fn identity(&self, token: &str) -> Result<TokenIdentity, tokens::Invalid> {
        let read = tokens::Unverified::parse(token).map_err(|_| tokens::Invalid::Claim)?;
        let verified = read.verify(&self.key, &[tokens::Algorithm::EdDsa])?;
        let claims = verified.claims();
        let expires_at = claims.check(self.clock.now(), Duration::from_secs(30), ISSUER, &["bench"])?;
        let tenant = Slug::parse(claims.required("tenant")?).map_err(|_| tokens::Invalid::Claim)?;
        let identity = gateway::scripted::identity(claims.required("sub")?, Some(TokenTenant::Slug(tenant)));
        Ok(TokenIdentity { expires_at, ..identity })
    }
}

impl TokenCheck for Judge {
    fn check(&self, _environment: EnvironmentId, token: &str) -> TokenVerdict {
        match self.identity(token) {
            Ok(identity) => TokenVerdict::Valid(Arc::new(identity)),
            Err(_) => TokenVerdict::Refused("The token is not valid."),
        }
    }

    fn wait<'a>(&'a self, environment: EnvironmentId, token: &'a str) -> BoxFuture<'a, TokenVerdict> {
        Box::pin(std::future::ready(self.check(environment, token)))
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// A token for somebody of the tenant of this number, for a day.
fn token(signer: &tokens::SigningKey, clock: &base::SharedClock, number: usize) -> Result<String, AnyError> {
    let now = clock.now().seconds();
    let claims = json!({
        "iss": ISSUER, "aud": "bench", "sub": format!("user_{number}"), "tenant": format!("t{number}"),
        "iat": now, "exp": now + 86_400, "role": "developer", "email": format!("user{number}@example.com"),
        "name": "Somebody With A Name", "sid": "ses_01jd2gyf0qe5ka8m8pgk5zqx3d",
    });
    Ok(signer.sign("JWT", &claims)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| -> Result<usize, AnyError> {
        Ok(arguments.get(index).map(|text| text.parse()).transpose()?.unwrap_or(default))
    };
    let listen: SocketAddr = arguments.first().ok_or("LISTEN is missing")?.parse()?;
    let upstream: SocketAddr = arguments.get(1).ok_or("UPSTREAM is missing")?.parse()?;
    let (tenants, keys_each, routes) = (number(2, 10)?, number(3, 1)?, number(4, 1)?);

    let memory = Memory::new();
    memory.plan("bench", base::Rate::per_minute(u32::MAX));
    let keys = memory.fill(tenants, keys_each, "bench");
    let mut all = vec![json!({ "host": "*.localhost", "service": "web", "auth": "optional" })];
    all.extend(
        (1..routes).map(|n| json!({ "host": "*.localhost", "path": format!("/area{n}"), "service": "web" })),
    );
    memory.routes(&all);
    memory.service("web", &[upstream], "");

    let clock = base::SystemClock::shared();
    let signer = tokens::SigningKey::ed25519(&[7; 32])?;
    let judge = Judge { key: signer.public().clone(), clock: clock.clone() };
    let begun = clock.monotonic();
    let gateway = Gateway::new(Parts {
        config: Config::default(),
        directories: memory.directories(),
        signer: Arc::new(PlainSigner),
        log: Arc::new(NoLog),
        key_use: Some(Arc::new(NoLog)),
        tokens: Some(Arc::new(judge)),
        meters: None,
        metrics: Metrics::new(
            &telemetry::Metrics::new(),
            telemetry::TenantLabels::new(telemetry::TENANTS_MAX),
        ),
        clock: clock.clone(),
        random: base::SystemRandom::shared(),
    });
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let listeners = lifecycle::bind_reuseport(listen, threads, "gateway", "gateway_addr")?;
    let supervisor = Supervisor::new(clock.clone());
    gateway.start(listeners, &supervisor).await?;
    let loaded = clock.monotonic() - begun;
    let mut out = std::io::stdout().lock();
    for (number, key) in keys.iter().take(SHOWN).enumerate() {
        writeln!(out, "t{number} {key}")?;
    }
    for number in 0..tenants.min(SHOWN) {
        writeln!(out, "t{number} token {}", token(&signer, &clock, number)?)?;
    }
    writeln!(out, "ready after {} ms", loaded.as_millis())?;
    out.flush()?;
    drop(out);
    drop(keys);
    gateway.keep(lifecycle::Stop::never()).await;
    Ok(())
}
