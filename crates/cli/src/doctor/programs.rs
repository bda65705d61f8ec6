//! The programs that the project's commands name.

use super::finding::Finding;
use crate::Surroundings;
use config::ProjectFile;
use rustix::fs::{Access, access};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Words that the shell knows by itself; no program is looked for.
const SHELL_WORDS: [&str; 26] = [
    ".", ":", "[", "case", "cd", "command", "echo", "eval", "exit", "export", "false", "for", "if", "printf",
    "pwd", "read", "set", "shift", "source", "test", "trap", "true", "ulimit", "umask", "until", "while",
];

/// Words before the program that is really run.
const PREFIX_WORDS: [&str; 4] = ["exec", "env", "nice", "nohup"];

/// The commands of a service that are lines of shell.
const COMMANDS: [&str; 3] = ["build", "start", "pre_deploy"];

pub(super) fn look(project: Option<&ProjectFile>, surroundings: &Surroundings) -> Vec<Finding> {
    let path = surroundings.variable("PATH").unwrap_or_default();
    let mut findings = vec![shell(path)];
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    let mut found: Vec<String> = Vec::new();
    for (place, command) in project.map(commands).unwrap_or_default() {
        for program in programs(&command) {
            if is_there(&program, path) {
                found.push(program);
            } else {
                missing.entry(program).or_insert_with(|| place.clone());
            }
        }
    }
    found.sort();
    found.dedup();
    if !found.is_empty() {
        findings.push(Finding::fine("programs", found.join(", ")));
    }
    findings.extend(missing.into_iter().map(|(program, place)| {
        let next = format!("install `{program}`, or correct {place}");
        Finding::blocker("programs", format!("`{program}` is not on the PATH")).next(next)
    }));
    findings
}

fn shell(path: &str) -> Finding {
    if is_there("sh", path) || Path::new("/bin/sh").exists() {
        Finding::fine("shell", "sh is there")
    } else {
        Finding::blocker("shell", "there is no sh").next("install one; commands of services are run by it")
    }
}

/// The commands of all services, each with its key path.
fn commands(project: &ProjectFile) -> Vec<(String, String)> {
    let services = project.section("services").and_then(Value::as_object);
    let mut all = Vec::new();
    for (name, service) in services.into_iter().flatten() {
        let texts = COMMANDS.iter().filter_map(|key| Some((*key, service.get(*key)?.as_str()?)));
        all.extend(texts.map(|(key, text)| (format!("services.{name}.{key}"), text.to_owned())));
    }
    all
}

/// The programs that a line of shell begins its parts with, as far as they can be told without being a shell: names
/// without a slash, a variable or a quote.
fn programs(command: &str) -> Vec<String> {
    if command.contains(['"', '\'', '`', '(', '{', '<', '\\']) {
        return Vec::new();
    }
    let parts = command.split(['&', '|', ';', '\n']).filter(|part| !part.trim().is_empty());
    parts
        .filter_map(|part| part.split_whitespace().find(|word| !is_before(word)))
        .filter(is_name)
        .map(str::to_owned)
        .collect()
}

fn is_before(word: &str) -> bool {
    PREFIX_WORDS.contains(&word) || word.split_once('=').is_some_and(|(name, _)| !name.starts_with('-'))
}

fn is_name(word: &&str) -> bool {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.+".contains(&b));
    plain && !SHELL_WORDS.contains(word)
}

fn is_there(program: &str, path: &str) -> bool {
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    let mut files = folders.map(|folder| Path::new(folder).join(program));
    files.any(|file| file.is_file() && access(&file, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_out_of_commands() {
        assert_eq!(programs("npm ci && npm run build"), ["npm", "npm"]);
        assert_eq!(programs("AGENTS_DATA=$X target/release/agents web"), Vec::<String>::new());
        assert_eq!(programs("cd web && exec node server.js"), ["node"]);
        assert_eq!(programs("A=1 B=2 python3 -m x | tee log"), ["python3", "tee"]);
        assert_eq!(programs("sh -c 'a && b'"), Vec::<String>::new());
        assert_eq!(programs("$HOME/bin/x; ./y"), Vec::<String>::new());
    }

    #[test]
    fn only_what_can_be_run_is_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("tool"), "x").expect("writable");
        assert!(!is_there("tool", &folder.path().to_string_lossy()));
        assert!(is_there("sh", "/nowhere:/bin:/usr/bin"));
    }
}
