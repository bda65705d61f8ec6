//! Patterns of permissions, of which custom roles and the scopes of keys are made.

use crate::{Permission, Verb, permissions};
use base::Slug;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Patterns in one role or in the scopes of one key; more than there are permissions is a mistake.
pub const PATTERNS_MAX: usize = 64;

/// `verb:resource@environment`, such as `read:*`, `write:keys` or `write:*@test`. A star stands for all; without `@`
/// a pattern holds in every environment and for what belongs to none. `@environment` holds there alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    verb: Option<Verb>,
    resource: Option<&'static str>,
    environment: Option<Slug>,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not `verb:resource` or `verb:resource@environment`.
    #[error("a pattern such as read:*, write:keys or write:*@test is expected")]
    Form,
    /// A verb that does not exist.
    #[error("a verb of read, write, delete, reveal or * is expected before the colon")]
    Verb,
    /// A resource that no permission has.
    #[error("no such resource{}", nearest_hint(.nearest.as_deref()))]
    Resource {
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// An environment that cannot be one.
    #[error("the environment after `@` is not a name: {0}")]
    Environment(base::SlugError),
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl Pattern {
    /// Everything, everywhere.
    pub const fn all() -> Self {
        Self { verb: None, resource: None, environment: None }
    }

    /// Reads a pattern. A resource that does not exist is refused, since it would silently grant nothing.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (verb, rest) = text.split_once(':').ok_or(PatternError::Form)?;
        let (resource, environment) = match rest.split_once('@') {
            Some((resource, environment)) => (resource, Some(environment)),
            None => (rest, None),
        };
        let verb = match verb {
            "*" => None,
            word => Some(Verb::ALL.into_iter().find(|v| v.as_str() == word).ok_or(PatternError::Verb)?),
        };
        let environment = match environment {
            None | Some("*") => None,
            Some(name) => Some(Slug::parse(name).map_err(PatternError::Environment)?),
        };
        Ok(Self { verb, resource: resource_of(resource)?, environment })
    }

    /// The one environment in which it holds; `None` for one that holds everywhere.
    pub fn environment(&self) -> Option<&Slug> {
        self.environment.as_ref()
    }

    /// Whether it grants this permission in this environment; `None` for what belongs to no environment.
    pub fn allows(&self, permission: &Permission, environment: Option<&Slug>) -> bool {
        self.verb.is_none_or(|verb| verb == permission.verb)
            && self.resource.is_none_or(|resource| resource == permission.resource)
            && self.environment.as_ref().is_none_or(|own| environment == Some(own))
    }
}

fn resource_of(word: &str) -> Result<Option<&'static str>, PatternError> {
    let names = || permissions::ALL.iter().map(|permission| permission.resource);
    match word {
        "*" => Ok(None),
        "" => Err(PatternError::Form),
        _ => names().find(|name| *name == word).map(Some).ok_or_else(|| PatternError::Resource {
            nearest: base::nearest(word, names()).map(str::to_owned),
        }),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.verb.map_or("*", Verb::as_str), self.resource.unwrap_or("*"))?;
        match &self.environment {
            Some(environment) => write!(f, "@{environment}"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;
    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 200,
            "pattern": "^(read|write|delete|reveal|[*]):([a-z]+|[*])(@([a-z0-9-]+|[*]))?$",
            "examples": ["read:*", "write:jobs", "write:jobs@production"],
        })
    }
}
