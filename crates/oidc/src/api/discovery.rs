//! How clients find out where everything is (OpenID Connect Discovery 1.0, RFC 8414).

use std::sync::Arc;

use serde_json::{Value, json};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::{Place, State};

pub(crate) const OPENID: &str = "/.well-known/openid-configuration";
pub(crate) const OAUTH: &str = "/.well-known/oauth-authorization-server";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let spec = |path, summary| Spec::public(path).surface(Surface::Member).summary(summary);
    Routes::new("oidc")
        .route(
            spec(OPENID, "The provider's metadata (OpenID Connect Discovery)"),
            Arc::clone(state),
            metadata,
        )
        .route(spec(OAUTH, "The provider's metadata (RFC 8414)"), Arc::clone(state), metadata)
}

async fn metadata(state: Arc<State>, call: Call) -> Result<Reply<Value>, Problem> {
    let place = Place::of(&state, &call)?;
    Ok(Reply::ok(document(&place)))
}

fn document(place: &Place) -> Value {
    let secrets = ["client_secret_basic", "client_secret_post", "none"];
    json!({
        "issuer": place.issuer,
        "authorization_endpoint": place.at(super::authorize::AUTHORIZE),
        "token_endpoint": place.at(super::token::TOKEN),
        "userinfo_endpoint": place.at(super::userinfo::USERINFO),
        "revocation_endpoint": place.at(super::token::REVOKE),
        "end_session_endpoint": place.at(super::logout::LOGOUT),
        "jwks_uri": place.at("/.well-known/jwks.json"),
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": secrets,
        "revocation_endpoint_auth_methods_supported": secrets,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "select_account"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "name", "email",
            "email_verified", "tenant", "role"
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    })
}
