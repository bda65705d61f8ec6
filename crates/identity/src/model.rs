//! Pure rules of keys and members: their fields and limits, and who may hand out which rights.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use authority::{Audience, Caller, Pattern, Permission, Role, permissions};
use base::{Cidr, Email, EnvironmentId, KeyId, MemberId, ProjectId, Slug, TenantId, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest name of a key, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Most keys of a tenant in an environment that are neither revoked nor expired: every gateway holds them all in memory.
pub const KEYS_MAX: u32 = 1_000;
/// Most members of a tenant.
pub const MEMBERS_MAX: u32 = 10_000;
/// Most custom roles of a project.
pub const ROLES_MAX: u32 = 100;
/// Longest description of a role, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 200;
/// Most places (a tenant in an environment) with keys of a role that is changed: each is told of by an event of its own.
pub const ROLE_PLACES_MAX: u32 = 1_000;
/// Most ranges of addresses that a key may be kept to: every gateway asks each of them.
pub const ALLOWED_IPS_MAX: usize = 32;
/// How long the old key goes on working after a rotation, unless the request says otherwise: a working day and a
/// night to roll it out.
pub const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
/// Longest such time: a month, the slowest release train that we know of.
pub const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);
/// How many owners a tenant that has any must keep.
pub const OWNERS_MIN: u32 = 1;

/// An API key as it is stored: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The one environment it is for.
    pub environment: EnvironmentId,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the key's whole text.
    pub hash: [u8; 32],
    /// What is shown of it: `sy_live_4f9A2b`.
    pub prefix: String,
    /// What its bearer may do.
    pub role: Role,
    /// Narrows the role; `None` leaves it whole.
    pub scopes: Option<Vec<Pattern>>,
    /// When it stops working; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The key that a rotation put in its place.
    pub replaced_by: Option<KeyId>,
    /// When it was last used, exact to the half minute.
    pub last_used_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From where it may be used; empty for anywhere.
    pub allowed_ips: Vec<Cidr>,
    /// The custom role that it has; its patterns are in `role`.
    pub role_name: Option<NamedRole>,
}

/// A role that a project defines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedRole {
    /// The project.
    pub project: ProjectId,
    /// Its name there.
    pub name: Slug,
}

impl Key {
    /// Whether the key may be used from an address. Where the address is not known, only a key without a list may.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        self.allowed_ips.is_empty()
            || address.is_some_and(|address| self.allowed_ips.iter().any(|range| range.contains(address)))
    }

    /// Where the key stands at a time.
    pub fn state(&self, now: Timestamp) -> KeyState {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => KeyState::Revoked,
            (None, Some(expiry)) if expiry <= now => KeyState::Expired,
            (None, Some(_) | None) => KeyState::Active,
        }
    }
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// A person's belonging to a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The person, unique in the tenant.
    pub email: Email,
    /// What the person may do.
    pub role: Role,
    /// The custom role that it is.
    pub role_name: Option<NamedRole>,
    /// Whether the person has accepted.
    pub status: MemberStatus,
    /// +1 a change.
    pub revision: i64,
    /// When the person was invited.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A role as it is given: by the name of a built-in or custom one, or as a list of patterns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum RoleRef {
    /// A built-in role, or patterns.
    Plain(Role),
    /// A role that the project defines.
    Named(Slug),
}

impl<'de> Deserialize<'de> for RoleRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let named = value.as_str().filter(|name| Role::parse(name).is_err()).map(Slug::parse);
        match named {
            Some(name) => name.map(RoleRef::Named).map_err(D::Error::custom),
            None => serde_json::from_value(value).map(RoleRef::Plain).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for RoleRef {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "RoleRef".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pattern = generator.subschema_for::<Pattern>();
        json_schema!({
            "anyOf": [
                { "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" },
                { "type": "array", "maxItems": authority::PATTERNS_MAX, "items": pattern },
            ],
        })
    }
}

/// What a role that was given turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// What it grants.
    pub role: Role,
    /// The custom role that it is; `None` for built-in ones and for patterns.
    pub name: Option<NamedRole>,
}

impl From<Role> for Given {
    fn from(role: Role) -> Given {
        Given { role, name: None }
    }
}

/// A role that a project defines, for its tenants' members and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRole {
    /// Its name, unique in the project; none of the built-in ones.
    pub name: Slug,
    /// What it grants.
    pub patterns: Vec<Pattern>,
    /// What it is for.
    pub description: String,
    /// +1 a change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Whether an invited person has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberStatus {
    /// Not yet.
    Invited,
    /// Yes.
    Active,
}

impl MemberStatus {
    /// The word in the store and the API.
    pub const fn word(self) -> &'static str {
        match self {
            MemberStatus::Invited => "invited",
            MemberStatus::Active => "active",
        }
    }

    /// The status for a stored word.
    pub fn parse(word: &str) -> Option<MemberStatus> {
        [MemberStatus::Invited, MemberStatus::Active].into_iter().find(|status| status.word() == word)
    }
}

/// Whether a member may stop being an owner, given the tenant's owners with their status, the member included.
/// An active owner may go when another active one stays; an invited one when any other stays: somebody who
/// never accepted must not be all that a tenant has.
pub fn may_stop_being_owner(member: &Member, owners: &[(MemberId, MemberStatus)]) -> bool {
    let others = owners.iter().filter(|(id, _)| *id != member.id);
    let enough = |count: usize| count >= OWNERS_MIN as usize;
    match member.status {
        MemberStatus::Active => enough(others.filter(|(_, s)| *s == MemberStatus::Active).count()),
        MemberStatus::Invited => enough(others.count()),
    }
}

/// What a caller may hand out: nothing that it does not have itself (A12, Z10).
#[derive(Debug, Clone)]
pub struct Rights {
    caller: Caller,
    bound: Option<Slug>,
    environments: Vec<Slug>,
}

impl Rights {
    /// The rights of a caller whose credential is bound to the environment `bound` (`None`: to none), in a
    /// project with these environments.
    pub fn new(caller: Caller, bound: Option<Slug>, environments: Vec<Slug>) -> Rights {
        Rights { caller, bound, environments }
    }

    /// Whether the caller has everything that a role grants in all environments, so that it may give that role to
    /// a member or take it away.
    pub fn cover_role(&self, role: &Role) -> bool {
        let own = role.environments();
        let places: Vec<Option<&Slug>> =
            std::iter::once(None).chain(self.environments.iter().chain(&own).map(Some)).collect();
        self.cover(role, None, &places)
    }

    /// Whether the caller has everything that a key with this role and these scopes would grant in its
    /// environment.
    pub fn cover_key(&self, role: &Role, scopes: Option<&[Pattern]>, environment: &Slug) -> bool {
        self.cover(role, scopes, &[None, Some(environment)])
    }

    fn cover(&self, role: &Role, scopes: Option<&[Pattern]>, places: &[Option<&Slug>]) -> bool {
        let inside = |place: Option<&Slug>| match (&self.bound, place) {
            (Some(bound), Some(place)) => bound == place,
            (Some(_) | None, _) => true,
        };
        // A person's own password and sessions are in every role, and nobody's to hand out.
        let handed_out =
            |permission: &&Permission| permission.audience == Audience::Tenant && permission.resource != "me";
        let tenants = permissions::ALL.iter().filter(handed_out);
        tenants.into_iter().all(|permission| {
            places.iter().all(|place| {
                let granted = role.allows(permission, *place)
                    && scopes.is_none_or(|all| all.iter().any(|one| one.allows(permission, *place)));
                !granted || (inside(*place) && self.caller.may(permission, *place))
            })
        })
    }
}

/// Whether a text can be a key's name.
pub fn is_name(text: &str) -> bool {
    let chars = text.chars().count();
    chars > 0 && chars <= NAME_CHARS_MAX && text.trim() == text && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use authority::{Mint, Origin, Principal, PrincipalKind, TenantGrant};
    use base::{ManualClock, SeededRandom};

    use super::*;

    fn slug(text: &str) -> Slug {
        Slug::parse(text).unwrap()
    }

    fn caller(role: Role, scopes: Option<Vec<Pattern>>) -> Caller {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let tenant = TenantId::new(&clock, &SeededRandom::new(1));
        let grant = TenantGrant { tenant, role, scopes, environment: None };
        let principal = Principal::new(PrincipalKind::System, "test");
        Caller::tenant(&Mint::for_identity(), grant, principal, Origin::default())
    }

    fn rights(role: Role, bound: Option<&str>) -> Rights {
        let environments = vec![slug("development"), slug("production")];
        Rights::new(caller(role, None), bound.map(slug), environments)
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    #[test]
    fn nobody_hands_out_more_than_they_have() {
        let order = [Role::Viewer, Role::Developer, Role::Admin, Role::Owner];
        for (height, own) in order.iter().enumerate() {
            for (asked, role) in order.iter().enumerate() {
                assert_eq!(rights(own.clone(), None).cover_role(role), asked <= height, "{own} gives {role}");
            }
        }
    }

    #[test]
    fn a12_nobody_hands_out_what_holds_in_an_environment_that_is_made_tomorrow() {
        let own = rights(Role::Custom(patterns(&["write:members", "read:*", "*:*@development"])), None);
        assert!(own.cover_role(&Role::Custom(patterns(&["write:jobs@development"]))));
        assert!(!own.cover_role(&Role::Custom(patterns(&["write:jobs@staging"]))));
    }

    #[test]
    fn a_key_of_one_environment_hands_out_nothing_in_another() {
        let bound = rights(Role::Owner, Some("development"));
        assert!(bound.cover_key(&Role::Owner, None, &slug("development")));
        assert!(!bound.cover_key(&Role::Viewer, None, &slug("production")));
        assert!(!bound.cover_role(&Role::Viewer));
    }

    #[test]
    fn scopes_of_a_key_stay_within_those_of_its_maker() {
        let narrow = Rights::new(
            caller(Role::Admin, Some(patterns(&["write:keys", "read:keys"]))),
            None,
            vec![slug("development")],
        );
        let development = slug("development");
        let covers =
            |role: &Role, scopes: &[&str]| narrow.cover_key(role, Some(&patterns(scopes)), &development);
        assert!(covers(&Role::Admin, &["read:keys"]));
        assert!(!covers(&Role::Admin, &["read:*"]));
        assert!(!covers(&Role::Admin, &["*:keys"]));
        assert!(!narrow.cover_key(&Role::Viewer, None, &development));
        assert!(narrow.cover_key(&Role::Custom(patterns(&["write:keys"])), None, &development));
    }

    #[test]
    fn the_last_owner_stays() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let random = SeededRandom::new(7);
        let member = |status| Member {
            id: MemberId::new(&clock, &random),
            email: Email::parse("ada@example.com").unwrap(),
            role: Role::Owner,
            role_name: None,
            status,
            revision: 1,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
        };
        let (one, two, guest) =
            (member(MemberStatus::Active), member(MemberStatus::Active), member(MemberStatus::Invited));
        let row = |member: &Member| (member.id, member.status);
        assert!(!may_stop_being_owner(&one, &[row(&one)]));
        assert!(may_stop_being_owner(&one, &[row(&one), row(&two)]));
        assert!(!may_stop_being_owner(&one, &[row(&one), row(&guest)]));
        assert!(may_stop_being_owner(&guest, &[row(&one), row(&guest)]));
        assert!(!may_stop_being_owner(&guest, &[row(&guest)]));
    }

    #[test]
    fn a_key_is_active_until_it_expires_or_is_revoked() {
        let clock = ManualClock::new(Timestamp::EPOCH);
        let random = SeededRandom::new(3);
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut key = Key {
            id: KeyId::new(&clock, &random),
            tenant: TenantId::new(&clock, &random),
            environment: EnvironmentId::new(&clock, &random),
            name: "ci".to_owned(),
            hash: [0; 32],
            prefix: String::new(),
            role: Role::Viewer,
            scopes: None,
            expires_at: Some(at(10)),
            revoked_at: None,
            replaced_by: None,
            last_used_at: None,
            created_by: String::new(),
            created_at: at(0),
            allowed_ips: Vec::new(),
            role_name: None,
        };
        assert_eq!(key.state(at(9)), KeyState::Active);
        assert_eq!(key.state(at(10)), KeyState::Expired);
        key.revoked_at = Some(at(5));
        assert_eq!(key.state(at(1)), KeyState::Revoked);
    }
}
