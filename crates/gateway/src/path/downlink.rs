//! A response on its way to the client: decoded and framed anew, each piece sent on as it comes.

use super::answer::Downward;
use super::buffer::Buffer;
use super::client::Client;
use super::uplink::push_piece;
use crate::wire::{BodyReader, Framing, Step};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Bytes that are gathered for one write.
const PIECE_BYTES: usize = 32 * 1024;

/// Why a response does not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DownlinkFault {
    /// The client has gone.
    ClientGone,
    /// The upstream ended too early, or its chunks are broken. The client is told by the connection's end.
    UpstreamCut,
}

/// The head and body of a response on their way.
#[derive(Debug)]
pub(crate) struct Downlink {
    reader: BodyReader,
    chunks: bool,
    out: Vec<u8>,
    written: usize,
    ended: bool,
    /// Bytes of the body that were made ready.
    pub(crate) bytes: u64,
    /// Bytes that the client took, head included.
    pub(crate) taken: u64,
    /// It is a stream of events, whose client may leave long before its next event.
    pub(crate) is_event_stream: bool,
}

impl Downlink {
    /// Begins with a head, taken from the job.
    pub(crate) fn new(head: Vec<u8>, framing: Framing, downward: Downward) -> Self {
        Self {
            reader: BodyReader::new(framing),
            chunks: downward == Downward::Chunks,
            out: head,
            written: 0,
            ended: framing == Framing::Empty,
            bytes: 0,
            taken: 0,
            is_event_stream: false,
        }
    }

    /// The memory that it worked with, to be used again.
    pub(crate) fn into_output(self) -> Vec<u8> {
        self.out
    }

    /// Whether something waits for the client to take it.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.written < self.out.len()
    }

    /// Goes on as far as it can. Ready when the client has taken all.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut TcpStream,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), DownlinkFault>> {
        loop {
            if !self.ended && self.out.len() < PIECE_BYTES {
                self.encode(buffer)?;
            }
            while self.written < self.out.len() {
                match Pin::new(&mut client.stream).poll_write(cx, &self.out[self.written..]) {
                    Poll::Ready(Ok(written)) if written > 0 => {
                        self.written += written;
                        self.taken += written as u64;
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(DownlinkFault::ClientGone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.out.clear();
            self.written = 0;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if !buffer.is_empty() {
                continue;
            }
            match buffer.poll_fill(upstream, cx) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                Poll::Ready(Ok(_)) if self.reader.may_end() => self.end(),
                Poll::Ready(_) => return Poll::Ready(Err(DownlinkFault::UpstreamCut)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn encode(&mut self, buffer: &mut Buffer) -> Result<(), DownlinkFault> {
        let mut at = 0;
        let result = loop {
            match self.reader.step(buffer.filled(), &mut at) {
                Ok(Step::Data(range)) => {
                    let data = &buffer.filled()[range];
                    self.bytes += data.len() as u64;
                    push_piece(&mut self.out, data, self.chunks);
                    if self.out.len() >= PIECE_BYTES {
                        break Ok(());
                    }
                }
                Ok(Step::More | Step::Done) => break Ok(()),
                Err(_) => break Err(DownlinkFault::UpstreamCut),
            }
        };
        buffer.consume(at);
        // Asked here and not at `Done`, because a piece that is full may also have been the last.
        if result.is_ok() && self.reader.is_done() {
            self.end();
        }
        result
    }

    fn end(&mut self) {
        if self.chunks && !self.ended {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        self.ended = true;
    }
}
