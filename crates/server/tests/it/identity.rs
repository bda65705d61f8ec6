//! Tokens and their keys in the real binary, and in two of them on one store.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::{Project, Response, eventually, request, within_a_second};
use crate::moving::BARE;
use crate::stores::on_both_stores;

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
        let mut command = project.command(&["serve", "--roles", "control"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start a second process");
        let mut said = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        // Any port that is free by then: one that is chosen before may be somebody else's.
        let addr = said.find_map(|line| {
            let url = line.strip_prefix("Serving. Control API: http://")?;
            url.split('/').next()?.parse().ok()
        });
        let second = Second(child, addr.expect("it says where it serves"));
        eventually("the second process serves", || {
            let host = second.1.to_string();
            request(second.1, "GET", (&host, "/readyz"), &[], "").is_ok_and(|answer| answer.status == 200)
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
    assert_eq!(ended.status, 204, "{}", ended.body);
    assert_eq!(me(first, &token).status, 401, "at once where it was ended");
    within_a_second("the other process knows", || me(second.1, &token).status == 401);
}
