//! A request's body on its way to the upstream: decoded, bounded, and framed anew.

use super::client::Client;
use super::job::Job;
use super::page::asks_for_page;
use super::shared::Thread;
use crate::wire::{BodyReader, Framing, Step, push_hex};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Bytes that are gathered for one write.
const PIECE_BYTES: usize = 16 * 1024;

/// Why a body does not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UplinkFault {
    /// The client ended before the body did.
    ClientGone,
    /// The client's chunks are broken.
    BadChunks(&'static str),
    /// The body is larger than the route takes.
    TooLarge,
    /// The upstream takes no more.
    UpstreamGone,
}

/// The head and body of a request on their way.
#[derive(Debug)]
pub(crate) struct Uplink {
    reader: BodyReader,
    framing: Framing,
    chunked: bool,
    /// What is ready for the upstream, and how much of it was written. Where there is no body it stays the head.
    out: Vec<u8>,
    written: usize,
    ended: bool,
    bytes_max: u64,
    /// Bytes of the body that were taken from the client.
    pub(crate) bytes: u64,
    /// All was written.
    pub(crate) done: bool,
    /// Bytes of the body have been taken from the client, so that nobody can send them again.
    pub(crate) begun: bool,
}

impl Uplink {
    /// Begins with the head of a job. Where a body follows, the head is copied, so that it can be sent again.
    pub(crate) fn new(thread: &Thread, job: &mut Job, bytes_max: u64) -> Self {
        let framing = job.framing;
        let out = if framing == Framing::Empty {
            std::mem::take(&mut job.up)
        } else {
            let mut out = thread.answers.take();
            out.extend_from_slice(&job.up);
            out
        };
        Self {
            reader: BodyReader::new(framing),
            framing,
            chunked: framing == Framing::Chunked,
            out,
            written: 0,
            ended: framing == Framing::Empty,
            bytes_max,
            bytes: 0,
            done: false,
            begun: false,
        }
    }

    /// Begins again, as long as nothing of the body was taken.
    pub(crate) fn restart(&mut self, job: &Job) {
        if self.framing != Framing::Empty {
            self.out.clear();
            self.out.extend_from_slice(&job.up);
        }
        (self.written, self.done) = (0, false);
    }

    /// Whether the head that it holds in the job's stead asks for a page.
    pub(crate) fn asks_for_page(&self) -> bool {
        self.framing == Framing::Empty && asks_for_page(&self.out)
    }

    /// Gives back the memory that it worked with.
    pub(crate) fn give_back(self, thread: &Thread, job: &mut Job) {
        if self.framing == Framing::Empty {
            job.up = self.out;
        } else {
            thread.answers.give(self.out);
        }
    }

    /// Whether it waits for the client rather than for the upstream.
    pub(crate) fn waits_for_client(&self) -> bool {
        !self.done && self.written == self.out.len()
    }

    /// Goes on as far as it can. Ready when all was written.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut TcpStream,
    ) -> Poll<Result<(), UplinkFault>> {
        loop {
            if !self.ended && self.out.len() - self.written < PIECE_BYTES {
                self.encode(client)?;
            }
            while self.written < self.out.len() {
                match Pin::new(&mut *upstream).poll_write(cx, &self.out[self.written..]) {
                    Poll::Ready(Ok(written)) if written > 0 => self.written += written,
                    Poll::Ready(_) => return Poll::Ready(Err(UplinkFault::UpstreamGone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.ended {
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            self.out.clear();
            self.written = 0;
            if client.buffer.as_ref().is_some_and(|buffer| !buffer.is_empty()) {
                continue;
            }
            match client.poll_body(cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(Err(UplinkFault::ClientGone)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes what came from the client and makes it ready for the upstream.
    fn encode(&mut self, client: &mut Client) -> Result<(), UplinkFault> {
        let Some(buffer) = &mut client.buffer else { return Ok(()) };
        let mut at = 0;
        let result = loop {
            match self.reader.step(buffer.filled(), &mut at) {
                Ok(Step::Data(range)) => {
                    let data = &buffer.filled()[range];
                    self.begun = true;
                    self.bytes += data.len() as u64;
                    if self.bytes > self.bytes_max {
                        break Err(UplinkFault::TooLarge);
                    }
                    push_piece(&mut self.out, data, self.chunked);
                    if self.out.len() - self.written >= PIECE_BYTES {
                        break Ok(());
                    }
                }
                Ok(Step::More) => {
                    self.begun |= at > 0;
                    break Ok(());
                }
                Ok(Step::Done) => break Ok(()),
                Err(fault) => break Err(UplinkFault::BadChunks(fault.0)),
            }
        };
        buffer.consume(at);
        // Asked here and not at `Done`, because a piece that is full may also have been the last.
        if result.is_ok() && self.reader.is_done() {
            if self.chunked {
                self.out.extend_from_slice(b"0\r\n\r\n");
            }
            (self.ended, self.begun) = (true, true);
        }
        result
    }
}

/// Appends a piece of a body, as a chunk where it goes in chunks.
pub(crate) fn push_piece(out: &mut Vec<u8>, data: &[u8], chunked: bool) {
    if chunked {
        push_hex(out, data.len() as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(data);
    }
}

impl Client {
    /// Reads more of a body; `None` when the client has ended. Deadlines are the caller's.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.buffer.is_none() {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => {}
            }
        }
        let buffer = self.buffer.get_or_insert_with(|| self.thread.buffers.take());
        if buffer.room() == 0 {
            return Poll::Pending;
        }
        match buffer.poll_fill(&mut self.stream, cx) {
            Poll::Ready(Ok(bytes)) if bytes > 0 => Poll::Ready(Some(bytes)),
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => {
                self.give_empty_buffer();
                Poll::Pending
            }
        }
    }
}
