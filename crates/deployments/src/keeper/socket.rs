//! Unix sockets in a folder whose path may be longer than an address allows.

use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The name of the keeper's socket in the data folder.
const SOCKET: &str = "keeper.sock";

/// The folder, held open, and a short path that leads to the socket through it. An address has 108 bytes
/// (unix(7)), the path of a data folder may have 4,096.
fn short_path(data_dir: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let folder = open(data_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Listens on the keeper's socket. The caller holds the keeper's lock, so a socket that is there is a dead one's.
pub(crate) fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let (_folder, path) = short_path(data_dir)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(&path);
    rustix::process::umask(before);
    let listener = listener?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the keeper's socket.
pub(crate) async fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let (_folder, path) = short_path(data_dir)?;
    UnixStream::connect(&path).await
}

/// Whether the other end is of this user. The mode of the socket says so already; this does not depend on it.
pub(crate) fn is_own(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_data_folder_is_reached() {
        let root = tempfile::tempdir().expect("a folder");
        let deep = root.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).expect("create folders");
        let listener = listen(&deep).expect("listen");
        let mode = std::fs::metadata(deep.join(SOCKET)).expect("the socket is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (client, server) = tokio::join!(connect(&deep), listener.accept());
        assert!(is_own(&client.expect("connect")));
        server.expect("accept");
        drop(listener);
        listen(&deep).expect("a dead keeper's socket gives way");
    }
}
