//! `switchyard open [TENANT]`.

use crate::place::Place;
use clap::{Arg, ArgAction, ArgMatches, Command};
use config::PROJECT_FILE;
use module::{CliError, Output};
use serde_json::json;
use std::process::Stdio;

/// Programs that show a URL to a person, the first that is there.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

pub(crate) fn command() -> Command {
    Command::new("open")
        .about("Open the app in a browser, as a tenant sees it")
        .arg(
            Arg::new("tenant")
                .value_name("TENANT")
                .help("The tenant's slug [default: the base domain itself]"),
        )
        .arg(Arg::new("print").long("print").action(ArgAction::SetTrue).help("Print the URL only"))
}

pub(crate) fn run(matches: &ArgMatches, place: &Place, output: &Output) -> Result<(), CliError> {
    let gateway = place.listener("gateway")?;
    let port = gateway.rsplit_once(':').map_or("80", |(_, port)| port);
    let tenant = matches.get_one::<String>("tenant").map(|tenant| base::Slug::parse(tenant)).transpose();
    let tenant = tenant.map_err(|error| CliError::usage(format!("that is no tenant's slug: {error}")))?;
    let domain = base_domain(place);
    let host = tenant.map_or_else(|| domain.clone(), |tenant| format!("{tenant}.{domain}"));
    let url = if port == "80" { format!("http://{host}/") } else { format!("http://{host}:{port}/") };
    if output.options().json {
        output.json(&json!({ "url": url }));
        return Ok(());
    }
    output.line(&url);
    if !matches.get_flag("print") && output.options().tty && !OPENERS.iter().any(|opener| show(opener, &url))
    {
        output.note("No browser could be opened here; open the address by hand.");
    }
    Ok(())
}

fn show(opener: &str, url: &str) -> bool {
    let mut command = std::process::Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The base domain of the environment that `up` runs.
fn base_domain(place: &Place) -> String {
    let text = std::fs::read_to_string(place.project_dir.join(PROJECT_FILE)).unwrap_or_default();
    let file: Option<toml::Value> = toml::from_str(&text).ok();
    let domain = |table: &toml::Value| Some(table.get("tenants")?.get("base_domain")?.as_str()?.to_owned());
    let development = |file: &toml::Value| domain(file.get("environments")?.get("development")?);
    let named = file.as_ref().and_then(|file| development(file).or_else(|| domain(file)));
    named
        .and_then(|text| base::HostName::parse(&text).ok())
        .map_or("localhost".to_owned(), |host| host.to_string())
}
