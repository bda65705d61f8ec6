//! The client of the control API.

use crate::lines::{LineError, Lines};
use crate::tls::{Connector, Trust};
use base::Secret;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Time that a connection may take to come about.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Time that a whole request may take; for streams, until the head of the reply.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(120);
/// Bytes of a whole reply that is held in memory.
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A client of one installation's control API. Clones share its connections.
#[derive(Clone)]
pub struct Control {
    client: Client<Connector, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
    environment: Option<HeaderValue>,
}

/// A problem document (RFC 9457) that the API answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Remote {
    /// The reply's status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What happened, the same each time.
    pub title: String,
    /// What is wrong in this case.
    pub detail: String,
    /// Wrong values, each with its place.
    pub errors: Vec<RemoteFault>,
    /// The request's id, by which the installation's log knows more.
    pub request_id: String,
}

/// One wrong value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct RemoteFault {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What is allowed.
    pub detail: String,
}

/// Why a request gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The API refused it.
    #[error("{}", .0.title)]
    Refused(Box<Remote>),
    /// Nothing answers at the address.
    #[error("nothing answers at {url}")]
    Unreachable {
        /// The base address.
        url: String,
        /// What the system says.
        #[source]
        source: Option<hyper_util::client::legacy::Error>,
    },
    /// No answer in time. The request may have had its effect.
    #[error("no answer from {url} within {} s", .time.as_secs())]
    Timeout {
        /// The base address.
        url: String,
        /// How long was waited.
        time: Duration,
    },
    /// The reply is larger than [`REPLY_BYTES_MAX`].
    #[error("the answer is larger than {REPLY_BYTES_MAX} bytes")]
    TooLarge,
    /// The reply is not what the API answers; something else listens there, or another version.
    #[error("the answer of {url} is not one of Switchyard's: {why}")]
    Foreign {
        /// The base address.
        url: String,
        /// What is odd about it.
        why: String,
    },
    /// The stream of a reply broke off.
    #[error(transparent)]
    Stream(#[from] LineError),
    /// The address or a header cannot be sent.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

impl Control {
    /// A client of `base`, such as `http://127.0.0.1:8081` or `https://switchyard.example`, with the key that it sends, if
    /// any.
    ///
    /// # Errors
    /// [`ControlError::Request`] when the address is neither http nor https, or the key no header's value.
    pub fn new(base: &str, key: Option<&Secret<String>>) -> Result<Self, ControlError> {
        Self::build(base, key, None)
    }

    /// The same, believing these authorities instead of the system's.
    ///
    /// # Errors
    /// As [`Control::new`].
    pub fn trusting(base: &str, key: Option<&Secret<String>>, trust: Trust) -> Result<Self, ControlError> {
        Self::build(base, key, Some(trust))
    }

    fn build(base: &str, key: Option<&Secret<String>>, trust: Option<Trust>) -> Result<Self, ControlError> {
        let base = base.trim_end_matches('/').to_owned();
        let secure = base.starts_with("https://");
        if !secure && !base.starts_with("http://") {
            return Err(ControlError::Request(format!(
                "`{base}` is not an address like http://127.0.0.1:8081"
            )));
        }
        let authorization =
            key.map(|key| header_value(&format!("Bearer {}", key.expose()), true)).transpose()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        connector.enforce_http(false);
        let connector = Connector::new(connector, secure.then(|| trust.unwrap_or_else(Trust::system)));
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(8).build(connector);
        Ok(Self { client, base, authorization, environment: None })
    }

    /// The same client, for calls in this environment (`Switchyard-Environment`).
    ///
    /// # Errors
    /// [`ControlError::Request`] when the name cannot stand in a header.
    pub fn in_environment(mut self, name: &str) -> Result<Self, ControlError> {
        self.environment = Some(header_value(name, false)?);
        Ok(self)
    }

    /// Where it speaks to.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One call: `body` is sent as JSON; the reply's JSON, or null where there is none.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ControlError> {
        let request = self.request(method, path, body, "application/json")?;
        let reply = self.within(REQUEST_TIME_MAX, self.whole(request)).await??;
        if reply.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&reply).map_err(|error| self.foreign(error.to_string()))
    }

    /// One read of a text, such as `/metrics`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn text(&self, path: &str) -> Result<String, ControlError> {
        let request = self.request(Method::GET, path, None, "*/*")?;
        let reply = self.within(REQUEST_TIME_MAX, self.whole(request)).await??;
        String::from_utf8(reply.to_vec()).map_err(|error| self.foreign(error.to_string()))
    }

    /// A reply that goes on: NDJSON or server-sent events, line by line. Drop it to end it.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn follow(&self, path: &str) -> Result<Lines, ControlError> {
        let request = self.request(Method::GET, path, None, "application/x-ndjson, text/event-stream")?;
        let response = self.within(REQUEST_TIME_MAX, self.send(request)).await??;
        Ok(Lines::new(response.into_body()))
    }

    async fn whole(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ControlError> {
        let response = self.send(request).await?;
        self.collect(response.into_body()).await
    }

    /// The response, if it is a success.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ControlError> {
        let sent = self.client.request(request).await;
        let response = sent
            .map_err(|source| ControlError::Unreachable { url: self.base.clone(), source: Some(source) })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.collect(response.into_body()).await?;
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ControlError {
        match serde_json::from_slice::<Remote>(body) {
            Ok(mut remote) if !remote.code.is_empty() => {
                remote.status = status.as_u16();
                ControlError::Refused(Box::new(remote))
            }
            _ => self.foreign(format!("status {status} without a problem document")),
        }
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, ControlError> {
        match Limited::new(body, REPLY_BYTES_MAX).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(ControlError::TooLarge),
            Err(_) => Err(LineError::Broken.into()),
        }
    }

    async fn within<F: Future>(&self, time: Duration, work: F) -> Result<F::Output, ControlError> {
        let timeout = |_| ControlError::Timeout { url: self.base.clone(), time };
        tokio::time::timeout(time, work).await.map_err(timeout)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: &'static str,
    ) -> Result<Request<Full<Bytes>>, ControlError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, concat!("switchyard/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.authorization {
            request = request.header(header::AUTHORIZATION, key);
        }
        if let Some(environment) = &self.environment {
            request = request.header("switchyard-environment", environment);
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(value.to_string())
            }
        };
        request.body(Full::new(bytes)).map_err(|error| ControlError::Request(error.to_string()))
    }

    fn foreign(&self, why: String) -> ControlError {
        ControlError::Foreign { url: self.base.clone(), why }
    }
}

fn header_value(text: &str, secret: bool) -> Result<HeaderValue, ControlError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| ControlError::Request("a key or name holds characters that no header can".into()))?;
    value.set_sensitive(secret);
    Ok(value)
}
