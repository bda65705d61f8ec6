//! The verbs of each resource as somebody at a terminal uses them: every one of them, with what it says, as a table and
//! as JSON, and with what it says when it cannot.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Project, eventually, request, text};

/// A project with a meter, on the four plans that come along.
const FILE: &str = "schema = 1\n[project]\nname = \"walk\"\n[tenants]\nresolve = [\"subdomain\", \"api-key\"]\n\
    base_domain = \"localhost\"\ndefault_plan = \"free\"\n[meters.calls]\nunit = \"calls\"\n";
const PASSWORD: &str = "four words make it";

/// A running Switchyard, and its command line.
struct Walk(Project);

impl Walk {
    /// With the tenant `acme`.
    fn start() -> Walk {
        let mut project = Project::new(FILE);
        project.up();
        project.make_tenant("acme", "free");
        Walk(project)
    }

    /// A command that succeeds; its output has each of these parts, and nothing goes to standard error.
    #[track_caller]
    fn says(&self, line: &str, parts: &[&str]) -> String {
        let output = self.0.run(&words(line));
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{line}: {said}");
        has(line, &said, parts);
        said
    }

    /// A command that succeeds and only notes something, such as that there is nothing to list.
    #[track_caller]
    fn notes(&self, line: &str, parts: &[&str]) {
        let output = self.0.run(&words(line));
        assert_eq!(output.status.code(), Some(0), "{line}");
        has(line, &text(&output.stderr), parts);
    }

    /// A command that fails with this code and says why, to people and, where `--json` is asked for, to programs.
    #[track_caller]
    fn refuses(&self, line: &str, code: i32, parts: &[&str]) {
        let output = self.0.run(&words(line));
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), said.as_str()), (Some(code), ""), "{line}: {errors}");
        assert!(errors.starts_with("error: "), "{line}: {errors}");
        has(line, &errors, parts);
        let output = self.0.run(&words(&format!("{line} --json")));
        assert_eq!(output.status.code(), Some(code), "{line} --json");
        let told = [text(&output.stdout), text(&output.stderr)].concat();
        let told: Value =
            serde_json::from_str(&told).unwrap_or_else(|e| panic!("{line} --json: {e}: {told}"));
        let message = told["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && errors.contains(message), "{line}: {told}");
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        self.0.json(&words(line))
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[track_caller]
fn has(line: &str, said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{line}: no {part:?} in\n{said}");
    }
}

/// The texts of a field in a list.
fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let all = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    all.iter().map(|one| one[field].as_str().unwrap_or_default()).collect()
}

#[test]
fn tenants_from_the_first_day_to_the_last() {
    let walk = Walk::start();
    let made = "tenants create globex --name Globex --email it@globex.example --plan pro";
    walk.says(made, &["globex", "it@globex.example", "pro", "active", "ten_"]);
    walk.refuses(made, 1, &["/slug: another tenant of the project has it", "/email: another tenant"]);
    walk.refuses("tenants create x --name X --email nonsense", 2, &["/email", "such as ada@example.com"]);
    walk.refuses("tenants create --name X --email x@x.example", 2, &["<SLUG> is missing"]);
    walk.says("tenants list", &["SLUG", "acme", "globex"]);
    assert_eq!(each(&walk.json("tenants list --search glo"), "slug"), ["globex"]);
    assert_eq!(each(&walk.json("tenants list --plan pro --status active"), "slug"), ["globex"]);
    walk.notes("tenants list --status suspended", &["nothing to list"]);
    walk.says("tenants update acme --name Acme-Ltd --plan starter", &["Acme-Ltd", "starter"]);
    walk.refuses("tenants update acme --plan nope", 2, &["there is no plan `nope`", "plans list"]);
    assert_eq!(walk.json("tenants get acme")["plan"], "starter");
    walk.refuses("tenants get nobody", 1, &["tenant `nobody`", "`switchyard tenants list`"]);
    walk.says("tenants suspend acme", &["suspended"]);
    walk.says("tenants resume acme", &["active"]);
    walk.refuses("tenants delete acme --yes", 1, &["switchyard tenants cancel"]);
    walk.refuses("tenants cancel acme", 2, &["this destroys acme", "--yes"]);
    assert_eq!(walk.json("tenants cancel acme --yes")["status"], "cancelled");
    walk.refuses("tenants resume acme", 1, &["cannot become active"]);
    walk.says("tenants delete acme --yes", &["Tenant acme is deleted"]);
    assert_eq!(each(&walk.json("tenants list"), "slug"), ["globex"]);
}

#[test]
fn plans_are_made_changed_and_removed() {
    let walk = Walk::start();
    walk.says("plans list", &["PLAN", "enterprise", "free", "pro", "starter", "default"]);
    walk.says("plans create team --requests 500/min", &["team", "500/min", "api"]);
    walk.refuses("plans create team --requests 500/min", 1, &["/name: the environment has a plan"]);
    walk.refuses("plans create other --requests lots", 2, &["/requests", "a rate such as 60/min"]);
    walk.says("plans update team --requests 600/min", &["600/min"]);
    assert_eq!(walk.json("plans get team")["requests"], "600/min");
    walk.refuses("plans get nope", 1, &["plan `nope`", "`switchyard plans list`"]);
    walk.says("tenants update acme --plan team", &["team"]);
    walk.refuses("plans remove team --yes", 1, &["in use"]);
    walk.says("tenants update acme --plan free", &["free"]);
    walk.refuses("plans remove team", 2, &["this destroys team", "--yes"]);
    walk.says("plans remove team --yes", &["Plan team is removed."]);
    walk.refuses("plans remove free --yes", 1, &["default plan of an environment"]);
    walk.says("plans diff", &["No plan would change."]);
    walk.0.write("switchyard.toml", &format!("{FILE}[plans.free]\nrequests = \"30/min\"\n"));
    walk.says("plans diff", &["free", "60/min", "30/min"]);
    assert_eq!(walk.json("plans diff")["data"][0]["plan"], "free");
}

#[test]
fn usage_is_counted_and_limits_are_set() {
    let walk = Walk::start();
    walk.says("usage meters", &["METER", "calls"]);
    assert_eq!(each(&walk.json("usage meters"), "name"), ["calls"]);
    walk.says("usage record acme calls 3 --id one", &["It is counted."]);
    walk.says("usage record acme calls 3 --id one", &["was counted before"]);
    walk.refuses(
        "usage record acme nothing 1 --id two",
        2,
        &["there is no meter nothing", "[meters.nothing]"],
    );
    walk.refuses("usage record acme calls much --id two", 2, &["much: a number such as 5 or 0.25"]);
    walk.refuses("usage record nobody calls 1 --id two", 2, &["there is no such tenant"]);
    walk.refuses("usage record acme calls 1", 2, &["--id <ID> is missing"]);
    walk.says("usage show acme", &["From ", "UTC", "calls"]);
    walk.says("usage show acme --by day --meter calls", &["calls"]);
    // A figure of the table could stand in a date.
    for narrowed in ["", " --by day --meter calls"] {
        let shown = walk.json(&format!("usage show acme{narrowed}"));
        assert_eq!(
            (&shown["data"][0]["meter"], &shown["data"][0]["used"]),
            (&json!("calls"), &json!(3)),
            "{shown}"
        );
    }
    walk.notes("usage show acme --period previous", &["nothing to list"]);
    walk.refuses("usage show acme --period last", 2, &["current, previous, a month such as"]);
    walk.refuses("usage show nobody", 1, &["tenant `nobody`"]);
    walk.notes("limits show acme", &["nothing to list"]);
    walk.refuses(
        "limits set acme calls 5",
        2,
        &["/period: the tenant's plan says no period of calls; name one"],
    );
    walk.refuses("limits set acme calls", 2, &["<MAX> is missing"]);
    walk.refuses("limits set acme calls lots --period day", 2, &["lots: a number such as"]);
    walk.says(
        "limits set acme calls 100 --period day --grace soft",
        &["calls", "100", "day", "soft", "its own"],
    );
    let limits = walk.json("limits show acme");
    assert_eq!((&limits[0]["max"], &limits[0]["grace"]), (&json!(100), &json!("soft")), "{limits}");
    walk.says("limits set acme calls --unlimited --period day", &["calls", "day", "its own"]);
    walk.says("limits remove acme calls", &["acme has no limit of its own of calls any more"]);
    let own = "own limit `calls` of tenant `acme`";
    walk.refuses("limits remove acme calls", 1, &[own, "`switchyard limits show TENANT`"]);
    // One of a plan, and one of the tenant's own over it.
    let plan = "[plans.free]\nrequests = \"60/min\"\n[plans.free.meters]\ncalls = { max = 10, period = \"month\" }\n";
    walk.0.write("switchyard.toml", &format!("{FILE}{plan}"));
    let body = json!({ "text": format!("{FILE}{plan}") });
    let applied = walk.0.api("PUT", "/api/v1/environments/development/configuration", &body);
    assert_eq!(applied.status, 200, "{}", applied.body);
    // Within a second, as a plan's change is anywhere.
    eventually("the plan's limit holds", || walk.json("limits show acme") != json!([]));
    walk.says("limits show acme", &["calls", "10", "month", "hard", "plan"]);
    walk.says("limits set acme calls 20", &["20", "month", "its own"]);
    assert_eq!(walk.json("limits show acme")[0]["max"], json!(20));
    walk.says("limits remove acme calls", &["what its plan says holds"]);
    assert_eq!(walk.json("limits show acme")[0]["max"], json!(10));
}

#[test]
fn members_come_change_and_go() {
    let walk = Walk::start();
    walk.notes("members list --tenant acme", &["nothing to list"]);
    walk.refuses("members list", 2, &["--tenant <TENANT> is missing"]);
    walk.refuses("members list --tenant nobody", 1, &["tenant `nobody`"]);
    walk.says(
        "members invite ada@acme.example --tenant acme --role owner",
        &["ada@acme.example", "owner", "invited"],
    );
    walk.refuses("members invite ada@acme.example --tenant acme", 1, &["this person is a member already"]);
    walk.refuses("members invite nonsense --tenant acme", 2, &["a mail address such as"]);
    walk.refuses("members invite bob@acme.example --tenant acme --role king", 2, &["/role", "a custom role"]);
    assert_eq!(walk.json("members invite bob@acme.example --tenant acme")["role"], "developer");
    walk.says("members list --tenant acme", &["EMAIL", "ada@acme.example", "bob@acme.example", "mem_"]);
    walk.says("members set-role Bob@acme.example viewer --tenant acme", &["bob@acme.example", "viewer"]);
    walk.says("members set-role bob@acme.example read:jobs,write:jobs --tenant acme", &["bob@acme.example"]);
    walk.refuses("members set-role x@acme.example viewer --tenant acme", 1, &["no member", "members list"]);
    walk.refuses("members set-role mem_x viewer --tenant acme", 1, &["member `mem_x` of tenant `acme`"]);
    walk.says("members resend bob@acme.example --tenant acme", &["invited"]);
    assert_eq!(walk.json("outbox list --to bob@acme.example").as_array().map(Vec::len), Some(2));
    walk.refuses("members remove bob@acme.example --tenant acme", 2, &["this destroys bob@acme.example"]);
    walk.says("members remove bob@acme.example --tenant acme --yes", &["no longer a member"]);
    walk.refuses("members remove bob@acme.example --tenant acme --yes", 1, &["is no member of the tenant"]);
    walk.refuses("members remove ada@acme.example --tenant acme --yes", 1, &["The last owner cannot go"]);
    assert_eq!(each(&walk.json("members list --tenant acme"), "email"), ["ada@acme.example"]);
}

#[test]
fn keys_are_made_replaced_and_revoked() {
    let walk = Walk::start();
    walk.notes("keys list --tenant acme", &["nothing to list"]);
    let output = walk.0.run(&words("keys create --tenant acme --name ci"));
    let (key, note) = (text(&output.stdout), text(&output.stderr));
    assert!(key.starts_with("sy_test_") && key.lines().count() == 1, "the key alone: {key}");
    has("keys create", &note, &["key_", "(ci)", "not shown again"]);
    let list = walk.says("keys list --tenant acme", &["ci", "developer", "active", "key_"]);
    assert!(!list.contains(key.trim()), "{list}");
    let narrow = "keys create --tenant acme --name ro --role viewer --scope read:tenants --expires-at 2999-01-01T00:00:00Z";
    let narrow = walk.json(narrow);
    assert_eq!(
        (&narrow["role"], &narrow["scopes"]),
        (&json!("viewer"), &json!(["read:tenants"])),
        "{narrow}"
    );
    let bad = "keys create --tenant acme --name bad";
    walk.refuses(&format!("{bad} --scope nonsense"), 2, &["/scopes/0", "a text such as read:*"]);
    walk.refuses(&format!("{bad} --expires-at tomorrow"), 2, &["/expires_at", "RFC 3339"]);
    walk.refuses(&format!("{bad} --in nowhere"), 2, &["/environment"]);
    walk.refuses("keys create --tenant acme", 2, &["--name <NAME> is missing"]);

    let id = walk.json("keys list --tenant acme")[0]["id"].as_str().expect("an id").to_owned();
    let next = walk.json(&format!("keys rotate --tenant acme {id} --overlap 1h"));
    let next = next["key"].as_str().expect("a key").to_owned();
    for each in [key.trim(), &next] {
        walk.says(&format!("whoami --key {each}"), &["kind", "key", "name", "ci", "developer"]);
    }
    walk.refuses(&format!("keys revoke --tenant acme {id}"), 2, &["this destroys key_", "--yes"]);
    walk.says(&format!("keys revoke --tenant acme {id} --yes"), &["is revoked."]);
    let old = format!("whoami --key {}", key.trim());
    eventually("the revoked key is refused", || !walk.0.run(&words(&old)).status.success());
    walk.refuses(&old, 1, &["A valid credential is needed", "switchyard login"]);
    walk.says(&format!("whoami --key {next}"), &["developer"]);
    walk.refuses(&format!("keys rotate --tenant acme {id}"), 1, &["nothing to rotate"]);
    walk.refuses("keys revoke --tenant acme key_x --yes", 1, &["key `key_x` of tenant `acme`"]);
    assert_eq!(walk.json("keys list --tenant acme").as_array().map(Vec::len), Some(2));
    assert_eq!(walk.json("keys list --tenant acme --revoked").as_array().map(Vec::len), Some(3));
}

/// Somebody else's machine: no operator's key, a folder for sessions of its own.
struct Away(Project);

impl Away {
    fn command(&self, url: &str, line: &str) -> Command {
        let mut command = self.0.command(&words(line));
        command.env("SWITCHYARD_CONFIG_DIR", self.0.path().join("config")).env("SWITCHYARD_URL", url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, url: &str, line: &str, typed: &str) -> Output {
        let mut child = self.command(url, line).spawn().expect("start switchyard");
        // A command that asks for nothing may end before anything is typed.
        let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
        child.wait_with_output().expect("an end")
    }

    #[track_caller]
    fn says(&self, url: &str, (line, typed): (&str, &str), parts: &[&str]) -> String {
        let output = self.run(url, line, typed);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        has(line, &said, parts);
        said
    }

    #[track_caller]
    fn refuses(&self, url: &str, (line, typed): (&str, &str), code: i32, parts: &[&str]) {
        let output = self.run(url, line, typed);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", text(&output.stdout));
        has(line, &text(&output.stderr), parts);
    }
}

#[test]
fn a_person_signs_in_looks_around_and_signs_out() {
    let walk = Walk::start();
    walk.0.make_tenant("globex", "free");
    walk.says("whoami", &["kind", "operator", "owner"]);
    assert_eq!(walk.json("whoami")["kind"], "operator");
    walk.says("members invite ada@acme.example --tenant acme --role admin", &["invited"]);
    let letter = walk.json("outbox show --to ada@acme.example");
    let letter = letter["text"].as_str().expect("a text");
    let token = letter.split("token=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let body = json!({ "token": token, "name": "Ada", "password": PASSWORD }).to_string();
    let headers = [("content-type", "application/json")];
    let control = walk.0.listener("control");
    let accepted = request(control, "POST", ("localhost", "/api/v1/auth/invitations"), &headers, &body);
    assert_eq!(accepted.expect("an answer").status, 201);

    let away = Away(Project::new("schema = 1\n[project]\nname = \"away\"\n"));
    // At the operators' listener, and as everybody reaches it: a name below localhost, at the gateway.
    let gateway = format!("http://api.localhost:{}", walk.0.listener("gateway").port());
    for url in [format!("http://{control}"), gateway] {
        let url = url.as_str();
        away.refuses(url, ("whoami", ""), 1, &["A valid credential is needed", "switchyard login"]);
        away.refuses(url, ("login", ""), 2, &["Mail address: \nerror: ", "--email"]);
        let login = "login --email ada@acme.example";
        away.refuses(url, (login, ""), 2, &["error: an answer is needed (password)", "standard input"]);
        away.refuses(url, (login, "not this one\n"), 1, &["error: ", "forgot the password"]);
        away.says(
            url,
            (login, &format!("{PASSWORD}\n")),
            &["signed in as", "ada@acme.example", "acme", "admin"],
        );
        away.says(url, ("whoami", ""), &["kind", "user", "ada@acme.example", "admin", "ten_"]);
        let me = away.says(url, ("whoami --json", ""), &[]);
        let me: Value = serde_json::from_str(&me).expect("JSON");
        assert_eq!((&me["kind"], &me["role"]), (&json!("user"), &json!("admin")), "{me}");
        away.says(url, ("members list --tenant acme", ""), &["ada@acme.example", "active"]);
        away.says(url, ("usage show acme", ""), &["From "]);
        away.refuses(url, ("members list --tenant globex", ""), 1, &["tenant `globex`"]);
        away.refuses(url, ("plans create mine --requests 1/s", ""), 1, &["error: "]);
        away.says(url, ("logout", ""), &["ada@acme.example is signed out."]);
        away.says(url, ("logout", ""), &["Nobody is signed in here."]);
        away.refuses(url, ("members list --tenant acme", ""), 1, &["switchyard login"]);
    }
}
