//! The OpenID provider of the real binary: a standard client library from npm signs a person in, at the gateway.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Project, echo_project, request, text};
use crate::stores::on_both_stores;

const EMAIL: &str = "ada@acme.example";
const PASSWORD: &str = "a long enough phrase, it seems";
const CALLBACK: &str = "https://app.example.com/callback";
const BYE: &str = "https://app.example.com/bye";

/// Where `cargo xtask install` puts the library.
fn modules() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/oidc");
    let folder = std::env::var_os("SWITCHYARD_TEST_OIDC").map_or_else(usual, PathBuf::from);
    let manifest = folder.join("node_modules/openid-client/package.json");
    assert!(manifest.is_file(), "no {}: run `cargo xtask test`, which installs it", manifest.display());
    folder.canonicalize().expect("the folder is there")
}

/// The token in the link of a person's last letter.
fn token_of_letter(project: &Project, email: &str) -> String {
    let letters = project.api("GET", "/api/v1/outbox", &Value::Null);
    assert_eq!(letters.status, 200, "{}", letters.body);
    let letters = letters.json();
    let letter = letters["data"].as_array().expect("letters").iter().find(|one| one["to"] == email);
    let text = letter.expect("a letter")["text"].as_str().expect("its text");
    let rest = text.split_once("token=").expect("a link with a token").1;
    rest.split_whitespace().next().expect("the token").to_owned()
}

/// Makes a member of a tenant who has accepted, with a password.
fn person(project: &Project, tenant: &str, role: &str) {
    let body = json!({"email": EMAIL, "role": role});
    let made = project.api("POST", &format!("/api/v1/tenants/{tenant}/members"), &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let token = token_of_letter(project, EMAIL);
    let body = json!({"token": token, "name": "Ada", "password": PASSWORD}).to_string();
    let headers = [("content-type", "application/json")];
    let gateway = project.listener("gateway");
    let answer = request(gateway, "POST", ("api.localhost", "/api/v1/auth/invitations"), &headers, &body);
    let answer = answer.expect("the gateway answers");
    assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.body);
}

#[test]
fn a_standard_client_signs_a_person_in_against_ours() {
    on_both_stores(&echo_project("auth = \"required\""), |project| {
        project.up();
        for tenant in ["acme", "beta"] {
            project.make_tenant(tenant, "pro");
        }
        person(project, "acme", "developer");
        let create = ["clients", "create", "Dashboard", "--redirect", CALLBACK, "--logout", BYE];
        let made = project.json(&create);
        let id = made["id"].as_str().expect("an id");
        let tenant = project.api("GET", "/api/v1/tenants/acme", &Value::Null).json();
        let port = project.listener("gateway").port();
        let given = json!({
            "modules": modules(),
            "issuer": format!("http://api.localhost:{port}"),
            "port": port,
            "client_id": made["id"],
            "client_secret": made["client_secret"],
            "redirect_uri": CALLBACK,
            "logout_uri": BYE,
            "email": EMAIL,
            "password": PASSWORD,
            "tenant": tenant["id"],
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oidc.mjs");
        let output =
            Command::new("node").arg(script).env("OIDC_TEST", given.to_string()).output().expect("run node");
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{out}\n{errors}");
        let seen: Value = serde_json::from_str(out.trim()).expect("what was seen");
        assert_ne!(seen["id"], 200, "an id token is no access token");
        let headers = seen["served"]["headers"].to_string();
        assert!(headers.contains("developer") && headers.contains("usr_"), "{headers}");
        assert!(project.ok(&["clients", "list"]).contains("Dashboard"));
        let replaced = project.json(&["clients", "replace-secret", id]);
        assert_ne!(replaced["client_secret"], made["client_secret"]);
        project.ok(&["clients", "remove", id, "--yes"]);
        assert_eq!(project.api("GET", &format!("/api/v1/clients/{id}"), &Value::Null).status, 404);
    });
}
