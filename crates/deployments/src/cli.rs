//! Verbs about services and deployments.

use crate::views::{DeploymentView, PushSecretView, ServiceView};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, when};
use serde_json::{Map, Value, json};

/// The verbs of this capability.
#[must_use]
pub fn verbs() -> Vec<Verb> {
    vec![
        Verb { name: "services", command: services_command, run: services },
        Verb { name: "deployments", command: deployments_command, run: deployments },
        Verb { name: "deploy", command: deploy_command, run: deploy },
        Verb { name: "redeploy", command: redeploy_command, run: redeploy },
        Verb { name: "rollback", command: rollback_command, run: rollback },
        Verb { name: "scale", command: scale_command, run: scale },
        Verb { name: "restart", command: restart_command, run: restart },
    ]
}

fn service_argument() -> Arg {
    Arg::new("service").value_name("SERVICE").required(true).help("Name or id of the service")
}

fn services_command() -> Command {
    Command::new("services")
        .about("List services, or show one with its replicas")
        .arg(service_argument().required(false))
        .arg(
            Arg::new("push-secret").long("push-secret").action(ArgAction::SetTrue).requires("service").help(
                "Show what the service verifies pushed jobs with, to give it to one that runs elsewhere",
            ),
        )
}

fn services(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.get_one::<String>("service") {
            None => {
                let services: Vec<ServiceView> = session.client.all("/api/v1/services").await?;
                session.show(&services, |services| services_table(services));
            }
            Some(name) if matches.get_flag("push-secret") => {
                let shown: PushSecretView = session.client.get(&path(name, "/push-secret")).await?;
                session.show(&shown, |shown| Table::of_one([("push secret", &shown.push_secret)]));
            }
            Some(name) => {
                let service: ServiceView = session.client.get(&path(name, "")).await?;
                session.show(&service, replicas_table);
            }
        }
        Ok(())
    })
}

fn deployments_command() -> Command {
    Command::new("deployments")
        .about("List deployments, or show one with its output")
        .subcommand(
            Command::new("list").about("List deployments, the newest first").arg(
                Arg::new("service")
                    .value_name("SERVICE")
                    .help("Name or id of a service; all when nothing is said"),
            ),
        )
        .subcommand(
            Command::new("show")
                .about("Show a deployment with its times and the end of its output")
                .arg(Arg::new("deployment").value_name("DEPLOYMENT").required(true).help("Its id")),
        )
}

fn deployments(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("show", matches)) => show_deployment(text(matches, "deployment")?, &session).await,
            other => {
                let service = other.and_then(|(_, matches)| matches.get_one::<String>("service"));
                let path = service
                    .map_or_else(|| "/api/v1/deployments".to_owned(), |name| path(name, "/deployments"));
                let list: Vec<DeploymentView> = session.client.all(&path).await?;
                session.show(&list, |list| deployments_table(list));
                Ok(())
            }
        }
    })
}

async fn show_deployment(id: &str, session: &Session) -> Result<(), CliError> {
    let deployment: DeploymentView = session.client.get(&deployment_path(id, "")).await?;
    session.show(&deployment, |one| deployments_table(std::slice::from_ref(one)));
    if !session.json_wanted() {
        if let Some(error) = &deployment.error {
            session.line(format!("\n{error}"));
        }
        if !deployment.output.is_empty() {
            session.line(format!("\n{}", deployment.output.trim_end()));
        }
    }
    Ok(())
}

fn deploy_command() -> Command {
    Command::new("deploy")
        .about("Deploy a service from the project folder, changed or not")
        .arg(service_argument())
        .arg(
            Arg::new("source")
                .long("source")
                .value_name("FOLDER")
                .help("Take the source from this folder instead"),
        )
}

fn deploy(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let mut body = Map::new();
        if let Some(source) = matches.get_one::<String>("source") {
            let absolute = std::path::absolute(source)
                .map_err(|error| CliError::usage(format!("find the folder {source}: {error}")))?;
            body.insert("source".to_owned(), Value::String(absolute.display().to_string()));
        }
        ask(&session, &path(text(&matches, "service")?, "/deployments"), &Value::Object(body)).await
    })
}

fn redeploy_command() -> Command {
    Command::new("redeploy").about("Deploy once more what is live, without a build").arg(service_argument())
}

fn redeploy(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let path = path(text(&matches, "service")?, "/deployments");
        ask(&session, &path, &json!({ "same_build": true })).await
    })
}

fn rollback_command() -> Command {
    Command::new("rollback").about("Go back to a deployment that has served").arg(
        Arg::new("deployment")
            .value_name("DEPLOYMENT")
            .required(true)
            .help("Its id, as `switchyard deployments` lists it"),
    )
}

fn rollback(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let path = deployment_path(text(&matches, "deployment")?, "/rollback");
        ask(&session, &path, &json!({})).await
    })
}

fn scale_command() -> Command {
    Command::new("scale")
        .about("Set the number of replicas of a service")
        .long_about("Set the number of replicas of a service, between `min` and `max` of the project file's `replicas`.")
        .arg(service_argument())
        .arg(Arg::new("replicas").value_name("REPLICAS").required(true).value_parser(value_parser!(u32)).help("How many"))
}

fn scale(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let name = text(&matches, "service")?;
        let replicas = matches.get_one::<u32>("replicas").copied().unwrap_or_default();
        let body = json!({ "replicas": replicas });
        let service: ServiceView = session.client.post(&path(name, "/scale"), &body).await?;
        done(&session, &service, &format!("Service {name} is brought to {replicas} replicas."));
        Ok(())
    })
}

fn restart_command() -> Command {
    Command::new("restart").about("Replace the replicas of a service one by one").arg(service_argument())
}

fn restart(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let name = text(&matches, "service")?;
        let service: ServiceView = session.client.post(&path(name, "/restart"), &json!({})).await?;
        done(&session, &service, &format!("Service {name} is restarted, replica by replica."));
        Ok(())
    })
}

fn done(session: &Session, service: &ServiceView, line: &str) {
    if session.json_wanted() {
        session.json(service);
    } else {
        session.line(line);
    }
}

/// Asks for a deployment and says how to follow it.
async fn ask(session: &Session, path: &str, body: &Value) -> Result<(), CliError> {
    let made: DeploymentView = session.client.post(path, body).await?;
    if session.json_wanted() {
        session.json(&made);
    } else {
        let id = made.id;
        session.line(format!("Deployment {id} of {} is {}.", made.service, made.status));
        session.line(format!("Follow it with `switchyard deployments show {id}`."));
    }
    Ok(())
}

fn services_table(services: &[ServiceView]) -> Table {
    let mut table = Table::new(&["SERVICE", "STATE", "REPLICAS", "DEPLOYMENT", "ERROR"]);
    for service in services {
        let ready = service.replicas.iter().filter(|one| one.state == crate::ReplicaState::Ready).count();
        let of =
            if service.urls.is_empty() { service.replicas_wanted as usize } else { service.replicas.len() };
        let error =
            service.latest.as_ref().and_then(|latest| latest.error.clone()).or_else(|| service.error.clone());
        table.row([
            service.name.to_string(),
            service.state.as_str().to_owned(),
            format!("{ready}/{of}"),
            service.live.map_or_else(|| "-".to_owned(), |live| live.to_string()),
            error.unwrap_or_default(),
        ]);
    }
    table
}

fn replicas_table(service: &ServiceView) -> Table {
    let mut table = Table::new(&["REPLICA", "STATE", "ADDRESS", "PID", "RESTARTS", "LAST EXIT"]);
    for one in &service.replicas {
        table.row([
            one.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            one.state.as_str().to_owned(),
            one.addr.clone().unwrap_or_default(),
            one.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            one.restarts.to_string(),
            one.last_exit.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn deployments_table(list: &[DeploymentView]) -> Table {
    let mut table = Table::new(&["SERVICE", "STATUS", "REASON", "BY", "CREATED", "DEPLOYMENT"]);
    for one in list {
        table.row([
            one.service.to_string(),
            one.status.clone(),
            one.reason.clone(),
            one.created_by.clone(),
            when(one.created_at),
            one.id.to_string(),
        ]);
    }
    table
}

fn path(service: &str, below: &str) -> String {
    format!("/api/v1/services/{}{below}", encode(service))
}

fn deployment_path(deployment: &str, below: &str) -> String {
    format!("/api/v1/deployments/{}{below}", encode(deployment))
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> Result<&'a str, CliError> {
    let value = matches.get_one::<String>(name).map(String::as_str);
    value.ok_or_else(|| CliError::usage(format!("{} is missing", name.to_uppercase())))
}
