//! `railway.toml` and `railway.json`: the same keys in two spellings of a file.

use super::draft::{Draft, Service, WEB};
use super::text_of;
use serde_json::Value;
use std::path::Path;

/// Keys that mean something here, and those that do not: section, key, what to do about it.
const LEFT: [(&str, &str, &str); 9] = [
    ("build", "dockerfilePath", "images are not built here"),
    ("build", "watchPatterns", "every change of the folder counts"),
    ("build", "nixpacksPlan", "write what it installs into `build`"),
    ("build", "nixpacksConfigPath", "write what it installs into `build`"),
    ("deploy", "cronSchedule", "a schedule here makes jobs for a worker: `switchyard schedules set --help`"),
    ("deploy", "sleepApplication", "services of all tenants do not sleep"),
    ("deploy", "multiRegionConfig", "there is one place, this machine"),
    ("deploy", "region", "there is one place, this machine"),
    ("deploy", "drainingSeconds", "`grace` of the server says how long stopping may take"),
];

pub(super) fn look(folder: &Path, draft: &mut Draft) {
    let json = text_of(folder, "railway.json")
        .map(|text| ("railway.json", serde_json::from_str::<Value>(&text).ok()));
    let toml =
        text_of(folder, "railway.toml").map(|text| ("railway.toml", toml::from_str::<Value>(&text).ok()));
    if json.is_some() && toml.is_some() {
        draft.leave("railway.json: railway.toml is here too and was read instead");
    }
    let Some((file, parsed)) = toml.or(json) else { return };
    let Some(railway) = parsed else { return draft.leave(format!("{file}: it cannot be read")) };
    let mut taken: Vec<&str> = Vec::new();
    if let Some(web) = draft.service(WEB) {
        taken.extend(take_build(&railway, web));
        taken.extend(take_deploy(&railway, web));
    }
    if !taken.is_empty() {
        draft.take(format!("{file}: {} of the service web", taken.join(", ")));
    }
    for (section, key, what) in LEFT {
        if railway.get(section).is_some_and(|table| table.get(key).is_some()) {
            draft.leave(format!("{file}: {section}.{key}; {what}"));
        }
    }
    if railway.get("build").and_then(|build| build.get("builder")).is_some() {
        draft.leave(format!("{file}: build.builder; `build` runs as a command on this machine"));
    }
    if railway.get("environments").is_some() {
        draft.leave(format!("{file}: environments; write them as [environments.<name>] by hand"));
    }
    draft.told_by = draft.told_by.or(Some(file));
}

fn text<'a>(railway: &'a Value, section: &str, key: &str) -> Option<&'a str> {
    railway.get(section)?.get(key)?.as_str().filter(|text| !text.trim().is_empty())
}

fn number(railway: &Value, key: &str) -> Option<u64> {
    railway.get("deploy")?.get(key)?.as_u64()
}

fn take_build(railway: &Value, web: &mut Service) -> Option<&'static str> {
    let build = text(railway, "build", "buildCommand")?;
    web.build = Some(build.to_owned());
    Some("build command")
}

fn take_deploy(railway: &Value, web: &mut Service) -> Vec<&'static str> {
    let mut taken = Vec::new();
    if let Some(start) = text(railway, "deploy", "startCommand") {
        web.start = Some(start.to_owned());
        taken.push("start command");
    }
    if let Some(command) = pre_deploy(railway) {
        web.pre_deploy = Some(command);
        taken.push("pre-deploy command");
    }
    if let Some(path) = text(railway, "deploy", "healthcheckPath").filter(|path| is_path(path)) {
        web.health_path = Some(path.to_owned());
        web.health_seconds =
            number(railway, "healthcheckTimeout").filter(|seconds| (1..=3_600).contains(seconds));
        taken.push("health check");
    }
    let policy = match text(railway, "deploy", "restartPolicyType") {
        Some("ALWAYS") => Some("always"),
        Some("ON_FAILURE") => Some("on-failure"),
        Some("NEVER") => Some("never"),
        _ => None,
    };
    if let Some(policy) = policy {
        let retries =
            number(railway, "restartPolicyMaxRetries").and_then(|number| u32::try_from(number).ok());
        web.restart = Some((policy, retries.filter(|_| policy == "on-failure")));
        taken.push("restart policy");
    }
    if let Some(replicas) = number(railway, "numReplicas").filter(|number| (1..=64).contains(number)) {
        web.replicas = u32::try_from(replicas).ok();
        taken.push("number of replicas");
    }
    taken
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Railway takes one command or a list of them.
fn pre_deploy(railway: &Value) -> Option<String> {
    match railway.get("deploy")?.get("preDeployCommand")? {
        Value::String(command) => Some(command.clone()),
        Value::Array(commands) => {
            let commands: Vec<&str> = commands.iter().filter_map(Value::as_str).collect();
            (!commands.is_empty()).then(|| commands.join(" && "))
        }
        _ => None,
    }
}
