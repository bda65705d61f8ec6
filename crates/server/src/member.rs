//! The member surface: what answers at `api.` and `console.` of each base domain, behind the gateway.

use std::net::IpAddr;
use std::sync::Arc;

use authority::Caller;
use base::{Random, Secret};
use ports::{AuthError, Authenticate, BoxFuture};

/// A secret by which the gateway is known to the server behind it; a new one with each start, in memory alone.
pub(crate) fn vouch(random: &dyn Random) -> Secret<String> {
    let mut bytes = [0_u8; 32];
    random.fill(&mut bytes);
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Lets members and keys of tenants in, and nobody else: what operators and services hold is worth nothing where
/// anybody on the network can try it.
pub(crate) struct MembersOnly(pub(crate) Arc<dyn Authenticate>);

impl Authenticate for MembersOnly {
    fn caller<'a>(
        &'a self,
        headers: &'a http::HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>> {
        Box::pin(async move {
            let caller = self.0.caller(headers, peer).await?;
            let belongs = !caller.is_operator() && !caller.is_service();
            belongs.then_some(caller).ok_or(AuthError::Invalid)
        })
    }
}
