//! Who descends from whom, read from `/proc`.
//!
//! A signal to a process group misses whoever left the group (a double fork with `setsid`). What is ended here
//! is therefore found by parenthood: guards and the keeper are subreapers, so that an orphan becomes their child
//! and stays in the tree, whatever it does to its group and session.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;

/// One process as `/proc/<pid>/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    /// Ended, and waits for its parent to take note.
    zombie: bool,
}

/// All processes that descend from `root` and still run, without `root` itself.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for stat in all() {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut open = vec![root.cast_signed()];
    while let Some(parent) = open.pop() {
        for stat in children.remove(&parent).unwrap_or_default() {
            open.push(stat.pid);
            if !stat.zombie {
                found.push(stat.pid.cast_unsigned());
            }
        }
    }
    found
}

/// The running processes in whose environment at their start the variable `name` had one of `values`. Processes
/// of other users cannot be read and are left out.
pub(crate) fn with_variable(name: &str, values: &[String]) -> Vec<u32> {
    let is_one = |item: &[u8]| {
        let item = std::str::from_utf8(item).ok().and_then(|item| item.split_once('='));
        item.is_some_and(|(item, value)| item == name && values.iter().any(|one| one == value))
    };
    all()
        .filter(|stat| !stat.zombie)
        .filter(|stat| {
            std::fs::read(format!("/proc/{}/environ", stat.pid))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(is_one))
        })
        .map(|stat| stat.pid.cast_unsigned())
        .collect()
}

/// The process that a guard was started for.
pub(crate) fn child_of(guard: u32) -> Option<u32> {
    let first =
        all().filter(|stat| stat.parent == guard.cast_signed() && !stat.zombie).map(|stat| stat.pid).min();
    first.map(i32::cast_unsigned)
}

/// Sends `signal` to a process; one that is gone already is no mistake.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _gone_already = kill_process(pid, signal);
    }
}

fn all() -> impl Iterator<Item = Stat> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|text| parse(&text))
}

/// `pid (name) state parent …`; the name may hold spaces and parentheses, so the last one counts (proc(5)).
fn parse(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(' ')?;
    let (_name, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { pid: pid.parse().ok()?, parent, zombie: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_hostile_names_are_read() {
        let stat = parse("42 (a) S 7 (x)) R 17 42 42 0").expect("a stat line");
        assert_eq!(stat, Stat { pid: 42, parent: 17, zombie: false });
        assert!(parse("42 (sh) Z 1 1 1").expect("a stat line").zombie);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        assert!(descendants(std::process::id()).contains(&child.id()));
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(!descendants(std::process::id()).contains(&child.id()));
    }
}
