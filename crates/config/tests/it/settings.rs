//! Settings of the server.

use base::HumanDuration;
use config::{Faults, LogLevel, Provenance, ServerSettings, SettingSource, Sources, environment_variable};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn told(sources: Sources) -> Vec<String> {
    match ServerSettings::load(sources) {
        Ok(_) => Vec::new(),
        Err(Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn source<'a>(provenance: &'a Provenance, key: &str) -> &'a SettingSource {
    &provenance.0.iter().find(|setting| setting.key == key).expect("a known key").source
}

fn folder_with(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("server.toml"), text).expect("a writable folder");
    folder
}

#[test]
fn defaults_listen_on_loopback() {
    let (settings, provenance) = ServerSettings::load(Sources::default()).expect("defaults");
    assert_eq!(settings.gateway_addr.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.control_addr.to_string(), "127.0.0.1:8081");
    assert_eq!(settings.service_addr.to_string(), "127.0.0.1:8082");
    assert_eq!(settings.data_dir, Path::new("./.switchyard"));
    assert_eq!(settings.grace, Duration::from_secs(30));
    assert!(provenance.0.iter().all(|setting| setting.source == SettingSource::Default));
}

#[test]
fn later_sources_win() {
    let folder = folder_with(
        "gateway_addr = \"127.0.0.1:1\"\ncontrol_addr = \"127.0.0.1:2\"\ngrace = \"1s\"\nservice_addr = \"127.0.0.1:3\"\n",
    );
    let (settings, provenance) = ServerSettings::load(Sources {
        file: None,
        project_section: Some(
            json!({ "gateway_addr": "127.0.0.1:11", "grace": "11s", "service_addr": "127.0.0.1:13" }),
        ),
        env: pairs(&[
            ("SWITCHYARD_GATEWAY_ADDR", "127.0.0.1:21"),
            ("SWITCHYARD_GRACE", "21s"),
            ("DATABASE_URL", "mysql://app"),
        ]),
        flags: pairs(&[("gateway-addr", "127.0.0.1:31"), ("data-dir", &folder.path().to_string_lossy())]),
        ..Sources::default()
    })
    .expect("sound settings");
    assert_eq!(settings.gateway_addr.port(), 31);
    assert_eq!(HumanDuration(settings.grace).to_string(), "21s");
    assert_eq!(settings.service_addr.port(), 13);
    assert_eq!(settings.control_addr.port(), 2);
    assert!(settings.database_url.is_none());
    assert_eq!(source(&provenance, "gateway_addr").to_string(), "--gateway-addr");
    assert_eq!(source(&provenance, "grace").to_string(), "SWITCHYARD_GRACE");
    assert_eq!(source(&provenance, "service_addr").to_string(), "[server] in switchyard.toml");
    assert!(source(&provenance, "control_addr").to_string().ends_with("server.toml:2:16"));
    assert_eq!(source(&provenance, "public"), &SettingSource::Default);
}

#[test]
fn every_mistake_of_every_source_is_told_with_its_source() {
    let folder = folder_with("log_levl = \"info\"\ngateway_threads = \"two\"\n");
    let file = folder.path().join("server.toml");
    let lines = told(Sources {
        file: Some(file.clone()),
        project_section: None,
        env: pairs(&[
            ("SWITCHYARD_GATEWAY_ADRR", "127.0.0.1:1"),
            ("SWITCHYARD_GRACE", "soon"),
            ("SWITCHYARD_TEST_X", ""),
        ]),
        flags: pairs(&[("control-addr", "0.0.0.0:8081"), ("public", "maybe")]),
        ..Sources::default()
    });
    let file = file.display();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(
        lines[0].starts_with(&format!("{file}:1:1 log_levl: unknown key; did you mean `log_level`?")),
        "{lines:#?}"
    );
    assert!(
        lines[1].starts_with(&format!("{file}:2:19 gateway_threads: the text \"two\"; a whole number")),
        "{lines:#?}"
    );
    assert!(
        lines[2].starts_with(
            "SWITCHYARD_GATEWAY_ADRR: an unknown variable; did you mean `SWITCHYARD_GATEWAY_ADDR`?"
        ),
        "{lines:#?}"
    );
    assert!(lines[3].starts_with("SWITCHYARD_GRACE grace: the text \"soon\"; a duration"), "{lines:#?}");
    assert!(
        lines[4].starts_with("--control-addr control_addr: the address 0.0.0.0:8081; a loopback"),
        "{lines:#?}"
    );
    assert!(
        lines[5].starts_with("--public public: the text \"maybe\"; true or false is expected"),
        "{lines:#?}"
    );
}

#[test]
fn secrets_are_hidden_and_kept_out_of_files() {
    let folder = folder_with("database_url = \"mysql://me:hunter2@h/d\"\nmaster_key = \"AAAA\"\n");
    let lines = told(Sources { file: Some(folder.path().join("server.toml")), ..Sources::default() });
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("hunter2") && !line.contains("AAAA")), "{lines:#?}");
    let env = pairs(&[("SWITCHYARD_DATABASE_URL", "postgres://me:hunter2@h/d")]);
    let (settings, provenance) =
        ServerSettings::load(Sources { env, ..Sources::default() }).expect("sound settings");
    assert!(!format!("{settings:?}{provenance:?}").contains("hunter2"));
    assert!(settings.database_url.is_some());
}

#[test]
fn two_listeners_cannot_share_an_address_but_both_may_take_any_port() {
    let lines = told(Sources { flags: pairs(&[("gateway-addr", "127.0.0.1:8082")]), ..Sources::default() });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("another one than `gateway_addr`"), "{lines:#?}");
    let any = pairs(&[
        ("gateway-addr", "127.0.0.1:0"),
        ("control-addr", "127.0.0.1:0"),
        ("service-addr", "127.0.0.1:0"),
    ]);
    assert!(told(Sources { flags: any, ..Sources::default() }).is_empty());
}

#[test]
fn a_named_file_must_exist_and_common_variables_count() {
    let lines = told(Sources { file: Some("/nowhere/server.toml".into()), ..Sources::default() });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let env = pairs(&[("LOG_LEVEL", "debug")]);
    let (settings, _) = ServerSettings::load(Sources { env, ..Sources::default() }).expect("sound settings");
    assert_eq!(settings.log_level, LogLevel::Debug);
    let env = pairs(&[("SWITCHYARD_LOG_LEVEL", "warn"), ("LOG_LEVEL", "debug")]);
    let (settings, _) = ServerSettings::load(Sources { env, ..Sources::default() }).expect("sound settings");
    assert_eq!(settings.log_level, LogLevel::Warn);
}

#[test]
fn lists_and_switches_are_read_from_text() {
    let env = pairs(&[("SWITCHYARD_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8"), ("SWITCHYARD_PUBLIC", "1")]);
    let (settings, _) = ServerSettings::load(Sources { env, ..Sources::default() }).expect("sound settings");
    assert_eq!(settings.trusted_proxies.len(), 2);
    assert_eq!(settings.gateway_addr.to_string(), "0.0.0.0:80");
    assert_eq!(environment_variable("gateway_addr"), "SWITCHYARD_GATEWAY_ADDR");
}

#[test]
fn a_path_in_the_project_file_starts_there() {
    let sources = Sources {
        project_section: Some(json!({ "data_dir": "data" })),
        flags: pairs(&[("project-dir", "/srv/app")]),
        ..Sources::default()
    };
    let (settings, _) = ServerSettings::load(sources).expect("sound settings");
    assert_eq!(settings.data_dir, Path::new("/srv/app/data"));
    let sources = Sources { folder: "/srv/app".into(), ..Sources::default() };
    let (settings, _) = ServerSettings::load(sources).expect("sound settings");
    assert_eq!(settings.data_dir, Path::new("/srv/app/.switchyard"));
}
