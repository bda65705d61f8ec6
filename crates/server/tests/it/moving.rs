//! What is there before and after: a newer version's folder, a backup brought to another store, `init` of a folder that
//! is an app already, output that nobody reads.

use std::process::Stdio;

use authority::SystemCtx;
use db::{Db, Location, Migration, MigrationSet, Options, Sql};
use serde_json::{Value, json};

use crate::harness::{Project, echo_project, eventually, text};
use crate::stores::on_both_stores;

/// A project without services: the platform alone.
pub const BARE: &str = "schema = 1\n[project]\nname = \"echo\"\n[tenants]\nresolve = [\"subdomain\"]\n\
                        base_domain = \"localhost\"\ndefault_plan = \"free\"\n";

/// What a later version brought.
static FUTURE: MigrationSet = MigrationSet {
    capability: "future",
    migrations: &[Migration {
        number: 1,
        name: "things",
        sql: "CREATE TABLE future_things (id TEXT NOT NULL)",
    }],
    tenant_tables: &[],
    system_tables: &[("future_things", "a test's")],
};

#[test]
fn f42_a_data_folder_of_a_newer_version_is_refused_by_name_and_left_as_it_is() {
    on_both_stores(BARE, |project| {
        project.up();
        project.make_tenant("acme", "free");
        assert_eq!(project.stop(), Some(0));
        assert_eq!(as_version_9(project, &[]), 1);
        for args in [&["up"][..], &["serve"], &["migrate"]] {
            let output = project.run(args);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
            assert!(said.contains("9.8.7") && said.contains("future/1"), "{args:?}: {said}");
            assert!(!project.data_dir().join("listeners.json").exists(), "nothing is left running");
        }
        const FORGET: Sql = Sql::One("DELETE FROM sy_migrations WHERE capability = 'future'");
        const DROP: Sql = Sql::One("DROP TABLE future_things");
        assert_eq!(as_version_9(project, &[]), 1, "nothing is lost");
        // What was applied is not PostgreSQL's role's to take back; of the embedded store the file is ours.
        if project.database_url.is_none() {
            as_version_9(project, &[FORGET, DROP]);
            project.up();
            assert_eq!(project.json(&["tenants", "list"])[0]["slug"], "acme", "nothing is lost");
            assert_eq!(project.json(&["audit", "verify"])["ok"], true);
            assert_eq!(project.stop(), Some(0));
        }
    });
}

/// Opens the store as a later version does, and runs these statements; gives how many tenants are there.
fn as_version_9(project: &Project, statements: &'static [Sql]) -> i64 {
    const TENANTS: Sql = Sql::One("SELECT count(*) FROM tenants_tenants");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let random = base::SystemRandom::shared();
        let key = vault::MasterKey::load(&project.data_dir(), None, false, &base::SystemRandom)
            .expect("the master key");
        let location = match &project.database_url {
            Some(url) => Location::Postgres { url: base::Secret::new(url.clone()) },
            None => Location::Sqlite { dir: project.data_dir() },
        };
        let known = [
            tenants::MANIFEST,
            identity::MANIFEST,
            plans::MANIFEST,
            gateway::MANIFEST,
            deployments::MANIFEST,
            jobs::MANIFEST,
            schedules::MANIFEST,
            logs::MANIFEST,
            audit::MANIFEST,
            backups::MANIFEST,
            issuers::MANIFEST,
            accounts::MANIFEST,
            oidc::MANIFEST,
            usage::MANIFEST,
            billing::MANIFEST,
        ];
        let sets = known.iter().map(|one| one.migrations).chain([FUTURE]).collect();
        let vault = vault::Vault::new(key, random.clone());
        let options = Options::new(location, base::SystemClock::shared(), random, vault, sets);
        let db = Db::open(Options { version: "9.8.7", ..options }).await.expect("open as a later version");
        let run = move |tx: &mut db::SystemTx<'_>| -> Result<i64, db::Error> {
            statements.iter().try_for_each(|sql| tx.execute(sql, &[]).map(drop))?;
            tx.query_one(&TENANTS, &[])?.get(0)
        };
        db.write_system(&SystemCtx::because("a test"), run).await.expect("change the store")
    })
}

#[test]
fn f40_a_backup_of_the_embedded_store_is_restored_into_postgresql() {
    let mut from = Project::new(&echo_project(""));
    from.up();
    from.make_tenant("acme", "pro");
    from.make_tenant("globex", "free");
    let made = from.api("POST", "/api/v1/tenants/acme/keys", &json!({"name": "ci"}));
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    eventually("all that happened has its place", || {
        seen(&from)[4].1.to_string().contains("\"key.created\"")
    });
    let before = seen(&from);
    let backup = from.json(&["backups", "make"]);
    let id = backup["id"].as_str().expect("its id").to_owned();
    let operator = from.operator_key();
    assert_eq!(from.stop(), Some(0));

    let database = testkit::postgres();
    let mut to = Project::new(&echo_project(""));
    to.database_url = Some(database.url());
    let file = backup_file(&from, &id);
    // Without the installation's own master key nothing is brought in, and no other key is made.
    let refused = to.run(&["restore", &file]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(!to.data_dir().join("master.key").exists(), "another master key was made");
    for name in ["master.key", "operator.key"] {
        std::fs::create_dir_all(to.data_dir()).expect("make the folder");
        std::fs::copy(from.data_dir().join(name), to.data_dir().join(name)).expect("bring a key");
    }
    let restored = to.json(&["restore", &file]);
    assert_eq!(restored["restored"], true, "{restored}");
    to.up();
    assert_eq!(to.operator_key(), operator);
    let after = seen(&to);
    for (what, found) in &before {
        assert_eq!(&after.iter().find(|(name, _)| name == what).expect("asked for both").1, found, "{what}");
    }
    assert_eq!(to.json(&["audit", "verify"])["ok"], true);
    let bearer = format!("Bearer {key}");
    eventually("the restored key works at the gateway", || {
        to.gateway("acme", "/who", &[("authorization", &bearer)]).is_ok_and(|answer| answer.status == 200)
    });
    // A second restore does not overwrite what is there now.
    assert_eq!(to.stop(), Some(0));
    let again = to.run(&["restore", &file]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
}

/// What the API tells of tenants, keys, and what happened to them.
fn seen(project: &Project) -> Vec<(&'static str, Value)> {
    let pages = [
        "/api/v1/tenants",
        "/api/v1/tenants/acme",
        "/api/v1/tenants/acme/keys",
        "/api/v1/tenants/globex/keys",
        "/api/v1/tenants/acme/events?limit=500",
        "/api/v1/plans",
        "/api/v1/routes",
    ];
    pages.map(|path| (path, project.api("GET", path, &Value::Null).json())).to_vec()
}

fn backup_file(project: &Project, id: &str) -> String {
    let folder = project.data_dir().join("backups");
    let names = std::fs::read_dir(&folder).expect("a folder of backups").flatten();
    let file = names.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains(id));
    file.expect("the backup's file").to_string_lossy().into_owned()
}

#[test]
fn init_in_a_folder_that_is_an_app_gives_a_file_that_is_accepted() {
    let apps: [&[(&str, &str)]; 6] = [
        &[("package.json", r#"{"name": "shop", "scripts": {"start": "node server.js", "build": "tsc"}}"#)],
        &[("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"1.0.0\"\n"), ("main.rs", "")],
        &[(
            "pyproject.toml",
            "[project]\nname = \"shop\"\nversion = \"1\"\n[project.scripts]\nweb = \"shop:main\"\n",
        )],
        &[("Procfile", "web: ./serve --port $PORT\nworker: ./work\n")],
        &[("railway.toml", "[deploy]\nstartCommand = \"./serve\"\nhealthcheckPath = \"/up\"\n")],
        &[("railway.json", r#"{"deploy": {"startCommand": "./serve", "healthcheckPath": "/up"}}"#)],
    ];
    for files in apps {
        let (named, _) = files[0];
        let project = Project::new("");
        std::fs::remove_file(project.path().join("switchyard.toml")).expect("none yet");
        for (name, content) in files {
            project.write(name, content);
        }
        project.ok(&["init"]);
        project.ok(&["config", "check"]);
        let file = std::fs::read_to_string(project.path().join("switchyard.toml")).expect("the file");
        assert!(file.contains("[services."), "{named} gave no service:\n{file}");
        // It is not written over.
        project.write("switchyard.toml", "# mine\n");
        let again = project.run(&["init"]);
        assert!(!again.status.success(), "{named}");
        assert_eq!(
            std::fs::read_to_string(project.path().join("switchyard.toml")).expect("the file"),
            "# mine\n"
        );
    }
}

#[test]
fn f9_output_that_nobody_reads_is_no_panic() {
    let mut project = Project::new(&echo_project(""));
    project.up();
    project.make_tenant("acme", "free");
    for args in [
        &["logs"][..],
        &["logs", "-f"],
        &["logs", "--json"],
        &["status"],
        &["tenants", "list"],
        &["tenants", "list", "--json"],
        &["plans", "list"],
        &["config", "schema"],
        &["completion", "bash"],
        &["--help"],
        &["doctor"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child =
            project.command(args).stdout(writer).stderr(Stdio::piped()).spawn().expect("run switchyard");
        eventually(&format!("{args:?} ends by itself"), || {
            // A follower learns that nobody listens when it has something to say.
            let _ = project.gateway("acme", "/who", &[]);
            child.try_wait().expect("look at it").is_some()
        });
        let output = child.wait_with_output().expect("its end");
        let said = text(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code <= 2), "{args:?}: {} {said}", output.status);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn f9_a_platform_whose_output_is_closed_serves_on() {
    let mut project = Project::new(&echo_project(""));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let errors = writer.try_clone().expect("share the pipe");
    project.spawn_with(&["up"], writer, errors);
    eventually("it listens", || project.try_listener("gateway").is_some());
    eventually("the project is applied", || {
        let all = project.api("GET", "/api/v1/environments", &Value::Null);
        all.status == 200 && all.json()["data"] != json!([])
    });
    project.make_tenant("acme", "enterprise");
    eventually("the app is served", || {
        project.gateway("acme", "/who", &[]).is_ok_and(|answer| answer.status == 200)
    });
    for _ in 0..100 {
        assert_eq!(project.get("acme", "/who").status, 200);
    }
    assert_eq!(project.api("GET", "/api/status", &Value::Null).status, 200);
    assert_eq!(project.stop(), Some(0), "its end is orderly");
}
