//! Pages of lists: what is asked for, and what is answered.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Entries of a page when nothing is said.
pub const LIMIT_DEFAULT: u32 = 50;
/// Entries of the largest page; more would hold a reader's transaction for too long.
pub const LIMIT_MAX: u32 = 500;
/// Bytes of the longest cursor text that is read. Keys are identifiers and slugs, far below it.
pub const CURSOR_BYTES_MAX: usize = 1_024;

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many entries, 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// Where to go on; `None` starts at the beginning.
    pub cursor: Option<Cursor>,
}

/// A limit of zero or above [`LIMIT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a limit from 1 to {LIMIT_MAX} is expected")]
pub struct LimitError;

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: LIMIT_DEFAULT, cursor: None }
    }
}

impl PageRequest {
    /// The page that a client asked for; `None` for the limit means [`LIMIT_DEFAULT`].
    pub fn new(limit: Option<u32>, cursor: Option<Cursor>) -> Result<Self, LimitError> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 || limit > LIMIT_MAX { Err(LimitError) } else { Ok(Self { limit, cursor }) }
    }

    /// The key after which the page starts, if it is not the first.
    pub fn after(&self) -> Option<&str> {
        self.cursor.as_ref().map(Cursor::key)
    }

    /// How many rows to fetch so that [`Page::of`] knows whether there are more: one beyond the limit.
    pub const fn fetch(&self) -> u32 {
        self.limit + 1
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The entries, in the list's order.
    pub data: Vec<T>,
    /// Where the next page starts; `null` on the last one.
    pub next_cursor: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of rows of which [`PageRequest::fetch`] were asked for: the surplus row is dropped and tells that there
    /// are more. `key` names the sort key of a row.
    pub fn of(mut rows: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Self {
        let limit = request.limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| Cursor::from_key(&key(row)));
        Self { data: rows, next_cursor }
    }

    /// The same page with each entry turned into another form.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

/// A place in a list, opaque to clients: the sort key of the last entry seen, in URL-safe base64. It grants nothing:
/// the list behind it is filtered by the caller's rights as ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor(String);

/// A text that no list gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor that an earlier answer gave as `next_cursor` is expected")]
pub struct CursorError;

impl Cursor {
    /// The cursor of a sort key.
    pub fn from_key(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// The sort key. It came from outside: pass it on as a parameter, and parse it where a type is expected.
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let key = String::from_utf8(bytes).map_err(|_| CursorError)?;
        if key.contains('\0') { Err(CursorError) } else { Ok(Self(key)) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": CURSOR_BYTES_MAX, "pattern": "^[A-Za-z0-9_-]*$" })
    }
}
