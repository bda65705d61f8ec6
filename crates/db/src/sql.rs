//! Statement text: one for both databases, placeholders `$1`, `$2` ….

use crate::Kind;

/// The text of a statement, a `const` beside the function that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sql {
    /// The same text on both databases.
    One(&'static str),
    /// Two texts where they must differ; each use says why. `cargo xtask check` keeps them below 8 %.
    Split {
        /// What SQLite runs.
        sqlite: &'static str,
        /// What PostgreSQL runs.
        postgres: &'static str,
    },
}

impl Sql {
    /// The text for a database.
    #[must_use]
    pub fn text(&self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::One(text), _) => text,
            (Self::Split { sqlite, .. }, Kind::Sqlite) => sqlite,
            (Self::Split { postgres, .. }, Kind::Postgres) => postgres,
        }
    }
}

/// `$n` as SQLite's numbered `?n`: there, `$1` would be a *name*, numbered by its first appearance.
/// Text inside quotes stays as it is.
pub(crate) fn to_sqlite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == '$' && chars.peek().is_some_and(char::is_ascii_digit) => {
                out.push('?');
                continue;
            }
            None => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_numbered_ones_outside_quotes_only() {
        assert_eq!(
            to_sqlite("SELECT '$1', \"$2\" FROM t WHERE a = $2 AND b = $10 AND c = '$'"),
            "SELECT '$1', \"$2\" FROM t WHERE a = ?2 AND b = ?10 AND c = '$'"
        );
    }
}
