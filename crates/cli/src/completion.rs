//! `switchyard completion SHELL`.

use crate::{Cli, tree};
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use module::{CliError, Output};

pub(crate) fn command() -> Command {
    Command::new("completion")
        .about("Print a script that completes commands in a shell")
        .long_about(
            "Prints a script that completes commands in a shell.\n\n  \
             bash: switchyard completion bash > ~/.local/share/bash-completion/completions/switchyard\n  \
             zsh:  switchyard completion zsh > \"${fpath[1]}/_switchyard\"\n  \
             fish: switchyard completion fish > ~/.config/fish/completions/switchyard.fish",
        )
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)))
}

pub(crate) fn run(matches: &ArgMatches, cli: &Cli, output: &Output) -> Result<(), CliError> {
    let Some(shell) = matches.get_one::<Shell>("shell") else {
        return Err(CliError::usage("a shell is needed: bash, zsh, fish, elvish or powershell"));
    };
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut tree::command(cli), "switchyard", &mut script);
    output.raw(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
