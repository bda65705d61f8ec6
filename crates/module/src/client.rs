//! The control API as verbs use it.

use crate::error::CliError;
use crate::missing;
use http::Method;
use outbound::{Control, Lines};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Pages that [`ControlClient::all`] reads at most: 100,000 entries of the largest pages.
const PAGES_MAX: usize = 200;
/// Entries of a page that [`ControlClient::all`] asks for.
const PAGE_ENTRIES: u32 = 500;

/// What needs no escape in a segment of a path or in a query's value.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One installation's control API, or the reason why there is none to speak to.
#[derive(Clone)]
pub struct ControlClient(Result<Control, CliError>);

/// A text as a segment of a path, or as a value in a query.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

impl ControlClient {
    /// Speaks through `control`.
    #[must_use]
    pub fn new(control: Control) -> Self {
        Self(Ok(control))
    }

    /// There is no installation to speak to; each call fails with `reason`.
    #[must_use]
    pub fn unavailable(reason: CliError) -> Self {
        Self(Err(reason))
    }

    /// The address of the installation.
    ///
    /// # Errors
    /// When there is none.
    pub fn base(&self) -> Result<&str, CliError> {
        self.control().map(Control::base)
    }

    /// Reads.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.send(Method::GET, path, None).await
    }

    /// Makes or starts something. `&()` sends no body.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        self.send(Method::POST, path, Some(json(body)?)).await
    }

    /// Sets the whole of something.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        self.send(Method::PUT, path, Some(json(body)?)).await
    }

    /// Changes the named fields.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        self.send(Method::PATCH, path, Some(json(body)?)).await
    }

    /// Removes something.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn delete(&self, path: &str) -> Result<(), CliError> {
        self.call(Method::DELETE, path, None).await?;
        Ok(())
    }

    /// All entries of a list, page after page. `path` may have a query.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached; a list of more than 100,000 entries.
    pub async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, CliError> {
        let mut entries = Vec::new();
        let mut cursor: Option<String> = None;
        let joint = if path.contains('?') { '&' } else { '?' };
        for _ in 0..PAGES_MAX {
            let after = cursor.map(|cursor| format!("&cursor={}", encode(&cursor))).unwrap_or_default();
            let page: Value = self.get(&format!("{path}{joint}limit={PAGE_ENTRIES}{after}")).await?;
            let data = page.get("data").cloned().unwrap_or_default();
            entries.extend(typed::<Vec<T>>(data)?);
            cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(entries);
            }
        }
        Err(CliError::failure("the list is too long to be shown whole").next("Narrow it with a filter."))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn text(&self, path: &str) -> Result<String, CliError> {
        Ok(self.control()?.text(path).await?)
    }

    /// Follows a stream of lines.
    ///
    /// # Errors
    /// What the API refuses with, or why it cannot be reached.
    pub async fn follow(&self, path: &str) -> Result<Lines, CliError> {
        Ok(self.control()?.follow(path).await?)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, CliError> {
        let body = body.filter(|body| !body.is_null());
        typed(self.call(method, path, body.as_ref()).await?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let answer = self.control()?.call(method, path, body).await;
        answer.map_err(|error| missing::explained(error.into(), path))
    }

    fn control(&self) -> Result<&Control, CliError> {
        self.0.as_ref().map_err(Clone::clone)
    }
}

fn json(body: &impl Serialize) -> Result<Value, CliError> {
    serde_json::to_value(body)
        .map_err(|error| CliError::failure(format!("the request cannot be written: {error}")))
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|error| {
        CliError::failure(format!("the answer cannot be read: {error}"))
            .next("The installation may be of another version; compare `switchyard --version` with `switchyard status`.")
    })
}
