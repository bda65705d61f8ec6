//! Migration text: split into statements, rewritten for PostgreSQL.

/// The statements of a text, without the `;` between them and without comments.
pub(crate) fn statements(text: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '\'' | '"' => quote = Some(c),
                '-' if chars.peek() == Some(&'-') => {
                    while chars.next().is_some_and(|c| c != '\n') {}
                    push(&mut statements, '\n');
                    continue;
                }
                ';' => {
                    statements.push(String::new());
                    continue;
                }
                _ => {}
            },
        }
        push(&mut statements, c);
    }
    statements.retain_mut(|statement| {
        *statement = statement.trim().to_owned();
        !statement.is_empty()
    });
    statements
}

fn push(statements: &mut [String], c: char) {
    if let Some(last) = statements.last_mut() {
        last.push(c);
    }
}

/// A portable statement in PostgreSQL's words: `BLOB` becomes `BYTEA`, `TEXT` becomes `TEXT COLLATE "C"` (so that both
/// databases sort alike), `WITHOUT ROWID` goes. Upper-case words outside quotes only.
pub(crate) fn to_postgres(statement: &str) -> String {
    let statement = statement.replace(" WITHOUT ROWID", "");
    let mut out = String::with_capacity(statement.len() + 64);
    let mut word = String::new();
    let mut quote = None;
    for c in statement.chars().chain(['\0']) {
        if quote.is_none() && (c.is_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        out.push_str(match word.as_str() {
            "BLOB" => "BYTEA",
            "TEXT" => "TEXT COLLATE \"C\"",
            other => other,
        });
        word.clear();
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

/// Whether a statement sets storage parameters of a table (`ALTER TABLE … SET (…)`): PostgreSQL alone has them.
pub(crate) fn is_storage(statement: &str) -> bool {
    let words: Vec<&str> = statement.split_whitespace().take(5).collect();
    matches!(words.as_slice(), ["ALTER", "TABLE", _, "SET", rest] if rest.starts_with('('))
}

/// Whether a statement reads or changes rows, rather than the schema.
pub(crate) fn changes_rows(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or("");
    ["INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_outside_quotes_and_comments() {
        let text = "-- a; b\nCREATE TABLE t (a TEXT DEFAULT ';'); -- c;\nINSERT INTO t VALUES ('--');\n";
        assert_eq!(statements(text), ["CREATE TABLE t (a TEXT DEFAULT ';')", "INSERT INTO t VALUES ('--')"]);
    }

    #[test]
    fn storage_parameters_are_told_from_columns() {
        assert!(is_storage("ALTER TABLE t SET (fillfactor = 90)"));
        assert!(!is_storage("ALTER TABLE t RENAME COLUMN a TO b") && !is_storage("UPDATE t SET (a) = (1)"));
    }

    #[test]
    fn types_are_rewritten_outside_quotes() {
        assert_eq!(
            to_postgres(
                "CREATE TABLE t (a TEXT NOT NULL DEFAULT 'TEXT', b BLOB, BLOBS BIGINT) WITHOUT ROWID"
            ),
            "CREATE TABLE t (a TEXT COLLATE \"C\" NOT NULL DEFAULT 'TEXT', b BYTEA, BLOBS BIGINT)"
        );
    }
}
