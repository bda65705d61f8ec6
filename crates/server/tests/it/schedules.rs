//! Schedules over the real queues, and through the real binary.

use std::sync::Arc;
use std::time::Duration;

use base::{EnvironmentId, Timestamp};
use jobs::{Ack, ClaimRequest, Claimed, Engine, JobStatus, QueueKey, QueueSettings, Scope};
use schedules::model::{CatchUp, Definition, ManagedBy, Overlap, Zones};
use schedules::ops::{Wanted, change};
use schedules::{Scheduler, Tools};
use serde_json::{Value, json};
use telemetry::Metrics;
use testkit::{Places, Store, slug};

use crate::harness::{Project, eventually};
use crate::moving::BARE;
use crate::stores::on_both_stores;

/// Schedules and queues over one store, as the server puts them together.
struct Bench {
    store: Store,
    engine: Engine,
    tools: Tools,
    queue: QueueKey,
    environment: EnvironmentId,
}

impl Bench {
    async fn new(store: Store) -> Bench {
        let engine = Engine::open(jobs::Deps {
            db: store.db.clone(),
            clock: store.shared_clock(),
            random: store.random.clone(),
            metrics: Metrics::new(),
            tenants: None,
            built_in: Vec::new(),
        });
        let engine = engine.await.expect("an engine");
        let environment = EnvironmentId::new(&store.clock, &*store.random);
        let queue = QueueKey { environment: Some(environment), name: slug("reports") };
        let system = store.system();
        let put = engine.put_queue(&system, &queue, QueueSettings::default());
        put.await.expect("a queue");
        let tools = Tools {
            db: store.db.clone(),
            random: store.random.clone(),
            zones: Zones::system(),
            enqueue: Arc::new(engine.clone()),
            built_in: &[],
        };
        Bench { store, engine, tools, queue, environment }
    }

    fn scheduler(&self) -> Scheduler {
        let (clock, metrics) = (self.store.shared_clock(), Metrics::new());
        let nobody = Places::of(&self.store);
        let deps = schedules::Deps { tools: self.tools.clone(), clock, tenants: nobody, metrics };
        schedules::scheduler(deps)
    }

    async fn put(&self, name: &str, change: impl FnOnce(&mut Definition)) {
        let mut definition = Definition::for_queue(slug("reports"));
        definition.every = Some("1m".parse().expect("a duration"));
        change(&mut definition);
        let wanted = Wanted {
            environment: Some(self.environment),
            name: slug(name),
            definition,
            tenant: None,
            by: ManagedBy::Api,
        };
        let (tools, system) = (self.tools.clone(), self.store.system());
        let write = self.store.db.write_system(&system, move |tx| change::put(tx, &tools, &wanted, |_| true));
        write.await.expect("a schedule");
    }

    async fn claim(&self) -> Vec<Claimed> {
        self.engine.tick().await.expect("a tick");
        let mut claim = ClaimRequest::one(self.queue.clone(), Scope::Environment(Some(self.environment)));
        (claim.limit, claim.wait, claim.lease) = (100, Duration::ZERO, Some(Duration::from_secs(600)));
        self.engine.claim(claim).await.expect("an answer")
    }

    async fn complete(&self, job: &Claimed) {
        let ack = Ack { id: job.id, fence: job.fence, result: None };
        let scope = Scope::Environment(Some(self.environment));
        let (answers, _) = self.engine.complete(scope, vec![ack], None).await.expect("an answer");
        assert!(matches!(answers[0], Ok(JobStatus::Completed)), "{answers:?}");
    }
}

#[tokio::test]
async fn firings_are_jobs_of_real_queues_and_overlap_is_judged_by_them() {
    testkit::stores(&[jobs::MIGRATIONS, schedules::MANIFEST.migrations], |store| async move {
        let bench = Bench::new(store).await;
        bench
            .put("all", |one| {
                one.payload = json!({"kind": "minute"});
                one.catch_up = CatchUp::All;
            })
            .await;
        bench.put("skip", |one| one.overlap = Overlap::Skip).await;
        bench.put("cancel", |one| one.overlap = Overlap::CancelPrevious).await;
        bench.put("wrong", |one| one.unique = Some("only-one".to_owned())).await;
        let mut scheduler = bench.scheduler();
        bench.store.clock.advance(Duration::from_secs(60));
        let passed = scheduler.fire_due().await.expect("the store").expect("the lease");
        assert_eq!((passed.fired, passed.skipped), (4, 0));
        let first = bench.claim().await;
        assert_eq!(first.len(), 4);
        let with = |jobs: &[Claimed], tag: &str| jobs.iter().any(|job| job.tags.iter().any(|one| one == tag));
        let due = bench.tools.now();
        assert!(with(&first, "schedule:all") && with(&first, &format!("due:{due}")), "{first:?}");
        bench.store.clock.advance(Duration::from_secs(60));
        let passed = scheduler.fire_due().await.expect("the store").expect("the lease");
        // `skip` and the unique one have a job that is not finished; that of `cancel` is told to stop.
        assert_eq!((passed.fired, passed.skipped), (2, 2));
        let second = bench.claim().await;
        assert_eq!(second.len(), 2);
        for job in first.iter().filter(|job| !job.tags.iter().any(|tag| tag == "schedule:cancel")) {
            bench.complete(job).await;
        }
        bench.store.clock.advance(Duration::from_secs(60));
        let passed = scheduler.fire_due().await.expect("the store").expect("the lease");
        assert_eq!((passed.fired, passed.skipped), (4, 0), "what is finished stands in nobody's way");
        assert_eq!(bench.tools.now(), Timestamp::parse("2026-01-01T00:03:00Z").expect("a time"));
    })
    .await;
}

fn file(more: &str) -> String {
    format!(
        "{BARE}[queues.reports]\n[schedules.beat]\nevery = \"1s\"\nqueue = \"reports\"\npayload = {{ kind = \"beat\" }}\n{more}"
    )
}

#[test]
fn schedules_of_the_project_file_make_jobs_and_are_seen_on_the_command_line() {
    on_both_stores(&file(""), |project| {
        project.up();
        eventually("jobs are there", || fired(project) >= 2);
        let claim = json!({"limit": 2, "lease": "30s", "wait": "5s"});
        let claimed = project.api("POST", "/api/v1/queues/reports/claim", &claim).json();
        let job = &claimed["data"][0];
        assert_eq!(job["payload"], json!({"kind": "beat"}));
        assert!(job["tags"].to_string().contains("schedule:beat"), "{job}");
        let list = project.ok(&["schedules", "list"]);
        assert!(list.contains("beat") && list.contains("every 1s") && list.contains("active"), "{list}");
        let shown = project.json(&["schedules", "show", "beat"]);
        assert_eq!(
            (shown["next"].as_array().map(Vec::len), &shown["managed_by"]),
            (Some(10), &json!("file"))
        );
        project.ok(&["schedules", "pause", "beat"]);
        let paused = fired(project);
        let daily = [
            "schedules",
            "set",
            "daily",
            "--cron",
            "30 2 * * *",
            "--timezone",
            "Europe/Berlin",
            "--queue",
            "reports",
        ];
        assert!(project.ok(&daily).contains("Europe/Berlin"));
        let made = project.json(&["schedules", "run", "daily"]);
        let job = project.api(
            "GET",
            &format!("/api/v1/jobs/{}", made["job"].as_str().unwrap_or_default()),
            &Value::Null,
        );
        assert_eq!((job.status, &job.json()["queue"]), (200, &json!("reports")), "{}", job.body);
        let next = project.ok(&["schedules", "next", "--cron", "0 9 * * MON"]);
        assert_eq!(next.lines().count(), 11, "{next}");
        assert!(project.ok(&["schedules", "history", "daily"]).contains("manual"));
        assert_eq!(fired(project), paused, "a paused schedule does not fire");
        project.ok(&["schedules", "resume", "beat"]);
        eventually("it goes on", || fired(project) > paused);
        project.ok(&["--yes", "schedules", "delete", "daily"]);
        assert!(!project.run(&["schedules", "show", "daily"]).status.success());
        assert!(
            !project.run(&["--yes", "schedules", "delete", "beat"]).status.success(),
            "the file manages it"
        );
    });
}

fn fired(project: &Project) -> u64 {
    project.json(&["schedules", "show", "beat"])["fired"].as_u64().expect("a number")
}

#[test]
fn the_nightly_clean_up_comes_along_and_can_be_run_by_hand() {
    on_both_stores(BARE, |project| {
        project.up();
        let own = "/api/v1/schedules/cleanup?built_in=true";
        eventually("it is made", || project.api("GET", own, &Value::Null).status == 200);
        let shown = project.api("GET", own, &Value::Null).json();
        assert_eq!((&shown["cron"], &shown["managed_by"]), (&json!("0 2 * * *"), &json!("built_in")));
        let ran = project.json(&["schedules", "run", "cleanup", "--built-in"]);
        let job = format!("/api/v1/jobs/{}", ran["job"].as_str().expect("an id"));
        eventually("it is done", || project.api("GET", &job, &Value::Null).json()["status"] == "completed");
        let done = project.api("GET", &job, &Value::Null).json();
        assert_eq!(done["result"], json!({"idempotency_replies": 0}), "{done}");
    });
}

#[test]
fn a_new_tenant_is_onboarded_and_the_projects_own_queue_is_told() {
    on_both_stores(&format!("{BARE}[queues.onboarding]\n"), |project| {
        project.up();
        project.make_tenant("acme", "free");
        let steps = || project.api("GET", "/api/v1/tenants/acme/onboarding", &Value::Null).json();
        eventually("all steps are done", || steps()["done"] == true);
        assert_eq!(steps()["steps"][2]["note"], json!("development"), "{}", steps());
        let claim = json!({"limit": 5, "lease": "30s", "wait": "5s"});
        let claimed = project.api("POST", "/api/v1/queues/onboarding/claim", &claim).json();
        assert_eq!(claimed["data"].as_array().map(Vec::len), Some(1), "{claimed}");
        assert_eq!(claimed["data"][0]["payload"]["slug"], "acme");
    });
}
