//! What a path names, for people who are told that it is not there.

use crate::error::CliError;
use percent_encoding::percent_decode_str;

/// Collections of the API: what one of them is called, and the command that lists them.
const COLLECTIONS: [(&str, &str, &str); 17] = [
    ("tenants", "tenant", "switchyard tenants list"),
    ("services", "service", "switchyard services"),
    ("deployments", "deployment", "switchyard deployments"),
    ("plans", "plan", "switchyard plans list"),
    ("environments", "environment", "switchyard environment list"),
    ("backups", "backup", "switchyard backups list"),
    ("keys", "key", "switchyard keys list --tenant TENANT"),
    ("members", "member", "switchyard members list --tenant TENANT"),
    ("domains", "domain", "switchyard tenants domains list TENANT"),
    ("roles", "role", "switchyard roles list"),
    ("limits", "own limit", "switchyard limits show TENANT"),
    ("users", "user", "switchyard users list"),
    ("issuers", "issuer", "switchyard issuers list"),
    ("clients", "client", "switchyard clients list"),
    ("queues", "queue", "switchyard queues list"),
    ("jobs", "job", "switchyard jobs list QUEUE"),
    ("schedules", "schedule", "switchyard schedules list"),
];

/// An error as it is, but where the API says only that something is not there: then it names what was asked for.
pub(crate) fn explained(error: CliError, path: &str) -> CliError {
    let bare = base::codes::NOT_FOUND.title;
    if !error.is_code(&base::codes::NOT_FOUND) || error.message != bare {
        return error;
    }
    match named(path) {
        Some((what, list)) => CliError { message: format!("{bare}: {what}"), ..error }
            .next(format!("`{list}` shows what there is.")),
        None => error,
    }
}

/// "key `key_1` of tenant `acme`", and the command that lists such things. A path that names nothing may ask for what a
/// tenant has: `?tenant=acme`.
fn named(path: &str) -> Option<(String, &'static str)> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = path.strip_prefix("/api/v1/")?;
    let segments: Vec<&str> = path.split('/').collect();
    let mut found = None;
    for pair in segments.chunks_exact(2) {
        let (_, one, list) = COLLECTIONS.iter().find(|(collection, ..)| *collection == pair[0])?;
        let id = percent_decode_str(pair[1]).decode_utf8_lossy();
        found = Some(match found {
            None => (format!("{one} `{id}`"), *list),
            Some((whose, _)) => (format!("{one} `{id}` of {whose}"), *list),
        });
    }
    found.or_else(|| {
        let tenant = query.split('&').find_map(|part| part.strip_prefix("tenant="))?;
        let tenant = percent_decode_str(tenant).decode_utf8_lossy();
        Some((format!("tenant `{tenant}`"), "switchyard tenants list"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(message: &str) -> CliError {
        let code = Some(base::codes::NOT_FOUND.name.to_owned());
        CliError { code, ..CliError::failure(message) }
    }

    #[test]
    fn what_is_missing_is_named() {
        let said = |path: &str| explained(not_found(base::codes::NOT_FOUND.title), path).to_string();
        assert_eq!(
            said("/api/v1/tenants/a%20b?x=1"),
            "Not found: tenant `a b`\n`switchyard tenants list` shows what there is."
        );
        assert_eq!(
            said("/api/v1/tenants/acme/keys/key_1/rotate"),
            "Not found: key `key_1` of tenant `acme`\n`switchyard keys list --tenant TENANT` shows what there is."
        );
        assert_eq!(said("/api/v1/odd/x"), "Not found");
        assert_eq!(said("/api/status"), "Not found");
    }

    #[test]
    fn what_says_more_stays() {
        let error = not_found("Not found: the service has no earlier deployment");
        assert_eq!(explained(error.clone(), "/api/v1/services/web"), error);
        let other = CliError::failure("Not found");
        assert_eq!(explained(other.clone(), "/api/v1/services/web"), other);
    }
}
