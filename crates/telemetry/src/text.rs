//! Text from outside, made harmless.

use std::borrow::Cow;
use std::fmt::Write;

use base::Timestamp;
use serde_json::{Map, Value};

/// Control characters, and those that reorder or hide text on a terminal (Unicode's bidirectional controls, line and
/// paragraph separators, the byte order mark).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// The text with every character escaped that could end a line, move a cursor, change a colour or hide what follows.
/// A tab becomes `\t`, a newline `\n`, others `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    // The usual line is plain ASCII without control characters: one pass over the bytes tells.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmful(character) { out.extend(character.escape_default()) } else { out.push(character) }
    }
    Cow::Owned(out)
}

/// The text cut to at most `bytes_max` bytes, at a character's border.
#[must_use]
pub fn truncated(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A time for people: `11-20 17:30:12.123`, in UTC, always as long.
#[must_use]
pub fn short_time(at: Timestamp) -> String {
    let past_second = at.micros().rem_euclid(1_000_000);
    // `2026-11-20T17:30:12Z`: without a fraction the text has one length.
    let second = Timestamp::from_micros(at.micros() - past_second).to_string();
    let (date, time) = (second.get(5..10).unwrap_or_default(), second.get(11..19).unwrap_or_default());
    format!("{date} {time}.{:03}", past_second / 1_000)
}

/// Appends the text as a JSON string, quotes included, with everything escaped that [`printable`] escapes.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        let escape = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            character if is_harmful(character) => {
                out.push_str(&text[plain_from..at]);
                plain_from = at + character.len_utf8();
                // All of them are below U+10000, so one escape of four digits each.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
                continue;
            }
            _ => continue,
        };
        out.push_str(&text[plain_from..at]);
        out.push_str(escape);
        plain_from = at + character.len_utf8();
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// Appends any value as JSON, its strings as [`write_json_string`] does.
pub fn write_json_value(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_json_string(out, text),
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_json_value(out, value);
            }
            out.push(']');
        }
        Value::Object(fields) => write_json_object(out, fields),
        plain => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{plain}");
        }
    }
}

/// Appends an object as JSON, its strings as [`write_json_string`] does.
pub(crate) fn write_json_object(out: &mut String, fields: &Map<String, Value>) {
    out.push('{');
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_json_string(out, name);
        out.push(':');
        write_json_value(out, value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terminals_are_not_driven() {
        assert_eq!(printable("plain"), "plain");
        assert_eq!(printable("größe"), "größe");
        assert_eq!(printable("a\nb\x1b[31mred\u{202e}"), "a\\nb\\u{1b}[31mred\\u{202e}");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m", "C1 controls drive terminals too");
    }

    #[test]
    fn times_are_as_long_whatever_they_are() {
        let at = |micros: i64| short_time(Timestamp::from_micros(1_700_000_000_000_000 + micros));
        assert_eq!(at(0), "11-14 22:13:20.000");
        assert_eq!(at(70_999), "11-14 22:13:20.070");
        assert_eq!(short_time(Timestamp::from_micros(-1)), "12-31 23:59:59.999");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(truncated("größe", 3), "gr");
        assert_eq!(truncated("größe", 4), "grö");
        assert_eq!(truncated("abc", 3), "abc");
    }

    #[test]
    fn values_read_back() {
        let value = serde_json::json!({"a\n": [1, -2.5, null, true, {"b": "\u{1b}\u{7f}"}], "c": {}});
        let mut out = String::new();
        write_json_value(&mut out, &value);
        assert!(!out.chars().any(is_harmful));
        assert_eq!(serde_json::from_str::<Value>(&out).ok(), Some(value));
    }

    proptest! {
        #[test]
        fn json_strings_read_back(text in ".*") {
            let mut out = String::new();
            write_json_string(&mut out, &text);
            prop_assert!(!out.chars().any(is_harmful));
            prop_assert_eq!(serde_json::from_str::<String>(&out).ok(), Some(text));
        }
    }
}
