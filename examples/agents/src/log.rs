//! Logs: one JSON object a line on standard output. Switchyard captures them, keeps the fields searchable and
//! shows a tenant's lines by its id (`switchyard logs --tenant acme`).

use std::io::Write as _;

use serde_json::{Value, json};

/// Writes one record. A closed standard output is not worth ending for.
pub fn line(level: &str, message: &str, fields: &[(&str, Value)]) {
    let mut record = format!(r#"{{"level":{},"message":{}"#, json!(level), json!(message));
    for (name, value) in fields {
        record += &format!(",{}:{value}", json!(name));
    }
    let _closed = writeln!(std::io::stdout().lock(), "{record}}}");
}
