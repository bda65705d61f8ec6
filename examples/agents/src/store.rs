//! Where agents and tasks are kept: a file each.
//!
//! ```text
//! <data>/tenants/<tenant>/agents/<id>.json
//! <data>/tenants/<tenant>/tasks/<id>.json
//! ```
//!
//! A file appears or changes by one `rename`, which is atomic: a reader sees all of it or none. Ids begin with the
//! time, so names sort by age. Which task is whose turn is not kept here: that is what the queue is for.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::work::Kind;

/// Agents that one tenant may have.
pub const AGENTS_MAX: usize = 100;
/// Tasks that are kept for one tenant; the oldest finished ones make room.
pub const TASKS_MAX: usize = 200;

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

impl Store {
    /// Opens the folder that the environment names: `AGENTS_DATA` when run by hand, else the one that Switchyard
    /// gives to all services; else `data` below the working folder.
    pub fn open() -> io::Result<Store> {
        let named = ["AGENTS_DATA", "SWITCHYARD_SHARED_DIR"].into_iter().find_map(std::env::var_os);
        Store::at(named.map_or_else(|| PathBuf::from("data"), PathBuf::from))
    }

    pub fn at(root: PathBuf) -> io::Result<Store> {
        fs::create_dir_all(root.join("tenants"))?;
        Ok(Store { root })
    }

    /// Whether the folder is still there.
    pub fn is_healthy(&self) -> bool {
        self.root.join("tenants").is_dir()
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

    /// Writes a new task. `None` when the tenant has [`TASKS_MAX`] unfinished ones.
    pub fn add_task(&self, tenant: &Tenant, agent: &Agent, input: &str) -> io::Result<Option<Task>> {
        let tasks = self.tasks(tenant)?;
        if tasks.len() >= TASKS_MAX {
            let finished = tasks.iter().rfind(|task| matches!(task.status, Status::Done | Status::Failed));
            let Some(oldest) = finished else { return Ok(None) };
            self.remove_task(tenant, &oldest.id)?;
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
        self.put_task(tenant, &task)?;
        Ok(Some(task))
    }

    /// Writes a task as it stands.
    pub fn put_task(&self, tenant: &Tenant, task: &Task) -> io::Result<()> {
        write(&self.folder(tenant, "tasks"), &task.id, task)
    }

    /// Removes a task.
    pub fn remove_task(&self, tenant: &Tenant, id: &str) -> io::Result<()> {
        remove(&self.folder(tenant, "tasks").join(format!("{id}.json")))
    }

    /// Writes what came of a task.
    pub fn finish(
        &self,
        tenant: &Tenant,
        mut task: Task,
        outcome: Result<Value, String>,
    ) -> io::Result<Task> {
        task.finished_at_ms = Some(now_ms());
        match outcome {
            Ok(result) => (task.status, task.result) = (Status::Done, Some(result)),
            Err(error) => (task.status, task.error) = (Status::Failed, Some(error)),
        }
        self.put_task(tenant, &task)?;
        Ok(task)
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

fn remove(file: &Path) -> io::Result<()> {
    fs::remove_file(file).or_else(ignore_missing)
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A store of its own for a test, and its folder.
#[cfg(test)]
pub fn temporary() -> (Store, PathBuf) {
    let folder = std::env::temp_dir().join(format!("agents-{}", new_id()));
    (Store::at(folder.clone()).unwrap(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_kept_with_its_outcome() {
        let (store, folder) = temporary();
        let tenant = Tenant::parse("ten_01").unwrap();
        let agent = store.add_agent(&tenant, "counter", Kind::Words).unwrap();
        let task = store.add_task(&tenant, &agent, "a b").unwrap().unwrap();
        assert_eq!((task.status, task.attempts), (Status::Waiting, 0));
        let done = store.finish(&tenant, task, Ok(Value::from(2))).unwrap();
        let read = store.task(&tenant, &done.id).unwrap().unwrap();
        assert_eq!((read.status, read.result), (Status::Done, Some(Value::from(2))));
        store.remove_task(&tenant, &done.id).unwrap();
        assert!(store.task(&tenant, &done.id).unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_tenant_sees_its_own_only() {
        let (store, folder) = temporary();
        let agent = store.add_agent(&Tenant::parse("ten_01").unwrap(), "counter", Kind::Words).unwrap();
        let other = Tenant::parse("ten_02").unwrap();
        assert!(store.agents(&other).unwrap().is_empty());
        assert!(store.agent(&other, &agent.id).unwrap().is_none());
        assert!(store.agent(&other, "../../ten_01/agents/x").unwrap().is_none());
        for bad in ["", "..", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(Tenant::parse(bad).is_none(), "{bad:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
