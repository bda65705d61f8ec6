//! Mistakes with their places.

use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// Where a mistake was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In a file; line and column count from 1, columns in characters.
    File {
        /// As the user names it.
        name: String,
        /// 1 and up.
        line: usize,
        /// 1 and up.
        column: usize,
    },
    /// In a source that has no lines, such as the `[server]` section of a file that was read before.
    Named(String),
    /// In an environment variable.
    Variable(String),
    /// In a flag of the command line.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{}:{line}:{column}", one_line(name)),
            Self::Named(name) | Self::Variable(name) => f.write_str(&one_line(name)),
            Self::Flag(name) => write!(f, "--{}", one_line(name)),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Where.
    pub place: Place,
    /// The key path, such as `services.web.replicas.min` or `routes[0].host`; empty for the whole file.
    pub path: String,
    /// What is there.
    pub found: String,
    /// What is allowed.
    pub message: String,
    /// The word that was probably meant.
    pub nearest: Option<String>,
}

impl Located {
    pub(crate) fn of(place: Place, path: String, fault: shape::Fault) -> Self {
        Self { place, path, found: fault.found, message: fault.message, nearest: fault.nearest }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if !self.path.is_empty() {
            write!(f, " {}", one_line(&self.path))?;
        }
        write!(f, ": {}; ", one_line(&self.found))?;
        if let Some(word) = &self.nearest {
            write!(f, "did you mean `{}`? ", one_line(word))?;
        }
        f.write_str(&one_line(&self.message))
    }
}

/// All mistakes of one reading, sorted by place. `Display` gives one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(pub Vec<Located>);

impl Faults {
    /// Sorted by place, without repetitions; `Ok` when there are none.
    pub(crate) fn result(mut faults: Vec<Located>) -> Result<(), Self> {
        faults.sort_by(|a, b| (&a.place, &a.path, &a.found).cmp(&(&b.place, &b.path, &b.found)));
        faults.dedup();
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A text on one line: control and invisible characters are escaped, so that a file cannot write to the terminal of
/// whoever checks it, nor forge a second line.
fn one_line(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => safe.push(character),
            other => safe.extend(other.escape_debug()),
        }
    }
    safe
}

/// The key path of a pointer's keys, as TOML writes it. A number is an index where the value has a list.
pub(crate) fn dotted(root: &Value, keys: &[String]) -> String {
    let mut path = String::new();
    let mut value = Some(root);
    for key in keys {
        let in_list = value.is_some_and(Value::is_array);
        if in_list {
            path.push_str(&format!("[{key}]"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            let bare =
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if bare { path.push_str(key) } else { path.push_str(&format!("{key:?}")) }
        }
        value = value.and_then(|value| match value {
            Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(key),
        });
    }
    path
}
