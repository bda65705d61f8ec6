//! Limits for a process with all its descendants: cgroup v2, else v1, else what `rlimit` can do.
//!
//! The files are few and simple, so they are written directly. Nothing here fails a start: a host without
//! writable cgroups runs the process with weaker limits, and says so once in its output.

use super::protocol::Limits;
use std::fs;
use std::path::{Path, PathBuf};

/// Length of the window of CPU limits, in microseconds; the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// The folder under the keeper's own groups that holds ours.
const FOLDER: &str = "switchyard";

/// The groups made for one process. They are removed with it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Folders that the process joins, by writing itself into their `cgroup.procs`.
    dirs: Vec<PathBuf>,
    /// The folder of the unified hierarchy, which can kill all members at once.
    unified: Option<PathBuf>,
    /// What could not be limited by a group.
    pub(crate) missing: Missing,
}

/// Limits that were asked for and that no group enforces.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) memory: bool,
    pub(crate) cpu: bool,
    pub(crate) tasks: bool,
}

impl Group {
    /// Makes groups for `name` and writes the limits.
    pub(crate) fn create(name: &str, limits: Limits) -> Self {
        let Limits { memory_bytes, cpu_millis, tasks } = limits;
        let mut group = Self {
            missing: Missing {
                memory: memory_bytes.is_some(),
                cpu: cpu_millis.is_some(),
                tasks: tasks.is_some(),
            },
            ..Self::default()
        };
        if limits == Limits::default() {
            return group;
        }
        let Some(mounts) = Mounts::read() else { return group };
        group.unified(&mounts, name, limits);
        group.legacy(&mounts, name, limits);
        group
    }

    fn unified(&mut self, mounts: &Mounts, name: &str, limits: Limits) {
        let Some(base) = &mounts.unified else { return };
        let controllers = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|one| one == name);
        if !["memory", "cpu", "pids"].into_iter().any(has) {
            return;
        }
        for controller in ["memory", "cpu", "pids"].into_iter().filter(|one| has(one)) {
            // The group above may hold processes itself, which forbids this; then the files are missing below.
            let _refused = fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let dir = base.join(format!("{FOLDER}-{name}"));
        if fs::create_dir(&dir).is_err() {
            return;
        }
        if let Some(bytes) = limits.memory_bytes {
            self.missing.memory = fs::write(dir.join("memory.max"), bytes.to_string()).is_err();
            let _without_swap = fs::write(dir.join("memory.swap.max"), "0");
        }
        if let Some(millis) = limits.cpu_millis {
            let quota = format!("{} {CPU_PERIOD_US}", u64::from(millis) * CPU_PERIOD_US / 1000);
            self.missing.cpu = fs::write(dir.join("cpu.max"), quota).is_err();
        }
        if let Some(tasks) = limits.tasks {
            self.missing.tasks = fs::write(dir.join("pids.max"), tasks.to_string()).is_err();
        }
        self.unified = Some(dir.clone());
        self.dirs.push(dir);
    }

    fn legacy(&mut self, mounts: &Mounts, name: &str, limits: Limits) {
        if self.missing.memory
            && let Some(bytes) = limits.memory_bytes
        {
            let files = [("memory.limit_in_bytes", bytes.to_string())];
            self.missing.memory = !self.legacy_one(mounts.memory.as_deref(), name, &files);
        }
        if self.missing.cpu
            && let Some(millis) = limits.cpu_millis
        {
            let quota = u64::from(millis) * CPU_PERIOD_US / 1000;
            let files =
                [("cpu.cfs_period_us", CPU_PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
            self.missing.cpu = !self.legacy_one(mounts.cpu.as_deref(), name, &files);
        }
        if self.missing.tasks
            && let Some(tasks) = limits.tasks
        {
            self.missing.tasks =
                !self.legacy_one(mounts.pids.as_deref(), name, &[("pids.max", tasks.to_string())]);
        }
    }

    fn legacy_one(&mut self, base: Option<&Path>, name: &str, files: &[(&str, String)]) -> bool {
        let Some(base) = base else { return false };
        let dir = base.join(FOLDER).join(name);
        if fs::create_dir_all(&dir).is_err() {
            return false;
        }
        let written = files.iter().all(|(file, value)| fs::write(dir.join(file), value).is_ok());
        self.dirs.push(dir);
        written
    }

    /// The files into which the process writes itself.
    pub(crate) fn members(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.dirs.iter().map(|dir| dir.join("cgroup.procs"))
    }

    /// Kills all members where the kernel offers it; the caller looks for survivors either way.
    pub(crate) fn kill(&self) {
        if let Some(dir) = &self.unified {
            let _older_kernel = fs::write(dir.join("cgroup.kill"), "1");
        }
    }

    /// Removes the groups, which must be empty by now.
    pub(crate) fn remove(&self) {
        for dir in &self.dirs {
            let _stays_when_not_empty = fs::remove_dir(dir);
        }
    }
}

/// The folders of the groups that this process is in.
#[derive(Debug, Default)]
struct Mounts {
    unified: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    pids: Option<PathBuf>,
}

impl Mounts {
    fn read() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        Some(Self::parse(&mounts, &own))
    }

    /// `mounts` as proc(5) and `own` as cgroups(7) describe them.
    fn parse(mounts: &str, own: &str) -> Self {
        let mut found = Self::default();
        for mount in mounts.lines() {
            let mut fields = mount.split(' ');
            let (Some(_), Some(point), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let options: Vec<&str> = options.split(',').collect();
            for line in own.lines() {
                let mut parts = line.splitn(3, ':');
                let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
                else {
                    continue;
                };
                let dir = Path::new(point).join(path.trim_start_matches('/'));
                if kind == "cgroup2" && controllers.is_empty() {
                    found.unified = Some(dir);
                    continue;
                }
                if kind != "cgroup" {
                    continue;
                }
                for controller in controllers.split(',').filter(|one| options.contains(one)) {
                    match controller {
                        "memory" => found.memory = Some(dir.clone()),
                        "cpu" => found.cpu = Some(dir.clone()),
                        "pids" => found.pids = Some(dir.clone()),
                        _ => {}
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hierarchies_are_found() {
        let mounts = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n";
        let found = Mounts::parse(mounts, "4:memory:/a/b\n2:cpu,cpuacct:/\n0::/c\n");
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/c")));
        assert_eq!(found.memory.as_deref(), Some(Path::new("/sys/fs/cgroup/memory/a/b")));
        assert_eq!(found.cpu.as_deref(), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.pids, None);
    }

    #[test]
    fn without_limits_there_is_no_group() {
        let group = Group::create("none", Limits::default());
        assert_eq!(group.members().count(), 0);
        assert_eq!(group.missing, Missing::default());
    }
}
