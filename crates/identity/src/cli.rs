//! `switchyard keys`, `switchyard members`, `switchyard roles` and `switchyard whoami`.

use authority::Role;
use base::{Page, Slug};
use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, option, text, when};
use serde_json::{Map, Value, json};

use crate::api::{KeyView, MeView, MemberView, NewKeyView, RoleView, SigningKeyView};

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![
        Verb { name: "keys", command: keys, run: run_keys },
        Verb { name: "members", command: members, run: run_members },
        Verb { name: "roles", command: roles, run: run_roles },
        Verb { name: "whoami", command: whoami, run: run_whoami },
    ]
}

fn keys() -> Command {
    let id = || Arg::new("key").required(true).value_name("KEY").help("Its id (key_…)");
    Command::new("keys")
        .about("API keys of a tenant: make, list, rotate, revoke; and the installation's own that sign")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List keys; never the keys themselves").arg(tenant()).arg(
            Arg::new("revoked").long("revoked").action(ArgAction::SetTrue).help("List revoked ones too"),
        ))
        .subcommand(
            Command::new("create")
                .about("Make a key and show it, once")
                .arg(tenant())
                .arg(option("name", "NAME", "What to call it").required(true))
                .arg(option("role", "ROLE", "owner, admin, developer, viewer, or a custom role"))
                .arg(
                    option(
                        "allow-ip",
                        "RANGE",
                        "From where it may be used, such as 203.0.113.0/24; may be repeated",
                    )
                    .action(ArgAction::Append),
                )
                .arg(
                    option(
                        "scope",
                        "PATTERN",
                        "What it may do, such as read:* or write:keys; may be repeated",
                    )
                    .action(ArgAction::Append),
                )
                .arg(option("in", "ENVIRONMENT", "The environment it is for"))
                .arg(option("expires-at", "TIME", "When it stops working (RFC 3339)")),
        )
        .subcommand(
            Command::new("rotate")
                .about("Make a new key like it; the old one goes on for a while")
                .arg(tenant())
                .arg(id())
                .arg(option("overlap", "TIME", "How long the old one goes on, such as 1h; 24h by default")),
        )
        .subcommand(Command::new("revoke").about("End a key at once").arg(tenant()).arg(id()))
        .subcommand(
            Command::new("rotate-signing")
                .about("Have the next keys that sign tokens take over, and make the ones after them"),
        )
}

fn members() -> Command {
    let id = || Arg::new("member").required(true).value_name("MEMBER").help("Its id (mem_…) or mail address");
    let role = || {
        Arg::new("role")
            .required(true)
            .value_name("ROLE")
            .help("owner, admin, developer, viewer, or a custom role")
    };
    Command::new("members")
        .about("People who belong to a tenant, and their roles")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List members").arg(tenant()))
        .subcommand(
            Command::new("invite")
                .about("Invite a person")
                .arg(tenant())
                .arg(Arg::new("email").required(true).value_name("ADDRESS").help("The person's mail address"))
                .arg(
                    option("role", "ROLE", "owner, admin, developer, viewer, or a custom role")
                        .default_value("developer"),
                ),
        )
        .subcommand(
            Command::new("set-role").about("Give a member another role").arg(tenant()).arg(id()).arg(role()),
        )
        .subcommand(
            Command::new("resend")
                .about("Send an invitation again to somebody who has not accepted")
                .arg(tenant())
                .arg(id()),
        )
        .subcommand(Command::new("remove").about("End a membership").arg(tenant()).arg(id()))
}

fn roles() -> Command {
    let name = || Arg::new("role").required(true).value_name("ROLE").help("Its name");
    Command::new("roles")
        .about("Custom roles of the project, for members and keys of its tenants")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List custom roles"))
        .subcommand(
            Command::new("set")
                .about("Make a role, or change what it grants for all who have it")
                .arg(name())
                .arg(
                    Arg::new("pattern")
                        .required(true)
                        .num_args(1..)
                        .value_name("PATTERN")
                        .help("What it grants, such as read:* or write:jobs@test"),
                )
                .arg(option("description", "TEXT", "What it is for").default_value("")),
        )
        .subcommand(Command::new("remove").about("Remove a role that nobody has").arg(name()))
}

fn whoami() -> Command {
    Command::new("whoami").about("Tell who the installation takes you for, and what you may")
}

fn tenant() -> Arg {
    Arg::new("tenant").long("tenant").required(true).value_name("TENANT").help("The tenant's slug or id")
}

fn run_keys(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("list", arguments)) => list_keys(arguments, &session).await,
            Some(("create", arguments)) => create_key(arguments, &session).await,
            Some(("rotate", arguments)) => rotate_key(arguments, &session).await,
            Some(("revoke", arguments)) => revoke_key(arguments, &session).await,
            Some(("rotate-signing", _)) => rotate_signing(&session).await,
            _ => Err(CliError::usage("say what to do with keys").next("See `switchyard keys --help`.")),
        }
    })
}

async fn list_keys(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let path = format!("{}?revoked={}", path(arguments, "keys")?, arguments.get_flag("revoked"));
    let keys: Vec<KeyView> = session.client.all(&path).await?;
    session.show(&keys, |keys| key_table(keys));
    Ok(())
}

async fn create_key(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let fields = [("name", "name"), ("role", "role"), ("in", "environment"), ("expires-at", "expires_at")];
    let mut body: Map<String, Value> = fields
        .iter()
        .filter_map(|(option, field)| {
            let value = arguments.get_one::<String>(option)?;
            let value = if *field == "role" { role(value) } else { value.as_str().into() };
            Some(((*field).to_owned(), value))
        })
        .collect();
    for (option, field) in [("scope", "scopes"), ("allow-ip", "allowed_ips")] {
        let values: Vec<&String> = arguments.get_many::<String>(option).into_iter().flatten().collect();
        if !values.is_empty() {
            body.insert(field.to_owned(), json!(values));
        }
    }
    let made: NewKeyView = session.client.post(&path(arguments, "keys")?, &body).await?;
    show_new(session, &made);
    Ok(())
}

async fn rotate_key(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let overlap = arguments.get_one::<String>("overlap");
    let body = overlap.map_or_else(|| json!({}), |overlap| json!({ "overlap": overlap }));
    let path = format!("{}/{}/rotate", path(arguments, "keys")?, encode(text(arguments, "key")?));
    let made: NewKeyView = session.client.post(&path, &body).await?;
    show_new(session, &made);
    Ok(())
}

async fn revoke_key(arguments: &ArgMatches, session: &Session) -> Result<(), CliError> {
    let key = text(arguments, "key")?;
    session.confirm(key)?;
    session.client.delete(&format!("{}/{}", path(arguments, "keys")?, encode(key))).await?;
    session.line(format!("Key {key} is revoked."));
    Ok(())
}

async fn rotate_signing(session: &Session) -> Result<(), CliError> {
    let keys: Page<SigningKeyView> = session.client.post("/api/v1/signing-keys/rotate", &json!({})).await?;
    session.show(&keys.data, |keys| {
        let mut table = Table::new(&["algorithm", "status", "signs from", "id"]);
        for key in keys {
            let from = key.signs_from.map_or_else(|| "not set".to_owned(), when);
            let status = format!("{:?}", key.status).to_lowercase();
            table.row([key.algorithm.clone(), status, from, key.id.clone()]);
        }
        table
    });
    Ok(())
}

fn run_roles(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("set", arguments)) => {
                let patterns: Vec<&String> =
                    arguments.get_many::<String>("pattern").into_iter().flatten().collect();
                let body = json!({ "patterns": patterns, "description": text(arguments, "description")? });
                let path = format!("/api/v1/roles/{}", encode(text(arguments, "role")?));
                let role: RoleView = session.client.put(&path, &body).await?;
                session.show(&role, |role| role_table(std::slice::from_ref(role)));
            }
            Some(("remove", arguments)) => {
                let name = text(arguments, "role")?;
                session.confirm(name)?;
                session.client.delete(&format!("/api/v1/roles/{}", encode(name))).await?;
                session.line(format!("Role {name} is removed."));
            }
            _ => {
                let all: Vec<RoleView> = session.client.all("/api/v1/roles").await?;
                session.show(&all, |all| role_table(all));
            }
        }
        Ok(())
    })
}

fn role_table(roles: &[RoleView]) -> Table {
    let mut table = Table::new(&["name", "patterns", "description", "changed"]);
    for role in roles {
        let patterns: Vec<String> = role.patterns.iter().map(ToString::to_string).collect();
        table.row([
            role.name.to_string(),
            patterns.join(" "),
            role.description.clone(),
            when(role.updated_at),
        ]);
    }
    table
}

fn show_new(session: &Session, made: &NewKeyView) {
    if session.json_wanted() {
        session.json(made);
        return;
    }
    session.output.raw(&made.key);
    session
        .output
        .note(format!("Key {} ({}). Keep it now: it is not shown again.", made.about.id, made.about.name));
}

fn run_members(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (action, arguments) = matches
            .subcommand()
            .ok_or_else(|| CliError::usage("say what to do").next("See `switchyard members --help`."))?;
        let members = path(arguments, "members")?;
        match action {
            "invite" => {
                let body =
                    json!({ "email": text(arguments, "email")?, "role": role(text(arguments, "role")?) });
                let member: MemberView = session.client.post(&members, &body).await?;
                session.show(&member, |member| member_table(std::slice::from_ref(member)));
            }
            "set-role" => {
                let id = member_id(&session, &members, text(arguments, "member")?).await?;
                let body = json!({ "role": role(text(arguments, "role")?) });
                let member: MemberView = session.client.patch(&format!("{members}/{id}"), &body).await?;
                session.show(&member, |member| member_table(std::slice::from_ref(member)));
            }
            "resend" => {
                let id = member_id(&session, &members, text(arguments, "member")?).await?;
                let path = format!("{members}/{id}/invite");
                let member: MemberView = session.client.post(&path, &json!({})).await?;
                session.show(&member, |member| member_table(std::slice::from_ref(member)));
            }
            "remove" => {
                let name = text(arguments, "member")?;
                let id = member_id(&session, &members, name).await?;
                session.confirm(name)?;
                session.client.delete(&format!("{members}/{id}")).await?;
                session.line(format!("{name} is no longer a member."));
            }
            _ => {
                let all: Vec<MemberView> = session.client.all(&members).await?;
                session.show(&all, |all| member_table(all));
            }
        }
        Ok(())
    })
}

fn run_whoami(_: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let me: MeView = session.client.get("/api/v1/me").await?;
        session.show(&me, me_table);
        Ok(())
    })
}

fn me_table(me: &MeView) -> Table {
    let text = |value: Option<String>| value.unwrap_or_default();
    let scopes: Vec<String> = me.scopes.iter().map(ToString::to_string).collect();
    Table::of_one([
        ("kind", me.kind.clone()),
        ("id", text(me.id.clone())),
        ("name", me.name.clone()),
        ("tenant", text(me.tenant.map(|id| id.to_string()))),
        ("member of", me.tenants.iter().map(|one| one.tenant.to_string()).collect::<Vec<_>>().join(" ")),
        ("session", text(me.session.map(|id| id.to_string()))),
        ("environment", text(me.environment.map(|id| id.to_string()))),
        ("role", text(me.role.as_ref().map(ToString::to_string))),
        ("scopes", scopes.join(" ")),
        ("permissions", me.permissions.len().to_string()),
    ])
}

/// A role as the API takes it: patterns with commas between them are a list.
fn role(text: &str) -> Value {
    if text.contains(':') { text.split(',').map(str::trim).collect() } else { text.into() }
}

/// The id of a member that was named by id or mail address.
async fn member_id(session: &Session, members: &str, name: &str) -> Result<String, CliError> {
    if !name.contains('@') {
        return Ok(encode(name));
    }
    let all: Vec<MemberView> = session.client.all(members).await?;
    let found = all.iter().find(|member| member.email.key() == name.to_ascii_lowercase());
    let found = found.ok_or_else(|| {
        CliError::failure(format!("{name} is no member of the tenant"))
            .next("`switchyard members list --tenant TENANT` shows who is.")
    })?;
    Ok(found.id.to_string())
}

fn named(name: Option<&Slug>, role: &Role) -> String {
    name.map_or_else(|| role.to_string(), ToString::to_string)
}

fn path(arguments: &ArgMatches, what: &str) -> Result<String, CliError> {
    Ok(format!("/api/v1/tenants/{}/{what}", encode(text(arguments, "tenant")?)))
}

fn key_table(keys: &[KeyView]) -> Table {
    let mut table = Table::new(&["name", "prefix", "role", "scopes", "status", "last used", "expires", "id"]);
    for key in keys {
        let time = |at: Option<base::Timestamp>| at.map_or_else(|| "never".to_owned(), when);
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        let status = format!("{:?}", key.status).to_lowercase();
        table.row([
            key.name.clone(),
            key.prefix.clone(),
            named(key.role_name.as_ref(), &key.role),
            scopes.join(" "),
            status,
            time(key.last_used_at),
            time(key.expires_at),
            key.id.to_string(),
        ]);
    }
    table
}

fn member_table(members: &[MemberView]) -> Table {
    let mut table = Table::new(&["email", "role", "status", "since", "id"]);
    for member in members {
        table.row([
            member.email.to_string(),
            named(member.role_name.as_ref(), &member.role),
            member.status.word().to_owned(),
            when(member.created_at),
            member.id.to_string(),
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
}
