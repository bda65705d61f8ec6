//! The draft as text.

use super::draft::{Draft, Service, WEB};

/// The project file of a draft, with the comments that a newcomer needs.
pub(super) fn render(draft: &Draft) -> String {
    let mut lines = vec![
        "# The project file: everything that Switchyard needs to know about this app.".to_owned(),
        "# `switchyard up` runs it, `switchyard config check` tells every mistake in here.".to_owned(),
        "schema = 1".to_owned(),
        String::new(),
        "[project]".to_owned(),
        format!("name = {}", quoted(&draft.name)),
        String::new(),
        "# How a request finds its tenant: acme.localhost is the tenant acme.".to_owned(),
        "[tenants]".to_owned(),
        "resolve = [\"domain\", \"subdomain\", \"api-key\"]".to_owned(),
        "base_domain = \"localhost\"".to_owned(),
        "default_plan = \"free\"".to_owned(),
    ];
    for service in &draft.services {
        lines.push(String::new());
        lines.extend(service_lines(service));
    }
    if draft.services.is_empty() {
        lines.push(String::new());
        lines.push("# What runs, and which requests it gets:".to_owned());
        lines.push("#".to_owned());
        lines.push("# [services.web]".to_owned());
        lines.push(
            "# start = \"…\"                  # the app listens at 127.0.0.1, at the port in PORT".to_owned(),
        );
        lines.push("#".to_owned());
        lines.extend(route_lines("web").iter().map(|line| format!("# {line}")));
    }
    if let Some(service) =
        draft.services.iter().find(|service| service.name == WEB).or(draft.services.first())
    {
        lines.push(String::new());
        lines.push(
            "# Which requests go where. With `limits`, they count against the tenant's plan.".to_owned(),
        );
        lines.extend(route_lines(&service.name));
    }
    lines.join("\n") + "\n"
}

fn route_lines(service: &str) -> Vec<String> {
    vec![
        "[[routes]]".to_owned(),
        "host = \"*.localhost\"".to_owned(),
        "path = \"/\"".to_owned(),
        format!("service = {}", quoted(service)),
        "auth = \"optional\"".to_owned(),
        "limits = true".to_owned(),
    ]
}

fn service_lines(service: &Service) -> Vec<String> {
    let Service { name, build, start, pre_deploy, health_path, health_seconds, restart, replicas } = service;
    let mut lines = vec![format!("[services.{name}]")];
    let texts = [("build", build), ("start", start), ("pre_deploy", pre_deploy)];
    for (key, text) in texts {
        lines.extend(text.as_ref().map(|text| format!("{key} = {}", quoted(text))));
    }
    if let Some(path) = health_path {
        let period =
            health_seconds.map(|seconds| format!(", start_period = \"{seconds}s\"")).unwrap_or_default();
        lines.push(format!("healthcheck = {{ path = {}{period} }}", quoted(path)));
    }
    if let Some((policy, retries)) = restart {
        let retries = retries.map(|count| format!(", max_retries = {count}")).unwrap_or_default();
        lines.push(format!("restart = {{ policy = \"{policy}\"{retries} }}"));
    }
    lines.extend(replicas.map(|count| format!("replicas = {{ min = {count}, max = {count} }}")));
    lines
}

/// A text as a basic string of TOML, whose escapes are those of JSON but for one character.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::String(text.to_owned()).to_string();
    json.replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_quotes() {
        for text in ["plain", "a \"b\" \\ c", "line\nbreak\t\u{1b}\u{7f}", "ä€🦀", "'''\"\"\""] {
            let file = format!("x = {}", quoted(text));
            let read: toml::Table = toml::from_str(&file).expect("what we wrote");
            assert_eq!(read["x"].as_str(), Some(text));
        }
    }
}
