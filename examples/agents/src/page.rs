//! The page: plain HTML that works without its script. Everything that a person typed goes through [`Text`].

use std::fmt;

use serde_json::Value;

use crate::store::{Agent, Status, Task, now_ms};
use crate::web::Visitor;
use crate::work::Kind;

/// Characters of an input that the list of tasks shows.
const INPUT_CHARS_SHOWN: usize = 80;

/// A text that displays as HTML: what would be markup is escaped, in content and in quoted attributes.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '&' => out.write_str("&amp;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                _ => fmt::Write::write_char(out, letter)?,
            }
        }
        Ok(())
    }
}

/// The one page of the app.
pub fn overview(visitor: &Visitor, agents: &[Agent], tasks: &[Task]) -> String {
    let cards: String = agents.iter().map(agent_card).collect();
    let kinds: String = Kind::ALL
        .iter()
        .map(|kind| format!(r#"<option value="{}">{}</option>"#, kind.name(), kind.title()))
        .collect();
    let cards = if cards.is_empty() {
        r#"<p class="empty">No agent yet. Make one, and give it something to do.</p>"#.to_owned()
    } else {
        cards
    };
    let main = format!(
        r#"<section aria-labelledby="agents"><h2 id="agents">Agents</h2><div class="cards">{cards}</div>
<form class="new" method="post" action="/agents">
<label>Name <input name="name" required maxlength="60" autocomplete="off" placeholder="Counter"></label>
<label>What it does <select name="kind">{kinds}</select></label>
<button>Make an agent</button></form></section>
<section aria-labelledby="tasks"><h2 id="tasks">Tasks</h2>{}</section>"#,
        task_list(tasks)
    );
    let header = format!(
        r#"<span class="tenant">{}</span><span class="plan">{} plan</span>"#,
        Text(&visitor.slug),
        Text(&visitor.plan)
    );
    document(&visitor.slug, &header, &main)
}

/// A page that says why something was refused.
pub fn refusal(status: u16, message: &str) -> String {
    let main = format!(
        r#"<section><h2>{status}</h2><p class="refusal" role="alert">{}</p><p><a href="/">Back</a></p></section>"#,
        Text(message)
    );
    document("Refused", "", &main)
}

fn document(title: &str, header: &str, main: &str) -> String {
    let app = std::env::var("AGENTS_TITLE").unwrap_or_else(|_| "Agents".to_owned());
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · {app}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css"><script src="/page.js" defer></script></head>
<body><header><h1>{app}</h1>{header}</header><main>{main}</main></body></html>
"#,
        title = Text(title),
        app = Text(&app),
    )
}

fn agent_card(agent: &Agent) -> String {
    format!(
        r#"<article><h3>{name}</h3><p>{title}</p>
<form method="post" action="/agents/{id}/tasks"><label class="hidden" for="in-{id}">Input</label>
<textarea id="in-{id}" name="input" rows="2" required>{sample}</textarea><button>Run</button></form></article>"#,
        name = Text(&agent.name),
        title = agent.kind.title(),
        id = Text(&agent.id),
        sample = agent.kind.sample(),
    )
}

fn task_list(tasks: &[Task]) -> String {
    if tasks.is_empty() {
        return r#"<p class="empty">Nothing was run yet.</p>"#.to_owned();
    }
    let rows: String = tasks.iter().map(task_row).collect();
    let unfinished = tasks.iter().any(|task| matches!(task.status, Status::Waiting | Status::Running));
    format!(r#"<ul class="tasks" data-unfinished="{unfinished}">{rows}</ul>"#)
}

fn task_row(task: &Task) -> String {
    let (state, outcome) = match task.status {
        Status::Waiting => ("waiting", String::new()),
        Status::Running => ("running", String::new()),
        Status::Done => ("done", task.result.as_ref().map(result_list).unwrap_or_default()),
        Status::Failed => {
            let error = task.error.as_deref().unwrap_or_default();
            ("failed", format!(r#"<p class="refusal">{}</p>"#, Text(error)))
        }
    };
    let mut input: String = task.input.chars().take(INPUT_CHARS_SHOWN).collect();
    if input.len() < task.input.len() {
        input.push('…');
    }
    format!(
        r#"<li><div class="head"><strong>{name}</strong><span class="state {state}">{state}</span><time>{age}</time></div>
<p class="input">{input}</p>{outcome}</li>"#,
        name = Text(&task.agent_name),
        age = age(task.finished_at_ms.unwrap_or(task.created_at_ms)),
        input = Text(&input),
    )
}

fn result_list(result: &Value) -> String {
    let fields = result.as_object().into_iter().flatten().map(|(name, value)| {
        let value = match value {
            Value::String(text) => text.clone(),
            // Four places are enough for people; programs get all of them.
            Value::Number(number) if number.is_f64() => {
                ((number.as_f64().unwrap_or_default() * 1e4).round() / 1e4).to_string()
            }
            other => other.to_string(),
        };
        format!("<div><dt>{}</dt><dd>{}</dd></div>", Text(&name.replace('_', " ")), Text(&value))
    });
    format!("<dl>{}</dl>", fields.collect::<String>())
}

fn age(at_ms: u64) -> String {
    match now_ms().saturating_sub(at_ms) / 1000 {
        0..=4 => "just now".to_owned(),
        seconds @ 5..=89 => format!("{seconds} s ago"),
        seconds @ 90..=5_399 => format!("{} min ago", (seconds + 30) / 60),
        seconds @ 5_400..=129_599 => format!("{} h ago", (seconds + 1_800) / 3_600),
        seconds => format!("{} days ago", (seconds + 43_200) / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Tenant;

    #[test]
    fn what_people_typed_is_escaped_everywhere() {
        let evil = r#"<script>"'&</script>"#;
        let visitor = Visitor { tenant: Tenant::parse("t").unwrap(), slug: evil.into(), plan: evil.into() };
        let agent = Agent { id: "1".into(), name: evil.into(), kind: Kind::Words, created_at_ms: 0 };
        let mut task = Task {
            id: "1".into(),
            agent: "1".into(),
            agent_name: evil.into(),
            kind: Kind::Words,
            input: evil.into(),
            status: Status::Failed,
            attempts: 1,
            created_at_ms: 0,
            finished_at_ms: None,
            result: Some(serde_json::json!({ evil: evil })),
            error: Some(evil.into()),
        };
        let mut pages = overview(&visitor, &[agent], std::slice::from_ref(&task)) + &refusal(400, evil);
        task.status = Status::Done;
        pages += &overview(&visitor, &[], &[task]);
        assert!(!pages.contains("<script>"), "{pages}");
        assert!(!pages.contains(r#""'&"#), "{pages}");
        assert!(pages.contains("&lt;script&gt;&quot;&#39;&amp;&lt;/script&gt;"));
    }
}
