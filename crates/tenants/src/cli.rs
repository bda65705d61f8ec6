//! `switchyard tenants` and `switchyard environment`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, option, text, when};
use serde_json::{Map, Value, json};

use crate::api::{DomainView, EnvironmentView, HealthView, OnboardingView, TenantView};
use crate::model::Proof;

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![
        Verb { name: "tenants", command: tenants, run: run_tenants },
        Verb { name: "environment", command: environment, run: run_environment },
    ]
}

fn tenants() -> Command {
    let tenant = || Arg::new("tenant").required(true).value_name("TENANT").help("Its slug or id");
    Command::new("tenants")
        .about("Customers of the app: make, list, change, suspend")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("List tenants by age")
                .arg(option("status", "STATUS", "Only active, suspended or cancelled ones"))
                .arg(option("plan", "PLAN", "Only those on this plan"))
                .arg(option(
                    "search",
                    "TEXT",
                    "Only those whose slug, name or mail address begins with this",
                )),
        )
        .subcommand(Command::new("get").about("Show a tenant").arg(tenant()))
        .subcommand(Command::new("health").about("Show what of a tenant wants attention").arg(tenant()))
        .subcommand(Command::new("onboarding").about("Show the steps of its onboarding").arg(tenant()))
        .subcommand(fields(Command::new("create").about("Make a tenant")).arg(
            Arg::new("slug").required(true).value_name("SLUG").help("Its DNS label: SLUG.<base domain>"),
        ))
        .subcommand(
            fields(Command::new("update").about("Change a tenant"))
                .arg(tenant())
                .arg(option("set", "KEY=VALUE", "Set a key of its metadata").action(ArgAction::Append)),
        )
        .subcommand(
            Command::new("suspend").about("Refuse a tenant everywhere; nothing is lost").arg(tenant()),
        )
        .subcommand(Command::new("resume").about("Serve a suspended tenant again").arg(tenant()))
        .subcommand(Command::new("cancel").about("End a tenant for good").arg(tenant()))
        .subcommand(
            Command::new("delete").about("Delete a cancelled tenant with its keys and members").arg(tenant()),
        )
        .subcommand(domains())
}

fn domains() -> Command {
    let tenant = || Arg::new("tenant").required(true).value_name("TENANT").help("Its slug or id");
    let host = || Arg::new("host").required(true).value_name("HOST").help("The host name");
    Command::new("domains")
        .about("A tenant's own host names")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List them").arg(tenant()))
        .subcommand(
            Command::new("add")
                .about("Add one: an operator vouches for it, a member gets the record to set")
                .arg(tenant())
                .arg(host()),
        )
        .subcommand(
            Command::new("verify").about("Look for the record that proves one").arg(tenant()).arg(host()),
        )
        .subcommand(Command::new("remove").about("Remove one").arg(tenant()).arg(host()))
}

fn fields(command: Command) -> Command {
    command
        .arg(option("name", "NAME", "Its name for people"))
        .arg(option("email", "ADDRESS", "Where its notices go"))
        .arg(option("plan", "PLAN", "Its plan"))
        .arg(option("isolation", "MODE", "pool or silo"))
        .arg(option("region", "LABEL", "Where its data is to live"))
        .arg(option("time-zone", "ZONE", "IANA zone name, such as Europe/Berlin"))
        .arg(
            option(
                "billing-anchor-day",
                "DAY",
                "Day of the month, 1 to 28, on which its billing period starts",
            )
            .value_parser(clap::value_parser!(u8).range(1..=28)),
        )
        .arg(
            option(
                "external-id",
                "NAME=ID",
                "Its id elsewhere, such as stripe_customer=cus_1; an empty ID removes it",
            )
            .action(ArgAction::Append),
        )
        .arg(option(
            "rate",
            "RATE",
            "A request rate in place of its plan's, such as 500/min; `plan` takes it away",
        ))
}

fn environment() -> Command {
    Command::new("environment")
        .about("Isolated copies of the project")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List environments"))
        .subcommand(
            Command::new("show")
                .about("Show an environment")
                .arg(Arg::new("environment").required(true).value_name("NAME").help("Its name or id")),
        )
}

fn run_tenants(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("list", arguments)) => list(arguments, &session).await,
            Some(("get", arguments)) => get(arguments, &session).await,
            Some(("health", arguments)) => health(arguments, &session).await,
            Some(("onboarding", arguments)) => onboarding(arguments, &session).await,
            Some(("create", arguments)) => create(arguments, &session).await,
            Some(("update", arguments)) => update(arguments, &session).await,
            Some(("suspend", arguments)) => status(arguments, &session, "suspended").await,
            Some(("resume", arguments)) => status(arguments, &session, "active").await,
            Some(("cancel", arguments)) => {
                session.confirm(text(arguments, "tenant")?)?;
                status(arguments, &session, "cancelled").await
            }
            Some(("delete", arguments)) => delete(arguments, &session).await,
            Some(("domains", arguments)) => run_domains(arguments, &session).await,
            _ => Err(CliError::usage("say what to do with tenants").next("See `switchyard tenants --help`.")),
        }
    })
}

async fn list(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let filters = [("status", "status"), ("plan", "plan"), ("search", "q")];
    let given = filters.iter().filter_map(|(argument, parameter)| {
        let value = arguments.get_one::<String>(argument)?;
        Some(format!("{parameter}={}", encode(value)))
    });
    let query = given.collect::<Vec<_>>().join("&");
    let path =
        if query.is_empty() { "/api/v1/tenants".to_owned() } else { format!("/api/v1/tenants?{query}") };
    let tenants: Vec<TenantView> = session.client.all(&path).await?;
    session.show(&tenants, |tenants| table(tenants));
    Ok(())
}

async fn get(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let tenant: TenantView = session.client.get(&path(arguments)?).await?;
    session.show(&tenant, details);
    Ok(())
}

async fn health(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let found: HealthView = session.client.get(&format!("{}/health", path(arguments)?)).await?;
    session.show(&found, |found| {
        let mut table = Table::new(&["health", "topic", "urgent", "what"]);
        let word = found.health.word();
        if found.signs.is_empty() {
            table.row([word.to_owned(), String::new(), String::new(), "nothing wants attention".to_owned()]);
        }
        for sign in &found.signs {
            let urgent = if sign.urgent { "yes" } else { "no" };
            table.row([word.to_owned(), sign.topic.clone(), urgent.to_owned(), sign.text.clone()]);
        }
        table
    });
    Ok(())
}

async fn onboarding(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let found: OnboardingView = session.client.get(&format!("{}/onboarding", path(arguments)?)).await?;
    session.show(&found, |found| {
        let mut table = Table::new(&["step", "done", "note"]);
        for step in &found.steps {
            let done = step.done_at.map_or_else(|| "no".to_owned(), when);
            table.row([step.step.word().to_owned(), done, step.note.clone().unwrap_or_default()]);
        }
        table
    });
    Ok(())
}

async fn create(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let slug = text(arguments, "slug")?;
    let mut body = changes(arguments, false)?;
    body.insert("slug".to_owned(), slug.into());
    body.entry("name").or_insert_with(|| slug.into());
    if !body.contains_key("email") {
        return Err(CliError::usage("a tenant needs a mail address").next("Give it with --email ADDRESS."));
    }
    let tenant: TenantView = session.client.post("/api/v1/tenants", &body).await?;
    session.show(&tenant, details);
    Ok(())
}

async fn update(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let mut body = changes(arguments, true)?;
    let mut metadata = Map::new();
    for pair in arguments.get_many::<String>("set").into_iter().flatten() {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--set {pair}: KEY=VALUE is expected")))?;
        metadata.insert(key.to_owned(), value.into());
    }
    if !metadata.is_empty() {
        body.insert("metadata".to_owned(), Value::Object(metadata));
    }
    if body.is_empty() {
        return Err(
            CliError::usage("nothing to change was given").next("See `switchyard tenants update --help`.")
        );
    }
    let tenant: TenantView = session.client.patch(&path(arguments)?, &body).await?;
    session.show(&tenant, details);
    Ok(())
}

async fn status(arguments: &ArgMatches, session: &Session, status: &str) -> Result<(), CliError> {
    let tenant: TenantView = session.client.patch(&path(arguments)?, &json!({ "status": status })).await?;
    session.show(&tenant, |tenant| table(std::slice::from_ref(tenant)));
    Ok(())
}

async fn delete(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let name = text(arguments, "tenant")?;
    session.confirm(name)?;
    session.client.delete(&path(arguments)?).await?;
    session.line(format!("Tenant {name} is deleted; its events stay."));
    Ok(())
}

async fn run_domains(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let (action, arguments) = arguments
        .subcommand()
        .ok_or_else(|| CliError::usage("say what to do").next("See `switchyard tenants domains --help`."))?;
    let path = format!("{}/domains", path(arguments)?);
    match action {
        "add" => {
            let host = text(arguments, "host")?;
            let domain: DomainView = session.client.post(&path, &json!({ "host": host })).await?;
            session.show(&domain, |domain| domain_table(std::slice::from_ref(domain)));
        }
        "verify" => {
            let host = text(arguments, "host")?;
            let path = format!("{path}/{}/verify", encode(host));
            let domain: DomainView = session.client.post(&path, &Value::Null).await?;
            session.show(&domain, |domain| domain_table(std::slice::from_ref(domain)));
        }
        "remove" => {
            let host = text(arguments, "host")?;
            session.client.delete(&format!("{path}/{}", encode(host))).await?;
            session.line(format!("{host} is no longer a domain of the tenant."));
        }
        _ => {
            let domains: Vec<DomainView> = session.client.all(&path).await?;
            session.show(&domains, |domains| domain_table(domains));
        }
    }
    Ok(())
}

fn run_environment(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        if let Some(("show", arguments)) = matches.subcommand() {
            let name = encode(text(arguments, "environment")?);
            let found: EnvironmentView = session.client.get(&format!("/api/v1/environments/{name}")).await?;
            session.show(&found, |one| environment_table(std::slice::from_ref(one)));
            return Ok(());
        }
        let all: Vec<EnvironmentView> = session.client.all("/api/v1/environments").await?;
        session.show(&all, |all| environment_table(all));
        Ok(())
    })
}

/// The fields that were given as options. `patch` takes `--rate plan` as null: the plan's rate again.
fn changes(arguments: &ArgMatches, patch: bool) -> Result<Map<String, Value>, CliError> {
    let options = [
        ("name", "name"),
        ("email", "email"),
        ("plan", "plan"),
        ("isolation", "isolation"),
        ("region", "region"),
        ("time-zone", "time_zone"),
        ("rate", "rate_override"),
    ];
    let given = options.iter().filter_map(|(option, field)| {
        let value = arguments.get_one::<String>(option)?;
        let value =
            if patch && *option == "rate" && value == "plan" { Value::Null } else { value.as_str().into() };
        Some(((*field).to_owned(), value))
    });
    let mut body: Map<String, Value> = given.collect();
    if let Some(day) = arguments.get_one::<u8>("billing-anchor-day") {
        body.insert("billing_anchor_day".to_owned(), (*day).into());
    }
    let mut ids = Map::new();
    for pair in arguments.get_many::<String>("external-id").into_iter().flatten() {
        let (name, id) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--external-id {pair}: NAME=ID is expected")))?;
        ids.insert(name.to_owned(), if patch && id.is_empty() { Value::Null } else { id.into() });
    }
    if !ids.is_empty() {
        body.insert("external_ids".to_owned(), Value::Object(ids));
    }
    Ok(body)
}

fn path(arguments: &ArgMatches) -> Result<String, CliError> {
    Ok(format!("/api/v1/tenants/{}", encode(text(arguments, "tenant")?)))
}

fn table(tenants: &[TenantView]) -> Table {
    let mut table = Table::new(&["slug", "name", "plan", "status", "created", "id"]);
    for tenant in tenants {
        table.row([
            tenant.slug.to_string(),
            tenant.name.clone(),
            tenant.plan.to_string(),
            tenant.status.word().to_owned(),
            when(tenant.created_at),
            tenant.id.to_string(),
        ]);
    }
    table
}

fn details(tenant: &TenantView) -> Table {
    let rate = tenant.rate_override.map_or_else(|| "its plan's".to_owned(), |rate| rate.to_string());
    let ids = tenant.external_ids.iter().map(|(name, id)| format!("{name}={id}"));
    let external_ids = ids.collect::<Vec<_>>().join(" ");
    Table::of_one([
        ("slug", tenant.slug.to_string()),
        ("name", tenant.name.clone()),
        ("email", tenant.email.to_string()),
        ("plan", tenant.plan.to_string()),
        ("rate", rate),
        ("status", tenant.status.word().to_owned()),
        ("isolation", tenant.isolation.word().to_owned()),
        ("region", tenant.region.clone().unwrap_or_default()),
        ("time zone", tenant.time_zone.clone()),
        ("billing anchor day", tenant.billing_anchor_day.to_string()),
        ("external ids", external_ids),
        ("created", when(tenant.created_at)),
        ("id", tenant.id.to_string()),
    ])
}

fn domain_table(domains: &[DomainView]) -> Table {
    let mut table = Table::new(&["host", "verified", "by", "record to set", "problem", "added"]);
    for domain in domains {
        let verified = domain.verified_at.map_or_else(|| "no".to_owned(), when);
        let record = domain.record.as_ref();
        table.row([
            domain.host.to_string(),
            verified,
            domain.proof.map_or("", Proof::word).to_owned(),
            record.map_or_else(String::new, |record| format!("{} TXT {}", record.name, record.value)),
            domain.problem.clone().unwrap_or_default(),
            when(domain.created_at),
        ]);
    }
    table
}

fn environment_table(environments: &[EnvironmentView]) -> Table {
    let mut table = Table::new(&["project", "environment", "base domain", "default plan", "resolve", "id"]);
    for environment in environments {
        table.row([
            environment.project_name.to_string(),
            environment.slug.to_string(),
            environment.base_domain.to_string(),
            environment.default_plan.to_string(),
            environment.resolve.join(", "),
            environment.id.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        for verb in verbs() {
            (verb.command)().debug_assert();
        }
    }

    #[test]
    fn options_become_fields() {
        let line = [
            "tenants",
            "update",
            "acme",
            "--plan",
            "pro",
            "--rate",
            "plan",
            "--time-zone",
            "UTC",
            "--external-id",
            "crm=",
        ];
        let matches = tenants().try_get_matches_from(line).unwrap();
        let arguments = matches.subcommand_matches("update").unwrap();
        assert_eq!(
            Value::Object(changes(arguments, true).unwrap()),
            json!({"plan": "pro", "rate_override": null, "time_zone": "UTC", "external_ids": {"crm": null}})
        );
        assert_eq!(path(arguments).unwrap(), "/api/v1/tenants/acme");
    }
}
