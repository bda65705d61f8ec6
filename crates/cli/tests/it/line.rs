//! Verbs, flags, addresses, keys.

use super::{run, run_in, write};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

#[test]
fn help_and_version_are_results() {
    let help = run(&["--help"]);
    assert_eq!(help.exit, 0);
    for verb in ["init", "tenants", "audit", "config", "doctor", "completion", "open"] {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(verb)), "{verb} in {}", help.out);
    }
    let version = run(&["--version"]);
    assert_eq!((version.exit, version.out.as_str()), (0, "switchyard 1.2.3\n"));
    let nothing = run(&[]);
    assert_eq!(nothing.exit, 2);
    assert!(nothing.out.is_empty() && nothing.err.contains("Usage"), "{}", nothing.err);
}

#[test]
fn a_misspelt_verb_or_flag_says_what_was_meant() {
    let verb = run(&["tenats"]);
    assert_eq!(verb.exit, 2);
    assert_eq!(verb.err, "error: there is no command `tenats`\n  Did you mean `tenants`?\n");
    let nested = run(&["tenants", "lst"]);
    assert_eq!(
        (nested.exit, nested.err.contains("Did you mean `tenants list`?")),
        (2, true),
        "{}",
        nested.err
    );
    let flag = run(&["tenants", "list", "--limt", "5"]);
    assert_eq!(flag.exit, 2);
    assert_eq!(flag.err, "error: there is no flag `--limt` here\n  Did you mean `--limit`?\n");
    for (line, near) in [
        (["tenants", "creat"], "Did you mean `tenants create`?"),
        (["tenants", "add"], "Did you mean `tenants create`?"),
        (["tenants", "frobnicate"], "`switchyard tenants --help` lists them all."),
    ] {
        let ran = run(&line);
        assert!(ran.err.ends_with(&format!("  {near}\n")), "{line:?}: {}", ran.err);
    }
    let far = run(&["frobnicate"]);
    assert!(far.err.contains("`switchyard help` lists them all"), "{}", far.err);
    let json = run(&["tenats", "--json"]);
    assert_eq!(json.exit, 2);
    assert!(json.err.contains("\"next\":\"Did you mean `tenants`?\""), "{}", json.err);
}

#[test]
fn a_group_answers_to_its_other_number_and_a_verb_to_its_twin() {
    for line in [["tenant", "list"], ["tenants", "list"]] {
        assert_eq!(run(&line).exit, 0, "{line:?}");
    }
    let help = run(&["help", "tenant"]);
    assert!(help.out.contains("switchyard tenants"), "{}", help.out);
    assert_eq!(run(&["statu"]).exit, 2, "no plural, so there is no singular");
    let twin = run(&["config", "get", "--help"]);
    assert_eq!((twin.exit, twin.out.contains("switchyard config show")), (0, true), "{}", twin.err);
}

#[test]
fn flags_for_all_verbs_may_stand_anywhere() {
    for line in [
        &["--yes", "-C", "/srv/a", "tenants", "list"][..],
        &["tenants", "--yes", "list", "-C", "/srv/a"],
        &["tenants", "list", "--yes", "--project-dir", "/srv/a"],
    ] {
        let ran = run(line);
        assert_eq!(ran.exit, 0, "{}", ran.err);
        assert_eq!(ran.json()["yes"], true, "{line:?}");
        assert_eq!(ran.json()["project_dir"], "/srv/a", "{line:?}");
        assert_eq!(ran.json()["data_dir"], "/srv/a/.switchyard", "{line:?}");
    }
}

#[test]
fn the_project_is_found_upwards_and_names_its_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().canonicalize().expect("there");
    write(&root, "switchyard.toml", "[server]\ndata_dir = \"state\"\n");
    write(&root, "src/deep/x", "");
    let ran = run_in(&root.join("src/deep"), &[], &["tenants", "list"]).json();
    assert_eq!(ran["project_dir"], root.to_str().expect("UTF-8"));
    assert_eq!(ran["data_dir"], root.join("state").to_str().expect("UTF-8"));
    let env = [("SWITCHYARD_DATA_DIR", "/var/lib/switchyard")];
    assert_eq!(run_in(&root, &env, &["tenants", "list"]).json()["data_dir"], "/var/lib/switchyard");
    assert_eq!(
        run_in(&root, &env, &["tenants", "list", "--data-dir", "x"]).json()["data_dir"],
        root.join("x").to_str().expect("UTF-8")
    );
}

#[test]
fn the_installation_is_found_by_flag_environment_or_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), ".switchyard/listeners.json", "{\"control\": \"127.0.0.1:4321\"}");
    let base = |env: &[(&str, &str)], line: &[&str]| run_in(folder.path(), env, line).json()["base"].clone();
    let env = [("SWITCHYARD_URL", "http://127.0.0.1:5")];
    assert_eq!(base(&[], &["tenants", "list"]), "http://127.0.0.1:4321");
    assert_eq!(base(&env, &["tenants", "list"]), "http://127.0.0.1:5");
    assert_eq!(base(&env, &["tenants", "list", "--url", "http://127.0.0.1:6"]), "http://127.0.0.1:6");
}

#[test]
fn without_an_installation_the_next_step_is_named() {
    let ran = run(&["audit"]);
    assert_eq!(ran.exit, 1);
    assert!(ran.err.contains("no Switchyard runs here") && ran.err.contains("switchyard up"), "{}", ran.err);
}

#[test]
fn what_is_missing_or_not_allowed_is_named() {
    let missing = run(&["completion"]);
    assert_eq!(
        (missing.exit, missing.err.as_str()),
        (2, "error: <SHELL> is missing\n  `switchyard completion --help` says what each is.\n")
    );
    let wrong = run(&["completion", "tcsh"]);
    assert_eq!(wrong.exit, 2);
    assert!(
        wrong.err.starts_with("error: <SHELL> does not take `tcsh`\n  It takes one of: bash, "),
        "{}",
        wrong.err
    );
}

#[test]
fn an_argument_called_url_or_key_is_not_the_flag_for_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), ".switchyard/listeners.json", "{\"control\": \"127.0.0.1:4321\"}");
    let ran = run_in(folder.path(), &[], &["exchange", "http://acme.localhost:8080", "key_1"]).json();
    assert_eq!(
        (&ran["base"], &ran["url"]),
        (&json!("http://127.0.0.1:4321"), &json!("http://acme.localhost:8080"))
    );
    let ran = run(&["exchange", "a", "key_1", "--url", "http://127.0.0.1:6", "--key", "sy_live_x"]).json();
    assert_eq!((&ran["base"], &ran["url"]), (&json!("http://127.0.0.1:6"), &json!("a")));
}

/// Answers one request and gives its head.
fn head_of_one_request(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("readable") == 1 {
        head.push(byte[0]);
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        .expect("writable");
    String::from_utf8_lossy(&head).to_lowercase()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test needs a peer of its own")]
fn the_operator_key_goes_where_it_belongs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    write(folder.path(), ".switchyard/listeners.json", &format!("{{\"control\": \"{address}\"}}"));
    write(folder.path(), ".switchyard/operator.key", "sy_operator_x\n");
    let path: std::path::PathBuf = folder.path().to_owned();
    let call = |env: Vec<(&'static str, &'static str)>| {
        let path = path.clone();
        std::thread::spawn(move || run_in(&path, &env, &["audit"]))
    };
    let caller = call(vec![]);
    assert!(head_of_one_request(&listener).contains("authorization: bearer sy_operator_x"));
    caller.join().expect("no panic");
    let caller = call(vec![("SWITCHYARD_API_KEY", "sy_live_y")]);
    assert!(head_of_one_request(&listener).contains("authorization: bearer sy_live_y"));
    caller.join().expect("no panic");
    // The same listener by a name that is not loopback would get no key; see `only_this_machine_is_loopback`.
}

#[test]
fn completion_knows_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completion", shell]);
        assert_eq!(ran.exit, 0);
        assert!(ran.out.contains("tenants") && ran.out.contains("doctor"), "{shell}");
    }
    assert_eq!(run(&["completion", "bahs"]).exit, 2);
}

#[test]
fn open_prints_where_a_tenant_finds_the_app() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), ".switchyard/listeners.json", "{\"gateway\": \"127.0.0.1:8080\"}");
    write(folder.path(), "switchyard.toml", "[tenants]\nbase_domain = \"shop.example\"\n");
    assert_eq!(run_in(folder.path(), &[], &["open", "acme"]).out, "http://acme.shop.example:8080/\n");
    assert_eq!(run_in(folder.path(), &[], &["open", "--json"]).json()["url"], "http://shop.example:8080/");
    assert_eq!(run_in(folder.path(), &[], &["open", "No Slug"]).exit, 2);
    assert_eq!(run_in(Path::new("/"), &[], &["open"]).exit, 1);
}
