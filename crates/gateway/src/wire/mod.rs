//! HTTP/1.1 as bytes: heads, framing and targets, strict both ways.
//!
//! `httparse` finds the tokens; every rule that decides where a message ends is here, so that gateway and upstream
//! can never disagree about it (RFC 9112). What is ambiguous is refused rather than repaired, and nothing that came
//! in framed is passed on raw: bodies are decoded and framed anew. No I/O and no async in this module.

mod body;
mod chunked;
mod head;
mod host;
mod name;
mod response;
mod target;
mod text;

pub use body::{BodyReader, Framing};
pub use chunked::{ChunkFault, Chunked, Step};
pub(crate) use head::is_token_text;
pub use head::{ConnectionOptions, Examined, RequestHead, Scan, Version, examine, parse_request, scan};
pub use host::{Authority, authority};
pub use name::{HeaderKind, classify};
pub use response::{ResponseFault, ResponseHead, parse_response, response_framing};
pub use target::{Target, target};
pub use text::{push_hex, push_number};

use base::{Code, codes};

/// Bytes of a head, request line included, as common servers allow; larger is 431.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Headers of one message; more is 431. Browsers send about twenty.
pub const HEADERS_MAX: usize = 100;

/// Bytes of a request target; longer is 414. What proxies on the way commonly allow.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a method name; the longest registered one has 17.
pub const METHOD_BYTES_MAX: usize = 32;

/// Why a request is refused before anything is known of it. The connection is closed after the answer, because
/// where the next request would begin is not certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The problem's code.
    pub code: &'static Code,
    /// What was wrong, for the client.
    pub detail: &'static str,
}

impl Reject {
    /// 400: the head cannot be read.
    #[must_use]
    pub const fn bad_request(detail: &'static str) -> Self {
        Self { code: &codes::BAD_REQUEST, detail }
    }

    /// 400: where the body ends is not certain.
    #[must_use]
    pub const fn framing(detail: &'static str) -> Self {
        Self { code: &codes::BAD_FRAMING, detail }
    }

    /// 431: too many headers, or too large.
    #[must_use]
    pub const fn headers(detail: &'static str) -> Self {
        Self { code: &codes::HEADER_TOO_LARGE, detail }
    }

    /// 414: the target is too long.
    #[must_use]
    pub const fn uri_too_long() -> Self {
        Self { code: &codes::URI_TOO_LONG, detail: "The request target is longer than 8 KiB." }
    }
}
