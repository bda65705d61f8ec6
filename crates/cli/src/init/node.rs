//! `package.json`.

use super::draft::{Draft, WEB};
use super::text_of;
use serde_json::Value;
use std::path::Path;

const FILE: &str = "package.json";

/// Lock files, the command that installs what they lock, and the command that runs a script.
const MANAGERS: [(&str, &str, &str); 4] = [
    ("package-lock.json", "npm ci", "npm run"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile", "pnpm run"),
    ("yarn.lock", "yarn install --frozen-lockfile", "yarn run"),
    ("bun.lock", "bun install --frozen-lockfile", "bun run"),
];

/// Files that Node would be given by hand where no script says how to start.
const ENTRIES: [&str; 4] = ["server.js", "index.js", "app.js", "src/index.js"];

pub(super) fn look(folder: &Path, draft: &mut Draft) {
    let Some(text) = text_of(folder, FILE) else { return };
    let Ok(package) = serde_json::from_str::<Value>(&text) else {
        return draft.leave(format!("{FILE}: it is not JSON"));
    };
    let script = |name: &str| package.get("scripts").and_then(|all| all.get(name)).and_then(Value::as_str);
    let locked = MANAGERS.iter().find(|(lock, ..)| folder.join(lock).is_file());
    let (install, runner) = locked.map_or(("npm install", "npm run"), |(_, install, run)| (*install, *run));
    let start = match (script("start"), entry(folder, &package)) {
        (Some(_), _) => Some(format!("{runner} start")),
        (None, Some(file)) => Some(format!("node {file}")),
        (None, None) => None,
    };
    let Some(start) = start else {
        return draft.leave(format!("{FILE}: it has no script `start` and no entry file"));
    };
    if let Some(name) = package.get("name").and_then(Value::as_str) {
        draft.rename(name);
    }
    let dependencies = ["dependencies", "devDependencies"].iter().any(|key| filled(package.get(*key)));
    let build = script("build").map(|_| format!("{runner} build"));
    let steps: Vec<String> = dependencies.then(|| install.to_owned()).into_iter().chain(build).collect();
    let worker = script("worker").map(|_| format!("{runner} worker"));
    draft.told_by = Some(FILE);
    if let Some(web) = draft.service(WEB) {
        web.build = (!steps.is_empty()).then(|| steps.join(" && "));
        web.start = Some(start.clone());
    }
    draft.take(format!("{FILE}: the service web, started with `{start}`"));
    if let Some(worker) = worker {
        draft.take(format!("{FILE}: the service worker, started with `{worker}`"));
        if let Some(service) = draft.service("worker") {
            service.start = Some(worker);
        }
    }
    tell_the_rest(&package, dependencies && locked.is_none(), draft);
}

fn tell_the_rest(package: &Value, unlocked: bool, draft: &mut Draft) {
    if unlocked {
        draft.leave(format!("{FILE}: there is no lock file, so each build may get other versions"));
    }
    if filled(package.get("workspaces")) {
        draft.leave(format!("{FILE}: workspaces; give each service that starts its own `start`"));
    }
    if let Some(engines) = package.get("engines").filter(|engines| filled(Some(engines))) {
        draft.leave(format!("{FILE}: engines {engines}; the `node` on the PATH is used as it is"));
    }
    let tests: Vec<&str> = ["lint", "test"]
        .into_iter()
        .filter(|name| package.get("scripts").is_some_and(|scripts| scripts.get(*name).is_some()))
        .collect();
    if !tests.is_empty() {
        draft.leave(format!(
            "{FILE}: scripts {}; put them under `checks` to run before each release",
            tests.join(", ")
        ));
    }
}

fn entry(folder: &Path, package: &Value) -> Option<String> {
    let main = package
        .get("main")
        .and_then(Value::as_str)
        .filter(|main| is_plain(main) && folder.join(main).is_file());
    main.or_else(|| ENTRIES.into_iter().find(|file| folder.join(file).is_file())).map(str::to_owned)
}

/// Whether a path needs no quoting in a shell.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_alphanumeric() || b"./_-".contains(&b))
}

fn filled(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(object)) => !object.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        _ => false,
    }
}
