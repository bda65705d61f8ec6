//! The source of a deployment: a copy of the project folder, and its digest.
//!
//! What `.gitignore` and `.switchyardignore` name stays out (the latter decides where both speak), and so do
//! version control, Switchyard's own folder and folders marked as caches (`CACHEDIR.TAG`). Nothing outside of
//! the folder gets in: links are copied as links, and one that leads out is refused, as are set-user-id files (P4).

use crate::model::hexadecimal;
use ignore::{DirEntry, WalkBuilder};
use ring::digest::{Context, SHA256};
use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

/// Files, folders and links that a source may have.
const ENTRIES_MAX: usize = 50_000;

/// Bytes that a source may have.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Folders that are never part of a source.
const NEVER: [&str; 5] = [".git", ".hg", ".svn", ".jj", ".switchyard"];

/// Decides beside `.gitignore`, and over it.
const IGNORE_FILE: &str = ".switchyardignore";

/// Its section of services is compared as a whole; what else is in it concerns no process.
const PROJECT_FILE: &str = "switchyard.toml";

/// The first line of a `CACHEDIR.TAG` (bford.info/cachedir).
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Why a folder cannot be a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SourceError {
    /// It is not there, or no folder.
    #[error("the project folder {0} is not there")]
    Missing(String),
    /// A link leads out of it.
    #[error("{0} is a link that leads out of the project folder: remove it, or name it in {IGNORE_FILE}")]
    LeadsOut(String),
    /// A file would run with other rights.
    #[error(
        "{0} is a set-user-id or set-group-id file: take the bit away, or name the file in {IGNORE_FILE}"
    )]
    SetId(String),
    /// It has too many files.
    #[error("the project folder has more than {ENTRIES_MAX} files: name what is not source in {IGNORE_FILE}")]
    TooMany,
    /// It is too large.
    #[error("the project folder has more than 1 GiB: name what is not source in {IGNORE_FILE}")]
    TooLarge,
    /// A file cannot be read or written.
    #[error("{what} {path}: {why}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: String,
        /// What the system says.
        why: String,
    },
}

impl SourceError {
    fn failed(what: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Failed { what, path: path.display().to_string(), why: error.to_string() }
    }
}

/// What is part of a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The project folder.
    pub(crate) dir: &'a Path,
    /// A folder that is never part of it, though it may be inside: the data folder.
    pub(crate) data_dir: &'a Path,
    /// Paths inside, at which a volume appears.
    pub(crate) volumes: &'a [PathBuf],
}

/// The digest of a source: of all its paths, modes, contents and links, but not of times and owners.
pub(crate) fn digest(scope: Scope<'_>) -> Result<String, SourceError> {
    take(scope, None)
}

/// Copies a source into `to`, which must not exist, and gives its digest.
pub(crate) fn copy(scope: Scope<'_>, to: &Path) -> Result<String, SourceError> {
    make_dir(to)?;
    take(scope, Some(to))
}

fn take(scope: Scope<'_>, to: Option<&Path>) -> Result<String, SourceError> {
    let mut taker = Taker { to, digest: Context::new(&SHA256), entries: 0, bytes: 0 };
    for (entry, path) in entries(scope)? {
        taker.entry(&entry, &path)?;
    }
    Ok(hexadecimal(taker.digest.finish().as_ref()))
}

/// All entries with their paths inside the folder, in a fixed order.
fn entries(scope: Scope<'_>) -> Result<Vec<(DirEntry, PathBuf)>, SourceError> {
    let Scope { dir, data_dir, volumes } = scope;
    if !dir.is_dir() {
        return Err(SourceError::Missing(dir.display().to_string()));
    }
    let data_dir = data_dir.to_path_buf();
    let volumes: Vec<PathBuf> = volumes.iter().map(|path| dir.join(path)).collect();
    let walk = WalkBuilder::new(dir)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(move |entry| {
            entry.depth() == 0
                || !(NEVER.iter().any(|name| entry.file_name() == *name)
                    || entry.path() == data_dir
                    || volumes.iter().any(|path| entry.path() == path)
                    || (entry.file_type().is_some_and(|kind| kind.is_dir()) && is_cache(entry.path())))
        })
        .build();
    let mut found = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|error| SourceError::Failed {
            what: "read",
            path: dir.display().to_string(),
            why: error.to_string(),
        })?;
        if entry.depth() == 0 {
            continue;
        }
        if found.len() >= ENTRIES_MAX {
            return Err(SourceError::TooMany);
        }
        let path = entry.path().strip_prefix(dir).unwrap_or(entry.path()).to_path_buf();
        found.push((entry, path));
    }
    Ok(found)
}

fn is_cache(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join("CACHEDIR.TAG")) else { return false };
    let mut start = Vec::new();
    let read = file.take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut start);
    read.is_ok() && start == CACHE_SIGNATURE
}

struct Taker<'a> {
    to: Option<&'a Path>,
    digest: Context,
    entries: usize,
    bytes: u64,
}

impl Taker<'_> {
    fn entry(&mut self, entry: &DirEntry, path: &Path) -> Result<(), SourceError> {
        self.entries += 1;
        let Some(kind) = entry.file_type() else { return Ok(()) };
        let to = self.to.map(|to| to.join(path));
        if kind.is_dir() {
            self.note(path, b"dir");
            return to.map_or(Ok(()), |to| make_dir(&to));
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(entry.path())
                .map_err(|error| SourceError::failed("read link", entry.path(), &error))?;
            if !stays_inside(path, &target) {
                return Err(SourceError::LeadsOut(path.display().to_string()));
            }
            self.note(path, b"link");
            self.note(&target, b"target");
            let made = to.map_or(Ok(()), |to| symlink(&target, to));
            return made.map_err(|error| SourceError::failed("make link", path, &error));
        }
        if kind.is_file() {
            return self.file(entry.path(), path, to.as_deref());
        }
        // Sockets, pipes and devices are left behind by what ran here; they are not source.
        Ok(())
    }

    fn file(&mut self, from: &Path, path: &Path, to: Option<&Path>) -> Result<(), SourceError> {
        let failed = |what| move |error: io::Error| SourceError::failed(what, from, &error);
        // Not followed, should a link have taken its place since it was seen.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file =
            OpenOptions::new().read(true).custom_flags(flags).open(from).map_err(failed("open"))?;
        let meta = file.metadata().map_err(failed("read"))?;
        if !meta.is_file() {
            return Ok(());
        }
        if meta.permissions().mode() & 0o6000 != 0 {
            return Err(SourceError::SetId(path.display().to_string()));
        }
        let executable = meta.permissions().mode() & 0o111 != 0;
        let counts = path != Path::new(PROJECT_FILE);
        if counts {
            self.note(path, if executable { b"exe" } else { b"file" });
        }
        let mut copy = match to {
            Some(to) => {
                Some(create(to, executable).map_err(|error| SourceError::failed("create", to, &error))?)
            }
            None => None,
        };
        let mut buffer = vec![0; 128 * 1024];
        let mut length: u64 = 0;
        loop {
            let read = file.read(&mut buffer).map_err(failed("read"))?;
            if read == 0 {
                break;
            }
            length += read as u64;
            self.bytes += read as u64;
            if self.bytes > BYTES_MAX {
                return Err(SourceError::TooLarge);
            }
            if counts {
                self.digest.update(&buffer[..read]);
            }
            if let Some(copy) = &mut copy {
                copy.write_all(&buffer[..read]).map_err(failed("copy"))?;
            }
        }
        if counts {
            self.digest.update(&length.to_be_bytes());
        }
        if let Some(copy) = copy {
            keep_time(&copy, &meta);
        }
        Ok(())
    }

    /// Texts are told apart by their lengths.
    fn note(&mut self, path: &Path, kind: &[u8]) {
        let path = path.as_os_str().as_bytes();
        for part in [kind, path] {
            self.digest.update(&(part.len() as u64).to_be_bytes());
            self.digest.update(part);
        }
    }
}

fn create(to: &Path, executable: bool) -> io::Result<File> {
    let mode = if executable { 0o755 } else { 0o644 };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Build tools compare times; without them everything would be built anew.
fn keep_time(copy: &File, meta: &Metadata) {
    if let Ok(modified) = meta.modified() {
        let _only_slower_without = copy.set_modified(modified);
    }
}

fn make_dir(dir: &Path) -> Result<(), SourceError> {
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(dir)
        .map_err(|error| SourceError::failed("create folder", dir, &error))
}

/// Whether a link at `path` (inside the folder) to `target` stays inside. Only leading `..` are allowed: the
/// folders above the link are known to be folders, while one named in the target may be a link itself, after
/// which `..` leads elsewhere.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count() - 1;
    let mut named = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if !named && depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Project {
        root: tempfile::TempDir,
    }

    impl Project {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().expect("a folder");
            let project = Self { root };
            std::fs::create_dir(project.dir()).expect("create folder");
            for (path, text) in files {
                project.write(path, text);
            }
            project
        }

        fn dir(&self) -> PathBuf {
            self.root.path().join("project")
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.dir().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder above")).expect("create folders");
            std::fs::write(path, text).expect("write");
        }

        fn scope<'a>(&self, dir: &'a Path, volumes: &'a [PathBuf]) -> Scope<'a> {
            Scope { dir, data_dir: Path::new("/nowhere"), volumes }
        }

        fn digest(&self) -> Result<String, SourceError> {
            digest(self.scope(&self.dir(), &[]))
        }

        fn copied(&self) -> Vec<String> {
            let to = self.root.path().join("copy");
            copy(self.scope(&self.dir(), &[PathBuf::from("data")]), &to).expect("copy");
            let walk =
                WalkBuilder::new(&to).standard_filters(false).sort_by_file_name(std::ffi::OsStr::cmp).build();
            let path =
                |entry: DirEntry| entry.path().strip_prefix(&to).expect("inside").display().to_string();
            walk.map(|entry| path(entry.expect("read"))).filter(|path| !path.is_empty()).collect()
        }
    }

    #[test]
    fn ignored_things_stay_out() {
        let project = Project::new(&[
            (".gitignore", "node_modules/\n*.log\ndist/\n"),
            (".switchyardignore", "notes/\n!dist/\n"),
            ("switchyard.toml", "schema = 1"),
            ("src/main.js", "1"),
            ("src/.gitignore", "local.js"),
            ("src/local.js", "1"),
            ("node_modules/x/index.js", "1"),
            ("a.log", "1"),
            ("dist/app.js", "1"),
            ("notes/todo", "1"),
            (".git/HEAD", "1"),
            (".switchyard/switchyard.db", "1"),
            ("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n"),
            ("cache/x", "1"),
            ("data/rows", "1"),
        ]);
        let copied = project.copied();
        assert_eq!(
            copied,
            [
                ".gitignore",
                ".switchyardignore",
                "dist",
                "dist/app.js",
                "src",
                "src/.gitignore",
                "src/main.js",
                "switchyard.toml"
            ]
        );
    }

    #[test]
    fn the_digest_follows_the_content() {
        let project =
            Project::new(&[("a", "1"), ("switchyard.toml", "schema = 1"), (".gitignore", "ignored")]);
        let first = project.digest().expect("digest");
        project.write("switchyard.toml", "schema = 1 # changed");
        project.write("ignored", "2");
        assert_eq!(project.digest().expect("digest"), first);
        project.write("a", "2");
        let second = project.digest().expect("digest");
        assert_ne!(second, first);
        std::fs::set_permissions(project.dir().join("a"), Permissions::from_mode(0o755)).expect("chmod");
        let third = project.digest().expect("digest");
        assert_ne!(third, second);
        let copied =
            copy(project.scope(&project.dir(), &[]), &project.root.path().join("copy")).expect("copy");
        assert_eq!(copied, third);
    }

    #[test]
    fn p4_links_out_and_set_id_files_are_refused() {
        let project = Project::new(&[("src/a", "1")]);
        symlink("../src/a", project.dir().join("src/ok")).expect("link");
        symlink("missing", project.dir().join("dangling")).expect("link");
        project.digest().expect("links inside are fine");
        for target in ["/etc/passwd", "../../outside", "ok/../../..", "./../.."] {
            let link = project.dir().join("src/bad");
            symlink(target, &link).expect("link");
            assert_eq!(project.digest(), Err(SourceError::LeadsOut("src/bad".to_owned())), "{target}");
            std::fs::remove_file(link).expect("remove");
        }
        std::fs::set_permissions(project.dir().join("src/a"), Permissions::from_mode(0o4755)).expect("chmod");
        assert_eq!(project.digest(), Err(SourceError::SetId("src/a".to_owned())));
        let missing = digest(Scope { dir: Path::new("/not/there"), ..project.scope(&project.dir(), &[]) });
        assert_eq!(missing, Err(SourceError::Missing("/not/there".to_owned())));
    }
}
