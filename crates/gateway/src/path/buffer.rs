//! Buffers that connections borrow while they have bytes on the way, and give back when they wait.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a buffer: a large head, or a good piece of a body.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers that a thread keeps for the next ones: 2 MB.
const KEPT_MAX: usize = 128;

/// Bytes that came and were not used yet.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { data: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// One without memory, for who waits. It takes no bytes.
    pub(crate) const fn none() -> Self {
        Self { data: Vec::new(), start: 0, end: 0 }
    }

    /// Whether it is [`Buffer::none`].
    pub(crate) fn is_none(&self) -> bool {
        self.data.is_empty()
    }

    /// What came and was not used.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first bytes are used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Bytes that fit without growing.
    pub(crate) fn room(&self) -> usize {
        self.data.len() - (self.end - self.start)
    }

    /// Doubles the room, for a head that is larger than usual.
    pub(crate) fn grow(&mut self) {
        let length = self.data.len() * 2;
        self.data.resize(length, 0);
    }

    /// Reads once. `Ok(0)` means that the other side has ended, since there always is room.
    pub(crate) fn poll_fill(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        if self.end == self.data.len() && self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(&mut self.data[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let bytes = room.filled().len();
        self.end += bytes;
        Poll::Ready(Ok(bytes))
    }
}

/// Output buffers that a thread keeps for the next requests, as many as are in flight on one endpoint.
const HEADS_KEPT_MAX: usize = 1_024;
/// Bytes of a kept buffer for heads: with 1,024 of them 4 MB.
const HEAD_KEPT_BYTES_MAX: usize = 4 * 1024;
/// The same for answers, which are written at once as a rule, so that few are in use: 4 MB.
const ANSWERS_KEPT_MAX: usize = 64;
const ANSWER_KEPT_BYTES_MAX: usize = 64 * 1024;

/// Memory of one sort of output that nobody uses now. The one that was used last is given first: it is in the cache.
#[derive(Debug)]
pub(crate) struct Outputs {
    kept: RefCell<Vec<Vec<u8>>>,
    number_max: usize,
    bytes_max: usize,
}

impl Outputs {
    /// For heads on their way to upstreams.
    pub(crate) fn heads() -> Self {
        Self { kept: RefCell::default(), number_max: HEADS_KEPT_MAX, bytes_max: HEAD_KEPT_BYTES_MAX }
    }

    /// For answers, and for bodies of requests.
    pub(crate) fn answers() -> Self {
        Self { kept: RefCell::default(), number_max: ANSWERS_KEPT_MAX, bytes_max: ANSWER_KEPT_BYTES_MAX }
    }

    /// An empty one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.kept.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes one back. One that has grown too large is not kept.
    pub(crate) fn give(&self, mut output: Vec<u8>) {
        if (1..=self.bytes_max).contains(&output.capacity()) {
            let mut kept = self.kept.borrow_mut();
            if kept.len() < self.number_max {
                output.clear();
                kept.push(output);
            }
        }
    }
}

/// The buffers of a thread that nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<Buffer>>);

impl Buffers {
    pub(crate) fn take(&self) -> Buffer {
        self.0.borrow_mut().pop().unwrap_or_else(Buffer::new)
    }

    /// Takes a buffer back. One that has grown is not kept.
    pub(crate) fn give(&self, mut buffer: Buffer) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX && buffer.data.len() == BUFFER_BYTES {
            (buffer.start, buffer.end) = (0, 0);
            kept.push(buffer);
        }
    }
}
