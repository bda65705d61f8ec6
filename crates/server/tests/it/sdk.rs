//! `sdk/typescript`: its own tests, that `dist/` is what its sources give, its types, and its queues and workers against
//! the real binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Project, text};

/// Queues of `sdk/typescript/test/real`.
const QUEUES: [&str; 12] =
    ["sums", "flaky", "many", "brief", "long", "given", "once", "order", "rest", "pages", "sites", "told"];

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/typescript")
}

/// TypeScript's compiler, which `cargo xtask test` installs.
fn tsc(args: &[&str]) {
    let program = package().join("node_modules/.bin/tsc");
    assert!(program.is_file(), "no {}: run `cargo xtask test`, which installs it", program.display());
    passes(Command::new(program).args(args).current_dir(package()));
}

fn passes(command: &mut Command) {
    let output = command.output().expect("run node");
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// Runs tests of the package by node's own runner.
fn node_tests(files: &[&str], environment: &[(&str, &str)]) {
    let mut command = Command::new("node");
    command.arg("--test").args(files).current_dir(package());
    passes(command.envs(environment.iter().copied()));
}

#[test]
fn the_typescript_package_passes_its_own_tests() {
    node_tests(&["test/queue.test.mjs", "test/worker.test.mjs", "test/events.test.mjs"], &[]);
}

#[test]
fn the_typescript_package_is_built_from_its_sources() {
    let built = tempfile::tempdir().expect("a folder");
    tsc(&["-p", "tsconfig.json", "--outDir", built.path().to_str().expect("a plain path")]);
    let read = |folder: &Path| {
        let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = files
            .map(|path| {
                let name = path.file_name().expect("a name").to_owned();
                (name, std::fs::read_to_string(&path).expect("a text"))
            })
            .collect();
        files.sort();
        files
    };
    let (all_kept, all_fresh) = (read(&package().join("dist")), read(built.path()));
    assert_eq!(all_kept.len(), all_fresh.len(), "dist/ has files too few or too many: npm run build");
    for ((name, kept), (fresh_name, fresh)) in all_kept.iter().zip(all_fresh) {
        assert_eq!(*name, fresh_name, "dist/ has other files: npm run build");
        assert_eq!(*kept, fresh, "dist/{} is stale: npm run build", name.display());
    }
}

#[test]
fn the_types_of_the_typescript_package_allow_and_refuse_what_they_should() {
    tsc(&["-p", "test/tsconfig.json"]);
}

#[test]
fn the_typescript_package_works_against_the_binary() {
    let queues: String = QUEUES.iter().map(|name| format!("[queues.{name}]\n")).collect();
    let mut project = Project::new(&format!(
        "schema = 1\n[project]\nname = \"sdk\"\n[tenants]\nresolve = [\"subdomain\"]\nbase_domain = \"localhost\"\n\
         default_plan = \"free\"\n{queues}[queues.mine]\n"
    ));
    project.up();
    project.make_tenant("acme", "free");
    project.make_tenant("globex", "free");
    let key = project.api("POST", "/api/v1/tenants/acme/keys", &json!({ "name": "sdk" })).json();
    let url = format!("http://{}", project.listener("control"));
    let environment = [
        ("SWITCHYARD_URL", url.as_str()),
        ("SWITCHYARD_TOKEN", &project.operator_key()),
        ("TENANT_KEY", key["key"].as_str().expect("a key")),
    ];
    node_tests(&["test/real/queues.test.mjs"], &environment);
}
