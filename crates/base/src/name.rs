//! Names: slugs, host names, addresses of mail.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::{Borrow, Cow};
use std::fmt;

/// Slugs that no tenant may take: the gateway answers for them itself.
pub const RESERVED_SLUGS: &[&str] = &["admin", "api", "console", "status", "www"];

/// Bytes of the longest label and of the longest name in DNS (RFC 1035, 2.3.4; the name without its final dot).
const LABEL_BYTES_MAX: usize = 63;
const HOST_BYTES_MAX: usize = 253;

/// Bytes of the longest mail address and of the part before its `@` (RFC 5321, 4.5.3.1, less the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;
const EMAIL_LOCAL_BYTES_MAX: usize = 64;

/// A name that is also a DNS label: 1 to 63 of `a-z`, `0-9` and `-`, neither first nor last a dash. Used for tenants,
/// services, plans, projects and environments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

/// Why a text is not a slug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// Empty, or above 63 characters.
    #[error("1 to 63 characters are expected")]
    Length,
    /// A character outside the allowed ones, or a dash at an end.
    #[error("lower-case letters, digits and dashes are expected, with no dash first or last")]
    Characters,
    /// `xn--…` would show as other letters in a browser, and so could pass for another tenant (RFC 5891, 4.2.3.1).
    #[error("a name with dashes as its third and fourth characters is not allowed")]
    Encoded,
}

impl Slug {
    /// Reads a slug; nothing is changed on the way, so that `Acme` is refused rather than made `acme`.
    pub fn parse(text: &str) -> Result<Self, SlugError> {
        if text.is_empty() || text.len() > LABEL_BYTES_MAX {
            return Err(SlugError::Length);
        }
        if !is_label(text) {
            return Err(SlugError::Characters);
        }
        if text.as_bytes().get(2..4) == Some(b"--") {
            return Err(SlugError::Encoded);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether tenants may not take it; see [`RESERVED_SLUGS`].
    pub fn is_reserved(&self) -> bool {
        RESERVED_SLUGS.contains(&self.0.as_str())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    !bytes.is_empty()
        && bytes.len() <= LABEL_BYTES_MAX
        && bytes.iter().all(allowed)
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// A DNS name: lower case, no port, no final dot, no address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// Why a text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Empty, or above 253 characters.
    #[error("1 to 253 characters are expected")]
    Length,
    /// A label that is not 1 to 63 of letters, digits and inner dashes.
    #[error("labels of letters, digits and inner dashes, joined by dots, are expected (no scheme, no port)")]
    Label,
    /// An IP address; names only.
    #[error("a name is expected, not an address")]
    Address,
    /// Letters beyond ASCII: which name of DNS they stand for is for whoever owns it to say (RFC 5890, 2.3.2.1).
    #[error("a name with letters beyond a to z is expected as DNS has it, each such label in its form xn--…")]
    International,
}

impl HostName {
    /// Reads a name. Upper case becomes lower, and one final dot is dropped: DNS knows no difference. International names are
    /// taken as DNS and every client's `Host` have them (`xn--…`), and refused as people read them: a text of look-alikes would
    /// not be the name that somebody sees.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > HOST_BYTES_MAX {
            return Err(HostError::Length);
        }
        if text.chars().any(|c| !c.is_ascii() && c.is_alphanumeric()) {
            return Err(HostError::International);
        }
        let lower = text.to_ascii_lowercase();
        if !lower.split('.').all(is_label) {
            return Err(HostError::Label);
        }
        // A last label of digits alone is how addresses look, also those with fewer than four parts (RFC 1123, 2.1).
        let last = lower.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HostError::Address);
        }
        Ok(Self(lower))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before `.{base}`, when this name lies under `base`: `acme` of `acme.localhost` under `localhost`.
    pub fn under(&self, base: &Self) -> Option<&str> {
        self.0.strip_suffix(base.as_str())?.strip_suffix('.')
    }
}

/// An address of mail, as far as it can be told without sending: one `@`, a plain local part, a host name. The domain
/// is lower case; the local part is kept as given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// Why a text is not an address of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mail address such as ada@example.com is expected")]
pub struct EmailError;

impl Email {
    /// Reads an address. Quoted local parts, comments and address literals (RFC 5322) are not taken: no one has one.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError)?;
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b);
        let plain = !local.is_empty()
            && local.len() <= EMAIL_LOCAL_BYTES_MAX
            && local.bytes().all(atom)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let domain = HostName::parse(domain).map_err(|_| EmailError)?;
        let address = format!("{local}@{domain}");
        if plain && address.len() <= EMAIL_BYTES_MAX { Ok(Self(address)) } else { Err(EmailError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What uniqueness is judged by: all lower case, since no mail host in use tells `Ada` from `ada`.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// What a meter is called: 1 to 63 of `a-z`, `0-9`, `_` and `-`, a letter first, such as `agent_minutes`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterName(String);

/// Why a text is not the name of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to 63 lower-case letters, digits, `_` and `-` are expected, a letter first")]
pub struct MeterNameError;

impl MeterName {
    /// Reads a name; nothing is changed on the way.
    pub fn parse(text: &str) -> Result<Self, MeterNameError> {
        let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        let bytes = text.as_bytes();
        let letter_first = bytes.first().is_some_and(u8::is_ascii_lowercase);
        let fits = bytes.len() <= LABEL_BYTES_MAX && bytes.iter().all(allowed);
        if letter_first && fits { Ok(Self(text.to_owned())) } else { Err(MeterNameError) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `Display`, `Debug`, `AsRef`, `Borrow`, `FromStr`, serde and the schema of a checked text.
macro_rules! checked_text {
    ($type:ident, $error:ident, $schema:tt) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl std::str::FromStr for $type {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

checked_text!(Slug, SlugError, {
    "type": "string",
    "format": "slug",
    "maxLength": LABEL_BYTES_MAX,
    "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
});
checked_text!(HostName, HostError, { "type": "string", "format": "host", "maxLength": HOST_BYTES_MAX });
checked_text!(Email, EmailError, { "type": "string", "format": "email", "maxLength": EMAIL_BYTES_MAX });
checked_text!(MeterName, MeterNameError, {
    "type": "string",
    "maxLength": LABEL_BYTES_MAX,
    "pattern": "^[a-z][a-z0-9_-]*$"
});
