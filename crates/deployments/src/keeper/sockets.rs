//! Listening sockets on their way to the keeper, and from it to the next Switchyard.
//!
//! The keeper holds them for as long as it lives, so that whoever connects while no Switchyard runs waits for the next one
//! instead of being refused. They travel beside one line of the protocol (`SCM_RIGHTS`, unix(7)), on a connection of
//! their own: an older keeper ends that, and nothing is handed on.

use super::protocol::{MESSAGE_BYTES_MAX, Message, Op, Request, SOCKETS_MAX};
use super::{complain, socket};
use lifecycle::{HeldSockets, InheritedSockets};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// Time that handing sockets on may take, either way.
const HANDING_MAX: Duration = Duration::from_secs(2);

/// Time within which a keeper that is busy, or still takes the Switchyard of before for alive, gives the sockets. Without them
/// nobody else can listen there as long as it lives.
const TAKE_MAX: Duration = Duration::from_secs(6);

/// Time between two attempts.
const TAKE_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes that one read takes.
const PIECE_BYTES: usize = 16 * 1024;

/// Room for the descriptors beside one message.
const ROOM_BYTES: usize = rustix::cmsg_space!(ScmRights(SOCKETS_MAX));

/// What came up to the first line end, and what came with it.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// The first line, without its end.
    pub(super) line: Vec<u8>,
    /// Bytes behind it.
    pub(super) rest: Vec<u8>,
    /// Descriptors that came beside.
    pub(super) sockets: Vec<OwnedFd>,
}

/// Reads the first line of a connection, with the descriptors beside it. `None` when it ends before, or is too long.
pub(super) async fn first_line(stream: &UnixStream) -> Option<Arrived> {
    let mut arrived = Arrived::default();
    loop {
        let before = arrived.line.len();
        let read = stream.async_io(Interest::READABLE, || receive(stream, &mut arrived)).await.ok()?;
        if let Some(end) = arrived.line[before..].iter().position(|byte| *byte == b'\n') {
            arrived.rest = arrived.line.split_off(before + end + 1);
            arrived.line.pop();
            return Some(arrived);
        }
        if read == 0 || arrived.line.len() > MESSAGE_BYTES_MAX {
            return None;
        }
    }
}

fn receive(stream: &UnixStream, arrived: &mut Arrived) -> io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); ROOM_BYTES];
    let mut beside = RecvAncillaryBuffer::new(&mut room);
    let mut piece = [0; PIECE_BYTES];
    let mut into = [IoSliceMut::new(&mut piece)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let read = recvmsg(stream, &mut into, &mut beside, flags)?.bytes;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            arrived.sockets.extend(descriptors);
        }
    }
    arrived.line.extend_from_slice(&piece[..read]);
    Ok(read)
}

/// Writes one line with descriptors beside its first byte.
async fn send_beside(stream: &mut UnixStream, line: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let send = || {
        let mut room = [MaybeUninit::uninit(); ROOM_BYTES];
        let mut beside = SendAncillaryBuffer::new(&mut room);
        if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        Ok(sendmsg(&*stream, &[IoSlice::new(line)], &mut beside, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    };
    let written = stream.async_io(Interest::WRITABLE, send).await?;
    stream.write_all(&line[written..]).await
}

fn line_of(message: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Sockets that a keeper holds, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<(String, OwnedFd)>);

impl Kept {
    /// Takes these in the place of those of before.
    pub(super) fn replace(&mut self, purposes: Vec<String>, sockets: Vec<OwnedFd>) -> Result<(), String> {
        if purposes.len() != sockets.len() {
            return Err(format!("{} sockets came, {} were told of", sockets.len(), purposes.len()));
        }
        self.0 = purposes.into_iter().zip(sockets).collect();
        Ok(())
    }

    /// Gives up all: whoever waits in them is refused.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A second hold on each.
    pub(super) fn copies(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.0.iter().map(|(purpose, socket)| Ok((purpose.clone(), socket.try_clone()?))).collect()
    }
}

/// The keeper's answer to [`Op::TakeSockets`].
pub(super) async fn give(stream: &mut UnixStream, id: u64, sockets: Vec<(String, OwnedFd)>) {
    let purposes = sockets.iter().map(|(purpose, _)| purpose.clone()).collect();
    let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let given = match line_of(&Message::Sockets { id, purposes }) {
        Ok(line) => send_beside(stream, &line, &borrowed).await,
        Err(error) => Err(error),
    };
    if let Err(error) = given {
        complain(format_args!("hand sockets on: {error}"));
    }
}

/// Hands sockets to the keeper of a data folder.
pub(super) async fn hold(data_dir: &Path, held: &HeldSockets) -> io::Result<()> {
    let (purposes, sockets): (Vec<String>, Vec<BorrowedFd<'_>>) =
        held.iter().take(SOCKETS_MAX).map(|(purpose, socket)| (purpose.to_owned(), socket)).unzip();
    if sockets.is_empty() {
        return Ok(());
    }
    let line = line_of(&Request { id: 1, op: Op::HoldSockets { purposes } })?;
    let handing = async {
        let mut stream = socket::connect(data_dir).await?;
        send_beside(&mut stream, &line, &sockets).await?;
        match answer(&stream).await? {
            (Message::Done { .. }, _) => Ok(()),
            (Message::Refused { why, .. }, _) => Err(io::Error::other(why)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    tokio::time::timeout(HANDING_MAX, handing).await?
}

/// The sockets on which the Switchyard of before listened for a data folder, where a keeper holds them and no
/// Switchyard is there. None where there is no keeper, or one of an older version.
pub async fn inherited_sockets(data_dir: &Path) -> InheritedSockets {
    let taken = async {
        loop {
            match tokio::time::timeout(HANDING_MAX, take(data_dir)).await {
                Ok(Ok(Some(sockets))) => return InheritedSockets::new(sockets),
                // It takes the one of before for alive, of whose end it is about to hear; or it has too much to do.
                Ok(Ok(None)) | Err(_) => tokio::time::sleep(TAKE_INTERVAL).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "no sockets are inherited");
                    return InheritedSockets::default();
                }
            }
        }
    };
    tokio::time::timeout(TAKE_MAX, taken).await.unwrap_or_default()
}

async fn take(data_dir: &Path) -> io::Result<Option<Vec<(String, OwnedFd)>>> {
    let mut stream = socket::connect(data_dir).await?;
    stream.write_all(&line_of(&Request { id: 1, op: Op::TakeSockets })?).await?;
    match answer(&stream).await? {
        (Message::Sockets { purposes, .. }, sockets) if purposes.len() == sockets.len() => {
            Ok(Some(purposes.into_iter().zip(sockets).collect()))
        }
        (Message::Refused { .. }, _) => Ok(None),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn answer(stream: &UnixStream) -> io::Result<(Message, Vec<OwnedFd>)> {
    let arrived = first_line(stream).await.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((serde_json::from_slice(&arrived.line)?, arrived.sockets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[tokio::test]
    async fn sockets_go_to_the_keeper_and_on_to_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = socket::listen(folder.path()).expect("listen");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = lifecycle::bind_reuseport(any, 2, "gateway", "gateway_addr").expect("a free port");
        let address = sockets[0].local_addr().expect("it is bound");
        let mut held = HeldSockets::default();
        sockets.iter().for_each(|socket| held.hold("gateway", socket).expect("a descriptor is free"));

        let keep = async {
            let (mut stream, _) = keeper.accept().await.expect("it connects");
            let arrived = first_line(&stream).await.expect("it says something");
            let request: Request = serde_json::from_slice(&arrived.line).expect("a request");
            let Op::HoldSockets { purposes } = request.op else { panic!("sockets are to be held") };
            let mut kept = Kept::default();
            assert!(kept.replace(Vec::new(), Vec::new()).is_ok());
            kept.replace(purposes, arrived.sockets).expect("all were told of");
            let done = line_of(&Message::Done { id: request.id, pid: None }).expect("a line");
            stream.write_all(&done).await.expect("it listens");
            kept
        };
        let (handed, kept) = tokio::join!(hold(folder.path(), &held), keep);
        handed.expect("it was answered");
        drop((sockets, held));

        let give_all = async {
            let (mut stream, _) = keeper.accept().await.expect("it connects");
            first_line(&stream).await.expect("it asks");
            give(&mut stream, 1, kept.copies().expect("descriptors are free")).await;
        };
        let (mut inherited, ()) = tokio::join!(inherited_sockets(folder.path()), give_all);
        assert_eq!(inherited.take("gateway", address).len(), 2);
    }

    #[tokio::test]
    async fn without_a_keeper_or_with_one_of_before_nothing_is_inherited() {
        let folder = tempfile::tempdir().expect("a folder");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        assert!(inherited_sockets(folder.path()).await.take("gateway", any).is_empty());
        let keeper = socket::listen(folder.path()).expect("listen");
        // It ends a connection that begins with what it does not know.
        let end = async { drop(keeper.accept().await) };
        let (mut inherited, ()) = tokio::join!(inherited_sockets(folder.path()), end);
        assert!(inherited.take("gateway", any).is_empty());
    }
}
