//! Pure rules of people and sessions: passwords, codes, tokens, links, and how fast somebody may try.

pub(crate) mod code;
pub(crate) mod password;
pub(crate) mod throttle;
pub(crate) mod token;

use std::time::Duration;

use authority::Role;
use base::{Email, EnvironmentId, ProjectId, SessionId, TenantId, Timestamp, UserId};

/// How long an access token is good: within it, only a revocation takes it back.
pub const ACCESS_LIFE: Duration = Duration::from_mins(15);
/// How long a session without a refresh token is good: a browser that stays open for a day.
pub const SESSION_LIFE: Duration = Duration::from_hours(24);
/// How long a session can be refreshed after its person signed in. Then the person signs in anew.
pub const REFRESH_LIFE: Duration = Duration::from_hours(30 * 24);
/// How long the link of a password reset is good: long enough for a slow mail.
pub const RESET_LIFE: Duration = Duration::from_hours(1);
/// How long an invitation is good: a week's holiday is too short to be a reason.
pub const INVITATION_LIFE: Duration = Duration::from_hours(7 * 24);
/// How long the first owner's link is good; the next start makes another one.
pub const SETUP_LIFE: Duration = Duration::from_hours(24);
/// No second letter for a reset goes to an address within this time, so that nobody's mailbox is filled.
pub const RESET_PAUSE: Duration = Duration::from_mins(5);
/// Longest time for which an operator acts as a tenant without giving a reason again.
pub const IMPERSONATION_MAX: Duration = Duration::from_hours(1);
/// Shortest and longest reason, in characters.
pub const REASON_CHARS: std::ops::RangeInclusive<usize> = 5..=500;
/// Longest name of a person, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// Sessions that a person may have; the oldest ends when there is one more.
pub const SESSIONS_MAX: u32 = 100;
/// Letters that the outbox keeps; older ones are removed.
pub const OUTBOX_MAX: u32 = 1_000;
/// What is kept of a client's self-description, in characters.
pub const AGENT_CHARS_MAX: usize = 256;

/// Where an address is unique: in a project, or among the people who run the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Realm {
    /// The team that runs the installation.
    Operators,
    /// The people of a project's tenants.
    Project(ProjectId),
}

impl Realm {
    /// As it is stored.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Operators => "operators".to_owned(),
            Self::Project(project) => project.to_string(),
        }
    }

    /// Reads the stored form.
    #[must_use]
    pub fn parse(word: &str) -> Option<Realm> {
        match word {
            "operators" => Some(Self::Operators),
            _ => ProjectId::parse(word).ok().map(Self::Project),
        }
    }

    /// The project; `None` for operators.
    #[must_use]
    pub fn project(self) -> Option<ProjectId> {
        match self {
            Self::Operators => None,
            Self::Project(project) => Some(project),
        }
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Where the address is unique.
    pub realm: Realm,
    /// The address, verified.
    pub email: Email,
    /// What people call them; may be empty.
    pub name: String,
    /// Of operators: what they may. Others have roles by their memberships.
    pub role: Option<Role>,
    /// The password's hash in PHC form; `None` for who signs in by an external issuer alone.
    pub password: Option<String>,
    /// The second factor.
    pub factor: Factor,
    /// Since when the person cannot sign in; `None` for who can.
    pub disabled_at: Option<Timestamp>,
    /// +1 a change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A person's second factor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Factor {
    /// The secret, sealed; there may be one that is not confirmed yet.
    pub sealed: Option<Vec<u8>>,
    /// Since when it is asked for; `None` for never.
    pub since: Option<Timestamp>,
    /// The last time step of which a code was used (A17).
    pub step: i64,
}

/// A sign-in that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// How the person proved who they are: `password`, `password+code`, or `issuer:<name>`.
    pub how: String,
    /// From where.
    pub ip: Option<String>,
    /// With what.
    pub agent: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub used_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The one environment in which it holds; `None` for every one of the person's project.
    pub environment: Option<EnvironmentId>,
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// Makes the first owner of the installation.
    Setup,
    /// Accepts a membership.
    Invitation,
    /// Joins the team that runs the installation.
    Operator,
    /// Sets a new password.
    Reset,
}

impl LinkKind {
    /// As it is stored.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Invitation => "invitation",
            Self::Operator => "operator",
            Self::Reset => "reset",
        }
    }

    /// Reads the stored form.
    #[must_use]
    pub fn parse(word: &str) -> Option<LinkKind> {
        [Self::Setup, Self::Invitation, Self::Operator, Self::Reset].into_iter().find(|k| k.word() == word)
    }

    /// How long such a link is good.
    #[must_use]
    pub fn life(self) -> Duration {
        match self {
            Self::Setup => SETUP_LIFE,
            Self::Invitation | Self::Operator => INVITATION_LIFE,
            Self::Reset => RESET_LIFE,
        }
    }
}

/// A single-use link, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is for.
    pub kind: LinkKind,
    /// The membership or user that it is bound to; `first` for the first owner's.
    pub subject: String,
    /// Whose address it is.
    pub realm: Realm,
    /// The address that it was sent to; empty for the first owner's.
    pub email: String,
    /// The tenant of an invitation.
    pub tenant: Option<TenantId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Who a person is at an external issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: IdentityId,
    /// The person.
    pub user: UserId,
    /// The issuer's address (`iss`); of one that a single environment trusts, a space and the environment's id besides, so
    /// that no environment's issuer speaks for another's.
    pub issuer: String,
    /// The issuer's word for the person (`sub`).
    pub subject: String,
    /// The issuer's name, as it was when the link was made.
    pub name: String,
    /// The address that it last named as the person's.
    pub email: Option<String>,
    /// When the link was made.
    pub created_at: Timestamp,
    /// When the person last came by it.
    pub used_at: Timestamp,
}

impl Identity {
    /// What an issuer is kept as.
    #[must_use]
    pub fn issuer_of(url: &str, environment: Option<EnvironmentId>) -> String {
        environment.map_or_else(|| url.to_owned(), |environment| format!("{url} {environment}"))
    }

    /// The issuer's address alone.
    #[must_use]
    pub fn url(&self) -> &str {
        self.issuer.split_once(' ').map_or(&self.issuer, |(url, _)| url)
    }
}

base::define_id!(/// Who a person is at an external issuer.
    IdentityId, IdentityKind, "idn");
base::define_id!(/// A letter in the outbox.
    MailId, MailKind, "mail");
