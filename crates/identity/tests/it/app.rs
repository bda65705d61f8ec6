//! What the tests of this crate serve: identity over stand-ins for tenants and environments.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use authority::Role;
use base::{DeploymentId, Email, EnvironmentId, MemberId, ProjectId, ServiceId, Slug, TenantId};
use db::SystemTx;
use identity::{Deps, KeyUses, Revocations, Signer, Tokens};
use ports::{Invitations, ServiceIdentities, ServiceIdentity, TenantStatus};
use testkit::{Client, Parts, Places, Store, TestApp};

/// Deployments that a test makes up, and what became of letters.
#[derive(Default)]
pub(crate) struct World {
    deployments: Mutex<Vec<(DeploymentId, ServiceIdentity)>>,
    asked: AtomicUsize,
    letters: Mutex<Vec<(MemberId, Option<String>)>>,
}

impl World {
    /// A deployment of a service `worker` of this environment.
    pub(crate) fn deploy(&self, deployment: DeploymentId, id: ServiceId, environment: EnvironmentId) {
        let name = Slug::parse("worker").unwrap();
        self.deployments.lock().unwrap().push((deployment, ServiceIdentity { id, name, environment }));
    }

    /// All services are removed.
    pub(crate) fn remove_services(&self) {
        self.deployments.lock().unwrap().clear();
    }

    /// Who was invited by mail, and whose invitation was withdrawn (`None`).
    pub(crate) fn letters(&self) -> Vec<Option<String>> {
        self.letters.lock().unwrap().iter().map(|(_, email)| email.clone()).collect()
    }

    /// How often the store was asked for a deployment.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ServiceIdentities for World {
    fn of_deployment(
        &self,
        _: &mut SystemTx,
        deployment: DeploymentId,
    ) -> Result<Option<ServiceIdentity>, db::Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let all = self.deployments.lock().unwrap();
        Ok(all.iter().find(|(id, _)| *id == deployment).map(|(_, service)| service.clone()))
    }
}

impl Invitations for World {
    fn invite(
        &self,
        _: &mut SystemTx,
        _: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<(), db::Error> {
        self.letters.lock().unwrap().push((member, Some(email.to_string())));
        Ok(())
    }

    fn withdraw(&self, _: &mut SystemTx, _: TenantId, member: MemberId) -> Result<(), db::Error> {
        self.letters.lock().unwrap().push((member, None));
        Ok(())
    }
}

/// An app with its stand-ins: tenants `acme` and `globex`, `elsewhere` of another project, environments `development` and `production`.
pub(crate) struct App {
    pub(crate) app: TestApp,
    pub(crate) places: Arc<Places>,
    pub(crate) world: Arc<World>,
    pub(crate) uses: Arc<KeyUses>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) acme: TenantId,
    pub(crate) globex: TenantId,
    pub(crate) elsewhere: TenantId,
    pub(crate) development: EnvironmentId,
    pub(crate) production: EnvironmentId,
}

/// Runs a test on both stores.
pub(crate) async fn apps<F, T>(test: F)
where
    F: Fn(App) -> T,
    T: Future<Output = ()>,
{
    testkit::apps_with(
        &[identity::MANIFEST.migrations],
        |store: Store| async move {
            let (places, world) = (Places::of(&store), Arc::<World>::default());
            let signer = Signer::load(&store.db, store.shared_clock(), &store.random).await.unwrap();
            let revocations = Revocations::load(&store.db, store.shared_clock()).await.unwrap();
            let identity::Identity { module, authenticator, uses, tokens, .. } = identity::build(Deps {
                db: store.db.clone(),
                clock: store.shared_clock(),
                random: store.random.clone(),
                tenants: places.clone(),
                environments: places.clone(),
                services: world.clone(),
                signer: signer.clone(),
                revocations: revocations.clone(),
                places: places.clone(),
                invitations: Some(world.clone()),
                external: None,
            });
            let parts = Parts { authenticate: Some(authenticator), ..Parts::of(module).among(&places) };
            (parts, (places, world, uses, signer, revocations, tokens))
        },
        |app: TestApp, (places, world, uses, signer, revocations, tokens)| {
            test(App {
                app,
                world,
                uses,
                signer,
                revocations,
                tokens,
                acme: places.tenant("acme"),
                globex: places.tenant("globex"),
                elsewhere: places.foreign("elsewhere"),
                development: places.named("development"),
                production: places.named("production"),
                places,
            })
        },
    )
    .await;
}

impl App {
    /// A member of acme with a role, in all environments.
    pub(crate) fn member(&self, role: Role) -> Client {
        self.app.member(self.acme, role)
    }

    /// Whoever sends this key.
    pub(crate) fn with_key(&self, key: &str) -> Client {
        // A client of the test that is nobody, but sends a credential of its own.
        self.app.nobody().with("x-test-caller", "nobody").with("authorization", &format!("Bearer {key}"))
    }

    /// The project of the third tenant.
    pub(crate) fn other_project(&self) -> ProjectId {
        self.places.terms(self.elsewhere).unwrap().project
    }

    /// A tenant's status is another from now on.
    pub(crate) fn set_status(&self, tenant: TenantId, status: TenantStatus) {
        self.places.change(tenant, |terms| terms.status = status);
    }
}
