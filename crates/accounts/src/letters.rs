//! Letters and the links in them. Links are made of the configured addresses alone, never of anything that a request
//! says (A14).

use std::sync::Arc;

use base::{Email, MemberId, ProjectId, SharedClock, SharedRandom, TenantId};
use db::{Error, SystemTx};
use ports::{EnvironmentDirectory, Invitations, Links, Mail, Mailer, TenantOf, TenantRows};

use crate::model::{LinkKind, MailId, Realm};
use crate::ops::Sources;
use crate::ops::links::{self, Bound};
use crate::store;

/// The environment whose console a project's people are led to, where it has one of that name.
const PREFERRED: &str = "production";

/// Keeps letters instead of sending them: for development, and until there is a way out. Operators read them
/// (`switchyard outbox`).
#[derive(Debug, Clone)]
pub struct Outbox {
    sources: Sources,
}

impl Outbox {
    /// An outbox in the store.
    #[must_use]
    pub fn new(clock: SharedClock, random: SharedRandom) -> Outbox {
        Outbox { sources: Sources { clock, random } }
    }
}

impl Mailer for Outbox {
    fn send(&self, tx: &mut SystemTx, mail: Mail) -> Result<(), Error> {
        let id = MailId::new(&*self.sources.clock, &*self.sources.random);
        store::outbox::insert(tx, id, &mail, self.sources.clock.now())
    }
}

/// What invitations need. To be made before identity, which asks for [`Invitations`].
#[derive(Clone)]
pub struct InviterDeps {
    /// Where times come from.
    pub clock: SharedClock,
    /// Where tokens come from.
    pub random: SharedRandom,
    /// Under which addresses people reach this installation.
    pub links: Arc<dyn Links>,
    /// Environments, to find a project's.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Which project a tenant is of.
    pub places: Arc<dyn TenantOf>,
    /// Sends letters.
    pub mailer: Arc<dyn Mailer>,
}

/// Writes invitations and all other letters.
#[derive(Clone)]
pub struct Inviter {
    sources: Sources,
    links: Arc<dyn Links>,
    environments: Arc<dyn EnvironmentDirectory>,
    places: Arc<dyn TenantOf>,
    mailer: Arc<dyn Mailer>,
}

impl Inviter {
    /// Ready to write.
    #[must_use]
    pub fn new(deps: InviterDeps) -> Inviter {
        let InviterDeps { clock, random, links, environments, places, mailer } = deps;
        Inviter { sources: Sources { clock, random }, links, environments, places, mailer }
    }

    /// Where the people of a realm find their pages; no slash at the end.
    pub(crate) fn home(&self, realm: Realm) -> String {
        let Realm::Project(project) = realm else { return self.links.operator() };
        self.console(project).unwrap_or_else(|| self.links.operator())
    }

    fn console(&self, project: ProjectId) -> Option<String> {
        let all = self.environments.shared();
        let mut own: Vec<_> = all.iter().filter(|one| one.project == project).collect();
        own.sort_by_key(|one| (one.slug.as_str() != PREFERRED, one.id));
        own.iter().find_map(|one| self.links.console(one.id))
    }

    /// Invites somebody to the team that runs the installation.
    pub(crate) fn invite_operator(
        &self,
        tx: &mut SystemTx,
        user: base::UserId,
        email: &Email,
    ) -> Result<(), Error> {
        let subject = user.to_string();
        let bound = Bound {
            kind: LinkKind::Operator,
            subject: &subject,
            realm: Realm::Operators,
            email: email.as_str(),
            tenant: None,
        };
        let token = links::replace(tx, &self.sources, &bound)?;
        let link = format!("{}/invitation?token={}", self.home(Realm::Operators), token.expose());
        let text = format!(
            "You are invited to the team that runs this Switchyard.\n\nOpen this link within 7 days and choose a \
             password:\n\n{link}\n\nIt works once. Who did not expect it can leave it alone.\n"
        );
        let subject = "You are invited to run a Switchyard".to_owned();
        self.mailer.send(tx, Mail { to: email.clone(), kind: "invitation", subject, text, tenant: None })
    }

    /// Leaves a link by which the person sets a new password.
    pub(crate) fn reset(&self, tx: &mut SystemTx, user: &crate::model::User) -> Result<(), Error> {
        let subject = user.id.to_string();
        let bound = Bound {
            kind: LinkKind::Reset,
            subject: &subject,
            realm: user.realm,
            email: user.email.as_str(),
            tenant: None,
        };
        let token = links::make(tx, &self.sources, &bound)?;
        let link = format!("{}/reset?token={}", self.home(user.realm), token.expose());
        let text = format!(
            "Somebody, hopefully you, asked for a new password for {}.\n\nOpen this link within an hour to choose \
             one:\n\n{link}\n\nIt works once, and ends all sessions. Who did not ask can leave it alone; nothing \
             changes then.\n",
            user.email
        );
        let subject = "Choose a new password".to_owned();
        let mail = Mail { to: user.email.clone(), kind: "password_reset", subject, text, tenant: None };
        self.mailer.send(tx, mail)
    }

    /// Tells a person that their password or second factor changed, in case it was not they.
    pub(crate) fn told_of_change(
        &self,
        tx: &mut SystemTx,
        user: &crate::model::User,
        what: &str,
    ) -> Result<(), Error> {
        let text = format!(
            "{what} of your account {} at {} changed just now.\n\nIf that was not you, ask for a new password at once.\n",
            user.email,
            self.home(user.realm)
        );
        let subject = format!("{what} changed");
        self.mailer
            .send(tx, Mail { to: user.email.clone(), kind: "account_changed", subject, text, tenant: None })
    }
}

impl Invitations for Inviter {
    fn invite(
        &self,
        tx: &mut SystemTx,
        tenant: TenantId,
        member: MemberId,
        email: &Email,
    ) -> Result<(), Error> {
        let Some(place) = self.places.tenant_of(tx, tenant)? else { return Ok(()) };
        let realm = Realm::Project(place.project);
        let subject = member.to_string();
        let bound = Bound {
            kind: LinkKind::Invitation,
            subject: &subject,
            realm,
            email: email.as_str(),
            tenant: Some(tenant),
        };
        let token = links::replace(tx, &self.sources, &bound)?;
        let link = format!("{}/invitation?token={}", self.home(realm), token.expose());
        let text = format!(
            "You are invited to {slug}.\n\nOpen this link within 7 days to accept:\n\n{link}\n\nIt works once. Who did \
             not expect it can leave it alone.\n",
            slug = place.slug
        );
        let subject = format!("You are invited to {}", place.slug);
        let mail = Mail { to: email.clone(), kind: "invitation", subject, text, tenant: Some(tenant) };
        self.mailer.send(tx, mail)
    }

    fn withdraw(&self, tx: &mut SystemTx, _: TenantId, member: MemberId) -> Result<(), Error> {
        store::links::delete_of(tx, LinkKind::Invitation, &member.to_string())?;
        Ok(())
    }
}

/// What goes with a tenant: its invitations, and the letters in its name.
#[derive(Debug, Clone, Copy)]
pub struct Rows;

impl TenantRows for Rows {
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
        store::links::delete_of_tenant(tx, tenant)?;
        store::impersonations::delete_of_tenant(tx, tenant)?;
        store::outbox::delete_of_tenant(tx, tenant)
    }
}
