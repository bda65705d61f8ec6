//! How well services can be limited and kept apart: control groups, namespaces, Landlock.

use super::finding::Finding;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// The controllers that limits of services need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

pub(super) fn look() -> Vec<Finding> {
    vec![limits_level(), namespaces(), landlock()]
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The strongest way in which this process may limit others: control groups v2, v1, or per-process limits alone.
fn limits_level() -> Finding {
    let advice =
        "run as root, or in a systemd unit with `Delegate=yes`, so that memory and processors can be limited";
    let Some(membership) = read("/proc/self/cgroup") else {
        return Finding::warning("limits", "per-process limits only: there are no control groups")
            .next("run on Linux with control groups for limits of memory and processors");
    };
    if let Some(own) = own_v2(&membership).filter(|_| Path::new(CGROUPS).join("cgroup.controllers").exists())
    {
        let folder = Path::new(CGROUPS).join(own.trim_start_matches('/'));
        let controllers = read(folder.join("cgroup.controllers")).unwrap_or_default();
        let missing = missing(&controllers);
        return match (may_make_groups(&folder), missing.is_empty()) {
            (true, true) => {
                Finding::fine("limits", "control groups v2: memory, processors and processes are limited")
            }
            (true, false) => {
                Finding::warning("limits", format!("control groups v2 without {}", missing.join(", ")))
                    .next(advice)
            }
            (false, _) => {
                Finding::warning("limits", "per-process limits only: control groups v2 are not writable")
                    .next(advice)
            }
        };
    }
    let writable = |name: &&str| own_v1(&membership, name).is_some_and(|folder| may_make_groups(&folder));
    let count = CONTROLLERS.iter().filter(|name| writable(name)).count();
    if count == CONTROLLERS.len() {
        return Finding::fine("limits", "control groups v1: memory, processors and processes are limited");
    }
    Finding::warning("limits", "per-process limits only: control groups v1 are not writable").next(advice)
}

fn missing(controllers: &str) -> Vec<&'static str> {
    let has = |name: &str| controllers.split_whitespace().any(|known| known == name);
    CONTROLLERS.into_iter().filter(|name| !has(name)).collect()
}

/// The group of this process in the one hierarchy of v2: the line `0::/path`.
fn own_v2(membership: &str) -> Option<&str> {
    membership.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The folder of this process's group in the hierarchy of one controller of v1: a line `4:cpu,cpuacct:/path`.
fn own_v1(membership: &str, controller: &str) -> Option<PathBuf> {
    let line = membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        names.split(',').any(|name| name == controller).then_some((names, path))
    });
    let (names, path) = line?;
    let hierarchy =
        [names, controller].into_iter().map(|name| Path::new(CGROUPS).join(name)).find(|path| path.exists());
    let folder = hierarchy?.join(path.trim_start_matches('/'));
    // In a container the path is the host's; what is mounted is the group itself.
    if folder.exists() {
        Some(folder)
    } else {
        folder.ancestors().find(|folder| folder.exists()).map(Path::to_owned)
    }
}

/// Whether a group can be made below a folder: by making one and removing it.
fn may_make_groups(folder: &Path) -> bool {
    let probe = folder.join(format!("switchyard-doctor-{}", std::process::id()));
    let made = std::fs::create_dir(&probe).is_ok();
    made && std::fs::remove_dir(&probe).is_ok()
}

fn namespaces() -> Finding {
    if !Path::new("/proc/self/ns/user").exists() {
        return Finding::note("namespaces", "there are none; services see all processes of the machine");
    }
    if rustix::process::geteuid().is_root() {
        return Finding::fine("namespaces", "usable");
    }
    let number = |path: &str| read(path).and_then(|text| text.trim().parse::<u64>().ok());
    let none = number("/proc/sys/user/max_user_namespaces") == Some(0);
    let debian = number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0);
    let ubuntu = number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    if none || debian || ubuntu {
        let key = match (none, debian) {
            (true, _) => "user.max_user_namespaces=10000",
            (false, true) => "kernel.unprivileged_userns_clone=1",
            (false, false) => "kernel.apparmor_restrict_unprivileged_userns=0",
        };
        return Finding::note("namespaces", "not for this user")
            .next(format!("`sysctl {key}` as root allows them"));
    }
    Finding::fine("namespaces", "usable")
}

fn landlock() -> Finding {
    match read("/sys/kernel/security/lsm") {
        Some(modules) if modules.trim().split(',').any(|name| name == "landlock") => {
            Finding::fine("landlock", "usable: services can be kept to their folders")
        }
        Some(_) => Finding::note("landlock", "the kernel has it switched off")
            .next("add landlock to the kernel's `lsm=` parameter to keep services to their folders"),
        None => Finding::note("landlock", "cannot be told here: /sys/kernel/security is not readable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_read() {
        assert_eq!(own_v2("1:name=systemd:/\n0::/user.slice/a.scope\n"), Some("/user.slice/a.scope"));
        assert_eq!(own_v2("4:memory:/docker/abc\n"), None);
        assert_eq!(own_v1("4:memory:/docker/abc\n", "pids"), None);
        assert_eq!(missing("cpuset cpu io memory"), ["pids"]);
    }
}
