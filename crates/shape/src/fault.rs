//! One thing that is wrong with a value.

use std::borrow::Cow;

use serde_json::Value;

/// Characters of a found value that a fault shows; enough to recognise it, too little to flood a log.
pub const FOUND_CHARS_MAX: usize = 80;

/// One thing that is wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The place as a JSON pointer (RFC 6901), such as `/services/web/replicas/min`; empty for the whole value. A missing
    /// key is pointed at as if it were there.
    pub pointer: String,
    /// What is there: `unknown key`, `nothing`, `the number 5`. Control characters are escaped, secrets are not shown.
    pub found: String,
    /// What is allowed: `a duration such as 5s is expected`, `allowed: min, max`.
    pub message: String,
    /// The word that was probably meant.
    pub nearest: Option<String>,
}

impl Fault {
    /// A fault of a found value.
    pub fn new(pointer: impl Into<String>, found: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), found: found.into(), message: message.into(), nearest: None }
    }

    /// The same with the word that was probably meant.
    #[must_use]
    pub fn or_nearest(self, nearest: Option<&str>) -> Self {
        Self { nearest: nearest.map(str::to_owned), ..self }
    }

    /// The same within a larger value: `prefix` is put before the pointer.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { pointer: format!("{prefix}{}", self.pointer), ..self }
    }

    /// The keys and indices of the pointer, unescaped.
    pub fn keys(&self) -> Vec<String> {
        self.pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
    }

    /// What was found, what was probably meant and what is allowed, as one sentence without the place.
    pub fn sentence(&self) -> String {
        match &self.nearest {
            Some(word) => format!("{}; did you mean `{word}`? {}", self.found, self.message),
            None => format!("{}; {}", self.found, self.message),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "{}", self.sentence())
        } else {
            write!(f, "{}: {}", self.pointer, self.sentence())
        }
    }
}

/// The pointer of a key or index below another pointer: `pointer`, `/` and the key [`escaped`].
#[must_use]
pub fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", escaped(key))
}

/// A key as it stands in a JSON pointer (RFC 6901, 3): `~` is `~0`, `/` is `~1`.
#[must_use]
pub fn escaped(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) {
        Cow::Owned(key.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(key)
    }
}

/// What a value looks like in a fault: its sort, and the value where it is short.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", shown_text(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// A text in quotes, cut to [`FOUND_CHARS_MAX`], with control and invisible characters escaped.
pub(crate) fn shown_text(text: &str) -> String {
    let cut: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if cut.len() < text.len() { format!("{cut:?} and more") } else { format!("{cut:?}") }
}
