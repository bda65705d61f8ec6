//! TOML text into a value and the places of its parts.

use crate::fault::{Located, Place, dotted};
use serde_json::{Map, Number, Value};
use shape::Fault;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a key and its value stand in the text, in bytes. A table under a header stands where its header does.
#[derive(Debug, Clone)]
struct Spans {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

/// A parsed text: its value, and where each part of it stands.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    name: String,
    value: Value,
    spans: BTreeMap<String, Spans>,
    line_starts: Vec<usize>,
    text: String,
}

impl Text {
    /// Parses as much as can be parsed; what cannot comes back as mistakes.
    pub(crate) fn parse(text: &str, name: &str) -> (Self, Vec<Located>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut parsed = Self {
            name: name.to_owned(),
            value: Value::Null,
            spans: BTreeMap::new(),
            line_starts,
            text: text.to_owned(),
        };
        let mut faults: Vec<Located> = Vec::new();
        parsed.value = parsed.table(table.get_ref(), "", &mut faults);
        for error in errors {
            let place = parsed.place(error.span().map_or(0, |span| span.start));
            let fault = Fault::new("", "broken TOML", error.message());
            faults.push(Located::of(place, String::new(), fault));
        }
        (parsed, faults)
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a value stands at exactly this pointer.
    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.spans.contains_key(pointer)
    }

    /// A fault with its place: at the key when the key is what is wrong, else at the value; a missing key is placed at
    /// the table that lacks it.
    pub(crate) fn locate(&self, fault: Fault) -> Located {
        let at_key = fault.found == "unknown key" || fault.found.starts_with("the key ");
        let offset = self.offset(&fault.pointer, at_key);
        let path = dotted(&self.value, &fault.keys());
        Located::of(self.place(offset), path, fault)
    }

    fn offset(&self, pointer: &str, at_key: bool) -> usize {
        let mut rest = pointer;
        loop {
            if let Some(spans) = self.spans.get(rest) {
                let exact = rest.len() == pointer.len();
                let key = spans.key.as_ref().filter(|_| at_key && exact);
                return key.unwrap_or(&spans.value).start;
            }
            match rest.rsplit_once('/') {
                Some((parent, _)) => rest = parent,
                None => return 0,
            }
        }
    }

    /// The line and column of a byte.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        Place::File { name: self.name.clone(), line, column: before.chars().count() + 1 }
    }

    fn table(&mut self, table: &DeTable<'_>, pointer: &str, faults: &mut Vec<Located>) -> Value {
        let mut object = Map::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let place = shape::below(pointer, &name);
            let spans = Spans { key: Some(key.span()), value: value.span() };
            self.spans.insert(place.clone(), spans);
            let converted = self.node(value, &place, faults);
            object.insert(name, converted);
        }
        Value::Object(object)
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, pointer: &str, faults: &mut Vec<Located>) -> Value {
        let number = |fault: &mut Vec<Located>, text: &str, number: Option<Number>| {
            number.map(Value::Number).unwrap_or_else(|| {
                let problem = Fault::new(
                    pointer,
                    format!("the number {text}"),
                    "a finite number of 64 bits is expected",
                );
                fault.push(Located::of(
                    self.place(value.span().start),
                    pointer[1..].replace('/', "."),
                    problem,
                ));
                Value::Null
            })
        };
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(digits) => {
                let read = i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(Number::from);
                number(faults, digits.as_str(), read)
            }
            DeValue::Float(digits) => {
                let read = digits.as_str().parse::<f64>().ok().and_then(Number::from_f64);
                number(faults, digits.as_str(), read)
            }
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let place = format!("{pointer}/{index}");
                    self.spans.insert(place.clone(), Spans { key: None, value: item.span() });
                    let converted = self.node(item, &place, faults);
                    list.push(converted);
                }
                Value::Array(list)
            }
            DeValue::Table(table) => self.table(table, pointer, faults),
        }
    }
}
