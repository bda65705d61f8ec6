//! Fresh databases on one private PostgreSQL.
//!
//! `cargo xtask test` starts one server for all test processes and names it in [`pgserver::URL_VARIABLE`];
//! without that, each test process starts its own on first use. Every test gets a database of its own, which
//! is dropped with the value that names it.
//!
//! Tests connect as the role [`ROLE`], which owns its databases and may create roles but is no superuser: that
//! is what a hosted PostgreSQL gives, and superusers would pass by row-level security.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use ::postgres::error::SqlState;
use ::postgres::{Client, Config, NoTls};

/// The role that tests connect as.
pub const ROLE: &str = "switchyard";

/// All tables that are not PostgreSQL's own.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";

/// Why a test has no database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}", chain(.0))]
    Server(#[from] pgserver::Error),
    #[error("{} is no PostgreSQL URL", pgserver::URL_VARIABLE)]
    Url(#[source] ::postgres::Error),
    #[error("ask the PostgreSQL for tests: {}", chain(.0))]
    Statement(#[from] ::postgres::Error),
}

/// A database of one test; dropping it drops the database.
#[derive(Debug)]
pub struct Database {
    admin: Config,
    name: String,
}

impl Database {
    /// The URL that Switchyard is given: this database as [`ROLE`].
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// The same database as the server's superuser, to look at or to damage what the role must not reach.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url_of(self.admin.get_user().unwrap_or(pgserver::ADMIN))
    }

    /// The tables that hold a text in any column of any row, by name: what is left of something that should be gone.
    ///
    /// # Panics
    /// When the database cannot be read.
    #[must_use]
    pub fn tables_holding(&self, text: &str) -> Vec<String> {
        let mut config = self.admin.clone();
        config.dbname(&self.name);
        let text = text.to_owned();
        on_own_thread(&config, move |client| {
            let mut found = Vec::new();
            for row in client.query(TABLES, &[])? {
                let table: String = row.get(0);
                let count = format!("SELECT count(*) FROM {table} t WHERE strpos(t::text, $1) > 0");
                if client.query_one(&count, &[&text])?.get::<_, i64>(0) > 0 {
                    found.push(table);
                }
            }
            Ok(found)
        })
        .expect("a test's database can be read")
    }

    fn url_of(&self, user: &str) -> String {
        let host = match self.admin.get_hosts().first() {
            Some(::postgres::config::Host::Tcp(host)) => host.clone(),
            Some(::postgres::config::Host::Unix(path)) => path.to_string_lossy().replace('/', "%2F"),
            None => "127.0.0.1".to_owned(),
        };
        let port = self.admin.get_ports().first().unwrap_or(&5432);
        let password = String::from_utf8_lossy(self.admin.get_password().unwrap_or_default());
        format!("postgres://{user}:{password}@{host}:{port}/{}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A server that is gone took the database with it.
        let _gone = on_own_thread(&self.admin, move |client| client.batch_execute(&statement));
    }
}

/// Makes a database on the shared server.
pub(crate) fn fresh() -> Result<Database, Error> {
    fresh_on(&shared_admin_url()?)
}

/// Makes a database on the server with this admin URL.
pub(crate) fn fresh_on(admin_url: &str) -> Result<Database, Error> {
    // Process and count tell apart all databases of one run: every test may be a process of its own.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let admin: Config = admin_url.parse().map_err(Error::Url)?;
    let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let create = name.clone();
    let password = String::from_utf8_lossy(admin.get_password().unwrap_or_default()).replace('\'', "''");
    on_own_thread(&admin, move |client| {
        make_role(client, &password)?;
        // A process id comes round again, so a killed run may have left this name behind.
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {create} WITH (FORCE)"))?;
        client.batch_execute(&format!(
            "CREATE DATABASE {create} OWNER {ROLE} TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'"
        ))?;
        // A test that provokes deadlocks, many in a row, is not to wait a second for each to be found.
        client.batch_execute(&format!("ALTER DATABASE {create} SET deadlock_timeout = '50ms'"))
    })?;
    Ok(Database { admin, name })
}

/// The admin URL of the server that this process shares, started on first use.
fn shared_admin_url() -> Result<String, Error> {
    static SERVER: OnceLock<Result<pgserver::Server, String>> = OnceLock::new();
    if let Ok(url) = std::env::var(pgserver::URL_VARIABLE) {
        return Ok(url);
    }
    // Never dropped; the server's guard sees the end of this process.
    let server = SERVER
        .get_or_init(|| pgserver::Server::start(pgserver::Options::QUICK).map_err(|error| chain(&error)));
    match server {
        Ok(server) => Ok(server.admin_url()),
        Err(said) => Err(Error::Server(pgserver::Error::Start(said.clone()))),
    }
}

/// Makes [`ROLE`] unless it is there; many test processes may do so at once.
fn make_role(client: &mut Client, password: &str) -> Result<(), ::postgres::Error> {
    if client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&ROLE])?.is_some() {
        return Ok(());
    }
    let made = client.batch_execute(&format!("CREATE ROLE {ROLE} LOGIN CREATEROLE PASSWORD '{password}'"));
    match made {
        Err(error)
            if matches!(error.code(), Some(&SqlState::DUPLICATE_OBJECT | &SqlState::UNIQUE_VIOLATION)) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Runs `work` with a connection on a thread of its own: the client blocks, and refuses to do so on the threads
/// of an asynchronous runtime, where most tests are.
fn on_own_thread<T: Send>(
    admin: &Config,
    work: impl FnOnce(&mut Client) -> Result<T, ::postgres::Error> + Send,
) -> Result<T, ::postgres::Error> {
    std::thread::scope(|scope| {
        let outcome = scope.spawn(|| work(&mut admin.connect(NoTls)?)).join();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// An error with its sources, as one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_has_its_own_database_in_byte_order() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one.url(), two.url());
        for database in [&one, &two] {
            let mut client = Client::connect(&database.url(), NoTls).unwrap();
            client.batch_execute("CREATE TABLE t (a TEXT)").unwrap();
            let row = client
                .query_one("SELECT current_setting('is_superuser'), 'B'::text < 'a'::text", &[])
                .unwrap();
            assert_eq!((row.get(0), row.get(1)), ("off", true));
        }
        let (url, admin) = (one.url(), two.admin_url());
        drop(one);
        assert!(Client::connect(&url, NoTls).is_err(), "the database is dropped");
        assert!(Client::connect(&admin, NoTls).is_ok());
    }
}
