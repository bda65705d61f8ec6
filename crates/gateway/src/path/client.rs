//! A client's connection: reading heads, answering, waiting for the next.

use super::admit::{Admission, Peer, admit};
use super::answer::push_problem;
use super::bearer::wait;
use super::buffer::Buffer;
use super::deadline::{Expired, SlotGuard};
use super::exchange::exchange;
use super::job::{Job, Refusal};
use super::page::asks_for_page;
use super::remember::Remembered;
use super::shared::{Counted, Thread, millis};
use super::watch::Watch;
use crate::wire::{BodyReader, Framing, HEAD_BYTES_MAX, Reject, Scan, Step, scan};
use base::codes;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Bytes that are read and dropped after an answer, so that the client can read it before the connection ends.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Time for that.
const LINGER_MS: u64 = 2_000;

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The other side ended or broke it.
    Gone,
    /// Its time was over.
    Expired,
}

impl From<Expired> for Cut {
    fn from(_: Expired) -> Self {
        Self::Expired
    }
}

/// What comes after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The next one.
    Next,
    /// The end, once the client has read what was sent.
    Linger,
    /// The end.
    End,
}

/// One client's connection.
pub(crate) struct Client {
    pub(crate) thread: Rc<Thread>,
    pub(crate) stream: TcpStream,
    pub(crate) slot: SlotGuard,
    /// What came and was not used; none while the connection waits.
    pub(crate) buffer: Option<Buffer>,
    peer: IpAddr,
    peer_text: Box<str>,
    remembered: Remembered,
    scanned: usize,
    /// When the first bytes of the head came; `None` when they came with what was before it.
    began: Option<Duration>,
    /// When bytes of a head came last.
    heard: Duration,
    _counted: Counted,
}

enum Head {
    Complete(usize),
    Refused(Reject),
    Late,
    None,
}

impl Client {
    pub(crate) fn new(thread: Rc<Thread>, stream: TcpStream, peer: SocketAddr, counted: Counted) -> Self {
        let slot = thread.deadlines.take();
        let peer = peer.ip().to_canonical();
        let peer_text = peer.to_string().into();
        Self {
            thread,
            stream,
            slot,
            buffer: None,
            peer,
            peer_text,
            remembered: Remembered::default(),
            scanned: 0,
            began: None,
            heard: Duration::ZERO,
            _counted: counted,
        }
    }

    /// Serves requests until the connection ends.
    pub(crate) async fn serve(mut self) {
        let mut first = true;
        loop {
            let head = self.read_head(first).await;
            first = false;
            let after = match head {
                Head::None => return,
                Head::Complete(length) => self.request(length).await,
                Head::Refused(reject) => self.refuse_head(reject.into()).await,
                Head::Late => {
                    let detail = "The head of the request took too long to arrive.";
                    self.refuse_head(Refusal::new(&codes::REQUEST_TIMEOUT, detail).close()).await
                }
            };
            match after {
                After::Next => {}
                After::Linger => return self.linger().await,
                After::End => return,
            }
        }
    }

    /// Waits for a head. The time that a head may take runs from its first byte; before that the connection is idle.
    async fn read_head(&mut self, first: bool) -> Head {
        self.scanned = 0;
        self.give_empty_buffer();
        let config = &self.thread.shared.config;
        let head_ms = millis(config.head_timeout);
        let idle = self.buffer.is_none();
        let idle_ms = if first { head_ms } else { millis(config.keep_alive_timeout) };
        self.slot.arm(if idle { idle_ms } else { head_ms });
        self.slot.set_idle(idle);
        loop {
            if let Some(buffer) = &mut self.buffer {
                while buffer.filled().starts_with(b"\r\n") {
                    buffer.consume(2);
                }
                match scan(buffer.filled(), &mut self.scanned) {
                    Ok(Scan::Complete(length)) => return Head::Complete(length),
                    Ok(Scan::Partial) if buffer.room() == 0 && buffer.filled().len() < HEAD_BYTES_MAX => {
                        buffer.grow()
                    }
                    Ok(Scan::Partial) => {}
                    Err(reject) => return Head::Refused(reject),
                }
            }
            let waited_idle = self.buffer.as_ref().is_none_or(Buffer::is_empty);
            match self.fill().await {
                Ok(0) | Err(Cut::Gone) => return Head::None,
                Ok(_) if waited_idle => {
                    let now = self.thread.shared.clock.monotonic();
                    (self.began, self.heard) = (Some(now), now);
                    self.thread.deadlines.set_now_ms(millis(now));
                    self.slot.set_idle(false);
                    self.slot.arm(head_ms);
                }
                Ok(_) => self.heard = self.thread.shared.clock.monotonic(),
                Err(Cut::Expired) if waited_idle => return Head::None,
                Err(Cut::Expired) => return Head::Late,
            }
        }
    }

    /// Reads once. While nothing comes, no buffer is held.
    async fn fill(&mut self) -> Result<usize, Cut> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Cut>> {
        if self.buffer.is_none() {
            if self.stream.poll_read_ready(cx).is_pending() {
                return self.slot.poll_expired(cx).map(|expired| Err(expired.into()));
            }
            self.buffer = Some(self.thread.buffers.take());
        }
        let buffer = self.buffer.get_or_insert_with(|| self.thread.buffers.take());
        match buffer.poll_fill(&mut self.stream, cx) {
            Poll::Ready(Ok(bytes)) => Poll::Ready(Ok(bytes)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Cut::Gone)),
            Poll::Pending => {
                if buffer.is_empty() {
                    self.give_empty_buffer();
                }
                self.slot.poll_expired(cx).map(|expired| Err(expired.into()))
            }
        }
    }

    pub(crate) fn give_empty_buffer(&mut self) {
        if self.buffer.as_ref().is_some_and(Buffer::is_empty)
            && let Some(buffer) = self.buffer.take()
        {
            self.thread.buffers.give(buffer);
        }
    }

    async fn request(&mut self, length: usize) -> After {
        let thread = self.thread.clone();
        let mut job = thread.take_job();
        self.note_times(&mut job);
        let mut admitted = self.admit(&thread, length, &mut job);
        if let Ok(Admission::Wait(environment, token)) = admitted {
            wait(&thread, &environment, &token).await;
            job.now = thread.shared.clock.monotonic();
            admitted = self.admit(&thread, length, &mut job);
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.consume(length);
        }
        // While the application works, nothing is held for the client.
        self.give_empty_buffer();
        job.keep_alive &= !thread.deadlines.is_stopping();
        let after = match admitted {
            Ok(Admission::Go) => exchange(self, &mut job).await,
            // The verdict was forgotten while it was waited for, or the same key is being fetched again.
            Ok(Admission::Wait(..)) => {
                let detail = "The keys of the token's issuer cannot be fetched now.";
                self.refuse(&mut job, &Refusal::new(&codes::UNAVAILABLE, detail).retry_after(1)).await
            }
            Err(refusal) => self.refuse(&mut job, &refusal).await,
        };
        let origin = self.remembered.origin(&thread.common, &job);
        thread.records.push(&mut job, origin);
        thread.give_job(job);
        after
    }

    /// When the request began, and when its head was whole. A head that came with what was before it begins now.
    fn note_times(&mut self, job: &mut Job) {
        (job.started, job.now) = match self.began.take() {
            Some(began) => (began, self.heard),
            None => {
                let now = self.thread.shared.clock.monotonic();
                (now, now)
            }
        };
    }

    fn admit(&mut self, thread: &Thread, length: usize, job: &mut Job) -> Result<Admission, Refusal> {
        let bytes = self.buffer.as_ref().map_or(&[][..], |buffer| &buffer.filled()[..length]);
        let peer = Peer { address: self.peer, text: &self.peer_text, remembered: &mut self.remembered };
        let admitted = admit(thread, peer, bytes, job);
        job.for_person = admitted.is_err() && asks_for_page(bytes);
        admitted
    }

    /// What lets the request of a job in, for as long as its answer lasts.
    pub(crate) fn watch(&self, job: &Job) -> Option<Watch> {
        Watch::new(&self.thread, job, &self.remembered)
    }

    /// Refuses what could not even be read as a head.
    async fn refuse_head(&mut self, refusal: Refusal) -> After {
        let thread = self.thread.clone();
        let mut job = thread.take_job();
        self.note_times(&mut job);
        job.client = self.peer;
        job.begin(&thread);
        let after = self.refuse(&mut job, &refusal).await;
        let origin = self.remembered.origin(&thread.common, &job);
        thread.records.push(&mut job, origin);
        thread.give_job(job);
        after
    }

    /// Answers with a problem. The connection goes on only where the request's body is known to have been read whole.
    pub(crate) async fn refuse(&mut self, job: &mut Job, refusal: &Refusal) -> After {
        job.keep_alive &= !refusal.close && self.skip_body(job);
        push_problem(&self.thread, job, refusal);
        match self.write_all(&job.down).await {
            Ok(()) if job.keep_alive => After::Next,
            Ok(()) => After::Linger,
            Err(_) => After::End,
        }
    }

    /// Skips the body of a request that is not passed on, as far as it is there already. Whether that was all of it.
    fn skip_body(&mut self, job: &mut Job) -> bool {
        if job.framing == Framing::Empty {
            return true;
        }
        let Some(buffer) = &mut self.buffer else { return false };
        if job.expects_continue {
            return false;
        }
        let (mut reader, mut at) = (BodyReader::new(job.framing), 0);
        let whole = loop {
            match reader.step(buffer.filled(), &mut at) {
                Ok(Step::Data(_)) => {}
                Ok(Step::Done) => break true,
                Ok(Step::More) | Err(_) => break false,
            }
        };
        buffer.consume(at);
        whole
    }

    /// Writes all of it, as long as the client takes some in time.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        let mut at = 0;
        self.slot.arm(millis(self.thread.shared.config.send_timeout));
        poll_fn(|cx| {
            while at < bytes.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &bytes[at..]) {
                    Poll::Ready(Ok(written)) if written > 0 => at += written,
                    Poll::Ready(_) => return Poll::Ready(Err(Cut::Gone)),
                    Poll::Pending => return self.slot.poll_expired(cx).map(|expired| Err(expired.into())),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ends the connection so that the client can read what was sent: closing with bytes unread would reset it, and
    /// a reset overtakes an answer.
    async fn linger(mut self) {
        let shut = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
        if shut.is_err() {
            return;
        }
        self.slot.arm(LINGER_MS);
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => left = left.saturating_sub(bytes),
            }
            if let Some(buffer) = &mut self.buffer {
                buffer.consume(usize::MAX);
            }
        }
    }
}
