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
    push_json_escaped(out, text);
    out.push('"');
}

/// What stands between the quotes of [`write_json_string`].
pub(crate) fn push_json_escaped(out: &mut String, text: &str) {
    // The usual text is plain ASCII without anything to escape: one pass over the bytes tells.
    let plain = text.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    if plain {
        return out.push_str(text);
    }
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
}

fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'
}

/// Appends a number in decimal digits.
pub(crate) fn push_decimal(out: &mut String, mut number: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends a time as RFC 3339 has it, in UTC, always with six digits of a second.
pub(crate) fn push_time(out: &mut String, at: Timestamp) {
    const DAY_SECONDS: i64 = 86_400;
    let (seconds, micros) = (at.micros().div_euclid(1_000_000), at.micros().rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9_999).contains(&year) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{at}");
        return;
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let minute = second / 60;
    let numbers = [(4, year), (7, month), (10, day), (13, minute / 60), (16, minute % 60), (19, second % 60)];
    for (end, number) in numbers.into_iter().chain([(26, micros)]) {
        let (mut at, mut rest) = (end, number);
        while rest > 0 {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
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
    fn written_times_and_numbers_read_back() {
        for micros in [
            0,
            1,
            -1,
            951_782_400_000_000,
            1_700_000_000_000_070,
            253_402_300_799_999_999,
            -62_167_219_200_000_000,
        ] {
            let (at, mut text) = (Timestamp::from_micros(micros), String::new());
            push_time(&mut text, at);
            assert_eq!((Timestamp::parse(&text), text.len()), (Ok(at), 27), "{text}");
        }
        for number in [0, 9, 10, 123_456, u64::MAX] {
            let mut text = String::new();
            push_decimal(&mut text, number);
            assert_eq!(text, number.to_string());
        }
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
