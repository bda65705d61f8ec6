//! Tokens and their keys in the real binary, and in two of them on one store.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Project, Response, eventually, request};
use crate::moving::BARE;
use crate::stores::on_both_stores;

/// How long a revocation may take to be in force everywhere.
const IN_FORCE: Duration = Duration::from_secs(1);

/// A token by which the operator acts as acme, and the path that ends it.
fn acting(project: &Project, role: &str) -> (String, String) {
    let body = json!({"reason": "looking at a ticket", "role": role});
    let made = project.api("POST", "/api/v1/tenants/acme/impersonate", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let text = |name: &str| made.json()[name].as_str().expect("a text").to_owned();
    (text("access_token"), format!("/api/v1/tenants/acme/impersonate/{}", text("session")))
}

fn me(listener: SocketAddr, token: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let host = listener.to_string();
    request(listener, "GET", (&host, "/api/v1/me"), &[("authorization", &bearer)], "").expect("an answer")
}

#[test]
fn tokens_outlive_a_rotation_and_a_restart_and_roles_are_given_by_name() {
    on_both_stores(BARE, |project| {
        project.up();
        project.make_tenant("acme", "free");
        let (token, _) = acting(project, "viewer");
        assert_eq!(me(project.listener("control"), &token).status, 200);
        let table = project.ok(&["keys", "rotate-signing"]);
        assert!(table.contains("EdDSA") && table.contains("ES256") && table.contains("signing"), "{table}");
        let published = project.api("GET", "/.well-known/jwks.json", &Value::Null).json();
        assert_eq!(published["keys"].as_array().expect("a list").len(), 6);
        assert_eq!(me(project.listener("control"), &token).status, 200, "after the rotation");
        assert_eq!(project.stop(), Some(0));
        project.up();
        assert_eq!(me(project.listener("control"), &token).status, 200, "after the restart");
        project.ok(&["roles", "set", "support", "read:*", "write:jobs", "--description", "Helps"]);
        assert!(project.ok(&["roles", "list"]).contains("support"));
        let member =
            project.json(&["members", "invite", "ada@example.com", "--tenant", "acme", "--role", "support"]);
        assert_eq!((&member["role_name"], &member["status"]), (&json!("support"), &json!("invited")));
        project.ok(&["members", "resend", "ada@example.com", "--tenant", "acme"]);
        let near = project.json(&[
            "keys",
            "create",
            "--tenant",
            "acme",
            "--name",
            "near",
            "--allow-ip",
            "127.0.0.0/8",
        ]);
        let far = project.json(&[
            "keys",
            "create",
            "--tenant",
            "acme",
            "--name",
            "far",
            "--allow-ip",
            "203.0.113.0/24",
        ]);
        let status =
            |made: &Value| me(project.listener("control"), made["key"].as_str().expect("a key")).status;
        assert_eq!((status(&near), status(&far)), (200, 401));
    });
}

/// Another control process on the same store and folder.
struct Second(Child, SocketAddr);

impl Second {
    fn start(project: &Project) -> Second {
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let mut command = project.command(&["serve", "--roles", "control"]);
        command.env("SWITCHYARD_CONTROL_ADDR", free.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let second = Second(command.spawn().expect("start a second process"), free);
        eventually("the second process serves", || {
            let host = free.to_string();
            request(free, "GET", (&host, "/readyz"), &[], "").is_ok_and(|answer| answer.status == 200)
        });
        second
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a9_a_token_that_is_ended_in_one_process_is_refused_in_the_other_within_a_second() {
    let database = testkit::postgres();
    let mut project = Project::new(BARE);
    project.database_url = Some(database.url());
    project.up();
    project.make_tenant("acme", "free");
    let first = project.listener("control");
    let second = Second::start(&project);
    let (token, ending) = acting(&project, "viewer");
    assert_eq!((me(first, &token).status, me(second.1, &token).status), (200, 200));
    let bearer = format!("Bearer {}", project.operator_key());
    let host = first.to_string();
    let ended =
        request(first, "DELETE", (&host, &ending), &[("authorization", &bearer)], "").expect("an answer");
    let since = Instant::now();
    assert_eq!(ended.status, 204, "{}", ended.body);
    assert_eq!(me(first, &token).status, 401, "at once where it was ended");
    eventually("the other process knows", || me(second.1, &token).status == 401);
    assert!(since.elapsed() < IN_FORCE, "{:?}", since.elapsed());
}
