//! Rules of domains: how one is proven, when it is looked at again, when it is lost, and how long it then rests.

use std::time::Duration;

use base::{EnvironmentId, HostName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most custom domains of a tenant, until plans limit them.
pub const DOMAINS_MAX: u32 = 100;
/// How long a domain that one tenant had cannot be proven by another: links, cookies and cached answers of before have run
/// out by then. An operator's word overrules it.
pub const COOL_OFF: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long a proven domain is served on after its record was last seen: a weekend, and a day to mend it.
pub const LOST_AFTER: Duration = Duration::from_secs(72 * 3_600);
/// A claim that nobody proved is not looked at again by itself after this.
pub const CLAIM_WATCHED_FOR: Duration = Duration::from_secs(14 * 24 * 3_600);
/// Asked sooner than this after the last look, the answer is that of the last: name servers are others'.
pub const LOOK_PAUSE: Duration = Duration::from_secs(10);

const CLAIM_EVERY_MIN: Duration = Duration::from_secs(60);
const CLAIM_EVERY_MAX: Duration = Duration::from_secs(3_600);
const PROVEN_EVERY: Duration = Duration::from_secs(6 * 3_600);
const FAILING_EVERY: Duration = Duration::from_secs(3_600);
const UNKNOWN_EVERY: Duration = Duration::from_secs(15 * 60);
/// Longest note on a look, in characters.
const PROBLEM_CHARS_MAX: usize = 200;

/// Why a domain is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// An operator vouched for it.
    Operator,
    /// Its TXT record was seen.
    Txt,
}

impl Proof {
    /// The word in store and API.
    pub const fn word(self) -> &'static str {
        match self {
            Proof::Operator => "operator",
            Proof::Txt => "txt",
        }
    }

    /// The value for a stored word.
    pub fn parse(word: &str) -> Option<Proof> {
        [Proof::Operator, Proof::Txt].into_iter().find(|proof| proof.word() == word)
    }
}

/// A host name that belongs to a tenant, or that it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The host name; a proven one is unique in the installation.
    pub host: HostName,
    /// The environment that it leads to; `None` of before environments were noted: whichever is asked.
    pub environment: Option<EnvironmentId>,
    /// What its TXT record has to hold, new with each claim; `None` of before there were records.
    pub token: Option<String>,
    /// When its ownership was proven, or an operator vouched for it; unproven ones are not served.
    pub verified_at: Option<Timestamp>,
    /// By what.
    pub proof: Option<Proof>,
    /// When its record was last looked for.
    pub checked_at: Option<Timestamp>,
    /// When it is looked for next by itself; `None`: never.
    pub next_check_at: Option<Timestamp>,
    /// Since when the record of a proven one has been missing.
    pub failing_since: Option<Timestamp>,
    /// What the last look found wrong.
    pub problem: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What a look at name servers found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The record, with the token.
    Record,
    /// None, or others: so many.
    Nothing(usize),
    /// Nobody answers. Neither yes nor no.
    Unknown(String),
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing has changed.
    Same,
    /// It is now proven.
    Proven,
    /// It was proven and is no more.
    Lost,
}

impl Domain {
    /// A claim that is yet to be proven.
    pub fn claim(host: HostName, environment: EnvironmentId, token: String, now: Timestamp) -> Domain {
        Domain {
            host,
            environment: Some(environment),
            token: Some(token),
            verified_at: None,
            proof: None,
            checked_at: None,
            next_check_at: Some(now + CLAIM_EVERY_MIN),
            failing_since: None,
            problem: None,
            created_at: now,
        }
    }

    /// The name of the TXT record by which the domain is proven.
    pub fn record_name(&self) -> String {
        format!("_switchyard.{}", self.host)
    }

    /// What the record has to hold; `None` when there is nothing to prove by.
    pub fn record_value(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("switchyard-verification={token}"))
    }

    /// What a name server's texts mean for this domain.
    pub fn found(&self, texts: &[String]) -> Found {
        let wanted = self.record_value();
        let is_there = texts.iter().any(|text| Some(text.trim()) == wanted.as_deref());
        if is_there { Found::Record } else { Found::Nothing(texts.len()) }
    }

    /// Whether the record decides: not of one that an operator vouches for.
    pub fn is_judged_by_record(&self) -> bool {
        self.token.is_some() && self.proof != Some(Proof::Operator)
    }

    /// Takes in what was found. Whether a claim that is now proven may be had is for the caller to know.
    pub fn judge(&mut self, found: &Found, now: Timestamp) -> Outcome {
        self.checked_at = Some(now);
        let name = self.record_name();
        let problem = match found {
            Found::Record => None,
            Found::Nothing(0) => Some(format!("{name} has no TXT record")),
            Found::Nothing(count) => {
                Some(format!("none of the {count} TXT records of {name} is the wanted one"))
            }
            Found::Unknown(why) => Some(format!("no name server tells: {why}")),
        };
        self.problem = problem.map(|text| text.chars().take(PROBLEM_CHARS_MAX).collect());
        match (found, self.verified_at) {
            (Found::Record, before) => {
                self.verified_at = Some(before.unwrap_or(now));
                self.proof = Some(Proof::Txt);
                self.failing_since = None;
                self.next_check_at = Some(now + PROVEN_EVERY);
                if before.is_none() { Outcome::Proven } else { Outcome::Same }
            }
            (Found::Unknown(_), Some(_)) => {
                self.next_check_at = Some(now + UNKNOWN_EVERY);
                Outcome::Same
            }
            (Found::Nothing(_), Some(_)) => {
                let since = *self.failing_since.get_or_insert(now);
                self.next_check_at = Some(now + FAILING_EVERY);
                if now.since(since) < LOST_AFTER {
                    return Outcome::Same;
                }
                self.verified_at = None;
                self.proof = None;
                self.failing_since = None;
                Outcome::Lost
            }
            (_, None) => {
                let age = now.since(self.created_at);
                let pause = (age / 4).clamp(CLAIM_EVERY_MIN, CLAIM_EVERY_MAX);
                self.next_check_at = (age < CLAIM_WATCHED_FOR).then(|| now + pause);
                Outcome::Same
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> (Domain, Timestamp) {
        let now = Timestamp::from_micros(1_767_225_600_000_000);
        let clock = base::ManualClock::new(now);
        let environment = EnvironmentId::new(&clock, &base::SeededRandom::new(1));
        let host = HostName::parse("app.acme.example").unwrap();
        (Domain::claim(host, environment, "token".into(), now), now)
    }

    #[test]
    fn a_record_is_what_was_asked_for_and_nothing_near_it() {
        let (domain, _) = claim();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(domain.found(&texts(&["v=spf1", "switchyard-verification=token"])), Found::Record);
        assert_eq!(domain.found(&texts(&["switchyard-verification=token2"])), Found::Nothing(1));
        assert_eq!(domain.found(&texts(&["token"])), Found::Nothing(1));
        assert_eq!(domain.found(&[]), Found::Nothing(0));
    }

    #[test]
    fn a_proven_domain_is_lost_after_three_days_without_its_record_and_not_for_want_of_an_answer() {
        let (mut domain, now) = claim();
        assert_eq!(domain.judge(&Found::Record, now), Outcome::Proven);
        let later = |hours: u64| now + Duration::from_secs(hours * 3_600);
        for hours in (6..600).step_by(6) {
            assert_eq!(domain.judge(&Found::Unknown("timed out".into()), later(hours)), Outcome::Same);
        }
        assert!(domain.verified_at.is_some());
        assert_eq!(domain.judge(&Found::Nothing(0), later(600)), Outcome::Same);
        assert_eq!(domain.judge(&Found::Nothing(2), later(671)), Outcome::Same);
        assert_eq!(domain.judge(&Found::Record, later(671)), Outcome::Same, "mended in time");
        assert_eq!(domain.judge(&Found::Nothing(0), later(672)), Outcome::Same);
        assert_eq!(domain.judge(&Found::Nothing(0), later(744)), Outcome::Lost);
        assert_eq!((domain.verified_at, domain.proof), (None, None));
    }

    #[test]
    fn a_claim_is_looked_at_ever_less_often_and_then_not_any_more() {
        let (mut domain, now) = claim();
        let mut looks = 0;
        while let Some(next) = domain.next_check_at {
            assert_eq!(domain.judge(&Found::Nothing(0), next), Outcome::Same);
            looks += 1;
        }
        assert!((300..400).contains(&looks), "{looks} looks");
        assert!(domain.checked_at.unwrap().since(now) >= CLAIM_WATCHED_FOR);
    }
}
