//! A private PostgreSQL for tests and benchmarks.
//!
//! [`Server::start`] makes a data folder below the system's folder for temporary files, starts a server there
//! on a free port of 127.0.0.1 and waits until it takes connections. Nothing of a PostgreSQL that the machine
//! may run already is touched.
//!
//! Invariants:
//! - The server ends with the process that started it, also when that process is killed: a small shell
//!   script (`guard.sh`) is the server's parent and stops it when its standard input ends.
//! - PostgreSQL refuses to run as root, so for root it runs as `postgres` or `nobody`.
//! - Connections need a password made for this one server: other users of the machine do not get in.
//!
//! Absent on purpose: an SQL client (the callers have one), and several servers on one data folder.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The name of the superuser, and of the database that it can always connect to.
pub const ADMIN: &str = "postgres";
/// The environment variable that names the admin URL of a server which all test processes share.
pub const URL_VARIABLE: &str = "SWITCHYARD_TEST_POSTGRES";
/// How often a start is tried: another process may take the port that was free a moment ago.
const START_TRIES_MAX: u32 = 3;
/// Pause between two looks at the server's state file.
const READY_POLL: Duration = Duration::from_millis(20);
/// Looks at the state file before a start counts as failed: 30 s, as a loaded machine is slow to start one.
const READY_POLLS_MAX: u32 = 1_500;
/// Lines of the server's log that an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs are not installed.
    #[error(
        "PostgreSQL is not installed: neither `initdb` and `postgres` on PATH nor /usr/lib/postgresql/*/bin. \
         Install it (Debian and Ubuntu: `apt-get install postgresql`), or name a server that tests may use \
         in {URL_VARIABLE}, as postgres://USER:PASSWORD@HOST:PORT/postgres"
    )]
    NotInstalled,
    /// The data folder cannot be made or handed to the server's user.
    #[error("prepare a folder for PostgreSQL")]
    Folder(#[source] std::io::Error),
    /// A program cannot be run at all.
    #[error("run {0}")]
    Run(&'static str, #[source] std::io::Error),
    /// `initdb` ran and failed; holds what it said.
    #[error("initdb fails: {0}")]
    Init(String),
    /// The server ended or did not get ready in time; holds the last lines of its log.
    #[error("PostgreSQL does not start: {0}")]
    Start(String),
    /// The guard of the server is gone or answers something else.
    #[error("the guard of PostgreSQL does not answer")]
    Guard,
}

/// What kind of server to start.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether commits reach the disk. `false` is several times faster, and survives everything but a loss of
    /// power or a crash of the kernel: a crash of the server itself loses nothing that it confirmed.
    pub fsync: bool,
    /// Sized for load instead of for tests: 512 MB of shared buffers, and 4 GB of log between checkpoints.
    pub is_large: bool,
}

impl Options {
    /// Survives a loss of power, and is small.
    pub const DURABLE: Options = Options { fsync: true, is_large: false };
    /// As somebody who cares for its speed sets it up on a machine of its own.
    pub const MEASURED: Options = Options { fsync: true, is_large: true };
    /// For tests that do not ask what a loss of power leaves.
    pub const QUICK: Options = Options { fsync: false, is_large: false };

    /// `max_wal_size` and `shared_buffers`.
    fn sizes(self) -> [&'static str; 2] {
        if self.is_large { ["4GB", "512MB"] } else { ["256MB", "128MB"] }
    }
}

/// How PostgreSQL is stopped, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Transactions are rolled back, clients are disconnected, and the server writes a checkpoint.
    Fast,
    /// The server's processes end at once, as in a crash; the next start recovers from the log.
    Immediate,
}

/// A running server; dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Server {
    guard: Child,
    /// `None` only while dropping.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
    port: u16,
    password: String,
}

impl Server {
    /// Starts a server and waits until it takes connections: about a second.
    ///
    /// # Errors
    /// See [`Error`]: nothing is left running and no folder remains after one.
    pub fn start(options: Options) -> Result<Server, Error> {
        let launch = Launch {
            programs: programs().ok_or(Error::NotInstalled)?,
            user: server_user(),
            password: random_hex().map_err(Error::Folder)?,
            options,
        };
        let mut last = Error::Guard;
        for _ in 0..START_TRIES_MAX {
            let folder = launch.initialised_folder()?;
            let port = free_port().map_err(Error::Folder)?;
            let mut server = launch.spawn(folder, port)?;
            match server.wait_ready() {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The URL of the superuser, at the database `postgres`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("postgres://{ADMIN}:{}@127.0.0.1:{}/{ADMIN}", self.password, self.port)
    }

    /// Stops the server, keeping its data, and returns when it is gone.
    ///
    /// # Errors
    /// [`Error::Guard`] when the guard is gone.
    pub fn stop(&mut self, how: Stop) -> Result<(), Error> {
        self.order(match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        })
    }

    /// Starts the server again after [`Server::stop`], on the same port, and waits until it takes connections.
    ///
    /// # Errors
    /// [`Error::Start`] when it does not get ready, [`Error::Guard`] when the guard is gone.
    pub fn start_again(&mut self) -> Result<(), Error> {
        // What the stopped server said of itself must not be taken for the new one's word.
        fs::remove_file(self.folder.join("data/postmaster.pid"))
            .or_else(ignore_missing)
            .map_err(Error::Folder)?;
        self.order("start")?;
        self.wait_ready()
    }

    /// Gives the guard an order and waits for its answer.
    fn order(&mut self, word: &str) -> Result<(), Error> {
        let orders = self.orders.as_mut().ok_or(Error::Guard)?;
        writeln!(orders, "{word}").and_then(|()| orders.flush()).map_err(|_| Error::Guard)?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(bytes) if bytes > 0 => Ok(()),
            _ => Err(Error::Guard),
        }
    }

    /// Waits until the server's state file says that it takes connections (its eighth line; `pg_ctl` does the
    /// same). Its log says more when it ended instead.
    fn wait_ready(&mut self) -> Result<(), Error> {
        for _ in 0..READY_POLLS_MAX {
            let state = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let log = self.log();
            if log.contains("FATAL") && !log.contains("ready to accept connections") {
                return Err(Error::Start(last_lines(&log)));
            }
            std::thread::sleep(READY_POLL);
        }
        Err(Error::Start(format!("it is not ready after 30 s; its log ends: {}", last_lines(&self.log()))))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Closing the guard's standard input is the order to stop the server and to clean up.
        drop(self.orders.take());
        // A guard that cannot be waited for is gone, and so is the server.
        let _gone = self.guard.wait();
        // The guard has no right to remove its folder where the folder above it is not open to its user.
        let _cleaned = fs::remove_dir_all(&self.folder);
    }
}

/// A user of the machine, by numbers.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// The folder that holds `initdb` and `postgres`: what PATH finds (links followed, as `initdb` looks for
/// `postgres` beside itself), else the newest of Debian's folders.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .filter_map(|folder| folder.join("initdb").canonicalize().ok()?.parent().map(Path::to_path_buf))
        .find(|folder| folder.join("postgres").is_file());
    let debian = || {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .ok()?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
            })
            .filter(|(_, folder): &(u32, PathBuf)| {
                folder.join("initdb").is_file() && folder.join("postgres").is_file()
            })
            .collect();
        versions.sort();
        versions.pop().map(|(_, folder)| folder)
    };
    on_path.or_else(debian)
}

/// Whom the server runs as: `None` for "as we are", or another user when we are root.
fn server_user() -> Option<User> {
    let ours = fs::metadata("/proc/self").ok()?;
    if std::os::unix::fs::MetadataExt::uid(&ours) != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].iter().find_map(|wanted| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(wanted)).then_some(())?;
            Some(User { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        })
    })
}

/// What every try to start one server has in common.
struct Launch {
    programs: PathBuf,
    user: Option<User>,
    password: String,
    options: Options,
}

impl Launch {
    /// Makes the server's folder and runs `initdb` in it.
    fn initialised_folder(&self) -> Result<PathBuf, Error> {
        // The name is short on purpose: the path of a socket in it may have 107 bytes. For root, /tmp rather
        // than a folder of root's own that the server's user cannot enter.
        let above = if self.user.is_some() { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("sypg-").tempdir_in(above).map_err(Error::Folder)?;
        let password_file = folder.path().join("password");
        fs::write(&password_file, &self.password).map_err(Error::Folder)?;
        if let Some(User { uid, gid }) = self.user {
            chown(folder.path(), Some(uid), Some(gid)).map_err(Error::Folder)?;
            chown(&password_file, Some(uid), Some(gid)).map_err(Error::Folder)?;
        }
        let output = self
            .command(self.programs.join("initdb"))
            .current_dir(folder.path())
            .args(["--auth=password", "--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"])
            .arg(format!("--username={ADMIN}"))
            .args(["--pwfile=password", "--pgdata=data"])
            .output()
            .map_err(|error| Error::Run("initdb", error))?;
        if output.status.success() {
            Ok(folder.keep())
        } else {
            Err(Error::Init(last_lines(&String::from_utf8_lossy(&output.stderr))))
        }
    }

    /// Starts the guard, which starts the server.
    fn spawn(&self, folder: PathBuf, port: u16) -> Result<Server, Error> {
        let mut guard = self
            .command("sh")
            .current_dir(&folder)
            .args(["-c", include_str!("guard.sh"), "guard"])
            .arg(&self.programs)
            .arg(&folder)
            .args([port.to_string().as_str(), if self.options.fsync { "on" } else { "off" }])
            .args(self.options.sizes())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C in a terminal is for the tests, the guard sees their end and follows.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::Run("sh", error))?;
        let orders = guard.stdin.take();
        let answers = guard.stdout.take().map(BufReader::new).ok_or(Error::Guard)?;
        Ok(Server { guard, orders, answers, folder, port, password: self.password.clone() })
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn reachable(port: u16) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }

    #[test]
    fn starts_stops_starts_again_and_leaves_nothing() {
        let mut server = Server::start(Options::QUICK).unwrap();
        let (port, folder) = (server.port, server.folder.clone());
        assert!(reachable(port));
        for how in [Stop::Fast, Stop::Immediate] {
            server.stop(how).unwrap();
            assert!(!reachable(port), "{how:?} leaves it running");
            server.start_again().unwrap();
            assert!(reachable(port));
        }
        drop(server);
        assert!(!reachable(port));
        assert!(!folder.exists());
    }
}
