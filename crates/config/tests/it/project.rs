//! The project file.

use config::{Faults, ProjectFile, SectionSchema, project_schema};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use shape::Fault;
use std::collections::BTreeMap;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for a capability's section: only its schema is used")]
struct Project {
    name: base::Slug,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for a capability's section: only its schema is used")]
struct Replicas {
    #[serde(default)]
    #[schemars(range(max = 100))]
    min: u32,
    max: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Isolation {
    Pool,
    Silo,
    ByTenant,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for a capability's section: only its schema is used")]
struct Service {
    start: String,
    #[schemars(extend("format" = "duration"))]
    timeout: Option<String>,
    replicas: Option<Replicas>,
    isolation: Option<Isolation>,
    #[schemars(extend("writeOnly" = true))]
    password: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for a capability's section: only its schema is used")]
struct Route {
    host: String,
    service: base::Slug,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "stands for a capability's section: only its schema is used")]
struct Environment {
    branch: Option<String>,
}

fn no_rules(_: &Value, _: &Value) -> Vec<Fault> {
    Vec::new()
}

/// A route's service exists.
fn route_rules(section: &Value, whole: &Value) -> Vec<Fault> {
    let services = whole.get("services").and_then(Value::as_object);
    let known = || services.into_iter().flatten().map(|(name, _)| name.as_str());
    let routes = section.as_array().into_iter().flatten().enumerate();
    let named = routes.filter_map(|(index, route)| Some((index, route.get("service")?.as_str()?)));
    named
        .filter(|(_, name)| !known().any(|service| service == *name))
        .map(|(index, name)| {
            Fault::new(
                format!("/{index}/service"),
                format!("the service {name:?}"),
                "a service of this file is expected",
            )
            .or_nearest(base::nearest(name, known()))
        })
        .collect()
}

fn sections() -> Vec<SectionSchema> {
    vec![
        SectionSchema { key: "project", schema: shape::schema_of::<Project>, check: no_rules },
        SectionSchema {
            key: "services",
            schema: shape::schema_of::<BTreeMap<String, Service>>,
            check: no_rules,
        },
        SectionSchema { key: "routes", schema: shape::schema_of::<Vec<Route>>, check: route_rules },
        SectionSchema {
            key: "environments",
            schema: shape::schema_of::<BTreeMap<String, Environment>>,
            check: no_rules,
        },
    ]
}

fn faults(text: &str) -> Vec<String> {
    match ProjectFile::parse(text, "switchyard.toml", &sections()) {
        Ok(_) => Vec::new(),
        Err(Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_sound_file_gives_its_sections() {
    let text = "schema = 1\n[project]\nname = \"shop\"\n[services.web]\nstart = \"x\"\n";
    let file = ProjectFile::parse(text, "switchyard.toml", &sections()).expect("a sound file");
    assert_eq!(file.section("project"), Some(&json!({ "name": "shop" })));
    assert_eq!(file.section("routes"), None);
    assert_eq!(file.text(), text);
}

#[test]
fn five_mistakes_are_told_at_once_with_line_path_and_what_is_allowed() {
    let text = r#"schema = 1
[project]
name = "My Shop"

[services.web]
start = "node server.js"
timeout = 5
replcas = { min = 2 }
isolation = "sillo"

[service.worker]
start = "node worker.js"
"#;
    assert_eq!(
        faults(text),
        [
            "switchyard.toml:3:8 project.name: the text \"My Shop\"; lower-case letters, digits and dashes are \
             expected, with no dash first or last",
            "switchyard.toml:7:11 services.web.timeout: the number 5; a duration such as 250ms, 5s, 5m, 1h or 30d is \
             expected",
            "switchyard.toml:8:1 services.web.replcas: unknown key; did you mean `replicas`? allowed: isolation, \
             password, replicas, start, timeout",
            "switchyard.toml:9:13 services.web.isolation: the text \"sillo\"; did you mean `silo`? allowed: pool, \
             silo, by-tenant",
            "switchyard.toml:11:2 service: unknown key; did you mean `services`? allowed: environments, project, \
             routes, schema, server, services",
        ]
    );
}

#[test]
fn broken_syntax_does_not_hide_other_mistakes() {
    let text =
        "[project]\nname = \n[services.web]\nstart = \"x\"\nreplicas = { min = 1000 }\nstart = \"y\"\n";
    let told = faults(text);
    assert!(told[0].starts_with("switchyard.toml:2:"), "{told:?}");
    assert!(
        told[1].starts_with("switchyard.toml:5:20 services.web.replicas.min: the number 1000;"),
        "{told:?}"
    );
    assert!(told[2].starts_with("switchyard.toml:6:1: broken TOML; duplicate key"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn a_missing_key_is_told_at_the_table_that_lacks_it() {
    assert_eq!(
        faults("[services.web]\ntimeout = \"5s\"\n"),
        ["switchyard.toml:1:1 services.web.start: nothing; the key is needed: a text"]
    );
}

#[test]
fn rules_between_sections_are_placed_too() {
    let text = "[services.web]\nstart = \"x\"\n[[routes]]\nhost = \"a\"\nservice = \"web\"\n[[routes]]\nhost = \"b\"\nservice = \"wbe\"\n";
    assert_eq!(
        faults(text),
        [
            "switchyard.toml:8:11 routes[1].service: the service \"wbe\"; did you mean `web`? a service of this file is expected"
        ]
    );
}

#[test]
fn m3_a_file_cannot_write_to_the_terminal_nor_forge_a_line() {
    let text =
        "[project]\nname = \"x\\u001b[2J\\nswitchyard.toml:9:9 all is well\"\n\"k\\u202ey\\u0007\" = 1\n";
    let told = faults(text);
    assert_eq!(told.len(), 2, "{told:?}");
    for line in &told {
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
    }
    let name = ProjectFile::parse("x = 1", "a\nb\u{1b}.toml", &sections()).expect_err("an unknown key");
    assert!(name.to_string().starts_with("a\\nb\\u{1b}.toml:1:1 x: unknown key"), "{name}");
}

#[test]
fn a_secret_is_not_shown_even_when_it_is_wrong() {
    let told = faults("[services.web]\nstart = \"x\"\npassword = 12345678\n");
    assert_eq!(told, ["switchyard.toml:3:12 services.web.password: a secret value; a text is expected"]);
}

#[test]
fn overlays_are_merged_and_checked_where_they_stand() {
    let text = "[services.web]\nstart = \"x\"\nreplicas = { min = 2, max = 10 }\n[environments.test]\nbranch = \"test\"\n\
                [environments.test.services.web]\nreplicas = { min = 1 }\n[environments.test.services.extra]\n\
                timeout = \"5s\"\n[[environments.test.routes]]\nhost = \"a\"\nservice = \"wbe\"\n";
    assert_eq!(
        faults(text),
        [
            "switchyard.toml:8:1 environments.test.services.extra.start: nothing; the key is needed: a text",
            "switchyard.toml:12:11 environments.test.routes[0].service: the service \"wbe\"; did you mean `web`? a \
             service of this file is expected",
        ]
    );
    let sound = text.replace("timeout = \"5s\"", "start = \"y\"").replace("\"wbe\"", "\"extra\"");
    let file = ProjectFile::parse(&sound, "switchyard.toml", &sections()).expect("a sound file");
    assert_eq!(file.environments(), ["test"]);
    let test = file.for_environment("test");
    assert_eq!(test["services"]["web"], json!({ "start": "x", "replicas": { "min": 1, "max": 10 } }));
    assert_eq!(test["services"]["extra"], json!({ "start": "y" }));
    assert_eq!(file.for_environment("production"), *file.value());
}

#[test]
fn an_overlay_cannot_hold_what_belongs_to_the_project() {
    let told = faults("[environments.test.project]\nname = \"other\"\n");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("environments.test.project: unknown key"), "{told:?}");
}

#[test]
fn the_server_section_is_checked_in_place() {
    let told = faults("[server]\ngateway_addr = \"localhost\"\nlog_level = \"inof\"\n");
    assert_eq!(
        told,
        [
            "switchyard.toml:2:16 server.gateway_addr: the text \"localhost\"; an address with a port such as \
             127.0.0.1:8080 is expected",
            "switchyard.toml:3:13 server.log_level: the text \"inof\"; did you mean `info`? allowed: error, warn, \
             info, debug, trace",
        ]
    );
}

#[test]
fn the_schema_stands_alone() {
    let schema = project_schema(&sections());
    let text = schema.to_string();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("\"$ref\":\"#") {
        rest = &rest[at + 9..];
        let pointer = rest.split('"').next().expect("a closing quote");
        assert!(schema.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn an_oversized_file_is_refused_unread() {
    let text = "#".repeat(config::PROJECT_FILE_BYTES_MAX + 1);
    assert_eq!(faults(&text).len(), 1);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[\\[\\]{}=\"'.,\n#a-z0-9\\\\\u{0}\u{1b}]){0,200}") {
        for line in faults(&text) {
            proptest::prop_assert!(line.chars().all(|c| !c.is_control()));
        }
    }
}
