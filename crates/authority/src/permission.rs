//! A right, and whom it can be given to.

use std::fmt;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Seeing it, but for secret values.
    Read,
    /// Making and changing it.
    Write,
    /// Removing it for good.
    Delete,
    /// Seeing its secret value.
    Reveal,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Reveal];

    /// The word in patterns and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Reveal => "reveal",
        }
    }
}

/// Whom a permission can be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Operators alone: it concerns the installation, or several tenants.
    Operator,
    /// Members and keys of a tenant too, each within its tenant.
    Tenant,
}

/// One right of the table in [`permissions`](crate::permissions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permission {
    /// What is done.
    pub verb: Verb,
    /// To what; plural, lower case.
    pub resource: &'static str,
    /// Whom it can be given to.
    pub audience: Audience,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.verb.as_str(), self.resource)
    }
}
