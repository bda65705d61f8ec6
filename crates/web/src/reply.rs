//! What a handler answers.

use crate::cookie::Cookie;
use crate::etag::ETag;
use crate::page::Page;
use crate::refusal;
use crate::socket::{Session, SocketReply};
use crate::spec::StreamKind;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use std::any::TypeId;

/// Room for the headers that every reply has, and a few of its own.
const HEADERS: usize = 12;

/// A successful answer with a body of type `R`; `()` means none.
pub struct Reply<R> {
    status: StatusCode,
    headers: HeaderMap,
    content: Content<R>,
}

enum Content<R> {
    Empty,
    Value(R),
    Text { content_type: &'static str, text: String },
    Page(Page),
    Stream { kind: StreamKind, chunks: BoxStream<'static, Bytes> },
}

impl<R> Reply<R> {
    /// 200 with a body.
    #[must_use]
    pub fn ok(body: R) -> Self {
        Self::new(StatusCode::OK, Content::Value(body))
    }

    /// 201 with a body; `location` is the path of what was made.
    #[must_use]
    pub fn created(location: &str, body: R) -> Self {
        Self::new(StatusCode::CREATED, Content::Value(body)).header(header::LOCATION, location)
    }

    /// 202: the work is recorded and goes on.
    #[must_use]
    pub fn accepted(body: R) -> Self {
        Self::new(StatusCode::ACCEPTED, Content::Value(body))
    }

    /// States the revision of the body, by which a later change can name what it knows.
    #[must_use]
    pub fn etag(self, revision: i64) -> Self {
        self.header(header::ETAG, &ETag::text(revision))
    }

    /// Another status, where the reply's status depends on a state (a health check's 503).
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a header. A value with bytes that a header cannot hold is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Gives the browser a cookie to keep, besides others.
    #[must_use]
    pub fn cookie(mut self, cookie: &Cookie) -> Self {
        if let Some(value) = cookie.header().and_then(|text| HeaderValue::from_str(&text).ok()) {
            self.headers.append(header::SET_COOKIE, value);
        }
        self
    }

    fn new(status: StatusCode, content: Content<R>) -> Self {
        Self { status, headers: HeaderMap::with_capacity(HEADERS), content }
    }
}

impl Reply<()> {
    /// 204.
    #[must_use]
    pub fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, Content::Value(()))
    }

    /// The same without a body, from a handler that answers with a body of type `R` at other times.
    #[must_use]
    pub fn instead_of<R>(self) -> Reply<R> {
        let Self { status, headers, content } = self;
        let content = match content {
            Content::Empty | Content::Value(()) => Content::Empty,
            Content::Text { content_type, text } => Content::Text { content_type, text },
            Content::Page(page) => Content::Page(page),
            Content::Stream { kind, chunks } => Content::Stream { kind, chunks },
        };
        Reply { status, headers, content }
    }

    /// 200 with a text made whole. `content_type` is used as it stands.
    #[must_use]
    pub fn text(content_type: &'static str, text: String) -> Self {
        Self::new(StatusCode::OK, Content::Text { content_type, text })
    }

    /// 200 with a page for people. The route says so by `Spec::page`.
    #[must_use]
    pub fn page(page: Page) -> Self {
        Self::new(StatusCode::OK, Content::Page(page))
    }

    /// 303: the browser goes on there by GET, whatever the method was. The address is used as it stands, so that the caller
    /// answers for it; without one that a header can hold there is no redirect.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self::new(StatusCode::SEE_OTHER, Content::Value(())).header(header::LOCATION, to)
    }

    /// 200 with chunks as they come. The route must say so by `Spec::stream`. Ends when the stream ends, the
    /// client leaves or the server stops.
    #[must_use]
    pub fn stream(kind: StreamKind, chunks: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::new(StatusCode::OK, Content::Stream { kind, chunks: chunks.boxed() })
    }

    /// 200 with one JSON value a line.
    #[must_use]
    pub fn ndjson<T: Serialize>(values: impl Stream<Item = T> + Send + 'static) -> Self {
        Self::stream(StreamKind::Ndjson, values.map(|value| line(&value)))
    }
}

fn line<T: Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}

/// One server-sent event as bytes. Line breaks inside `data` are kept as the format asks.
#[must_use]
pub fn sse_event(event: &str, id: Option<&str>, data: &str) -> Bytes {
    let one_line = |text: &str| text.replace(['\r', '\n'], " ");
    let mut out = String::with_capacity(data.len() + event.len() + 24);
    if let Some(id) = id {
        out.push_str(&format!("id: {}\n", one_line(id)));
    }
    if !event.is_empty() {
        out.push_str(&format!("event: {}\n", one_line(event)));
    }
    for part in data.replace("\r\n", "\n").split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(part);
        out.push('\n');
    }
    out.push('\n');
    Bytes::from(out)
}

/// A reply without its type.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: AnswerContent,
}

pub(crate) enum AnswerContent {
    Empty,
    Whole(Bytes),
    Stream(BoxStream<'static, Bytes>),
    Socket(Session),
}

impl Answer {
    /// A connection that is to be switched over.
    pub(crate) fn socket(reply: SocketReply) -> Self {
        let content = AnswerContent::Socket(reply.0);
        Self { status: StatusCode::SWITCHING_PROTOCOLS, headers: HeaderMap::new(), content }
    }
}

impl<R: Serialize + 'static> Reply<R> {
    /// Serialises the body.
    ///
    /// # Errors
    /// When `R` cannot be written as JSON.
    pub(crate) fn erase(self) -> Result<Answer, serde_json::Error> {
        let Self { status, mut headers, content } = self;
        let content = match content {
            Content::Empty => AnswerContent::Empty,
            Content::Value(_) if TypeId::of::<R>() == TypeId::of::<()>() => AnswerContent::Empty,
            Content::Value(value) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                AnswerContent::Whole(Bytes::from(serde_json::to_vec(&value)?))
            }
            Content::Text { content_type, text } => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                AnswerContent::Whole(Bytes::from(text))
            }
            Content::Page(page) => {
                refusal::page_headers(&mut headers, &page);
                AnswerContent::Whole(Bytes::from(page.html()))
            }
            Content::Stream { kind, chunks } => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.content_type()));
                AnswerContent::Stream(chunks)
            }
        };
        Ok(Answer { status, headers, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_line_breaks_and_cannot_be_split() {
        let event = sse_event("log\nevent: forged", Some("7"), "one\ntwo\r\nthree\rid: 9");
        assert_eq!(
            std::str::from_utf8(&event).expect("UTF-8"),
            "id: 7\nevent: log event: forged\ndata: one\ndata: two\ndata: three\ndata: id: 9\n\n"
        );
    }

    #[test]
    fn unit_has_no_body() {
        let answer = Reply::no_content().erase().expect("nothing to write");
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(matches!(answer.content, AnswerContent::Empty));
    }

    #[test]
    fn a_header_value_with_a_line_break_is_left_out() {
        let answer = Reply::created("/a\r\nset-cookie: x", 1).erase().expect("a number");
        assert!(answer.headers.get(header::LOCATION).is_none());
    }
}
