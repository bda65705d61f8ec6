//! `<data-dir>/listeners.json`: where this process listens, for the command line and for tests.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, mem};

use parking_lot::Mutex;

/// The file's name in the data folder.
pub const LISTENERS_FILE: &str = "listeners.json";

/// The file and what it says. Removed when dropped, so that a stopped process is not called.
#[derive(Debug)]
pub struct Listeners {
    path: PathBuf,
    addresses: Mutex<BTreeMap<String, SocketAddr>>,
}

impl Listeners {
    /// Nothing is written before the first [`Listeners::set`].
    #[must_use]
    pub fn new(data_dir: &Path) -> Listeners {
        Listeners { path: data_dir.join(LISTENERS_FILE), addresses: Mutex::default() }
    }

    /// Adds one and rewrites the file: whole under its name, or as it was.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set(&self, name: &str, address: SocketAddr) -> io::Result<()> {
        self.set_all(&[(name, address)])
    }

    /// Adds several with one write, so that a reader sees all or none.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set_all(&self, added: &[(&str, SocketAddr)]) -> io::Result<()> {
        let mut addresses = self.addresses.lock();
        addresses.extend(added.iter().map(|(name, address)| ((*name).to_owned(), *address)));
        let text: serde_json::Map<String, serde_json::Value> =
            addresses.iter().map(|(name, address)| (name.clone(), address.to_string().into())).collect();
        self.write(&serde_json::Value::Object(text).to_string())
    }

    /// What the file in `data_dir` says; `None` when no process listens (or left without cleaning up: try to connect).
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<BTreeMap<String, SocketAddr>> {
        let text = fs::read_to_string(data_dir.join(LISTENERS_FILE)).ok()?;
        let all: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
        Some(all.into_iter().filter_map(|(name, address)| Some((name, address.parse().ok()?))).collect())
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let draft = self.path.with_extension("json.new");
        let mut file = fs::File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if !mem::take(self.addresses.get_mut()).is_empty() {
            // Best effort: a stale file only costs the command line a refused connection.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_all_and_goes_with_the_process() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listeners = Listeners::new(folder.path());
        let gateway: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        let control: SocketAddr = "[::1]:8081".parse().expect("an address");
        listeners.set("gateway", gateway).expect("the folder is writable");
        listeners.set("control", control).expect("the folder is writable");
        let text = fs::read_to_string(folder.path().join(LISTENERS_FILE)).expect("the file is there");
        assert_eq!(text, "{\"control\":\"[::1]:8081\",\"gateway\":\"127.0.0.1:8080\"}\n");
        assert_eq!(Listeners::read(folder.path()).and_then(|all| all.get("gateway").copied()), Some(gateway));
        drop(listeners);
        assert_eq!(Listeners::read(folder.path()), None);
    }
}
