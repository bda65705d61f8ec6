//! `Cargo.toml`.

use super::draft::{Draft, WEB};
use super::text_of;
use std::path::Path;
use toml::Value;

const FILE: &str = "Cargo.toml";

/// Words in the name of a binary which tell that it serves no requests.
const WORKER_WORDS: [&str; 3] = ["worker", "job", "consumer"];

pub(super) fn look(folder: &Path, draft: &mut Draft) {
    let Some(text) = text_of(folder, FILE) else { return };
    let Ok(manifest) = toml::from_str::<Value>(&text) else {
        return draft.leave(format!("{FILE}: it cannot be read"));
    };
    if let Some(file) = draft.told_by {
        return draft
            .leave(format!("{FILE}: {file} told how to start; add a service of its own if it is one"));
    }
    let Some(package) = manifest.get("package") else {
        return draft.leave(format!(
            "{FILE}: a workspace; name its binary in `start`, such as target/release/<name>"
        ));
    };
    let package_name = package.get("name").and_then(Value::as_str).unwrap_or_default();
    let binaries = binaries(folder, &manifest, package_name);
    if binaries.is_empty() {
        return draft.leave(format!("{FILE}: it has no binary to start"));
    }
    draft.rename(package_name);
    draft.told_by = Some(FILE);
    let main = main_of(&binaries, package.get("default-run").and_then(Value::as_str), package_name);
    for binary in &binaries {
        let name = if *binary == main {
            WEB
        } else if is_worker(binary) {
            binary
        } else {
            draft.leave(format!("{FILE}: the binary {binary}; add a service of its own if it keeps running"));
            continue;
        };
        let start = format!("target/release/{binary}");
        draft.take(format!("{FILE}: the service {name}, started with `{start}`"));
        if let Some(service) = draft.service(name) {
            service.build = Some("cargo build --release".to_owned());
            service.start = Some(start);
        }
    }
}

/// The binaries of a package: named ones, `src/main.rs`, and files in `src/bin`.
fn binaries(folder: &Path, manifest: &Value, package: &str) -> Vec<String> {
    let named = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    let mut all: Vec<String> =
        named.filter_map(|binary| binary.get("name")?.as_str()).map(str::to_owned).collect();
    if all.is_empty() && folder.join("src/main.rs").is_file() {
        all.push(package.to_owned());
    }
    let files = std::fs::read_dir(folder.join("src/bin")).into_iter().flatten().flatten();
    for path in files.map(|entry| entry.path()) {
        let is_binary = path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file();
        all.extend(path.file_stem().filter(|_| is_binary).map(|stem| stem.to_string_lossy().into_owned()));
    }
    all.retain(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    });
    all.sort();
    all.dedup();
    all
}

fn main_of(binaries: &[String], default_run: Option<&str>, package: &str) -> String {
    let has = |name: &str| binaries.iter().find(|binary| *binary == name);
    let serving = || binaries.iter().find(|binary| !is_worker(binary));
    let chosen = default_run.and_then(has).or_else(|| has(package)).or_else(|| has(WEB)).or_else(serving);
    chosen.or_else(|| binaries.first()).cloned().unwrap_or_default()
}

fn is_worker(binary: &str) -> bool {
    WORKER_WORDS.iter().any(|word| binary.contains(word))
}
