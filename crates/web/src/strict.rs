//! A cheap look at a JSON text before it is parsed straight into its type.
//!
//! Hot routes skip the detour over a `Value`. What the detour found on its way (a key twice, a bomb of brackets, a NUL)
//! is looked for here, in one pass over the bytes without an allocation for small texts. The pass decides only that all is
//! well; whatever it is not sure of takes the slow way, which decides and tells.

/// Keys of one object that are compared with each other; an object with more takes the slow way.
const KEYS_COMPARED_MAX: usize = 64;
/// Digits of a number; one with more may not be finite.
const DIGITS_MAX: usize = 300;

/// Whether a text, if it is JSON at all, certainly has no key twice in an object, is nested at most `depth_max` deep,
/// and has no NUL in its texts and no number that is not finite. That it is JSON is for its parser to say.
pub(crate) fn is_plain(text: &[u8], depth_max: usize) -> bool {
    Scan { text, at: 0, keys: Vec::new(), open: Vec::new(), at_key: false }.run(depth_max)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// Keys of all objects that are open, innermost last.
    keys: Vec<&'a [u8]>,
    /// For each open object where its keys begin in `keys`; `None` for an array.
    open: Vec<Option<usize>>,
    /// Whether the next string is a key.
    at_key: bool,
}

impl<'a> Scan<'a> {
    fn run(mut self, depth_max: usize) -> bool {
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            let well = match byte {
                b'"' => self.string(),
                b'{' => self.enter(Some(self.keys.len()), depth_max),
                b'[' => self.enter(None, depth_max),
                b'}' | b']' => self.leave(),
                b',' => {
                    self.at_key = matches!(self.open.last(), Some(Some(_)));
                    true
                }
                b'0'..=b'9' => self.number(),
                _ => true,
            };
            if !well {
                return false;
            }
        }
        true
    }

    fn enter(&mut self, keys: Option<usize>, depth_max: usize) -> bool {
        self.at_key = keys.is_some();
        self.open.push(keys);
        self.open.len() <= depth_max
    }

    fn leave(&mut self) -> bool {
        self.at_key = false;
        let Some(closed) = self.open.pop() else { return false };
        if let Some(first) = closed {
            self.keys.truncate(first);
        }
        true
    }

    /// The rest of a string, whose opening quote was read.
    fn string(&mut self) -> bool {
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    if self.text[self.at..].starts_with(b"\\u0000") {
                        return false;
                    }
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return false,
            }
        }
        let found = &self.text[start..self.at];
        self.at += 1;
        !std::mem::take(&mut self.at_key) || self.key(found, escaped)
    }

    /// A key that is not written plainly may be another's twin.
    fn key(&mut self, key: &'a [u8], escaped: bool) -> bool {
        let Some(Some(first)) = self.open.last() else { return false };
        let siblings = &self.keys[*first..];
        if escaped || siblings.len() >= KEYS_COMPARED_MAX || siblings.contains(&key) {
            return false;
        }
        self.keys.push(key);
        true
    }

    fn number(&mut self) -> bool {
        let start = self.at;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'0'..=b'9' | b'.' => self.at += 1,
                b'e' | b'E' => return false,
                _ => break,
            }
        }
        self.at - start < DIGITS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn plain(text: &str) -> bool {
        is_plain(text.as_bytes(), 4)
    }

    #[test]
    fn usual_texts_are_plain() {
        for text in [
            "null",
            "\"a\\\"b\"",
            r#"{"a": 1, "b": {"a": 2}, "c": [{"a": 1}, {"a": 1}], "d": "{\"a\", \"a\"}"}"#,
            r#"[[[[1.25, -3, "é\n"]]]]"#,
            r#"{"a": ["a", "a"], "b": "a"}"#,
        ] {
            assert!(plain(text), "{text}");
        }
    }

    #[test]
    fn z6_j4_what_may_be_wrong_takes_the_slow_way() {
        let many: Vec<String> = (0..100).map(|n| format!("\"k{n}\": 0")).collect();
        for text in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"b": 1, "c": [], "b": 2}}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"a": [1, {"x": 0}], "b": 1, "a": 2}"#,
            "[[[[[1]]]]]",
            r#"{"a": "x\u0000"}"#,
            "1e999",
            "[1E5]",
            &format!("{{{}}}", many.join(",")),
            &"9".repeat(400),
            "]",
            "\"open",
        ] {
            assert!(!plain(text), "{text}");
        }
        assert!(!is_plain("[".repeat(100_000).as_bytes(), 64));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c\"\\\\{}\\[\\],:\u{0}]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c]{1,2}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever the pass lets through, the slow way lets through as well.
        #[test]
        fn the_slow_way_agrees(value in json(), cut in 0_usize..80, again in "[a-c\"{},:]{0,6}") {
            let mut text = value.to_string();
            let at = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.insert_str(at, &again);
            let slow = shape::parse_json(text.as_bytes(), 8);
            if is_plain(text.as_bytes(), 8) && serde_json::from_str::<Value>(&text).is_ok() {
                let slow = slow.expect("the slow way has nothing against it");
                prop_assert!(!slow.to_string().contains("\\u0000"));
            }
        }
    }
}
