//! Where things are in the data folder.
//!
//! ```text
//! deployments/<deployment>/source    what it runs in; kept while the deployment can be gone back to
//! deployments/<deployment>/checks    the clean copy that its checks run in
//! cache/<environment>/               kept between builds
//! volumes/<environment>/<service>/<name>
//! shared/<environment>/              for all services of an environment
//! run/<process>/                     private temporary folder of a process
//! ```

use base::{DeploymentId, EnvironmentId, ServiceId, Slug};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes that the cache of an environment may have before it begins anew.
const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Folders of Cargo's target folder that only it needs.
const CARGO_INTERNAL: [&str; 6] = ["deps", "build", "incremental", ".fingerprint", "examples", "doc"];

/// The folders of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    data_dir: PathBuf,
}

impl Folders {
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        Self { data_dir }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn deployment(&self, id: DeploymentId) -> PathBuf {
        self.data_dir.join("deployments").join(id.to_string())
    }

    /// An empty folder at which tools stop that look upwards for `.gitignore`: the data folder is ignored as a whole
    /// where it is inside of a project, and they would take all of a source as ignored. Git itself walks past it.
    pub(crate) fn boundary(&self) -> PathBuf {
        self.data_dir.join("deployments").join(".git")
    }

    pub(crate) fn source(&self, id: DeploymentId) -> PathBuf {
        self.deployment(id).join("source")
    }

    pub(crate) fn checks(&self, id: DeploymentId) -> PathBuf {
        self.deployment(id).join("checks")
    }

    pub(crate) fn cache(&self, environment: EnvironmentId) -> PathBuf {
        self.data_dir.join("cache").join(environment.to_string())
    }

    pub(crate) fn cargo_target(&self, environment: EnvironmentId) -> PathBuf {
        self.cache(environment).join("cargo-target")
    }

    pub(crate) fn shared(&self, environment: EnvironmentId) -> PathBuf {
        self.data_dir.join("shared").join(environment.to_string())
    }

    pub(crate) fn volumes(&self, environment: EnvironmentId, service: &Slug) -> PathBuf {
        self.data_dir.join("volumes").join(environment.to_string()).join(service.as_str())
    }

    pub(crate) fn temporary(&self, process: &str) -> PathBuf {
        self.data_dir.join("run").join(process)
    }

    /// The folders of deployments that are there.
    pub(crate) fn deployments(&self) -> Vec<DeploymentId> {
        let entries = fs::read_dir(self.data_dir.join("deployments")).into_iter().flatten().flatten();
        entries.filter_map(|entry| DeploymentId::parse(entry.file_name().to_str()?).ok()).collect()
    }
}

/// Makes a folder, and those above, for this user alone.
pub(crate) fn make(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Removes a folder with all in it; one that is not there is no mistake.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a cache that grew beyond its limit: what is in it belongs to older and older builds.
pub(crate) fn trim_cache(dir: &Path) -> io::Result<()> {
    fn bytes(dir: &Path) -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => bytes(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            })
            .sum()
    }
    if bytes(dir) > CACHE_BYTES_MAX { remove(dir) } else { Ok(()) }
}

/// Copies the programs that Cargo built from its kept target folder to `source/target`, where a start command
/// looks for them and where the next build cannot change them.
pub(crate) fn take_from_cargo(target: &Path, source: &Path) -> io::Result<()> {
    if !source.join("Cargo.toml").is_file() || !target.is_dir() {
        return Ok(());
    }
    take_programs(target, &source.join("target"), 0)
}

/// `target/<profile>/<program>` and, when built for another system, `target/<triple>/<profile>/<program>`.
const CARGO_DEPTH_MAX: u32 = 3;

fn take_programs(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let name = entry.file_name();
        if meta.is_dir()
            && depth < CARGO_DEPTH_MAX
            && !CARGO_INTERNAL.iter().any(|internal| name == *internal)
        {
            take_programs(&entry.path(), &to.join(&name), depth + 1)?;
        } else if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            fs::create_dir_all(to)?;
            let copy = to.join(&name);
            if copy.exists() {
                fs::remove_file(&copy)?;
            }
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// Copies a built tree for the checks. Links are copied as links.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let copy = to.join(entry.file_name());
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, copy)?;
        } else if kind.is_dir() {
            copy_tree(&entry.path(), &copy)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// Makes a volume and lets it appear at `path` in a source tree.
pub(crate) fn link_volume(volume: &Path, source: &Path, path: &str) -> io::Result<()> {
    make(volume)?;
    let at = source.join(path);
    if fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_symlink()) {
        return Ok(());
    }
    if let Some(above) = at.parent() {
        fs::create_dir_all(above)?;
        // A link of the tree on the way would lead elsewhere.
        if !above.canonicalize()?.starts_with(source.canonicalize()?) {
            return Err(io::Error::other(format!("`{path}` leads out of the source")));
        }
    }
    match fs::remove_dir(&at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err(io::Error::other(format!("`{path}` is not empty after the build"))),
        Ok(()) => {}
    }
    std::os::unix::fs::symlink(volume, at)
}

/// Makes the folders that a process of the service needs.
pub(crate) struct ProcessFolders {
    pub(crate) temporary: PathBuf,
    pub(crate) shared: PathBuf,
    pub(crate) volumes: Vec<(String, PathBuf)>,
}

impl ProcessFolders {
    pub(crate) fn make(&self) -> io::Result<()> {
        make(&self.temporary)?;
        make(&self.shared)?;
        self.volumes.iter().try_for_each(|(_, dir)| make(dir))
    }
}

/// What no deployment needs any more: folders on disk that are not among `needed`.
pub(crate) fn remove_unneeded(folders: &Folders, needed: &[DeploymentId]) {
    for id in folders.deployments().into_iter().filter(|id| !needed.contains(id)) {
        if let Err(error) = remove(&folders.deployment(id)) {
            tracing::warn!(deployment.id = %id, %error, "the folder of an old deployment cannot be removed");
        }
    }
}

/// Names the folder of a service whose volumes are removed with it.
pub(crate) fn remove_volumes(folders: &Folders, environment: EnvironmentId, service: &Slug, id: ServiceId) {
    if let Err(error) = remove(&folders.volumes(environment, service)) {
        tracing::error!(service.id = %id, %error, "the volumes of a removed service cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_programs_are_taken_and_its_own_things_left() {
        let root = tempfile::tempdir().expect("a folder");
        let (target, source) = (root.path().join("t"), root.path().join("s"));
        let program = |path: &str, mode| {
            let path = target.join(path);
            fs::create_dir_all(path.parent().expect("above")).expect("create");
            fs::write(&path, "x").expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        program("release/app", 0o755);
        program("release/app.d", 0o644);
        program("release/deps/app-123", 0o755);
        program("x86_64-unknown-linux-musl/release/app", 0o755);
        fs::create_dir(&source).expect("create");
        take_from_cargo(&target, &source).expect("not Cargo's");
        assert!(!source.join("target").exists());
        fs::write(source.join("Cargo.toml"), "").expect("write");
        take_from_cargo(&target, &source).expect("take");
        take_from_cargo(&target, &source).expect("take again");
        assert!(source.join("target/release/app").is_file());
        assert!(source.join("target/x86_64-unknown-linux-musl/release/app").is_file());
        assert!(!source.join("target/release/app.d").exists());
        assert!(!source.join("target/release/deps").exists());
    }

    #[test]
    fn a_volume_appears_in_the_tree() {
        let root = tempfile::tempdir().expect("a folder");
        let (volume, source) = (root.path().join("v"), root.path().join("s"));
        fs::create_dir_all(source.join("data")).expect("an empty folder gives way");
        link_volume(&volume, &source, "data").expect("link");
        link_volume(&volume, &source, "data").expect("link again");
        fs::write(source.join("data/row"), "1").expect("write through the link");
        assert_eq!(fs::read_to_string(volume.join("row")).expect("read"), "1");
        fs::create_dir_all(source.join("full")).expect("create");
        fs::write(source.join("full/x"), "1").expect("write");
        link_volume(&volume, &source, "full").expect_err("what is there is not hidden");
        std::os::unix::fs::symlink("/", source.join("out")).expect("link");
        link_volume(&volume, &source, "out/tmp-of-nobody/x").expect_err("P4: not outside of the tree");
    }
}
