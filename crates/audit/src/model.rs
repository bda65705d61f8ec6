//! Events as text: what leaves the store is one line an event, whatever its fields hold (S9).

use base::{EnvironmentId, EventId, TenantId, Timestamp};
use db::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write;

/// An event, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Place in the whole log, from 1.
    pub position: i64,
    /// Its id.
    pub id: EventId,
    /// The tenant; `null` for the installation's own.
    pub tenant: Option<TenantId>,
    /// The environment, where it belongs to one.
    pub environment: Option<EnvironmentId>,
    /// What happened: `tenant.created`.
    pub kind: String,
    /// The id of what it happened to.
    pub subject: String,
    /// Who did it.
    pub actor: String,
    /// Why an operator or the system acted across tenants.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
    /// From which address.
    pub ip: Option<String>,
    /// The client's self-description.
    pub agent: Option<String>,
    /// The thing before, without secrets.
    pub before: Option<Value>,
    /// The thing after, without secrets.
    pub after: Option<Value>,
    /// Place in the tenant's chain, from 1.
    pub chain_index: i64,
    /// The chain's link, in hexadecimal: covers this event and all before it.
    pub hash: String,
}

impl From<Event> for EventView {
    fn from(event: Event) -> EventView {
        EventView {
            position: event.position,
            id: event.id,
            tenant: event.tenant,
            environment: event.environment,
            kind: event.kind,
            subject: event.subject,
            actor: event.actor,
            reason: event.reason,
            at: event.at,
            ip: event.ip.map(|ip| ip.to_string()),
            agent: event.agent,
            before: event.before,
            after: event.after,
            chain_index: event.chain_index,
            hash: hex(&event.hash),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first line of an export as CSV (RFC 4180).
pub const CSV_HEAD: &str = "position,at,kind,subject,tenant,environment,actor,reason,ip,agent,before,after,id,\
chain_index,hash";

/// The event as a line of CSV, in the order of [`CSV_HEAD`], without its line end.
pub fn csv_line(event: &EventView) -> String {
    let text = |value: Option<String>| value.unwrap_or_default();
    let json = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
    let cells = [
        event.position.to_string(),
        event.at.to_string(),
        event.kind.clone(),
        event.subject.clone(),
        text(event.tenant.map(|id| id.to_string())),
        text(event.environment.map(|id| id.to_string())),
        event.actor.clone(),
        text(event.reason.clone()),
        text(event.ip.clone()),
        text(event.agent.clone()),
        json(&event.before),
        json(&event.after),
        event.id.to_string(),
        event.chain_index.to_string(),
        event.hash.clone(),
    ];
    cells.map(|cell| csv_cell(&cell)).join(",")
}

/// A cell that stays on its line, drives no terminal and is no formula: control characters are escaped, quotes
/// doubled, and a cell that a spreadsheet would compute (`=`, `+`, `-`, `@` first) begins with an apostrophe.
fn csv_cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    if text.starts_with(['=', '+', '-', '@']) {
        cell.push('\'');
    }
    for character in text.chars() {
        match character {
            '"' => cell.push_str("\"\""),
            other if other.is_control() => cell.extend(other.escape_default()),
            other => cell.push(other),
        }
    }
    if cell.contains([',', '"', ' ']) { format!("\"{cell}\"") } else { cell }
}

/// The event as a line of NDJSON, without its line end. JSON escapes control characters, so it is one line; the
/// two line separators of Unicode are escaped as well, since some readers break lines there.
pub fn ndjson_line(event: &EventView) -> String {
    let text = serde_json::to_string(event).unwrap_or_default();
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, SeededRandom};
    use serde_json::json;

    use super::*;

    fn event() -> EventView {
        let clock = ManualClock::new(Timestamp::EPOCH);
        EventView {
            position: 7,
            id: EventId::new(&clock, &SeededRandom::new(1)),
            tenant: None,
            environment: None,
            kind: "tenant.updated".to_owned(),
            subject: "ten_1".to_owned(),
            actor: "api_key:key_1 (\u{1b}[31mci\n{\"kind\":\"forged\"})".to_owned(),
            reason: None,
            at: Timestamp::EPOCH,
            ip: Some("192.0.2.7".to_owned()),
            agent: Some("curl\r\nposition,at\u{2028}\u{7f}".to_owned()),
            before: None,
            after: Some(json!({"name": "=HYPERLINK(\"x\")\n,"})),
            chain_index: 1,
            hash: hex(&[0, 255]),
        }
    }

    #[test]
    fn s9_a_hostile_field_stays_in_one_line_of_csv() {
        let line = csv_line(&event());
        assert!(!line.chars().any(char::is_control), "{line}");
        assert_eq!(line.matches("ten_1").count(), 1);
        assert!(line.contains("\"\"kind\"\""), "{line}");
        assert!(line.ends_with(",00ff"), "{line}");
        assert_eq!(CSV_HEAD.split(',').count(), 15);
    }

    #[test]
    fn s9_a_hostile_field_stays_in_one_line_of_ndjson() {
        let line = ndjson_line(&event());
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{2028}'), "{line}");
        assert_eq!(serde_json::from_str::<EventView>(&line).unwrap(), event());
    }

    #[test]
    fn a_cell_is_no_formula() {
        assert_eq!(csv_cell("=1+1"), "'=1+1");
        assert_eq!(csv_cell("@sum"), "'@sum");
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
