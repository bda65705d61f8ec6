//! What is in the repository: packages with their dependencies, and files.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::process;

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root, such as `crates/db`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<String>,
    pub(crate) dev_dependencies: Vec<String>,
}

/// The repository.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: Vec<Package>,
    /// All files that are tracked or could be (not ignored), relative to the root, sorted.
    pub(crate) files: Vec<String>,
    /// Names in `[workspace.dependencies]` that are not ours.
    pub(crate) external: Vec<String>,
}

impl Workspace {
    /// Reads the repository that this program was started in.
    ///
    /// # Errors
    /// A sentence, when git or a manifest does not say what is expected.
    pub(crate) fn here() -> Result<Workspace, String> {
        let (root, mut files) = checkout().or_else(|_| unpacked())?;
        files.sort();
        let manifest = read_manifest(&root.join("Cargo.toml"))?;
        let shared = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
        let external = entries(shared)
            .filter(|(_, value)| value.get("path").is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let packages: Result<Vec<Package>, String> = files
            .iter()
            .filter_map(|file| file.strip_suffix("/Cargo.toml"))
            .filter(|folder| !folder.starts_with("examples/"))
            .map(|folder| read_package(&root, folder))
            .collect();
        Ok(Workspace { packages: packages?, files, external, root })
    }

    /// The text of a file.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.root.join(file)).map_err(|error| format!("read {file}: {error}"))
    }

    /// The package that a file belongs to.
    pub(crate) fn package_of(&self, file: &str) -> Option<&Package> {
        self.packages
            .iter()
            .find(|package| file.strip_prefix(&package.folder).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// Root and files of a checkout, as git knows them. CI often runs as another user than the checkout's owner, which
/// git would refuse without the exception.
fn checkout() -> Result<(PathBuf, Vec<String>), String> {
    let folder = std::env::current_dir().map_err(|error| format!("no working folder: {error}"))?;
    let git = ["git", "-c", "safe.directory=*"];
    let root = process::output(&folder, &[&git[..], &["rev-parse", "--show-toplevel"]].concat())?;
    let root = PathBuf::from(root.trim_end());
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"];
    let listed = process::output(&root, &[&git[..], &list].concat())?;
    let files = listed.lines().filter(|file| root.join(file).is_file()).map(str::to_owned).collect();
    Ok((root, files))
}

/// Root and files of an unpacked archive, without git: all but what is built.
fn unpacked() -> Result<(PathBuf, Vec<String>), String> {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("run this by `cargo xtask`")?;
    let root = Path::new(&own).parent().ok_or("the package of xtask has no folder above it")?.to_path_buf();
    let (mut files, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("read {}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let is_built =
                ["target", "node_modules", ".git", ".switchyard"].iter().any(|built| name == *built);
            if path.is_dir() && !is_built && !path.is_symlink() {
                open.push(path);
            } else if path.is_file() {
                files.extend(path.strip_prefix(&root).ok().and_then(Path::to_str).map(str::to_owned));
            }
        }
    }
    Ok((root, files))
}

fn read_package(root: &Path, folder: &str) -> Result<Package, String> {
    let manifest = read_manifest(&root.join(folder).join("Cargo.toml"))?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let names = |section: &str| entries(manifest.get(section)).map(|(name, _)| name.clone()).collect();
    Ok(Package {
        name: name.ok_or_else(|| format!("{folder}/Cargo.toml has no package.name"))?.to_owned(),
        folder: folder.to_owned(),
        dependencies: names("dependencies"),
        dev_dependencies: names("dev-dependencies"),
    })
}

fn read_manifest(file: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))?;
    text.parse().map_err(|error| format!("{}: {error}", file.display()))
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_table).into_iter().flatten()
}
