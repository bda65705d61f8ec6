//! The second wall of the embedded store: what a tenant's transaction may run.
//!
//! SQLite has no row-level security. So each statement text is looked at once a connection, before it first runs
//! for a tenant: its authorizer tells which tables it really touches (views, triggers and subqueries included), and
//! all of them must be tenant tables; the text must name the tenant once for each time it names one of them.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::{Error, MigrationSet};

/// The tables that a tenant's transaction may touch.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    tenant_tables: HashSet<&'static str>,
}

impl Guard {
    pub(crate) fn new(sets: &[MigrationSet]) -> Self {
        Self { tenant_tables: sets.iter().flat_map(|set| set.tenant_tables).copied().collect() }
    }

    /// Says what is wrong with running `text` for a tenant.
    pub(crate) fn check(&self, connection: &mut Connection, text: &str) -> Result<(), Error> {
        let refuse =
            |why: String| Err(Error::Statement(format!("refused for a tenant: {why}: {}", brief(text))));
        for table in touched(connection, text)? {
            if !self.tenant_tables.contains(table.as_str()) {
                return refuse(format!(
                    "{table} is no tenant table (use write_system, and for_tenant within it)"
                ));
            }
        }
        let words = words(text);
        let (named, bound) = (self.named(&words), bound(&words));
        if bound.to_tenant == 0 {
            return refuse("it does not bind `tenant = $1`".into());
        }
        if bound.to_tenant + bound.to_another < named {
            return refuse(format!("it names {named} tenant tables, and the tenant fewer times"));
        }
        Ok(())
    }

    /// How often the text names a tenant table where rows come from or go to.
    fn named(&self, words: &[String]) -> usize {
        words
            .windows(2)
            .filter(|pair| matches!(pair[0].as_str(), "from" | "join" | "into" | "update" | ","))
            .filter(|pair| self.tenant_tables.contains(pair[1].as_str()))
            .count()
    }
}

struct Bound {
    /// `tenant = ?1`, or an insert whose first column is the tenant and whose first value is `?1`.
    to_tenant: usize,
    /// `a.tenant = b.tenant` or `USING (tenant…`.
    to_another: usize,
}

fn bound(words: &[String]) -> Bound {
    let mut bound = Bound { to_tenant: 0, to_another: 0 };
    let is = |index: usize, word: &str| words.get(index).is_some_and(|found| found == word);
    let loose = loose(words);
    for (index, word) in words.iter().enumerate() {
        match word.as_str() {
            "tenant" if is(index + 1, "=") && is(index + 2, "?1") => {
                let narrows = !loose[index] && is_conjunct(words, index, index + 3);
                bound.to_tenant += usize::from(narrows);
            }
            "tenant" if is(index + 1, "=") && is(index + 3, ".") && is(index + 4, "tenant") => {
                let narrows = !loose[index] && is_conjunct(words, index, index + 5);
                bound.to_another += usize::from(narrows);
            }
            "using" if is(index + 1, "(") && is(index + 2, "tenant") => bound.to_another += 1,
            "into" if is(index + 2, "(") && is(index + 3, "tenant") => {
                let first_value = words[index..]
                    .windows(3)
                    .any(|three| three[0] == "values" && three[1] == "(" && three[2] == "?1")
                    || words[index..].windows(2).any(|two| two[0] == "select" && two[1] == "?1");
                bound.to_tenant += usize::from(first_value);
            }
            _ => {}
        }
    }
    bound
}

/// Whether the comparison that names the tenant at `index` and ends before `end` stands by itself between `AND`s, so
/// that no row passes for which it is false.
fn is_conjunct(words: &[String], index: usize, end: usize) -> bool {
    let qualified = index >= 2 && words[index - 1] == ".";
    let before = index.checked_sub(if qualified { 3 } else { 1 }).and_then(|at| words.get(at));
    let after = words.get(end).map_or("", String::as_str);
    before.is_some_and(|word| matches!(word.as_str(), "where" | "and" | "on"))
        && matches!(
            after,
            "" | ")"
                | ";"
                | "and"
                | "where"
                | "group"
                | "having"
                | "order"
                | "limit"
                | "returning"
                | "union"
                | "except"
                | "intersect"
                | "join"
                | "left"
                | "inner"
                | "cross"
                | "on"
                | "do"
        )
}

/// For each word, whether an `OR` stands beside it within the same parentheses: a comparison there narrows nothing.
fn loose(words: &[String]) -> Vec<bool> {
    let (mut group_of, mut open, mut groups) = (Vec::with_capacity(words.len()), vec![0], 1);
    let mut has_or = HashSet::new();
    for word in words {
        if word == ")" && open.len() > 1 {
            open.pop();
        }
        let group = open.last().copied().unwrap_or(0);
        group_of.push(group);
        match word.as_str() {
            "(" => {
                open.push(groups);
                groups += 1;
            }
            "or" => {
                has_or.insert(group);
            }
            _ => {}
        }
    }
    group_of.iter().map(|group| has_or.contains(group)).collect()
}

/// The tables that SQLite says the statement reads or changes.
fn touched(connection: &mut Connection, text: &str) -> Result<HashSet<String>, Error> {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let record = seen.clone();
    let watch = move |context: AuthContext<'_>| {
        let table = match context.action {
            AuthAction::Read { table_name, .. }
            | AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => table_name,
            AuthAction::Select | AuthAction::Function { .. } | AuthAction::Recursive => {
                return Authorization::Allow;
            }
            _ => return Authorization::Deny,
        };
        record.lock().insert(table.to_ascii_lowercase());
        Authorization::Allow
    };
    let told = |error: rusqlite::Error| Error::Statement(error.to_string());
    connection.authorizer(Some(watch)).map_err(told)?;
    let prepared = connection.prepare(text).map(drop);
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(told)?;
    prepared.map_err(|error| match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => Error::Statement(message),
        rusqlite::Error::SqlInputError { msg, .. } => Error::Statement(msg),
        other => Error::Statement(other.to_string()),
    })?;
    let seen = std::mem::take(&mut *seen.lock());
    // Results of json_each and the like are functions in the shape of tables.
    Ok(seen.into_iter().filter(|table| !table.starts_with("json_")).collect())
}

/// Lower-case words, numbers, placeholders and single signs; quoted text and comments are left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => while chars.next().is_some_and(|c| c != '\'') {},
            '-' if chars.peek() == Some(&'-') => while chars.next().is_some_and(|c| c != '\n') {},
            c if c.is_whitespace() || c == '"' => {}
            c if c.is_alphanumeric() || c == '_' || c == '?' => {
                let mut word = c.to_ascii_lowercase().to_string();
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next.to_ascii_lowercase());
                }
                words.push(word);
            }
            sign => words.push(sign.to_string()),
        }
    }
    words
}

fn brief(text: &str) -> String {
    text.split_whitespace().take(12).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), Error> {
        let mut connection = Connection::open_in_memory().expect("open a database");
        connection
            .execute_batch(
                "CREATE TABLE a (tenant TEXT, id TEXT, PRIMARY KEY (tenant, id));
                 CREATE TABLE b (tenant TEXT, id TEXT, a_id TEXT, PRIMARY KEY (tenant, id));
                 CREATE TABLE plans (name TEXT);
                 CREATE VIEW all_a AS SELECT * FROM a;",
            )
            .expect("make tables");
        let guard = Guard { tenant_tables: HashSet::from(["a", "b"]) };
        guard.check(&mut connection, &crate::sql::to_sqlite(text))
    }

    #[test]
    fn statements_that_name_their_tenant_pass() {
        for text in [
            "SELECT id FROM a WHERE tenant = $1",
            "SELECT x.id FROM a x JOIN b y ON y.tenant = x.tenant AND y.a_id = x.id WHERE x.tenant = $1",
            "SELECT id FROM a WHERE tenant = $1 AND id IN (SELECT a_id FROM b WHERE tenant = $1)",
            "SELECT id FROM a WHERE id > $2 AND tenant = $1 AND ($3 = '' OR id = $3) ORDER BY id LIMIT $4",
            "INSERT INTO a (tenant, id) VALUES ($1, $2) ON CONFLICT (tenant, id) DO UPDATE SET id = $2",
            "INSERT INTO b (tenant, id, a_id) SELECT $1, id, id FROM a WHERE tenant = $1",
            "UPDATE a SET id = $2 WHERE tenant = $1",
            "DELETE FROM a WHERE tenant = $1 RETURNING id",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn statements_that_could_see_others_are_refused() {
        for text in [
            "SELECT id FROM a",
            "SELECT id FROM a WHERE id = $1",
            "SELECT id FROM a WHERE tenant = $2",
            "SELECT id FROM a WHERE tenant = 'tenant = $1'",
            "SELECT id FROM a WHERE id = $1 -- tenant = $1",
            "SELECT id FROM a WHERE tenant = $1 AND id IN (SELECT a_id FROM b)",
            "SELECT id FROM a, b WHERE a.tenant = $1",
            "SELECT id FROM a WHERE tenant = $1 OR tenant <> $1",
            "SELECT id FROM a WHERE id = 'x' OR tenant = $1",
            "SELECT id FROM a WHERE (tenant = $1) OR 1",
            "SELECT id FROM a WHERE (1 OR tenant = $1)",
            "SELECT id FROM a WHERE NOT tenant = $1",
            "SELECT id FROM a WHERE tenant = $1 IS NOT NULL",
            "SELECT id FROM a WHERE coalesce(tenant = $1, 1) OR 1",
            "SELECT tenant = $1 FROM a",
            "SELECT id FROM a WHERE CASE WHEN tenant = $1 THEN 1 ELSE 1 END",
            "SELECT x.id FROM a x JOIN b y ON y.tenant = x.tenant OR 1 WHERE x.tenant = $1",
            "DELETE FROM a WHERE tenant = $1 OR 1",
            "INSERT INTO a (tenant, id) VALUES ($2, $1)",
            "INSERT INTO a (id, tenant) VALUES ($1, $2)",
            "SELECT id FROM all_a",
            "SELECT name FROM plans WHERE name = $1",
            "DROP TABLE a",
            "SELECT name FROM sqlite_master",
        ] {
            assert!(matches!(check(text), Err(Error::Statement(_))), "{text}");
        }
    }
}
