//! `switchyard logs`.

use std::collections::VecDeque;

use base::Page;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use module::{CliError, Session, Verb, VerbFuture, encode};
use serde_json::Value;
use telemetry::{Level, Source, Stream, printable, short_time};

use crate::api::LogEntry;

/// Lines shown when nothing is said.
const LINES_DEFAULT: u32 = 100;

/// Lines that can be asked for.
const LINES_MAX: i64 = 100_000;

/// Records of one page.
const PAGE_RECORDS: u32 = 500;

/// The verbs of this capability.
#[must_use]
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "logs", command, run }]
}

fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("logs")
        .about("Show what services, requests and the platform say")
        .after_help(
            "Examples:\n  switchyard logs -f\n  switchyard logs web --since 10m --level warn\n  \
             switchyard logs --tenant acme --grep \"POST /tasks\"",
        )
        .arg(Arg::new("name").value_name("SERVICE").help("Only of this service").conflicts_with("service"))
        .arg(text("service", "SERVICE", "Only of this service"))
        .arg(
            Arg::new("follow")
                .short('f')
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("Go on with what comes"),
        )
        .arg(
            Arg::new("lines")
                .short('n')
                .long("lines")
                .value_name("N")
                .value_parser(value_parser!(u32).range(0..=LINES_MAX))
                .help("At most so many of the newest [default: 100]"),
        )
        .arg(text("tenant", "TENANT", "Only of this tenant (id or slug)"))
        .arg(text("since", "TIME", "Not before: how long ago (10m) or a time"))
        .arg(text("until", "TIME", "Before: how long ago or a time").conflicts_with("follow"))
        .arg(text("grep", "TEXT", "With this text in the message or a field, in either case"))
        .arg(
            text("level", "LEVEL", "At least so important")
                .value_parser(["trace", "debug", "info", "warn", "error"]),
        )
        .arg(text("source", "SOURCE", "Only of this source").value_parser(["service", "access", "platform"]))
        .arg(
            Arg::new("control")
                .long("control")
                .action(ArgAction::SetTrue)
                .help("Also requests to the control API that went well"),
        )
        .arg(text("replica", "ID", "Only of this replica"))
        .arg(text("deployment", "ID", "Only of this deployment"))
        .arg(text("request", "ID", "Only of this request"))
}

fn run(arguments: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let query = query(&arguments);
        let lines = arguments.get_one::<u32>("lines").copied();
        if arguments.get_flag("follow") {
            follow(&session, &query, lines.unwrap_or(LINES_DEFAULT).min(PAGE_RECORDS)).await
        } else {
            // Who names a time wants all since then.
            let all = if query.contains("since=") { 10_000 } else { LINES_DEFAULT };
            show(&session, &query, lines.unwrap_or(all)).await
        }
    })
}

/// `&name=value` for each filter that was given.
fn query(arguments: &ArgMatches) -> String {
    let given = [
        ("service", "service"),
        ("name", "service"),
        ("tenant", "tenant"),
        ("since", "since"),
        ("until", "until"),
        ("grep", "text"),
        ("level", "level"),
        ("source", "source"),
        ("replica", "replica"),
        ("deployment", "deployment"),
        ("request", "request"),
    ];
    let control = arguments.get_flag("control");
    let mut query = if control { String::new() } else { "&control=false".to_owned() };
    for (argument, parameter) in given {
        if let Some(value) = arguments.get_one::<String>(argument) {
            query.push_str(&format!("&{parameter}={}", encode(value)));
        }
    }
    query
}

async fn show(session: &Session, query: &str, lines: u32) -> Result<(), CliError> {
    let mut entries: VecDeque<LogEntry> = VecDeque::new();
    let mut cursor = String::new();
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    while entries.len() < wanted {
        let missing = u32::try_from(wanted - entries.len()).unwrap_or(PAGE_RECORDS);
        let path = format!("/api/v1/logs?limit={}{query}{cursor}", missing.min(PAGE_RECORDS));
        let page: Page<LogEntry> = session.client.get(&path).await?;
        for entry in page.data {
            entries.push_front(entry);
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={}", encode(&next.to_string())),
            None => break,
        }
    }
    if entries.is_empty() {
        session.output.note("No record matches.");
    }
    // Producers hand records over in batches, so that neighbours may come in turned order.
    entries.make_contiguous().sort_by_key(|entry| entry.at);
    entries.iter().for_each(|entry| print(session, entry));
    Ok(())
}

async fn follow(session: &Session, query: &str, tail: u32) -> Result<(), CliError> {
    let mut lines = session.client.follow(&format!("/api/v1/logs/stream?tail={tail}{query}")).await?;
    loop {
        let line = lines.next().await.map_err(|error| {
            CliError::failure(format!("the stream ended: {error}"))
                .next("See `switchyard status`, then follow again.")
        })?;
        let Some(line) = line else { return Ok(()) };
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<LogEntry>(&line) {
            Ok(entry) => print(session, &entry),
            Err(_) => return Err(cut(&line)),
        }
        if session.output.closed() {
            return Ok(());
        }
    }
}

/// The last line of a stream whose reader was too slow, or something that is no record.
fn cut(line: &[u8]) -> CliError {
    let missed = serde_json::from_slice::<Value>(line).ok().and_then(|line| line.get("cut")?.as_u64());
    match missed {
        Some(missed) => CliError::failure(format!("this end was too slow: {missed} records were missed"))
            .next("Narrow it with --service, --tenant or --level, or write it to a file."),
        None => CliError::failure("the stream holds a line that is no record"),
    }
}

fn print(session: &Session, entry: &LogEntry) {
    if session.json_wanted() {
        if let Ok(line) = serde_json::to_string(entry) {
            session.output.raw(&line);
        }
        return;
    }
    session.line(for_people(entry, session.output.options().color));
}

/// `11-20 17:30:12.123 web/k3x9 message`, the rest of the record only where it says more.
fn for_people(entry: &LogEntry, color: bool) -> String {
    let paint = |code: &str, text: &str| {
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let time = short_time(entry.at);
    let code = match entry.level {
        Level::Error => "31",
        Level::Warn => "33",
        Level::Trace | Level::Debug => "2",
        Level::Info => "0",
    };
    let (origin, message) = match &entry.source {
        Source::Service { service, replica, stream, .. } => {
            let short: String = replica.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
            let mark = if *stream == Stream::Stderr { "!" } else { "" };
            (format!("{}/{}{mark}", printable(service), printable(&short)), entry.message.clone())
        }
        Source::Access => ("gateway".to_owned(), access(entry)),
        Source::Platform => ("switchyard".to_owned(), with_fields(entry)),
    };
    let message = printable(&message);
    format!("{} {} {}", paint("2", &time), paint("36", &format!("{origin:<12}")), paint(code, &message))
}

/// `acme GET /tasks 200 1.2ms -> web`.
fn access(entry: &LogEntry) -> String {
    let text = |name: &str| entry.fields.get(name).and_then(Value::as_str);
    let micros = entry.fields.get("duration_us").and_then(Value::as_u64).unwrap_or_default();
    let mut line = format!("{} {}", text("tenant.slug").unwrap_or("-"), entry.message);
    line.push_str(&format!(" {}.{}ms", micros / 1_000, micros % 1_000 / 100));
    if let Some(service) = text("service") {
        line.push_str(&format!(" -> {service}"));
    }
    if let Some(code) = text("code") {
        line.push_str(&format!(" ({code})"));
    }
    line
}

fn with_fields(entry: &LogEntry) -> String {
    if let Some(millis) =
        entry.fields.get("surface").and(entry.fields.get("duration_ms")).and_then(Value::as_f64)
    {
        let principal = entry.fields.get("principal").and_then(Value::as_str).unwrap_or("nobody");
        return format!("{} {millis:.1}ms by {principal}", entry.message);
    }
    let mut line = entry.message.clone();
    for (name, value) in entry.fields.iter().filter(|(name, _)| *name != "target") {
        match value {
            Value::String(text) => line.push_str(&format!(" {name}={text}")),
            other => line.push_str(&format!(" {name}={other}")),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Timestamp;

    fn entry(source: Source, message: &str) -> LogEntry {
        LogEntry {
            at: Timestamp::from_micros(1_700_000_000_123_456),
            level: Level::Info,
            message: message.to_owned(),
            source,
            tenant: None,
            fields: serde_json::Map::new(),
        }
    }

    #[test]
    fn arguments_become_a_query() {
        let parse = |words: &[&str]| command().try_get_matches_from(words);
        let found = parse(&["logs", "web", "--grep", "a&b", "--level", "warn"]).expect("they are right");
        assert_eq!(query(&found), "&control=false&service=web&text=a%26b&level=warn");
        assert!(parse(&["logs", "--level", "loud"]).is_err());
        assert!(parse(&["logs", "web", "--service", "api"]).is_err());
        assert!(parse(&["logs", "-n", "100001"]).is_err());
    }

    #[test]
    fn m7_a_line_cannot_drive_the_terminal() {
        let source = Source::Service {
            service: "web\u{1b}[2J".to_owned(),
            replica: "rep_01k3x9".to_owned(),
            deployment: "dep_1".to_owned(),
            stream: Stream::Stderr,
        };
        let line = for_people(&entry(source, "one\r\u{1b}[1A\u{202e}two"), false);
        assert_eq!(line, "11-14 22:13:20.123 web\\u{1b}[2J/k3x9! one\\r\\u{1b}[1A\\u{202e}two");
    }

    #[test]
    fn a_request_reads_at_a_glance() {
        let mut request = entry(Source::Access, "GET /tasks 429");
        for (name, value) in [("tenant.slug", "acme"), ("service", "web"), ("code", "rate_limited")] {
            request.fields.insert(name.to_owned(), value.into());
        }
        request.fields.insert("duration_us".to_owned(), 1_234.into());
        let line = for_people(&request, false);
        assert_eq!(line, "11-14 22:13:20.123 gateway      acme GET /tasks 429 1.2ms -> web (rate_limited)");
    }

    #[test]
    fn a_slow_reader_is_told() {
        assert!(cut(br#"{"cut": 7}"#).message.contains("7 records"));
        assert!(cut(b"[]").message.contains("no record"));
    }
}
