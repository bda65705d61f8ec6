//! A streamed reply, line by line.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Bytes of the longest line that is read; more means that the other side is not what we take it for.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Lines of a reply as they come, for NDJSON and server-sent events.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    kept: BytesMut,
    searched: usize,
    ended: bool,
}

/// Why a stream of lines broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The connection ended in the middle.
    #[error("the connection broke off")]
    Broken,
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

impl Lines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, kept: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next line without its end; `None` when the reply ended. May be dropped and called again.
    ///
    /// # Errors
    /// [`LineError`]; the stream is over then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                let rest = self.kept.split().freeze();
                return Ok((!rest.is_empty()).then_some(rest));
            }
            if self.kept.len() > LINE_BYTES_MAX {
                return Err(LineError::TooLong);
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.kept.extend_from_slice(data);
                    }
                }
                Some(Err(_)) => return Err(LineError::Broken),
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let fresh = self.kept.get(self.searched..)?;
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.kept.len();
            return None;
        };
        let mut line = self.kept.split_to(self.searched + at + 1);
        self.searched = 0;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        Some(line.freeze())
    }
}
