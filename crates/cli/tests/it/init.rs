//! `init`: what it takes over, what it does not, and that it never destroys.

use super::{Ran, run_in, write};
use std::path::Path;

/// Runs `init` in a folder of these files; gives the run and the project file as TOML.
fn init(files: &[(&str, &str)]) -> (Ran, toml::Table) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path().join("My App");
    std::fs::create_dir(&home).expect("writable");
    for (name, text) in files {
        write(&home, name, text);
    }
    let ran = run_in(&home, &[], &["init", "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    let check = run_in(&home, &[], &["config", "check"]);
    assert_eq!(check.exit, 0, "{}", check.err);
    let text = std::fs::read_to_string(home.join("switchyard.toml")).expect("it was written");
    (ran, toml::from_str(&text).expect("TOML"))
}

fn service<'a>(file: &'a toml::Table, name: &str) -> &'a toml::Table {
    file["services"][name].as_table().expect("a service")
}

fn left(ran: &Ran) -> String {
    ran.json()["left"].to_string()
}

#[test]
fn an_empty_folder_gets_a_file_to_fill_in() {
    let (ran, file) = init(&[]);
    assert_eq!(file["project"]["name"].as_str(), Some("my-app"));
    assert!(!file.contains_key("services") && !file.contains_key("routes"));
    assert_eq!(ran.json()["services"], serde_json::json!([]));
}

#[test]
fn package_json_gives_build_start_and_worker() {
    let package = r#"{ "name": "@acme/shop", "scripts": { "start": "node x", "build": "vite build", "worker": "node w",
        "test": "vitest" }, "dependencies": { "x": "1" }, "engines": { "node": "22" } }"#;
    let (ran, file) = init(&[("package.json", package), ("package-lock.json", "{}")]);
    assert_eq!(file["project"]["name"].as_str(), Some("shop"));
    let web = service(&file, "web");
    assert_eq!(web["build"].as_str(), Some("npm ci && npm run build"));
    assert_eq!(web["start"].as_str(), Some("npm run start"));
    let worker = service(&file, "worker");
    assert_eq!(
        (worker["start"].as_str(), worker["build"].as_str()),
        (Some("npm run worker"), web["build"].as_str())
    );
    assert_eq!(file["routes"][0]["service"].as_str(), Some("web"));
    assert!(left(&ran).contains("engines") && left(&ran).contains("`checks`"), "{}", left(&ran));
}

#[test]
fn a_package_without_scripts_starts_its_entry() {
    let (ran, file) =
        init(&[("package.json", r#"{ "main": "main.js", "dependencies": { "x": "1" } }"#), ("main.js", "")]);
    let web = service(&file, "web");
    assert_eq!((web["start"].as_str(), web["build"].as_str()), (Some("node main.js"), Some("npm install")));
    assert!(left(&ran).contains("no lock file"), "{}", left(&ran));
    let (ran, file) = init(&[("package.json", "{}")]);
    assert!(!file.contains_key("services"));
    assert!(left(&ran).contains("no script `start`"), "{}", left(&ran));
}

#[test]
fn cargo_toml_gives_its_binaries() {
    let manifest = "[package]\nname = \"shop\"\nversion = \"1.0.0\"\n";
    let (ran, file) = init(&[
        ("Cargo.toml", manifest),
        ("src/main.rs", ""),
        ("src/bin/mail-worker.rs", ""),
        ("src/bin/migrate.rs", ""),
    ]);
    let web = service(&file, "web");
    assert_eq!(web["build"].as_str(), Some("cargo build --release"));
    assert_eq!(web["start"].as_str(), Some("target/release/shop"));
    assert_eq!(service(&file, "mail-worker")["start"].as_str(), Some("target/release/mail-worker"));
    assert!(left(&ran).contains("the binary migrate"), "{}", left(&ran));
    let (ran, file) = init(&[("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n")]);
    assert!(!file.contains_key("services") && left(&ran).contains("a workspace"));
}

#[test]
fn pyproject_gives_script_or_framework() {
    let project = "[project]\nname = \"shop\"\nrequires-python = \">=3.12\"\ndependencies = [\"FastAPI[all] >= 0.1\"]\n";
    let (_, file) = init(&[("pyproject.toml", project), ("uv.lock", "")]);
    let web = service(&file, "web");
    assert_eq!(web["build"].as_str(), Some("uv sync --frozen"));
    assert_eq!(web["start"].as_str(), Some(".venv/bin/uvicorn main:app --host 127.0.0.1 --port $PORT"));
    let (_, file) =
        init(&[("pyproject.toml", "[project]\nname = \"x\"\n[project.scripts]\nshop-web = \"shop:main\"\n")]);
    assert_eq!(service(&file, "web")["start"].as_str(), Some(".venv/bin/shop-web"));
    let (_, file) =
        init(&[("pyproject.toml", "[project]\ndependencies = [\"django\"]\n"), ("site/wsgi.py", "")]);
    assert_eq!(
        service(&file, "web")["start"].as_str(),
        Some(".venv/bin/gunicorn --bind 127.0.0.1:$PORT site.wsgi")
    );
}

#[test]
fn a_procfile_replaces_guesses() {
    let (_, file) = init(&[
        ("Cargo.toml", "[package]\nname = \"shop\"\n"),
        ("src/main.rs", ""),
        (
            "Procfile",
            "# processes\nweb: ./target/release/shop --port $PORT\nQueue_Worker: ./w \"a b\"\nrelease: ./migrate\n",
        ),
    ]);
    let web = service(&file, "web");
    assert_eq!(web["start"].as_str(), Some("./target/release/shop --port $PORT"));
    assert_eq!(web["build"].as_str(), Some("cargo build --release"));
    assert_eq!(web["pre_deploy"].as_str(), Some("./migrate"));
    assert_eq!(service(&file, "queue-worker")["start"].as_str(), Some("./w \"a b\""));
}

#[test]
fn railway_s_keys_are_taken_over_and_the_rest_is_named() {
    let toml = "[build]\nbuilder = \"NIXPACKS\"\nbuildCommand = \"make\"\nwatchPatterns = [\"src/**\"]\n[deploy]\n\
                startCommand = \"./serve\"\nhealthcheckPath = \"/health\"\nhealthcheckTimeout = 60\n\
                restartPolicyType = \"ON_FAILURE\"\nrestartPolicyMaxRetries = 3\nnumReplicas = 2\n\
                preDeployCommand = [\"./a\", \"./b\"]\ncronSchedule = \"* * * * *\"\n";
    let json = r#"{ "build": { "builder": "NIXPACKS", "buildCommand": "make", "watchPatterns": ["src/**"] },
        "deploy": { "startCommand": "./serve", "healthcheckPath": "/health", "healthcheckTimeout": 60,
        "restartPolicyType": "ON_FAILURE", "restartPolicyMaxRetries": 3, "numReplicas": 2,
        "preDeployCommand": ["./a", "./b"], "cronSchedule": "* * * * *" } }"#;
    let (ran, from_toml) = init(&[("railway.toml", toml)]);
    let (_, from_json) = init(&[("railway.json", json)]);
    assert_eq!(from_toml, from_json);
    let web = service(&from_toml, "web");
    assert_eq!((web["build"].as_str(), web["start"].as_str()), (Some("make"), Some("./serve")));
    assert_eq!(web["pre_deploy"].as_str(), Some("./a && ./b"));
    assert_eq!(web["healthcheck"]["path"].as_str(), Some("/health"));
    assert_eq!(web["healthcheck"]["start_period"].as_str(), Some("60s"));
    assert_eq!(web["restart"]["max_retries"].as_integer(), Some(3));
    assert_eq!(web["replicas"]["min"].as_integer(), Some(2));
    for name in ["build.builder", "watchPatterns", "cronSchedule"] {
        assert!(left(&ran).contains(name), "{name} in {}", left(&ran));
    }
}

#[test]
fn broken_and_hostile_files_do_no_harm() {
    let (ran, file) = init(&[
        ("package.json", "{ not json"),
        ("Cargo.toml", "= ="),
        ("pyproject.toml", "]"),
        ("railway.json", "[1]"),
        ("Procfile", "web: echo \"\u{1b}[2J\" \\ 'x'\n日本: x\nno colon\n"),
        (".env", "SECRET=hunter2\n"),
    ]);
    assert_eq!(service(&file, "web")["start"].as_str(), Some("echo \"\u{1b}[2J\" \\ 'x'"));
    assert!(left(&ran).contains(".env") && !ran.out.contains("hunter2"));
    assert_eq!(ran.json()["left"].as_array().expect("a list").len(), 6, "{}", left(&ran));
}

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "switchyard.toml", "mine = true\n");
    let read = |folder: &Path| std::fs::read_to_string(folder.join("switchyard.toml")).expect("there");
    let ran = run_in(folder.path(), &[], &["init"]);
    assert_eq!(ran.exit, 1);
    assert!(ran.err.contains("is here already") && ran.err.contains("--force"), "{}", ran.err);
    assert_eq!(read(folder.path()), "mine = true\n");
    let ran = run_in(folder.path(), &[], &["init", "--force"]);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(read(folder.path()).contains("[project]"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing is left behind");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_with_the_next_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = run_in(folder.path(), &[], &["init", "-C", "not/there"]);
    assert_eq!(ran.exit, 1);
    assert!(ran.err.contains("cannot be written") && ran.err.contains("may write in it"), "{}", ran.err);
}

#[test]
fn people_are_told_in_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "Procfile", "web: ./serve\n");
    write(folder.path(), "Dockerfile", "FROM x\n");
    let ran = run_in(folder.path(), &[], &["init"]);
    for text in [
        "Wrote ",
        "Taken over:\n  Procfile: the service web",
        "Not taken over:\n  Dockerfile:",
        "switchyard up",
    ] {
        assert!(ran.out.contains(text), "{text} in {}", ran.out);
    }
}
