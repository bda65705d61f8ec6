//! TypeIDs (<https://github.com/jetify-com/typeid>, specification 0.3): a prefix of three letters, an underscore and a
//! UUIDv7 (RFC 9562, 5.7) in 26 lower-case Crockford characters.

use crate::{Clock, Random};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of an identifier after its prefix and underscore.
const BODY_CHARS: usize = 26;

/// What tells one sort of identifier from another. Implemented by [`define_id!`](crate::define_id) alone.
pub trait Kind: Send + Sync + 'static {
    /// The letters before the underscore, such as `ten`.
    const PREFIX: &'static str;
    /// The name of the alias, such as `TenantId`, for `Debug` and for the schema.
    const NAME: &'static str;
}

/// An identifier of one [`Kind`]; used by its aliases, such as [`TenantId`]. 16 bytes, ordered by time of creation.
pub struct TypeId<K: Kind>([u8; 16], PhantomData<fn() -> K>);

/// What all identifiers can do, for code that is generic over them.
pub trait Id: Copy + Eq + Ord + Hash + fmt::Display + fmt::Debug + Send + Sync + 'static {
    /// The letters before the underscore.
    const PREFIX: &'static str;
    /// Reads the canonical text, and nothing else.
    fn parse(text: &str) -> Result<Self, IdError>;
    /// The UUID's bytes, most significant first.
    fn as_bytes(&self) -> &[u8; 16];
    /// An identifier of these bytes; the caller vouches that they came from [`Id::as_bytes`].
    fn from_uuid_bytes(bytes: [u8; 16]) -> Self;
}

/// Why a text is not an identifier of the wanted kind. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Another prefix, or none.
    #[error("an identifier that starts with `{0}_` is expected")]
    Prefix(&'static str),
    /// Not 26 characters after the underscore, or one outside Crockford's lower-case alphabet, or above 128 bits.
    #[error(
        "`{0}_` is to be followed by 26 characters of 0-9 and a-z without i, l, o and u, the first at most 7"
    )]
    Body(&'static str),
}

impl<K: Kind> TypeId<K> {
    /// The letters before the underscore.
    pub const PREFIX: &'static str = K::PREFIX;

    /// A new identifier of this instant. Identifiers made in one process sort by the clock's microsecond (RFC 9562,
    /// 6.2, method 3: the 12 bits after the version hold the rest of the millisecond); 62 bits are random.
    pub fn new(clock: &dyn Clock, random: &dyn Random) -> Self {
        let micros = u64::try_from(clock.now().micros()).unwrap_or(0);
        let (millis, rest) = (micros / 1_000, micros % 1_000);
        let mut bytes = [0_u8; 16];
        random.fill(&mut bytes[8..]);
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        let fraction = u16::try_from(rest * 4_096 / 1_000).unwrap_or(0) | 0x7000;
        bytes[6..8].copy_from_slice(&fraction.to_be_bytes());
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes, PhantomData)
    }

    /// Reads the canonical text, and nothing else: no upper case, no bare UUID.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let body = text
            .strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .ok_or(IdError::Prefix(K::PREFIX))?
            .as_bytes();
        if body.len() != BODY_CHARS {
            return Err(IdError::Body(K::PREFIX));
        }
        let mut value: u128 = 0;
        for (index, character) in body.iter().enumerate() {
            let digit = ALPHABET.iter().position(|a| a == character).ok_or(IdError::Body(K::PREFIX))?;
            // 26 characters hold 130 bits: the first may use three of its five.
            if index == 0 && digit > 7 {
                return Err(IdError::Body(K::PREFIX));
            }
            value = (value << 5) | digit as u128;
        }
        Ok(Self(value.to_be_bytes(), PhantomData))
    }

    /// The UUID's bytes, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// An identifier of these bytes; the caller vouches that they came from [`TypeId::as_bytes`].
    pub const fn from_uuid_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes, PhantomData)
    }
}

impl<K: Kind> Id for TypeId<K> {
    const PREFIX: &'static str = K::PREFIX;
    fn parse(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
    fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
    fn from_uuid_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes, PhantomData)
    }
}

impl<K: Kind> fmt::Display for TypeId<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let mut body = [0_u8; BODY_CHARS];
        // Twelve characters at a time, since shifting 64 bits is cheaper than shifting 128.
        let mut rest = value;
        for piece in body.rchunks_mut(12) {
            let mut bits = (rest as u64) & ((1 << 60) - 1);
            rest >>= 60;
            for slot in piece.iter_mut().rev() {
                *slot = ALPHABET[(bits & 31) as usize];
                bits >>= 5;
            }
        }
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&body).map_err(|_| fmt::Error)?)
    }
}

impl<K: Kind> fmt::Debug for TypeId<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// By hand, because derives would ask the same of the marker `K`.
impl<K: Kind> Clone for TypeId<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K: Kind> Copy for TypeId<K> {}
impl<K: Kind> PartialEq for TypeId<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K: Kind> Eq for TypeId<K> {}
impl<K: Kind> PartialOrd for TypeId<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: Kind> Ord for TypeId<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K: Kind> Hash for TypeId<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K: Kind> std::str::FromStr for TypeId<K> {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl<K: Kind> Serialize for TypeId<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for TypeId<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl<K: Kind> JsonSchema for TypeId<K> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        K::NAME.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", K::PREFIX),
        })
    }
}

/// Defines a sort of identifier: the alias's name, the name of its marker, its prefix.
///
/// ```
/// base::define_id!(
///     /// A unit of queued work.
///     JobId, JobKind, "job"
/// );
/// assert!(JobId::parse("job_7zzzzzzzzzzzzzzzzzzzzzzzzz").is_ok());
/// ```
#[macro_export]
macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $prefix:literal) => {
        $(#[$doc])*
        pub type $name = $crate::id::TypeId<$kind>;
        #[doc = concat!("Marks identifiers that start with `", $prefix, "_`.")]
        #[derive(Debug)]
        pub enum $kind {}
        impl $crate::id::Kind for $kind {
            const PREFIX: &'static str = $prefix;
            const NAME: &'static str = stringify!($name);
        }
    };
}

define_id!(/// One running Switchyard with one store.
    InstallationId, InstallationKind, "ins");
define_id!(/// An app.
    ProjectId, ProjectKind, "prj");
define_id!(/// An isolated copy of a project.
    EnvironmentId, EnvironmentKind, "env");
define_id!(/// A customer organisation of a project.
    TenantId, TenantKind, "ten");
define_id!(/// A long-running or scheduled process of an environment.
    ServiceId, ServiceKind, "svc");
define_id!(/// One immutable released version of a service.
    DeploymentId, DeploymentKind, "dep");
define_id!(/// One running copy of a deployment.
    ReplicaId, ReplicaKind, "rep");
define_id!(/// An API key; not its secret.
    KeyId, KeyKind, "key");
define_id!(/// The record of one change of state.
    EventId, EventKind, "evt");
define_id!(/// One request at the gateway or an API.
    RequestId, RequestKind, "req");
define_id!(/// A person's belonging to a tenant.
    MemberId, MemberKind, "mem");
define_id!(/// A person.
    UserId, UserKind, "usr");
define_id!(/// A rule that maps host and path to a service.
    RouteId, RouteKind, "rte");
define_id!(/// One backup.
    BackupId, BackupKind, "bak");
define_id!(/// A unit of queued work.
    JobId, JobKind, "job");
define_id!(/// A rule by which jobs are made in time.
    ScheduleId, ScheduleKind, "sch");
define_id!(/// One sign-in of a person, until it ends.
    SessionId, SessionKind, "ses");
define_id!(/// A trusted issuer of tokens.
    IssuerId, IssuerKind, "iss");
define_id!(/// An application that signs its users in here.
    ClientId, ClientKind, "cli");
define_id!(/// A held part of a quota.
    ReservationId, ReservationKind, "res");
define_id!(/// Where usage is sent for billing.
    SinkId, SinkKind, "snk");
