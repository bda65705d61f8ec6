//! `pyproject.toml`.

use super::draft::{Draft, WEB};
use super::text_of;
use std::path::Path;
use toml::Value;

const FILE: &str = "pyproject.toml";

/// Web frameworks by their dependency, and how their apps are started within the virtual environment.
const FRAMEWORKS: [(&str, &str); 4] = [
    ("django", "gunicorn --bind 127.0.0.1:$PORT"),
    ("flask", "flask run --host 127.0.0.1 --port $PORT"),
    ("fastapi", "uvicorn main:app --host 127.0.0.1 --port $PORT"),
    ("starlette", "uvicorn main:app --host 127.0.0.1 --port $PORT"),
];

pub(super) fn look(folder: &Path, draft: &mut Draft) {
    let Some(text) = text_of(folder, FILE) else { return };
    let Ok(project) = toml::from_str::<Value>(&text) else {
        return draft.leave(format!("{FILE}: it cannot be read"));
    };
    if let Some(file) = draft.told_by {
        return draft
            .leave(format!("{FILE}: {file} told how to start; add a service of its own if it is one"));
    }
    let (build, bin) = if folder.join("uv.lock").is_file() {
        ("uv sync --frozen", ".venv/bin/")
    } else if folder.join("poetry.lock").is_file() {
        ("POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --only main", ".venv/bin/")
    } else {
        ("python3 -m venv .venv && .venv/bin/pip install .", ".venv/bin/")
    };
    let Some(start) = start_of(folder, &project) else {
        return draft.leave(format!(
            "{FILE}: it names no script and no web framework that is known; write `start` by hand"
        ));
    };
    let name = project
        .get("project")
        .or_else(|| project.get("tool")?.get("poetry"))
        .and_then(|table| table.get("name"));
    if let Some(name) = name.and_then(Value::as_str) {
        draft.rename(name);
    }
    draft.told_by = Some(FILE);
    let start = format!("{bin}{start}");
    if let Some(web) = draft.service(WEB) {
        web.build = Some(build.to_owned());
        web.start = Some(start.clone());
    }
    draft.take(format!("{FILE}: the service web, started with `{start}`"));
    if let Some(python) =
        project.get("project").and_then(|table| table.get("requires-python")).and_then(Value::as_str)
    {
        draft.leave(format!("{FILE}: requires-python {python}; the `python3` on the PATH is used as it is"));
    }
}

/// How the app is started, without the folder of its programs: its only script, else its framework's way.
fn start_of(folder: &Path, project: &Value) -> Option<String> {
    let table = project.get("project");
    let scripts = table.and_then(|table| table.get("scripts")).and_then(Value::as_table);
    if let Some(script) = scripts.and_then(|scripts| scripts.keys().next()) {
        let plain = script.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        return plain.then(|| script.clone());
    }
    let listed =
        table.and_then(|table| table.get("dependencies")).and_then(Value::as_array).into_iter().flatten();
    let mut dependencies: Vec<String> = listed.filter_map(Value::as_str).map(package_of).collect();
    let poetry = project.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
    dependencies.extend(poetry.into_iter().flatten().map(|(name, _)| name.to_lowercase()));
    let (framework, start) =
        FRAMEWORKS.iter().find(|(name, _)| dependencies.iter().any(|known| known == name))?;
    match *framework {
        "django" => wsgi_module(folder).map(|module| format!("{start} {module}")),
        _ => Some((*start).to_owned()),
    }
}

/// The package of a requirement: `Django[argon2] >= 5` is `django`.
fn package_of(requirement: &str) -> String {
    let end = requirement
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
        .unwrap_or(requirement.len());
    requirement[..end].to_lowercase()
}

/// The module of a Django project: the folder with a `wsgi.py`.
fn wsgi_module(folder: &Path) -> Option<String> {
    let folders = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<String> = folders
        .filter(|path| path.join("wsgi.py").is_file())
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect();
    found.sort();
    found.first().map(|name| format!("{name}.wsgi"))
}
