//! What tests need beyond the Rust toolchain, installed where it is missing: PostgreSQL from the system's
//! packages, Node-RED and a provider and a client of OpenID Connect from npm and Datasette from PyPI into `target/peers`,
//! TypeScript into `sdk/typescript`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{self, found, run, say};
use crate::workspace::Workspace;

/// Debian's packages. `nodejs` and `npm` run Node-RED, `python3-venv` makes Datasette's folder.
const POSTGRES: &[&str] = &["postgresql"];
const NODE: &[&str] = &["nodejs", "npm"];
const PYTHON: &[&str] = &["python3", "python3-venv"];
/// Versions that were seen to work; newer ones come by changing these lines.
const NODE_RED: &str = "node-red@4.1.1";
/// A provider of OpenID Connect, and a client of it, both as npm knows them.
const OIDC: &[&str] = &["oidc-provider@9.13.3", "openid-client@6.8.9"];
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Without a lock file: the manifests name exact versions.
const NPM_INSTALL: [&str; 7] =
    ["npm", "install", "--no-audit", "--no-fund", "--no-progress", "--no-package-lock", "--ignore-scripts"];
const DATASETTE: &str = "datasette==0.65.1";

/// Programs of others that tests run, by the variable that names each to them.
pub(crate) struct Peers(pub(crate) Vec<(&'static str, PathBuf)>);

impl Peers {
    /// Says where the programs are, as a shell would set them.
    pub(crate) fn show(&self) {
        self.0.iter().for_each(|(name, program)| say(&format!("{name}={}", program.display())));
    }
}

/// Installs what is missing. What cannot be had is left out, and the tests that need it fail with a sentence.
pub(crate) fn install(workspace: &Workspace) -> Peers {
    let folder = workspace.root.join("target/peers");
    let postgres =
        || found("initdb").or_else(|| Path::new("/usr/lib/postgresql").exists().then(PathBuf::new));
    if postgres().is_none() {
        note(packages(workspace, POSTGRES));
    }
    // A minimal toolchain comes without them.
    if process::output(&workspace.root, &["cargo", "fmt", "--version"]).is_err()
        || process::output(&workspace.root, &["cargo", "clippy", "--version"]).is_err()
    {
        note(run(&workspace.root, &["rustup", "component", "add", "rustfmt", "clippy"]));
    }
    let mut peers = Vec::new();
    match node_red(workspace, &folder.join("node-red")) {
        Ok(program) => peers.push(("SWITCHYARD_TEST_NODE_RED", program)),
        Err(error) => note(Err(error)),
    }
    match oidc(workspace, &folder.join("oidc")) {
        Ok(modules) => peers.push(("SWITCHYARD_TEST_OIDC", modules)),
        Err(error) => note(Err(error)),
    }
    note(sdk(workspace));
    match datasette(workspace, &folder.join("datasette")) {
        Ok(program) => peers.push(("SWITCHYARD_TEST_DATASETTE", program)),
        Err(error) => note(Err(error)),
    }
    Peers(peers)
}

fn node_red(workspace: &Workspace, folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join("node_modules/.bin/node-red");
    if program.is_file() {
        return Ok(program);
    }
    if found("npm").is_none() {
        packages(workspace, NODE)?;
    }
    fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    // A manifest of its own keeps npm from looking for one in the folders above.
    fs::write(folder.join("package.json"), r#"{"private": true}"#)
        .map_err(|error| format!("write package.json: {error}"))?;
    run(
        folder,
        &["npm", "install", "--no-audit", "--no-fund", "--no-progress", "--ignore-scripts", NODE_RED],
    )?;
    Ok(program)
}

/// Gives the folder whose `node_modules` has what [`OIDC`] names.
fn oidc(workspace: &Workspace, folder: &Path) -> Result<PathBuf, String> {
    let installed = OIDC.iter().all(|package| {
        let (name, version) = package.split_once('@').unwrap_or((package, ""));
        let manifest = folder.join("node_modules").join(name).join("package.json");
        fs::read_to_string(manifest).is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
    });
    if installed {
        return Ok(folder.to_path_buf());
    }
    if found("npm").is_none() {
        packages(workspace, NODE)?;
    }
    fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    fs::write(folder.join("package.json"), r#"{"private": true, "type": "module"}"#)
        .map_err(|error| format!("write package.json: {error}"))?;
    let words: Vec<&str> = NPM_INSTALL.iter().chain(OIDC).copied().collect();
    run(folder, &words)?;
    Ok(folder.to_path_buf())
}

/// TypeScript's compiler for `sdk/typescript`, in the versions that its manifest names.
fn sdk(workspace: &Workspace) -> Result<(), String> {
    let folder = workspace.root.join("sdk/typescript");
    if folder.join("node_modules/.bin/tsc").is_file() {
        return Ok(());
    }
    if found("npm").is_none() {
        packages(workspace, NODE)?;
    }
    run(&folder, &NPM_INSTALL)
}

/// What `bench jobs` measures ours beside, in the versions that `bench/peers/package.json` names.
///
/// # Errors
/// What cannot be had.
pub(crate) fn install_for_bench(workspace: &Workspace) -> Result<(), String> {
    let missing: Vec<&str> = [("redis-server", "redis-server"), ("npm", "npm"), ("node", "nodejs")]
        .into_iter()
        .filter_map(|(program, package)| found(program).is_none().then_some(package))
        .collect();
    if !missing.is_empty() {
        packages(workspace, &missing)?;
    }
    run(&workspace.root.join("bench/peers"), &NPM_INSTALL)
}

fn datasette(workspace: &Workspace, folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join("bin/datasette");
    if program.is_file() {
        return Ok(program);
    }
    let shown = folder.to_str().ok_or("the path of the repository is not UTF-8")?;
    let make = ["python3", "-m", "venv", "--clear", shown];
    if run(&workspace.root, &make).is_err() {
        packages(workspace, PYTHON)?;
        run(&workspace.root, &make)?;
    }
    // setuptools: Datasette's plugin loader still imports pkg_resources, which newer Pythons do not bring.
    let words = ["bin/pip", "install", "--quiet", "--disable-pip-version-check", "setuptools<81", DATASETTE];
    let mut pip = process::command(folder, &words);
    // pip trusts a list of its own; a network with a certificate of its own is known to the system alone.
    if std::env::var_os("PIP_CERT").is_none() && Path::new(SYSTEM_CERTIFICATES).is_file() {
        pip.env("PIP_CERT", SYSTEM_CERTIFICATES);
    }
    say(&format!("$ {}", words.join(" ")));
    process::finish(&mut pip, &words)?;
    Ok(program)
}

/// Installs packages of the system, where we may.
fn packages(workspace: &Workspace, names: &[&str]) -> Result<(), String> {
    let names_shown = names.join(" ");
    if found("apt-get").is_none() {
        return Err(format!("this machine has no apt-get; please install by hand: {names_shown}"));
    }
    let is_root = process::output(&workspace.root, &["id", "-u"])?.trim() == "0";
    if !is_root {
        return Err(format!("please install as root: apt-get install {names_shown}"));
    }
    run(&workspace.root, &["apt-get", "update", "-qq"])?;
    let mut words = vec![
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ];
    words.extend(names);
    run(&workspace.root, &words)
}

fn note(outcome: Result<(), String>) {
    if let Err(error) = outcome {
        say(&format!("note: {error}"));
    }
}
