//! `switchyard plans`.

use clap::{Arg, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, text};
use ports::{Grace, MeterPeriod};
use serde_json::json;

use crate::api::{DiffView, DifferenceView, PlanView};
use crate::meters::MeterTerms;

/// Largest project file that is read for a diff, in bytes; the server takes no larger one.
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "plans", command, run }]
}

fn command() -> Command {
    let plan = || Arg::new("plan").required(true).value_name("PLAN").help("Its name");
    let rate =
        || Arg::new("requests").long("requests").required(true).value_name("RATE").help("Such as 500/min");
    Command::new("plans")
        .about("Named sets of limits that tenants are on")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List plans"))
        .subcommand(Command::new("get").about("Show a plan").arg(plan()))
        .subcommand(Command::new("create").about("Make a plan").arg(plan()).arg(rate()))
        .subcommand(Command::new("update").about("Change a plan").arg(plan()).arg(rate()))
        .subcommand(Command::new("remove").about("Remove a plan that no tenant is on").arg(plan()))
        .subcommand(
            Command::new("diff")
                .about("Tell what the plans of the project file would change, and for whom")
                .arg(
                    Arg::new("file")
                        .long("file")
                        .value_name("FILE")
                        .help("Another file than switchyard.toml of the project"),
                ),
        )
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("get", arguments)) => {
                let plan: PlanView = session.client.get(&path(arguments)?).await?;
                show(&session, &plan);
            }
            Some(("create", arguments)) => {
                let body =
                    json!({ "name": text(arguments, "plan")?, "requests": text(arguments, "requests")? });
                let plan: PlanView = session.client.post("/api/v1/plans", &body).await?;
                show(&session, &plan);
            }
            Some(("update", arguments)) => {
                let body = json!({ "requests": text(arguments, "requests")? });
                let plan: PlanView = session.client.patch(&path(arguments)?, &body).await?;
                show(&session, &plan);
            }
            Some(("remove", arguments)) => {
                let name = text(arguments, "plan")?;
                session.confirm(name)?;
                session.client.delete(&path(arguments)?).await?;
                session.line(format!("Plan {name} is removed."));
            }
            Some(("diff", arguments)) => diff(arguments, &session).await?,
            _ => {
                let plans: Vec<PlanView> = session.client.all("/api/v1/plans").await?;
                session.show(&plans, |plans| table(plans));
            }
        }
        Ok(())
    })
}

async fn diff(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let file = arguments.get_one::<String>("file");
    let file = file.map_or_else(|| session.project_dir.join(config::PROJECT_FILE), Into::into);
    let shown = file.display().to_string();
    let failed = |error: std::io::Error| CliError::usage(format!("read {shown}: {error}"));
    let text_of = |path: &std::path::Path| -> std::io::Result<String> {
        if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("the file is larger than 512 KiB"));
        }
        std::fs::read_to_string(path)
    };
    let file_text = text_of(&file).map_err(failed)?;
    let body = json!({ "text": file_text, "file_name": shown });
    let diff: DiffView = session.client.post("/api/v1/plans/diff", &body).await?;
    if diff.data.is_empty() && !session.json_wanted() {
        session.line("No plan would change.");
        return Ok(());
    }
    session.show(&diff, |diff| diff_table(&diff.data));
    Ok(())
}

fn show(session: &Session, plan: &PlanView) {
    session.show(plan, |plan| table(std::slice::from_ref(plan)));
}

fn path(arguments: &ArgMatches) -> Result<String, CliError> {
    Ok(format!("/api/v1/plans/{}", encode(text(arguments, "plan")?)))
}

fn table(plans: &[PlanView]) -> Table {
    let mut table = Table::new(&["plan", "requests", "meters", "managed by"]);
    for plan in plans {
        let by = plan.managed_by.word();
        let meters: Vec<String> =
            plan.meters.iter().map(|(name, terms)| format!("{name} {}", shown(terms))).collect();
        table.row([plan.name.to_string(), plan.requests.to_string(), meters.join(", "), by.to_owned()]);
    }
    table
}

/// A limit in few words, such as `1000/month soft`.
fn shown(terms: &MeterTerms) -> String {
    let max = terms.max.map_or_else(|| "any".to_owned(), |max| max.to_string());
    let period = match terms.period {
        MeterPeriod::Hour => "/hour",
        MeterPeriod::Day => "/day",
        MeterPeriod::Month => "/month",
        MeterPeriod::None => "",
    };
    let grace = if terms.grace == Grace::Soft { " soft" } else { "" };
    format!("{max}{period}{grace}")
}

fn diff_table(differences: &[DifferenceView]) -> Table {
    let mut table = Table::new(&["plan", "from", "to", "effect", "tenants", "keep their own", "such as"]);
    for one in differences {
        let rate = |rate: Option<base::Rate>| rate.map_or_else(|| "-".to_owned(), |rate| rate.to_string());
        let examples: Vec<String> = one.examples.iter().map(ToString::to_string).collect();
        table.row([
            one.plan.to_string(),
            rate(one.from),
            rate(one.to),
            format!("{:?}", one.effect).to_lowercase(),
            one.tenants.to_string(),
            one.overridden.to_string(),
            examples.join(" "),
        ]);
        for meter in &one.meters {
            let terms = |terms: Option<&MeterTerms>| terms.map_or_else(|| "-".to_owned(), shown);
            let over: Vec<String> = meter.over_examples.iter().map(ToString::to_string).collect();
            table.row([
                format!("  {}", meter.meter),
                terms(meter.from.as_ref()),
                terms(meter.to.as_ref()),
                if meter.over == 0 {
                    "nobody is over".to_owned()
                } else {
                    format!("{} are over", meter.over)
                },
                String::new(),
                String::new(),
                over.join(" "),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }
}
