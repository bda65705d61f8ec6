//! Values against shapes.

use base::{ByteSize, Cidr, Email, HumanDuration, Rate, Slug, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shape::{FAULTS_MAX, Fault, check, parse, schema_of};
use std::collections::BTreeMap;

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    name: Slug,
    email: Option<Email>,
    tenant: Option<TenantId>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 10))]
    count: Option<u8>,
    level: Option<Level>,
    payment: Option<Payment>,
    target: Option<Target>,
    #[serde(default)]
    #[schemars(length(max = 2))]
    notes: Vec<String>,
    #[serde(default)]
    limits: BTreeMap<String, Limit>,
    #[schemars(extend("writeOnly" = true))]
    password: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Slow.
    Low,
    /// Fast.
    High,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Payment {
    Card { number: String },
    Invoice { days: u16, rate: Option<Rate> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Target {
    Url(String),
    Many(Vec<String>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    per: HumanDuration,
    size: Option<ByteSize>,
    from: Option<Cidr>,
}

fn told(value: Value) -> Vec<String> {
    check(&schema_of::<Order>(), &value).iter().map(Fault::to_string).collect()
}

#[test]
fn a_sound_value_is_read() {
    let value = json!({
        "name": "acme", "email": "a@b.example", "count": 3, "level": "high", "target": ["a"],
        "tenant": "ten_01h455vb4pex5vsknk084sn02q", "payment": { "kind": "invoice", "days": 5, "rate": "3/min" },
        "limits": { "x": { "per": "5m", "size": 5, "from": "10.0.0.0/8" } }
    });
    let order: Order = parse(value).expect("a sound value");
    assert_eq!(order.count, Some(3));
    assert_eq!(order.payment, Some(Payment::Invoice { days: 5, rate: Some(Rate::per_minute(3)) }));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let value = json!({
        "name": "Acme", "emial": "x", "email": "x", "count": 11, "level": "hgih", "tenant": "ten_x",
        "notes": ["a", 5], "limits": { "a/b": { "per": 5, "size": "5 MB" } }
    });
    assert_eq!(
        told(value),
        [
            "/count: the number 11; a whole number from 1 to 10 is expected",
            "/email: the text \"x\"; a mail address such as ada@example.com is expected",
            "/emial: unknown key; did you mean `email`? allowed: count, email, level, limits, name, notes, password, \
             payment, target, tenant",
            "/level: the text \"hgih\"; did you mean `high`? allowed: low, high",
            "/limits/a~1b/per: the number 5; a duration such as 250ms, 5s, 5m, 1h or 30d is expected",
            "/limits/a~1b/size: the text \"5 MB\"; a size such as 512MiB, 1GB or a number of bytes is expected",
            "/name: the text \"Acme\"; lower-case letters, digits and dashes are expected, with no dash first or last",
            "/notes/1: the number 5; a text is expected",
            "/tenant: the text \"ten_x\"; a text of the form ^ten_[0-7][0-9a-hjkmnp-tv-z]{25}$ is expected",
        ]
    );
}

#[test]
fn a_tag_chooses_whose_faults_are_told() {
    assert_eq!(
        told(json!({ "name": "a", "payment": { "kind": "invoice", "days": -1 } })),
        ["/payment/days: the number -1; a whole number from 0 to 65535 is expected"]
    );
    assert_eq!(
        told(json!({ "name": "a", "payment": { "kind": "crad" } })),
        ["/payment/kind: the text \"crad\"; did you mean `card`? allowed: card, invoice"]
    );
    assert_eq!(
        told(json!({ "name": "a", "target": 5 })),
        ["/target: the number 5; a text or a list is expected"]
    );
    assert_eq!(told(json!({ "name": "a", "target": [5] })), ["/target/0: the number 5; a text is expected"]);
}

#[test]
fn a_choice_between_a_text_and_a_table_has_no_tag() {
    let table = json!({
        "type": "object", "required": ["key"], "additionalProperties": false,
        "properties": { "key": { "type": "string" }, "then": { "enum": ["stop", "go"], "default": "stop" } }
    });
    let schema = json!({ "anyOf": [{ "type": "string" }, table] });
    assert!(check(&schema, &json!({ "key": "a" })).is_empty());
    let missing: Vec<String> = check(&schema, &json!({})).into_iter().map(|fault| fault.pointer).collect();
    assert_eq!(missing, ["/key"]);
}

#[test]
fn missing_keys_are_pointed_at_as_if_they_were_there() {
    assert_eq!(
        told(json!({ "limits": { "x": {} } })),
        [
            "/name: nothing; the key is needed: a name of lower-case letters, digits and inner dashes, at most 63",
            "/limits/x/per: nothing; the key is needed: a duration such as 250ms, 5s, 5m, 1h or 30d",
        ]
    );
    assert_eq!(told(json!(5)), ["the number 5; a table is expected"]);
}

#[test]
fn secrets_and_long_or_hostile_texts_are_not_shown_as_they_are() {
    assert_eq!(
        told(json!({ "name": "a", "password": 5 })),
        ["/password: a secret value; a text is expected"]
    );
    let long = told(json!({ "name": "x\u{1b}[2J".repeat(1_000) }));
    assert!(long[0].len() < 1_000 && !long[0].contains('\u{1b}'), "{long:?}");
}

#[test]
fn faults_have_a_limit() {
    let object: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
    assert_eq!(check(&schema_of::<Order>(), &Value::Object(object)).len(), FAULTS_MAX);
}

#[test]
fn urls_are_absolute_http_without_passwords() {
    let fine = ["http://10.0.0.7:9000", "https://a.example/x?y=1#z", "http://[::1]:80/", "http://localhost"];
    let wrong = [
        "ftp://a",
        "http://",
        "http://u:p@h/",
        "http://h:0",
        "http://h:99999",
        "http://a b",
        "//a",
        "http://[::1",
    ];
    assert!(fine.iter().all(|url| shape::check_format("uri", url).is_ok()));
    for url in wrong {
        assert!(shape::check_format("uri", url).is_err(), "{url}");
    }
}

fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let keys = prop_oneof![
        Just("name".to_owned()),
        Just("payment".to_owned()),
        Just("kind".to_owned()),
        Just("limits".to_owned()),
        Just("target".to_owned()),
        Just("notes".to_owned()),
        Just("days".to_owned()),
        "[a-z/~]{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(card|invoice|acme|5s|\\PC{0,6})".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone(), inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

proptest::proptest! {
    /// What passes the check is what serde reads, and never does a value make it panic.
    #[test]
    fn check_and_serde_agree(value in any_json()) {
        let passes = check(&schema_of::<Order>(), &value).is_empty();
        let reads = serde_json::from_value::<Order>(value.clone()).is_ok();
        if passes {
            proptest::prop_assert!(reads, "{value} passes but is not read");
        }
    }

    #[test]
    fn pointers_survive_any_key(key in "\\PC{1,10}") {
        let faults = check(&schema_of::<Order>(), &json!({ "name": "a", "limits": { &key: { "per": "x" } } }));
        proptest::prop_assert_eq!(&faults[0].keys()[1], &key);
    }
}

#[test]
fn examples_say_what_a_pattern_wants() {
    let told = |examples: Value| {
        let schema = json!({ "type": "string", "pattern": "^[a-z]+:[a-z]+$", "examples": examples });
        check(&schema, &json!("nonsense")).iter().map(Fault::to_string).collect::<Vec<_>>()
    };
    let expected = |what: &str| vec![format!("the text \"nonsense\"; a text {what} is expected")];
    assert_eq!(told(json!(["read:jobs"])), expected("such as read:jobs"));
    assert_eq!(told(json!(["read:jobs", "a:b", "c:d"])), expected("such as read:jobs, a:b or c:d"));
    assert_eq!(told(json!([])), expected("of the form ^[a-z]+:[a-z]+$"));
}
