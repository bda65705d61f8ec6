//! `tests/surface/`: what others write against, as the product prints it. A change of it is seen in review.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::check::Finding;
use crate::process;
use crate::workspace::Workspace;

const FOLDER: &str = "tests/surface";
/// The description of the API among them.
const API: &str = "openapi.json";

/// Whether the product's binary is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    /// It must be built first.
    ToBuild,
    /// All targets were built a moment ago. Building the binary alone would compile much of it once more, as the
    /// tests switch on features of shared dependencies.
    Built,
}

/// Writes the snapshots.
///
/// # Errors
/// What cargo or the product says.
pub(crate) fn write(workspace: &Workspace) -> Result<(), String> {
    let folder = workspace.root.join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("empty {FOLDER}: {error}"))?;
    }
    print(workspace, Product::ToBuild, &folder)
}

/// Compares the snapshots with what the product prints now.
///
/// # Errors
/// What cargo or the product says.
pub(crate) fn check(workspace: &Workspace, product: Product) -> Result<Vec<Finding>, String> {
    let fresh = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    print(workspace, product, fresh.path())?;
    let (old, new) = (names(&workspace.root.join(FOLDER)), names(fresh.path()));
    let mut all: Vec<&String> = old.iter().chain(&new).collect();
    all.sort();
    all.dedup();
    let read = |folder: &Path, name: &str| fs::read(folder.join(name)).ok();
    let stale = all
        .into_iter()
        .filter(|name| read(&workspace.root.join(FOLDER), name) != read(fresh.path(), name))
        .map(|name| {
            Finding::new(
                format!("{FOLDER}/{name}"),
                "is stale: run `cargo xtask surface` and look at the difference",
            )
        });
    let open = open_routes(&read(fresh.path(), API).unwrap_or_default());
    Ok(stale.chain(open).collect())
}

/// Operations that say neither which permission they need nor why they need none.
fn open_routes(document: &[u8]) -> Vec<Finding> {
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    let Some(paths) = document["paths"].as_object().filter(|paths| !paths.is_empty()) else {
        return vec![Finding::new(format!("{FOLDER}/{API}"), "describes no path")];
    };
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten().filter(|(_, operation)| operation.is_object());
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    operations
        .filter(|(_, operation)| !["x-permission", "x-public"].iter().any(|key| operation[key].is_string()))
        .map(|(name, _)| {
            Finding::new(format!("{FOLDER}/{API}"), format!("{name} has no permission and no reason"))
        })
        .collect()
}

/// Lets the product write its surface into a folder.
fn print(workspace: &Workspace, product: Product, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    let folder = folder.to_str().ok_or("the path of the folder for the surface is not UTF-8")?;
    if product == Product::ToBuild {
        process::run(
            &workspace.root,
            &["cargo", "build", "--quiet", "--package", "server", "--bin", "switchyard"],
        )?;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.root.join("target"), PathBuf::from);
    let program = target.join("debug/switchyard");
    let program = program.to_str().ok_or("the path of the target folder is not UTF-8")?;
    process::run(&workspace.root, &[program, "surface", folder])
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::open_routes;

    #[test]
    fn operations_without_a_permission_are_found() {
        let text = r#"{"paths": {"/a": {"get": {"x-permission": "read:a"}, "post": {}}, "/b": {"get": {"x-public": "b"}}}}"#;
        assert_eq!(open_routes(text.as_bytes()).len(), 1);
        assert_eq!(open_routes(b"{}").len(), 1);
    }
}
