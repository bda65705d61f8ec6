//! JSON from outside: one value, no duplicate keys, no deep nesting, UTF-8.

use crate::fault::{Fault, below, shown_text};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads one JSON value. A key that occurs twice in an object is refused, since parsers disagree about which counts
/// (RFC 8259, 4); so is nesting beyond `depth_max` (at most 127, the parser's own limit), a byte order mark, and
/// anything after the value.
pub fn parse_json(bytes: &[u8], depth_max: usize) -> Result<Value, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Fault::new(
            "",
            format!("a byte that is not UTF-8 at {}", error.valid_up_to()),
            "JSON in UTF-8 is expected",
        )
    })?;
    let mut state = State { fault: None, depth_max };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Node { state: &mut state, pointer: "", depth: 0 }.deserialize(&mut reader);
    let read = read.and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| {
        state.fault.take().unwrap_or_else(|| {
            let found = format!("broken JSON at line {}, column {}", error.line(), error.column());
            Fault::new("", found, syntax_hint(&error))
        })
    })
}

fn syntax_hint(error: &serde_json::Error) -> &'static str {
    if error.is_eof() { "the text ends before the value does" } else { "one JSON value is expected" }
}

struct State {
    fault: Option<Fault>,
    depth_max: usize,
}

/// Reads one value at a place.
struct Node<'s, 'p> {
    state: &'s mut State,
    pointer: &'p str,
    depth: usize,
}

impl Node<'_, '_> {
    fn deeper<E: Error>(&mut self) -> Result<usize, E> {
        if self.depth < self.state.depth_max {
            return Ok(self.depth + 1);
        }
        let allowed = format!("at most {} levels are allowed", self.state.depth_max);
        self.state.fault = Some(Fault::new("", "values nested too deeply", allowed));
        Err(E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        loop {
            let pointer = below(self.pointer, &list.len().to_string());
            let node = Node { state: &mut *self.state, pointer: &pointer, depth };
            match items.next_element_seed(node)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let pointer = below(self.pointer, &key);
            if object.contains_key(&key) {
                let found = format!("the key {} twice", shown_text(&key));
                self.state.fault = Some(Fault::new(pointer, found, "each key is to occur once"));
                return Err(A::Error::custom("duplicate key"));
            }
            let value =
                entries.next_value_seed(Node { state: &mut *self.state, pointer: &pointer, depth })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
