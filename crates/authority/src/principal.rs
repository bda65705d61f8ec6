//! Who acts, and from where.

use base::{IssuerId, KeyId, RequestId, ServiceId, UserId};
use std::fmt;
use std::net::IpAddr;

/// What sort of actor a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The team that runs the installation, by its operator key.
    Operator,
    /// A person.
    User(UserId),
    /// A person of an issuer that the project trusts; the name is `<issuer>|<subject>`.
    External(IssuerId),
    /// An API key of a tenant.
    ApiKey(KeyId),
    /// A service of the app.
    Service(ServiceId),
    /// Switchyard itself.
    System,
    /// Nobody who is known.
    Nobody,
}

/// Whoever acts. `Display` gives the form that events record, such as `key:key_01h… (ci)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// What sort of actor.
    pub kind: PrincipalKind,
    /// A name for people; for the system, the reason. May be empty. Not an identifier.
    pub name: String,
}

impl Principal {
    /// A principal with its name for people.
    pub fn new(kind: PrincipalKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// Who is not known.
    pub fn nobody() -> Self {
        Self::new(PrincipalKind::Nobody, "")
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PrincipalKind::Operator => f.write_str("operator")?,
            PrincipalKind::User(id) => write!(f, "user:{id}")?,
            PrincipalKind::External(id) => write!(f, "external:{id}")?,
            PrincipalKind::ApiKey(id) => write!(f, "key:{id}")?,
            PrincipalKind::Service(id) => write!(f, "service:{id}")?,
            PrincipalKind::System => f.write_str("system")?,
            PrincipalKind::Nobody => f.write_str("nobody")?,
        }
        if self.name.is_empty() { Ok(()) } else { write!(f, " ({})", self.name) }
    }
}

/// Where an action came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The client's address; `None` for what Switchyard does by itself.
    pub ip: Option<IpAddr>,
    /// The `User-Agent`, cut by whoever read it.
    pub agent: Option<String>,
    /// The request that caused it.
    pub request: Option<RequestId>,
}
