//! Where agents and tasks are kept: a file each.
//!
//! ```text
//! <data>/tenants/<tenant>/agents/<id>.json
//! <data>/tenants/<tenant>/tasks/<id>.json
//! <data>/waiting/<task>.<tenant>       an empty file: this task waits for a worker
//! <data>/running/<task>.<tenant>       the same file, renamed by the worker that took it
//! ```
//!
//! A file appears or changes by one `rename`, which is atomic: a reader sees all of it or none, and of two
//! workers that rename one waiting file, one succeeds. Ids begin with the time, so names sort by age.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::work::Kind;

/// Agents that one tenant may have.
pub const AGENTS_MAX: usize = 100;
/// Tasks that are kept for one tenant; the oldest finished ones make room.
pub const TASKS_MAX: usize = 200;
/// A worker shows that it lives by touching its task's file; one that did not for this long is taken for dead.
pub const WORKER_SILENCE_MAX: Duration = Duration::from_secs(30);

/// The id of a tenant as the gateway gives it, checked: it becomes the name of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant(String);

impl Tenant {
    pub fn parse(text: &str) -> Option<Tenant> {
        is_plain(text).then(|| Tenant(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agent {
    pub id: String,
    pub name: String,
    pub kind: Kind,
    pub created_at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Waiting,
    Running,
    Done,
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    pub id: String,
    pub agent: String,
    pub agent_name: String,
    pub kind: Kind,
    pub input: String,
    pub status: Status,
    /// How often a worker began it; more than once when one died over it.
    pub attempts: u32,
    pub created_at_ms: u64,
    pub finished_at_ms: Option<u64>,
    /// What came out, by kind; `None` until it is done.
    pub result: Option<Value>,
    pub error: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A task that this process has taken.
pub struct Claim {
    pub tenant: Tenant,
    pub task: Task,
    name: String,
}

impl Store {
    /// Opens the folder that the environment names: `AGENTS_DATA` when run by hand, else the one that Switchyard
    /// gives to all services; else `data` below the working folder.
    pub fn open() -> io::Result<Store> {
        let named = ["AGENTS_DATA", "SWITCHYARD_SHARED_DIR"].into_iter().find_map(std::env::var_os);
        Store::at(named.map_or_else(|| PathBuf::from("data"), PathBuf::from))
    }

    pub fn at(root: PathBuf) -> io::Result<Store> {
        for folder in ["tenants", "waiting", "running"] {
            fs::create_dir_all(root.join(folder))?;
        }
        Ok(Store { root })
    }

    /// Whether the folder is still there.
    pub fn is_healthy(&self) -> bool {
        self.root.join("waiting").is_dir()
    }

    /// All agents of a tenant, oldest first.
    pub fn agents(&self, tenant: &Tenant) -> io::Result<Vec<Agent>> {
        read_all(&self.folder(tenant, "agents"))
    }

    pub fn agent(&self, tenant: &Tenant, id: &str) -> io::Result<Option<Agent>> {
        read_one(&self.folder(tenant, "agents"), id)
    }

    pub fn add_agent(&self, tenant: &Tenant, name: &str, kind: Kind) -> io::Result<Agent> {
        let agent = Agent { id: new_id(), name: name.to_owned(), kind, created_at_ms: now_ms() };
        write(&self.folder(tenant, "agents"), &agent.id, &agent)?;
        Ok(agent)
    }

    /// All tasks of a tenant, newest first.
    pub fn tasks(&self, tenant: &Tenant) -> io::Result<Vec<Task>> {
        let mut tasks: Vec<Task> = read_all(&self.folder(tenant, "tasks"))?;
        tasks.reverse();
        Ok(tasks)
    }

    pub fn task(&self, tenant: &Tenant, id: &str) -> io::Result<Option<Task>> {
        read_one(&self.folder(tenant, "tasks"), id)
    }

    /// Writes the task, then the file that makes it wait for a worker. `None` when the tenant has
    /// [`TASKS_MAX`] unfinished ones.
    pub fn add_task(&self, tenant: &Tenant, agent: &Agent, input: &str) -> io::Result<Option<Task>> {
        let tasks = self.tasks(tenant)?;
        if tasks.len() >= TASKS_MAX {
            let finished = tasks.iter().rfind(|task| matches!(task.status, Status::Done | Status::Failed));
            let Some(oldest) = finished else { return Ok(None) };
            remove(&self.folder(tenant, "tasks").join(format!("{}.json", oldest.id)))?;
        }
        let task = Task {
            id: new_id(),
            agent: agent.id.clone(),
            agent_name: agent.name.clone(),
            kind: agent.kind,
            input: input.to_owned(),
            status: Status::Waiting,
            attempts: 0,
            created_at_ms: now_ms(),
            finished_at_ms: None,
            result: None,
            error: None,
        };
        write(&self.folder(tenant, "tasks"), &task.id, &task)?;
        fs::write(self.root.join("waiting").join(format!("{}.{}", task.id, tenant.0)), "")?;
        Ok(Some(task))
    }

    /// Takes the oldest waiting task, if there is one.
    pub fn claim(&self) -> io::Result<Option<Claim>> {
        self.wake_orphans()?;
        for name in names(&self.root.join("waiting"))? {
            let running = self.root.join("running").join(&name);
            match fs::rename(self.root.join("waiting").join(&name), &running) {
                Ok(()) => touch(&running)?,
                // Another worker was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            let found = name.split_once('.').and_then(|(id, tenant)| Some((id, Tenant::parse(tenant)?)));
            let task = match &found {
                Some((id, tenant)) => self.task(tenant, id)?,
                None => None,
            };
            let (Some((_, tenant)), Some(mut task)) = (found, task) else {
                remove(&running)?;
                continue;
            };
            task.status = Status::Running;
            task.attempts += 1;
            write(&self.folder(&tenant, "tasks"), &task.id, &task)?;
            return Ok(Some(Claim { tenant, task, name }));
        }
        Ok(None)
    }

    /// Shows that the claim's worker lives.
    pub fn keep(&self, claim: &Claim) -> io::Result<()> {
        touch(&self.root.join("running").join(&claim.name))
    }

    /// Writes the outcome and ends the claim.
    pub fn finish(&self, mut claim: Claim, outcome: Result<Value, String>) -> io::Result<Task> {
        claim.task.finished_at_ms = Some(now_ms());
        match outcome {
            Ok(result) => (claim.task.status, claim.task.result) = (Status::Done, Some(result)),
            Err(error) => (claim.task.status, claim.task.error) = (Status::Failed, Some(error)),
        }
        write(&self.folder(&claim.tenant, "tasks"), &claim.task.id, &claim.task)?;
        remove(&self.root.join("running").join(&claim.name))?;
        Ok(claim.task)
    }

    /// Gives the claim back, for another worker to take.
    pub fn give_back(&self, mut claim: Claim) -> io::Result<()> {
        claim.task.status = Status::Waiting;
        write(&self.folder(&claim.tenant, "tasks"), &claim.task.id, &claim.task)?;
        fs::rename(self.root.join("running").join(&claim.name), self.root.join("waiting").join(&claim.name))
    }

    /// Lets the tasks of workers that were killed wait again.
    fn wake_orphans(&self) -> io::Result<()> {
        for name in names(&self.root.join("running"))? {
            let running = self.root.join("running").join(&name);
            let touched = fs::metadata(&running).and_then(|file| file.modified());
            let silent = touched.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > WORKER_SILENCE_MAX));
            if silent {
                // Another worker may be doing just this.
                fs::rename(running, self.root.join("waiting").join(&name)).or_else(ignore_missing)?;
            }
        }
        Ok(())
    }

    fn folder(&self, tenant: &Tenant, what: &str) -> PathBuf {
        self.root.join("tenants").join(&tenant.0).join(what)
    }
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds and 32 random bits, in hexadecimal. (`RandomState` is seeded by the system.)
fn new_id() -> String {
    format!("{:011x}{:08x}", now_ms(), RandomState::new().build_hasher().finish() >> 32)
}

/// Whether a text from outside can be the name of a file: nothing in it leads out of its folder.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn read_all<T: DeserializeOwned>(folder: &Path) -> io::Result<Vec<T>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for name in names(folder)? {
        if let Some(id) = name.strip_suffix(".json") {
            all.extend(read_one(folder, id)?);
        }
    }
    Ok(all)
}

fn read_one<T: DeserializeOwned>(folder: &Path, id: &str) -> io::Result<Option<T>> {
    if !is_plain(id) {
        return Ok(None);
    }
    match fs::read(folder.join(format!("{id}.json"))) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write<T: Serialize>(folder: &Path, id: &str, value: &T) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{id}.{}", new_id()));
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    // Otherwise a power cut could leave the name without the content.
    file.sync_all()?;
    fs::rename(unfinished, folder.join(format!("{id}.json")))
}

fn touch(file: &Path) -> io::Result<()> {
    fs::File::options().write(true).open(file)?.set_modified(SystemTime::now())
}

fn remove(file: &Path) -> io::Result<()> {
    fs::remove_file(file).or_else(ignore_missing)
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (Store, Tenant, Agent) {
        let store = Store::at(std::env::temp_dir().join(format!("agents-{}", new_id()))).unwrap();
        let tenant = Tenant::parse("ten_01").unwrap();
        let agent = store.add_agent(&tenant, "counter", Kind::Words).unwrap();
        (store, tenant, agent)
    }

    #[test]
    fn a_task_is_claimed_once_and_finished() {
        let (store, tenant, agent) = store();
        let id = store.add_task(&tenant, &agent, "a b").unwrap().unwrap().id;
        let claim = store.claim().unwrap().unwrap();
        assert!(store.claim().unwrap().is_none(), "a second worker gets nothing");
        store.finish(claim, Ok(Value::from(2))).unwrap();
        let task = store.task(&tenant, &id).unwrap().unwrap();
        assert_eq!((task.status, task.result, task.attempts), (Status::Done, Some(Value::from(2)), 1));
        assert!(store.claim().unwrap().is_none());
        fs::remove_dir_all(store.root).unwrap();
    }

    #[test]
    fn the_task_of_a_dead_worker_is_done_by_the_next() {
        let (store, tenant, agent) = store();
        store.add_task(&tenant, &agent, "a").unwrap();
        let dead = store.claim().unwrap().unwrap();
        let file = store.root.join("running").join(&dead.name);
        let long_ago = SystemTime::now() - WORKER_SILENCE_MAX - Duration::from_secs(1);
        fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(store.claim().unwrap().unwrap().task.attempts, 2);
        fs::remove_dir_all(store.root).unwrap();
    }

    #[test]
    fn a_tenant_sees_its_own_only() {
        let (store, _, agent) = store();
        let other = Tenant::parse("ten_02").unwrap();
        assert!(store.agents(&other).unwrap().is_empty());
        assert!(store.agent(&other, &agent.id).unwrap().is_none());
        assert!(store.agent(&other, "../../ten_01/agents/x").unwrap().is_none());
        for bad in ["", "..", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(Tenant::parse(bad).is_none(), "{bad:?}");
        }
        fs::remove_dir_all(store.root).unwrap();
    }
}
