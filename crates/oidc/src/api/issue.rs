//! What tokens say.

use authority::Role;
use base::Timestamp;
use ports::{SignedIn, SigningAlgorithm};
use serde_json::{Value, json};
use web::Problem;

use super::{Place, State};
use crate::model::{Client, Grant, Scope, Scopes, TOKEN_LIFETIME, half_hash};

/// Who makes access tokens, and for whom: Switchyard, for itself.
const SWITCHYARD: &str = "switchyard";
/// The kind of an access token (RFC 9068).
const ACCESS_TYP: &str = "at+jwt";
/// The kind of an id token.
const ID_TYP: &str = "JWT";

/// What tokens are made of.
pub(crate) struct Issue<'a> {
    pub(crate) place: &'a Place,
    pub(crate) client: &'a Client,
    pub(crate) grant: &'a Grant,
    /// As the person is now.
    pub(crate) who: &'a SignedIn,
    /// What the person may do in the grant's tenant now.
    pub(crate) role: &'a Role,
    /// All of the grant's, or fewer.
    pub(crate) scopes: &'a Scopes,
    /// A time before the person was looked up: what is revoked after it revokes these tokens.
    pub(crate) at: Timestamp,
}

impl Issue<'_> {
    /// The access token.
    pub(crate) fn access(&self, state: &State) -> Result<String, Problem> {
        let mut claims = json!({
            "iss": SWITCHYARD,
            "aud": SWITCHYARD,
            "sub": self.who.user,
            "sid": self.grant.session,
            "grant": self.grant.id,
            "client": self.client.id,
            "scope": self.scopes.to_string(),
            "project": self.place.project,
            "tenant": self.grant.tenant,
            "role": self.role,
            "email": self.who.email,
            "iat": self.at.seconds(),
            "iat_us": self.at.micros().rem_euclid(1_000_000),
            "exp": self.expiry(),
        });
        if let Some(environment) = self.who.environment {
            claims["environment"] = environment.to_string().into();
        }
        self.name(&mut claims);
        sign(state, SigningAlgorithm::EdDsa, ACCESS_TYP, &claims)
    }

    /// The id token that goes with an access token. `nonce`: that of the request, none after a refresh.
    pub(crate) fn id(&self, state: &State, access: &str, nonce: Option<&str>) -> Result<String, Problem> {
        let mut claims = self.person();
        claims["iss"] = self.place.issuer.as_str().into();
        claims["aud"] = self.client.id.to_string().into();
        claims["iat"] = self.at.seconds().into();
        claims["exp"] = self.expiry().into();
        claims["auth_time"] = self.grant.signed_in_at.seconds().into();
        claims["sid"] = self.grant.session.to_string().into();
        claims["at_hash"] = half_hash(access).into();
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        sign(state, SigningAlgorithm::Es256, ID_TYP, &claims)
    }

    /// What the scopes let a client know of the person.
    pub(crate) fn person(&self) -> Value {
        let mut claims = json!({"sub": self.who.user, "tenant": self.grant.tenant, "role": self.role});
        if self.scopes.has(&Scope::Profile) {
            self.name(&mut claims);
        }
        if self.scopes.has(&Scope::Email) {
            claims["email"] = self.who.email.to_string().into();
            claims["email_verified"] = true.into();
        }
        claims
    }

    fn name(&self, claims: &mut Value) {
        if !self.who.name.is_empty() {
            claims["name"] = self.who.name.as_str().into();
        }
    }

    fn expiry(&self) -> i64 {
        (self.at + TOKEN_LIFETIME).seconds()
    }
}

fn sign(state: &State, algorithm: SigningAlgorithm, typ: &str, claims: &Value) -> Result<String, Problem> {
    state.signer.sign(algorithm, typ, claims).map_err(Problem::internal)
}
