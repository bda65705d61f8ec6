//! Roles: what members and keys of a tenant may.

use crate::{Pattern, Permission, Verb};
use base::Slug;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Environments in which developers may change things.
const DEVELOPER_ENVIRONMENTS: [&str; 2] = ["development", "test"];

/// What is a person's own: password, second factor, sessions. Every role has it, or who can read alone could not leave.
const OWN: &str = "me";

/// What a member or a key of a tenant may. On the wire a built-in role is its name, a custom one the list of its
/// patterns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything within the tenant.
    Owner,
    /// Everything but owners, deletion of the tenant and billing.
    Admin,
    /// `read:*`, `write:*@development`, `write:*@test`.
    Developer,
    /// `read:*`.
    Viewer,
    /// Exactly what its patterns grant.
    Custom(Vec<Pattern>),
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role of owner, admin, developer or viewer, or a list of patterns, is expected")]
pub struct RoleError;

impl Role {
    /// The roles that every tenant has, most powerful first.
    pub const BUILT_IN: [Self; 4] = [Self::Owner, Self::Admin, Self::Developer, Self::Viewer];

    /// Whether the role grants this permission in this environment; `None` for what belongs to no environment. The
    /// permission's audience is judged by [`Caller::may`](crate::Caller::may), not here.
    pub fn allows(&self, permission: &Permission, environment: Option<&Slug>) -> bool {
        let in_development =
            || environment.is_some_and(|slug| DEVELOPER_ENVIRONMENTS.contains(&slug.as_str()));
        if permission.resource == OWN {
            return true;
        }
        match self {
            Self::Owner => true,
            Self::Admin => !kept_from_admins(permission),
            Self::Developer => match permission.verb {
                Verb::Read => true,
                Verb::Write => in_development() && !kept_from_admins(permission),
                Verb::Delete | Verb::Reveal => false,
            },
            Self::Viewer => permission.verb == Verb::Read,
            Self::Custom(patterns) => patterns.iter().any(|pattern| pattern.allows(permission, environment)),
        }
    }

    /// The environments in which this role grants what it does not grant everywhere, whether they exist yet or not.
    pub fn environments(&self) -> Vec<Slug> {
        match self {
            Self::Developer => {
                DEVELOPER_ENVIRONMENTS.iter().filter_map(|name| Slug::parse(name).ok()).collect()
            }
            Self::Custom(patterns) => patterns.iter().filter_map(Pattern::environment).cloned().collect(),
            Self::Owner | Self::Admin | Self::Viewer => Vec::new(),
        }
    }

    /// Whether everything that this role grants is granted by `other` too, so that who holds `other` may hand this one
    /// out. Judged for the given environment names, for those that the role names itself (who makes an environment later
    /// does not ask again), and for none.
    pub fn within(&self, other: &Self, environments: &[Slug]) -> bool {
        let own = self.environments();
        let places = || std::iter::once(None).chain(environments.iter().chain(&own).map(Some));
        crate::permissions::ALL.iter().all(|permission| {
            places().all(|env| !self.allows(permission, env) || other.allows(permission, env))
        })
    }

    /// Reads the name of a built-in role.
    pub fn parse(text: &str) -> Result<Self, RoleError> {
        match text {
            "owner" => Ok(Self::Owner),
            "admin" => Ok(Self::Admin),
            "developer" => Ok(Self::Developer),
            "viewer" => Ok(Self::Viewer),
            _ => Err(RoleError),
        }
    }
}

fn kept_from_admins(permission: &Permission) -> bool {
    match (permission.verb, permission.resource) {
        (Verb::Delete, "tenants") => true,
        (Verb::Write | Verb::Delete, "owners" | "billing") => true,
        (Verb::Read | Verb::Write | Verb::Delete | Verb::Reveal, _) => false,
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.pad("owner"),
            Self::Admin => f.pad("admin"),
            Self::Developer => f.pad("developer"),
            Self::Viewer => f.pad("viewer"),
            Self::Custom(patterns) => {
                let texts: Vec<String> = patterns.iter().map(Pattern::to_string).collect();
                f.pad(&texts.join(","))
            }
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Custom(patterns) => patterns.serialize(serializer),
            named @ (Self::Owner | Self::Admin | Self::Developer | Self::Viewer) => {
                serializer.collect_str(named)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Name(String),
            Patterns(Vec<String>),
        }
        match Wire::deserialize(deserializer)? {
            Wire::Name(name) => Self::parse(&name).map_err(D::Error::custom),
            Wire::Patterns(texts) if texts.len() > crate::PATTERNS_MAX => {
                Err(D::Error::custom("too many patterns"))
            }
            Wire::Patterns(texts) => {
                let patterns: Result<Vec<_>, _> = texts.iter().map(|text| Pattern::parse(text)).collect();
                patterns.map(Self::Custom).map_err(D::Error::custom)
            }
        }
    }
}

impl JsonSchema for Role {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Role".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pattern = generator.subschema_for::<Pattern>();
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": ["owner", "admin", "developer", "viewer"] },
                { "type": "array", "maxItems": crate::PATTERNS_MAX, "items": pattern },
            ],
        })
    }
}
