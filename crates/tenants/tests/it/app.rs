//! What the tests of this crate serve: tenants over stand-ins for the capabilities that they ask.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base::{EnvironmentId, JobId, ProjectId, Slug, TenantId};
use config::SectionSchema;
use db::SystemTx;
use ports::{
    ApplyError, Change, Enqueue, EnqueueError, EnvironmentDirectory, JobHandler, NewJob, PlanLookup,
    QueueRef, SectionApply, TenantRows,
};
use serde_json::{Value, json};
use tenants::{Deps, Environments};
pub(crate) use testkit::slug;
use testkit::{Answer, Client, Parts, Store, TestApp};

use crate::zone::Zone;

/// A project file with nothing but what must be there.
pub(crate) const FILE: &str = "schema = 1\n[project]\nname = \"agents\"\n";

/// Plans that exist: the four defaults, and `team`.
pub(crate) struct Plans;

impl PlanLookup for Plans {
    fn exists(&self, _: &mut SystemTx, _: ProjectId, plan: &Slug) -> Result<bool, db::Error> {
        Ok(["free", "starter", "pro", "enterprise", "team"].contains(&plan.as_str()))
    }
}

/// Queues that keep what they are given; a test may have them fail.
#[derive(Default)]
pub(crate) struct Queues {
    /// Queue, payload and key of each job. A transaction that is undone leaves its jobs here.
    pub(crate) jobs: Mutex<Vec<(QueueRef, Value, Option<String>)>>,
    /// Environments with a queue `onboarding` of their own.
    pub(crate) own: Mutex<BTreeSet<EnvironmentId>>,
    /// Whether jobs for environments are refused.
    pub(crate) full: AtomicBool,
}

impl Queues {
    pub(crate) fn of(&self, queue: &QueueRef) -> Vec<Value> {
        let jobs = self.jobs.lock().unwrap();
        jobs.iter().filter(|(known, ..)| known == queue).map(|(_, payload, _)| payload.clone()).collect()
    }
}

impl Enqueue for Queues {
    fn enqueue(&self, _: &mut SystemTx<'_>, job: NewJob) -> Result<JobId, EnqueueError> {
        if self.full.load(Ordering::SeqCst) && matches!(job.queue, QueueRef::Of(..)) {
            return Err(EnqueueError::Full { queue: "onboarding".to_owned() });
        }
        let mut jobs = self.jobs.lock().unwrap();
        jobs.push((job.queue, job.payload, job.unique));
        Ok(JobId::from_uuid_bytes([u8::try_from(jobs.len()).unwrap_or(0); 16]))
    }

    fn is_finished(&self, _: &mut SystemTx<'_>, _: JobId) -> Result<bool, db::Error> {
        Ok(true)
    }

    fn cancel(&self, _: &mut SystemTx<'_>, _: JobId) -> Result<bool, db::Error> {
        Ok(false)
    }

    fn queue_exists(&self, _: &mut SystemTx<'_>, queue: &QueueRef) -> Result<bool, db::Error> {
        Ok(match queue {
            QueueRef::BuiltIn(_) => true,
            QueueRef::Of(environment, _) => self.own.lock().unwrap().contains(environment),
        })
    }
}

/// Remembers whose rows were to be removed, and has as many as a test says.
#[derive(Default, Clone)]
pub(crate) struct Rows {
    removed: Arc<Mutex<Vec<TenantId>>>,
    many: Arc<Mutex<u64>>,
    /// Of whom parts were to be removed.
    parts_of: Arc<Mutex<BTreeSet<TenantId>>>,
    /// After so many parts the store is gone, once.
    breaks_after: Arc<Mutex<Option<u32>>>,
}

impl Rows {
    pub(crate) fn removed(&self) -> Vec<TenantId> {
        self.removed.lock().unwrap().clone()
    }

    /// How many of those are left.
    pub(crate) fn left(&self) -> u64 {
        *self.many.lock().unwrap()
    }

    /// Of whom parts were to be removed.
    pub(crate) fn parts_of(&self) -> Vec<TenantId> {
        self.parts_of.lock().unwrap().iter().copied().collect()
    }

    /// After so many parts the store is gone, once.
    pub(crate) fn break_after(&self, parts: u32) {
        *self.breaks_after.lock().unwrap() = Some(parts);
    }

    /// So many rows that go a part at a time.
    pub(crate) fn have(&self, many: u64) {
        *self.many.lock().unwrap() = many;
    }
}

impl TenantRows for Rows {
    fn remove(&self, _: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error> {
        assert_eq!(*self.many.lock().unwrap(), 0, "what is many goes first");
        self.removed.lock().unwrap().push(tenant);
        Ok(())
    }

    fn remove_part(&self, _: &mut SystemTx, tenant: TenantId, limit: u32) -> Result<u64, db::Error> {
        let mut breaks_after = self.breaks_after.lock().unwrap();
        match *breaks_after {
            Some(0) => {
                *breaks_after = None;
                return Err(db::Error::Unavailable("the power is cut".to_owned()));
            }
            Some(parts) => *breaks_after = Some(parts - 1),
            None => {}
        }
        self.parts_of.lock().unwrap().insert(tenant);
        let mut many = self.many.lock().unwrap();
        let part = (*many).min(u64::from(limit));
        *many -= part;
        Ok(part)
    }
}

/// Another capability's section, `widgets`: a table of names. One called `broken` is refused.
pub(crate) struct Widgets(pub(crate) Arc<Mutex<BTreeSet<String>>>);

pub(crate) const WIDGETS: SectionSchema = SectionSchema {
    key: "widgets",
    schema: || json!({"type": "object", "additionalProperties": {"type": "integer"}}),
    check: |_, _| Vec::new(),
};

impl SectionApply for Widgets {
    fn key(&self) -> &'static str {
        "widgets"
    }

    fn apply(
        &self,
        _: &mut SystemTx,
        _: EnvironmentId,
        section: Option<&Value>,
        prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let names: BTreeSet<String> =
            section.and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned()).collect();
        if names.contains("broken") {
            let fault = shape::Fault::new("/widgets/broken", "1", "no widget that is broken");
            return Err(ApplyError::Invalid(vec![fault]));
        }
        let mut seen = self.0.lock().unwrap();
        if !prune && seen.iter().any(|name| !names.contains(name)) {
            return Err(ApplyError::HoldsData(seen.difference(&names).cloned().collect()));
        }
        *seen = names;
        Ok(Vec::new())
    }
}

/// An app with its stand-ins.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) environments: Arc<Environments>,
    pub(crate) rows: Rows,
    pub(crate) queues: Arc<Queues>,
    pub(crate) handlers: Vec<Arc<dyn JobHandler>>,
    /// What the name server has.
    pub(crate) zone: Zone,
    /// The looks that are made without being asked for.
    pub(crate) proofs: tenants::Proofs,
}

/// Runs a test on both stores. The environment `development` of the project `agents` is there.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    empty_apps(|app| async {
        apply(&app.app.operator(), "development", FILE).await.ok(200);
        test(app).await;
    })
    .await;
}

/// Runs a test on both stores, without any project.
pub(crate) async fn empty_apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[tenants::MANIFEST.migrations],
        |store: Store| async move {
            let rows = Rows::default();
            let development = slug("development");
            let environments = Environments::load(store.db.clone(), development).await.unwrap();
            let queues = Arc::<Queues>::default();
            let clock = store.shared_clock();
            let mut sections = tenants::own_sections(&clock);
            sections.push(Arc::new(Widgets(Arc::default())));
            let mut schemas = tenants::SECTIONS.to_vec();
            schemas.push(WIDGETS);
            let zone = Zone::serve().await;
            let dns = outbound::Dns::of(vec![zone.addr], store.random.clone());
            let proofs =
                tenants::Proofs::new(store.db.clone(), clock.clone(), store.random.clone(), dns.clone());
            let module = tenants::build(Deps {
                db: store.db.clone(),
                clock,
                random: store.random.clone(),
                environments: Arc::clone(&environments),
                plans: Arc::new(Plans),
                enqueue: Arc::clone(&queues) as _,
                rows: vec![Arc::new(rows.clone())],
                dns,
                health: Vec::new(),
                sections,
                schemas,
            });
            let handlers = module.handlers.clone();
            let served: Arc<dyn EnvironmentDirectory> = environments.clone();
            let parts = Parts { environments: Some(served), ..Parts::of(module) };
            (parts, (environments, rows, queues, handlers, zone, proofs))
        },
        |app: TestApp, (environments, rows, queues, handlers, zone, proofs)| {
            test(App { app, environments, rows, queues, handlers, zone, proofs })
        },
    )
    .await;
}

pub(crate) async fn apply(client: &Client, environment: &str, text: &str) -> Answer {
    client.put(&format!("/api/v1/environments/{environment}/configuration"), json!({ "text": text })).await
}

pub(crate) fn tenant(slug: &str) -> Value {
    json!({"slug": slug, "name": slug, "email": format!("{slug}@example.com")})
}

/// Makes a tenant; its id.
pub(crate) async fn create(client: &Client, slug: &str) -> TenantId {
    let made = client.post("/api/v1/tenants", tenant(slug)).await.ok(201);
    TenantId::parse(made["id"].as_str().unwrap()).unwrap()
}

impl App {
    /// The kinds of the events about a subject, in order.
    pub(crate) async fn kinds(&self, count: i64, subject: &str) -> Vec<String> {
        let events = self.app.events(count).await;
        events.into_iter().filter(|event| event.subject == subject).map(|event| event.kind).collect()
    }
}
