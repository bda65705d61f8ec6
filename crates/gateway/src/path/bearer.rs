//! Tokens of people among the headers of a request, judged by whoever signed or trusts them.
//!
//! To verify a signature takes longer than all else that the gateway does for a request. So a thread keeps verdicts, each with the
//! whole text of its token: one is used again for a text that is the same to the last byte, in the same environment, until
//! it ends or whoever judges says that something was called back ([`TokenCheck::generation`]).

use super::job::Refusal;
use super::remember::Remembered;
use super::shared::Thread;
use crate::hash::Fold;
use crate::snapshot::Environment;
use base::{TenantId, Timestamp, codes};
use ports::{TokenCheck, TokenIdentity, TokenSource, TokenTenant, TokenVerdict};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Verdicts that a thread keeps.
const KEPT_MAX: usize = 4_096;
/// Bytes of tokens that a thread keeps with them: as many of usual size.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// For how long it is believed that a token is not valid, or nobody's: an issuer may be added at any time.
const UNSURE_FOR: Duration = Duration::from_secs(1);

/// Who vouches in tokens of this installation's own.
const OWN_ISSUER: &str = "switchyard";

/// A number for each identity that was ever read from a token, by which assertions for it are kept.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// One token with what is to be made of it.
pub(crate) struct Known {
    text: Box<str>,
    environment: u16,
    generation: u64,
    until: Timestamp,
    /// Signed by this installation: never shown to applications.
    pub(crate) own: bool,
    pub(crate) judged: Judged,
}

/// What was found.
pub(crate) enum Judged {
    /// The application's business.
    Foreign,
    /// Not valid, and why, as far as anybody may know.
    Refused(&'static str),
    /// Valid.
    Valid(Bearer),
}

/// Who bears a valid token.
pub(crate) struct Bearer {
    /// The tenant that it names, as far as this environment has it.
    pub(crate) tenant: Option<TenantId>,
    /// A number that no other identity of this process ever had.
    pub(crate) number: u64,
    /// As applications are told; visible ASCII.
    pub(crate) subject: Arc<str>,
    /// As applications are told; empty for none.
    pub(crate) role: Arc<str>,
    /// As records tell: the operator who acts as the tenant, else the subject.
    pub(crate) principal: Arc<str>,
}

/// The verdicts of one thread.
#[derive(Default)]
pub(crate) struct Verdicts(RefCell<Kept>);

#[derive(Default)]
struct Kept {
    by_text: HashMap<Box<str>, Rc<Known>, Fold>,
    bytes: usize,
}

/// The token of an `Authorization` header, if it has the form of one: three parts, of which the first is a JSON object.
pub(crate) fn bearer_token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let token = token.trim();
    let is_one = scheme.eq_ignore_ascii_case("bearer")
        && token.starts_with("ey")
        && memchr::memchr_iter(b'.', token.as_bytes()).count() == 2;
    is_one.then_some(token)
}

/// Whether a text says of itself that this installation signed it. Believed to keep it from applications, and for nothing else.
pub(crate) fn says_own(token: &str) -> bool {
    tokens::Unverified::parse(token).is_ok_and(|token| token.issuer() == Some(OWN_ISSUER))
}

/// What is to be made of a token, from memory; `None` when its key is being fetched, and [`wait`] has to be asked.
pub(crate) fn judge(
    thread: &Thread,
    check: &dyn TokenCheck,
    environment: &Environment,
    text: &str,
    (remembered, now): (&mut Remembered, Timestamp),
) -> Option<Rc<Known>> {
    // Asked before the verdict: what is called back meanwhile is then asked again.
    let generation = check.generation();
    let holds = |known: &Known| {
        known.generation == generation
            && known.environment == environment.number
            && now < known.until
            && *known.text == *text
    };
    if let Some(known) = &remembered.bearer
        && holds(known)
    {
        return Some(known.clone());
    }
    let kept = thread.verdicts.0.borrow().by_text.get(text).filter(|known| holds(known)).cloned();
    let known = match kept {
        Some(known) => known,
        None => {
            let verdict = check.check(environment.id, text);
            let known = Rc::new(Known::new(environment, text, verdict, (generation, now))?);
            thread.verdicts.keep(&known);
            known
        }
    };
    remembered.bearer = Some(known.clone());
    Some(known)
}

/// Waits for the key of a token and keeps the verdict, so that [`judge`] finds it.
pub(crate) async fn wait(thread: &Thread, environment: &Environment, text: &str) {
    let Some(check) = &thread.shared.tokens else { return };
    let generation = check.generation();
    let verdict = match check.wait(environment.id, text).await {
        TokenVerdict::Pending => {
            TokenVerdict::Refused("The keys of the token's issuer cannot be fetched now.")
        }
        verdict => verdict,
    };
    let now = thread.at(thread.shared.clock.monotonic());
    if let Some(known) = Known::new(environment, text, verdict, (generation, now)) {
        thread.verdicts.keep(&Rc::new(known));
    }
}

impl Verdicts {
    fn keep(&self, known: &Rc<Known>) {
        let kept = &mut *self.0.borrow_mut();
        if kept.by_text.len() >= KEPT_MAX || kept.bytes + known.text.len() > KEPT_BYTES_MAX {
            kept.by_text.clear();
            kept.bytes = 0;
        }
        if kept.by_text.insert(known.text.clone(), known.clone()).is_none() {
            kept.bytes += known.text.len();
        }
    }
}

impl Known {
    fn new(
        environment: &Environment,
        text: &str,
        verdict: TokenVerdict,
        (generation, now): (u64, Timestamp),
    ) -> Option<Self> {
        let unsure = now + UNSURE_FOR;
        let (judged, own, until) = match verdict {
            TokenVerdict::Pending => return None,
            TokenVerdict::Foreign => (Judged::Foreign, false, unsure),
            TokenVerdict::Refused(why) => (Judged::Refused(why), says_own(text), unsure),
            TokenVerdict::Valid(identity) => {
                let own = matches!(identity.source, TokenSource::Own { .. });
                (Judged::of(&identity, environment), own, identity.expires_at)
            }
        };
        Some(Self { text: text.into(), environment: environment.number, generation, until, own, judged })
    }

    /// The text of the token.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the same person still has the same standing.
    pub(crate) fn is_still(&self, now: &TokenIdentity, environment: &Environment) -> bool {
        match (self.bearer(), Judged::of(now, environment)) {
            (Some(before), Judged::Valid(now)) => {
                before.tenant == now.tenant && before.subject == now.subject && before.role == now.role
            }
            _ => false,
        }
    }

    /// Who bears it, if it is valid.
    pub(crate) fn bearer(&self) -> Option<&Bearer> {
        match &self.judged {
            Judged::Valid(bearer) => Some(bearer),
            Judged::Foreign | Judged::Refused(_) => None,
        }
    }

    /// When it ends.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }
}

impl Judged {
    fn of(identity: &TokenIdentity, environment: &Environment) -> Self {
        // It stands in a header and in records; what an issuer may put there is not ours to say.
        if identity.subject.is_empty() || !identity.subject.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Self::Refused("The token's subject has characters that cannot be told to applications.");
        }
        let tenant = match &identity.tenant {
            _ if identity.operator => None,
            Some(TokenTenant::Id(id)) => environment.tenants.get(*id),
            Some(TokenTenant::Slug(slug)) => environment.tenants.by_slug(slug.as_str()),
            None => None,
        };
        let subject: Arc<str> = identity.subject.as_str().into();
        Self::Valid(Bearer {
            tenant: tenant.map(|tenant| tenant.id),
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            role: identity.role.as_ref().map_or_else(|| "".into(), |role| role.to_string().into()),
            principal: identity.impersonator.as_deref().map_or_else(|| subject.clone(), Arc::from),
            subject,
        })
    }
}

/// The token names no tenant of this environment, or none at all, and the host alone grants nothing (TORTURE A8).
pub(crate) fn names_no_tenant() -> Refusal {
    Refusal::new(&codes::TENANT_MISMATCH, "The token names no tenant that is served here.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_their_form() {
        assert_eq!(bearer_token(b"Bearer eyJh.b.c"), Some("eyJh.b.c"));
        assert_eq!(bearer_token(b"bearer  eyJh.b.c "), Some("eyJh.b.c"));
        for value in
            ["Basic eyJh.b.c", "Bearer abc", "Bearer eyJh.b", "Bearer eyJh.b.c.d", "Bearer", "eyJh.b.c"]
        {
            assert_eq!(bearer_token(value.as_bytes()), None, "{value}");
        }
        assert!(!says_own("eyJh.b.c"));
    }
}
