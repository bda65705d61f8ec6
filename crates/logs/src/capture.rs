//! What is done to a record before anybody sees it: secrets hidden, size bounded, one line.

use serde_json::Value;
use telemetry::{AccessRecord, LogRecord, REDACTED, is_sensitive_name, redact, truncated};

/// Bytes kept of a message or of one text field: 16 KiB hold any stack trace worth reading.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a stored line; above it the fields go.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Hides secrets and cuts, in place.
pub(crate) fn clean(record: &mut LogRecord) {
    clean_text(&mut record.message);
    for (name, value) in &mut record.fields {
        if is_sensitive_name(name) {
            *value = REDACTED.into();
        } else {
            clean_value(value);
        }
    }
}

/// The same for a request. What it shares with others was cleaned when it was put together
/// ([`telemetry::AccessOrigin`]).
pub(crate) fn clean_access(record: &mut AccessRecord) {
    if let Some(clean) = cleaned(&record.path) {
        record.path = clean.into();
    }
}

/// The text without secrets and cut; `None` when it is so already.
fn cleaned(text: &str) -> Option<String> {
    let clean = redact(truncated(text, MESSAGE_BYTES_MAX));
    (*clean != *text).then(|| clean.into_owned())
}

/// Appends the record's line, newline included.
pub(crate) fn write_line(record: &mut LogRecord, out: &mut String) {
    let begin = out.len();
    record.write_json(out);
    if out.len() - begin > LINE_BYTES_MAX {
        out.truncate(begin);
        record.fields = [("truncated".to_owned(), true.into())].into_iter().collect();
        record.write_json(out);
    }
    out.push('\n');
}

fn clean_text(text: &mut String) {
    let hidden = redact(truncated(text, 2 * MESSAGE_BYTES_MAX));
    if hidden.len() > MESSAGE_BYTES_MAX {
        *text = format!("{}…", truncated(&hidden, MESSAGE_BYTES_MAX));
    } else if *hidden != **text {
        *text = hidden.into_owned();
    }
}

fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => clean_text(text),
        Value::Array(values) => values.iter_mut().for_each(clean_value),
        Value::Object(fields) => {
            for (name, value) in fields {
                if is_sensitive_name(name) { *value = REDACTED.into() } else { clean_value(value) }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Timestamp;
    use telemetry::Level;

    #[test]
    fn s5_secrets_are_hidden_wherever_they_stand() {
        let mut record =
            LogRecord::platform(Timestamp::from_micros(0), Level::Info, "login with password=hunter2 done");
        record.fields.insert("api_key".to_owned(), "hunter2".into());
        record
            .fields
            .insert("nested".to_owned(), serde_json::json!([{"token": "hunter2", "n": 1}, "token=hunter2"]));
        clean(&mut record);
        let mut line = String::new();
        write_line(&mut record, &mut line);
        assert!(!line.contains("hunter2"), "{line}");
        assert!(line.contains("login with password=[redacted] done"), "{line}");
    }

    #[test]
    fn m3_size_is_bounded_and_a_record_is_one_line() {
        let mut record = LogRecord::platform(Timestamp::from_micros(0), Level::Info, "ä\n".repeat(100_000));
        for at in 0..100 {
            record.fields.insert(format!("field{at}"), "x\n".repeat(5_000).into());
        }
        clean(&mut record);
        let mut line = String::new();
        write_line(&mut record, &mut line);
        assert!(line.len() <= LINE_BYTES_MAX && line.ends_with('\n') && line.matches('\n').count() == 1);
        assert!(line.contains("\"truncated\":true"));
    }
}
