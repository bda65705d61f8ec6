//! JSON from outside.

use serde_json::{Value, json};
use shape::parse_json;

fn told(text: &str) -> String {
    parse_json(text.as_bytes(), 8).expect_err("a faulty text").to_string()
}

#[test]
fn z6_a_key_that_occurs_twice_is_refused_with_its_place() {
    assert_eq!(
        told(r#"{"a": [0, {"b": 1, "b": 2}]}"#),
        "/a/1/b: the key \"b\" twice; each key is to occur once"
    );
    // The same key in two spellings is the same key.
    assert_eq!(told(r#"{"a": 1, "\u0061": 2}"#), "/a: the key \"a\" twice; each key is to occur once");
}

#[test]
fn broken_texts_are_refused() {
    assert_eq!(told(""), "broken JSON at line 1, column 0; the text ends before the value does");
    assert!(told("{\"a\": 1} x").starts_with("broken JSON at line 1"));
    assert!(told("\u{feff}{}").starts_with("broken JSON"));
    assert!(told("NaN").starts_with("broken JSON"));
    assert!(told("1e999").starts_with("broken JSON"));
    assert!(told("\"\\ud800\"").starts_with("broken JSON"));
    let fault = parse_json(b"\"\xff\"", 8).expect_err("not UTF-8");
    assert_eq!(fault.found, "a byte that is not UTF-8 at 1");
}

#[test]
fn nesting_has_a_limit() {
    assert!(parse_json("[".repeat(8).as_bytes(), 8).is_err());
    assert!(parse_json(format!("{}{}", "[".repeat(8), "]".repeat(8)).as_bytes(), 8).is_ok());
    assert_eq!(told(&"[".repeat(100_000)), "values nested too deeply; at most 8 levels are allowed");
    assert!(parse_json("[".repeat(100_000).as_bytes(), 1_000_000).is_err());
}

#[test]
fn values_are_read_as_they_are() {
    let text = r#"{"a": [1, -1, 1.5, "x\n", null, true], "b": {}, "c": 18446744073709551615}"#;
    let expected = json!({ "a": [1, -1, 1.5, "x\n", null, true], "b": {}, "c": u64::MAX });
    assert_eq!(parse_json(text.as_bytes(), 8).expect("sound JSON"), expected);
}

proptest::proptest! {
    #[test]
    fn it_agrees_with_the_plain_parser(text in "([\\[\\]{}:,\"a0-9 .e-]|null|true){0,40}") {
        if let Ok(read) = parse_json(text.as_bytes(), 100) {
            let plain: Value = serde_json::from_str(&text).expect("what we read, the plain parser reads");
            proptest::prop_assert_eq!(read, plain);
        }
    }
}
