//! What an issuer is, as the project file and the API say it.

use std::collections::BTreeMap;

use authority::Role;
use outbound::Target;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokens::Algorithm;

/// Issuers of a project, those of its environments included: every process holds them in memory with their keys.
pub const ISSUERS_MAX: u32 = 50;
/// Audiences or parties of one issuer.
pub const AUDIENCES_MAX: usize = 20;
/// Words of one issuer that are mapped to roles.
pub const ROLES_MAX: usize = 100;
/// Characters of an address, an audience, a client's id, a claim's path, or a word.
const TEXT_CHARS_MAX: usize = 512;
/// What is accepted where nothing is said: what every provider signs by.
pub const ALGORITHMS_DEFAULT: [Algorithm; 1] = [Algorithm::Rs256];

/// What is known of a provider's tokens beforehand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nothing: OpenID Connect as it is written.
    #[default]
    Generic,
    /// Clerk's session tokens, version 2: the organisation stands in `o`, there is no audience but an authorized party.
    Clerk,
    /// Auth0's tokens: the organisation is `org_name`.
    Auth0,
}

/// What a tenant is named by in a claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantBy {
    /// Its slug.
    #[default]
    Slug,
    /// Its id here (`ten_…`).
    Id,
    /// Another name: `tenants` of the issuer says whose.
    External,
}

/// `[issuers.<name>]`: an issuer whose tokens are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What is known of its tokens beforehand; what is said below goes before.
    #[serde(default)]
    pub preset: Preset,
    /// Its address, exactly as tokens name it (`iss`): https, or http on this machine.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// For whom its tokens must be meant (`aud`), one of these. Without any, tokens of `generic` and `auth0` issuers are not
    /// accepted as credentials, and the issuer is there to sign people in only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub audiences: Vec<String>,
    /// Applications that may have asked for the token (`azp`), such as `https://app.example.com`; any when none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub authorized_parties: Vec<String>,
    /// By what tokens may be signed: `RS256` (when nothing is said), `PS256`, `ES256`, `ES384`, `EdDSA`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub algorithms: Vec<String>,
    /// Where its keys are; without it, where its discovery document says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub jwks_url: Option<String>,
    /// As whom people are sent to it to sign in; without it they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub client_id: Option<String>,
    /// What is asked for at sign-in besides `openid` and `email`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub scopes: Vec<String>,
    /// Whether an account that is there is linked by the address that the issuer has verified, when its person comes for the
    /// first time; it is when nothing is said. With `false` only who has no account yet is let in that way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub link_by_email: Option<bool>,
    /// Where in its tokens what stands.
    #[serde(default, skip_serializing_if = "Claims::is_empty")]
    pub claims: Claims,
    /// What its words for roles mean here: a role, or a list of patterns. Words that are not named mean no role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Role>,
    /// The role of whoever's word for one means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Role")]
    pub default_role: Option<Role>,
    /// Its names for tenants, where `claims.tenant_by` is `external`: to the tenants' slugs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, base::Slug>,
}

/// `[issuers.<name>.claims]`: paths of names with dots between them, such as `o.slg`. A claim whose own name has dots is found
/// by its whole name first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The tenant; a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub tenant: Option<String>,
    /// What the tenant is named by: `slug` (when nothing is said), `id` or `external`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TenantBy")]
    pub tenant_by: Option<TenantBy>,
    /// The person; `sub` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub user: Option<String>,
    /// The person's address, believed where `email_verified` is true; `email` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub email: Option<String>,
    /// The word for the role: a text, or a list of which the first that is named in `roles` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 512))]
    pub role: Option<String>,
}

impl Claims {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something in a definition that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionFault {
    /// Where, as a JSON pointer within the definition.
    pub pointer: &'static str,
    /// What is allowed.
    pub message: String,
}

/// A definition with everything that was left out filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The issuer (`iss`).
    pub url: String,
    /// One of them must be in `aud`.
    pub audiences: Vec<String>,
    /// One of them must be `azp`, if there are any.
    pub authorized_parties: Vec<String>,
    /// By what tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Whether a token without an audience is one: Clerk's have none, and its issuer is of one app alone.
    pub without_audience: bool,
    /// Where the tenant stands.
    pub tenant: String,
    /// What it is named by.
    pub tenant_by: TenantBy,
    /// Where the person stands.
    pub user: String,
    /// Where the address stands.
    pub email: String,
    /// Where the word for the role stands.
    pub role: String,
    /// What the words mean.
    pub roles: BTreeMap<String, Role>,
    /// The role without a word.
    pub default_role: Option<Role>,
    /// Names of tenants, to slugs.
    pub tenants: BTreeMap<String, base::Slug>,
}

impl Definition {
    /// Everything that is wrong with it, beyond its shape.
    #[must_use]
    pub fn faults(&self) -> Vec<DefinitionFault> {
        let mut faults = Vec::new();
        let mut fault = |pointer, message: &str| {
            faults.push(DefinitionFault { pointer, message: message.to_owned() });
        };
        if let Err(message) = address(&self.url, false) {
            fault("/url", message);
        }
        if let Some(Err(message)) = self.jwks_url.as_deref().map(|url| address(url, true)) {
            fault("/jwks_url", message);
        }
        if self.algorithms.iter().any(|name| Algorithm::parse(name).is_none()) {
            fault("/algorithms", "each is one of EdDSA, ES256, ES384, RS256 and PS256; there are no others");
        }
        let lists = [
            ("/audiences", &self.audiences),
            ("/authorized_parties", &self.authorized_parties),
            ("/scopes", &self.scopes),
        ];
        for (pointer, list) in lists {
            if list.len() > AUDIENCES_MAX || !list.iter().all(|text| is_text(text)) {
                fault(pointer, "at most 20 texts of at most 512 characters without control characters");
            }
        }
        if self.scopes.iter().any(|scope| scope.contains([' ', '"', '\\'])) {
            fault("/scopes", "a scope has no spaces, quotes or backslashes");
        }
        if self.client_id.as_deref().is_some_and(|id| !is_text(id)) {
            fault("/client_id", "1 to 512 characters without control characters");
        }
        let Claims { tenant, tenant_by: _, user, email, role } = &self.claims;
        if ![tenant, user, email, role].into_iter().flatten().all(|path| is_text(path)) {
            fault("/claims", "paths of 1 to 512 characters without control characters");
        }
        if self.roles.len() > ROLES_MAX || !self.roles.keys().all(|word| is_text(word)) {
            fault("/roles", "at most 100 words of at most 512 characters");
        }
        if self.tenants.len() > TENANTS_MAX || !self.tenants.keys().all(|name| is_text(name)) {
            fault("/tenants", "at most 10,000 names of at most 512 characters");
        }
        faults
    }

    /// The definition with everything filled in that its preset knows. Algorithms that are none are left out.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let (tenant, role) = match self.preset {
            Preset::Generic => ("tenant", "role"),
            Preset::Clerk => ("o.slg", "o.rol"),
            Preset::Auth0 => ("org_name", "role"),
        };
        let named = |path: &Option<String>, usual: &str| path.clone().unwrap_or_else(|| usual.to_owned());
        let algorithms: Vec<Algorithm> =
            self.algorithms.iter().filter_map(|name| Algorithm::parse(name)).collect();
        Rules {
            url: self.url.clone(),
            audiences: self.audiences.clone(),
            authorized_parties: self.authorized_parties.clone(),
            algorithms: if algorithms.is_empty() { ALGORITHMS_DEFAULT.to_vec() } else { algorithms },
            without_audience: self.preset == Preset::Clerk && self.audiences.is_empty(),
            tenant: named(&self.claims.tenant, tenant),
            tenant_by: self.claims.tenant_by.unwrap_or_default(),
            user: named(&self.claims.user, "sub"),
            email: named(&self.claims.email, "email"),
            role: named(&self.claims.role, role),
            roles: if self.roles.is_empty() { usual_roles(self.preset) } else { self.roles.clone() },
            default_role: self.default_role.clone(),
            tenants: self.tenants.clone(),
        }
    }
}

/// Names of tenants that one issuer may have of its own.
const TENANTS_MAX: usize = 10_000;

/// Words that mean something without being named. Nobody becomes an owner by them.
fn usual_roles(preset: Preset) -> BTreeMap<String, Role> {
    let words: &[(&str, Role)] = match preset {
        Preset::Clerk => &[("admin", Role::Admin), ("member", Role::Viewer)],
        Preset::Generic | Preset::Auth0 => {
            &[("admin", Role::Admin), ("developer", Role::Developer), ("viewer", Role::Viewer)]
        }
    };
    words.iter().map(|(word, role)| ((*word).to_owned(), role.clone())).collect()
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Whether requests may go there: https, or http to this machine by its very text. An issuer has no query and no fragment
/// (OpenID Connect Discovery 1.0, 3).
fn address(url: &str, query: bool) -> Result<(), &'static str> {
    let target = Target::parse(url).map_err(|_| "an absolute address such as https://id.example.com")?;
    let plain = !url.contains('#') && (query || !url.contains('?'));
    match (plain, target.is_https() || target.is_loopback()) {
        (false, _) => Err("an address without query or fragment"),
        (_, false) => Err("https is expected; http is for issuers on this machine alone"),
        (true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(url: &str) -> Definition {
        Definition { url: url.to_owned(), ..Definition::default() }
    }

    #[test]
    fn an_issuer_is_reached_by_https_or_on_this_machine() {
        for url in [
            "https://id.example.com",
            "https://id.example.com/a/",
            "http://127.0.0.1:9",
            "http://localhost:1",
        ] {
            assert_eq!(definition(url).faults(), [], "{url}");
        }
        for url in [
            "http://id.example.com",
            "id.example.com",
            "https://a@b.example",
            "https://a.example/?b",
            "ftp://a",
        ] {
            assert_eq!(definition(url).faults().len(), 1, "{url}");
        }
        let mut odd = definition("https://id.example.com");
        odd.algorithms = vec!["none".into()];
        odd.scopes = vec!["a b".into()];
        odd.audiences = vec![String::new()];
        assert_eq!(odd.faults().len(), 3, "{:?}", odd.faults());
    }

    #[test]
    fn presets_fill_in_what_is_not_said_and_make_nobody_an_owner() {
        for preset in [Preset::Generic, Preset::Clerk, Preset::Auth0] {
            let rules = Definition { preset, ..definition("https://id.example.com") }.rules();
            assert!(!rules.roles.values().any(|role| *role == Role::Owner));
            assert_eq!(rules.algorithms, ALGORITHMS_DEFAULT);
            assert_eq!(rules.without_audience, preset == Preset::Clerk);
        }
        let mut clerk = Definition { preset: Preset::Clerk, ..definition("https://id.example.com") };
        assert_eq!((clerk.rules().tenant.as_str(), clerk.rules().role.as_str()), ("o.slg", "o.rol"));
        clerk.claims.tenant = Some("org".into());
        clerk.audiences = vec!["app".into()];
        assert_eq!((clerk.rules().tenant.as_str(), clerk.rules().without_audience), ("org", false));
    }
}
