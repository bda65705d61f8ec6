//! Every command of ours that a document names exists, with its flags.

use super::Finding;
use crate::workspace::Workspace;

/// The command line's own description, section by section.
const HELP: &str = "tests/surface/cli-help.txt";
/// What a command begins with, in a span or in a line of a code block.
const BEGIN: &str = "switchyard ";
/// Documents about what will be rather than what is.
const FUTURE: [&str; 1] = ["docs/progress/"];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Finding>, String> {
    if !workspace.files.iter().any(|file| file == HELP) {
        // The surface's own rule tells what is missing.
        return Ok(Vec::new());
    }
    let help = workspace.read(HELP)?;
    let sections: Vec<(&str, &str)> = help
        .split("\n## ")
        .filter_map(|section| {
            let (title, text) = section.split_once('\n')?;
            Some((title.strip_prefix("## ").unwrap_or(title), text))
        })
        .collect();
    let mut findings = Vec::new();
    for file in workspace.files.iter().filter(|file| file.ends_with(".md")) {
        if FUTURE.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        for (line, command) in commands(&workspace.read(file)?) {
            if let Some(message) = fault(&sections, &command) {
                findings.push(Finding::new(format!("{file}:{line}"), message));
            }
        }
    }
    Ok(findings)
}

/// Commands in spans (between backticks) and at the beginning of lines of code blocks, with their lines.
fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let line = line.trim_start().trim_start_matches("$ ");
            found.extend(line.starts_with(BEGIN).then(|| (index + 1, line.to_owned())));
        } else {
            let spans = line.split('`').skip(1).step_by(2).filter(|span| span.starts_with(BEGIN));
            found.extend(spans.map(|span| (index + 1, span.to_owned())));
        }
    }
    found
}

/// What is wrong with a command: a verb or a flag that the help does not know.
fn fault(sections: &[(&str, &str)], command: &str) -> Option<String> {
    // What follows a comment, a pipe or another command is not ours.
    let own = command.split(['#', '|', ';', '&', '>']).next().unwrap_or_default();
    let words: Vec<&str> = own.split_whitespace().collect();
    let title = (2..=words.len()).rev().map(|count| words[..count].join(" "));
    let known = title.into_iter().find_map(|title| sections.iter().find(|(name, _)| *name == title));
    let flags: Vec<&str> = words.iter().copied().filter(|word| word.starts_with("--")).collect();
    let Some((name, text)) = known else {
        let is_flag = words.get(1).is_some_and(|word| word.starts_with('-'));
        return (!is_flag).then(|| format!("there is no `{}`", words[..words.len().min(3)].join(" ")));
    };
    // A verb with verbs below it, followed by a word that is none of them.
    let depth = name.split(' ').count();
    let has_verbs = sections.iter().any(|(other, _)| other.starts_with(&format!("{name} ")));
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or_default();
    let takes_words = usage.split_whitespace().any(is_argument);
    let next = words.get(depth).filter(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase()));
    if let Some(next) = next.filter(|_| has_verbs && !takes_words) {
        return Some(format!("there is no `{name} {next}`"));
    }
    let all = sections.first().map_or("", |(_, text)| *text);
    let unknown = flags.iter().map(|flag| flag.split('=').next().unwrap_or(flag)).find(|flag| {
        let is_in = |text: &str| {
            text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
                .any(|word| word == *flag)
        };
        !is_in(text) && !is_in(all)
    });
    unknown.map(|flag| format!("`{name}` has no {flag}"))
}

/// A word of a usage line that stands for a positional argument: `[SERVICE]`, `<SLUG>`, `[NAME]...`.
fn is_argument(word: &str) -> bool {
    let name = word.trim_end_matches('.').trim_matches(['[', ']', '<', '>']);
    let is_marked = word.starts_with(['[', '<']);
    is_marked && name != "OPTIONS" && name != "COMMAND" && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_verbs_and_flags_are_found() {
        let sections = [
            ("switchyard", "--json"),
            ("switchyard keys", "\nUsage: switchyard keys [OPTIONS] <COMMAND>\n"),
            ("switchyard deployments", "\nUsage: switchyard deployments [OPTIONS] [SERVICE] [COMMAND]\n"),
            ("switchyard deployments list", ""),
            ("switchyard keys create", "--tenant <TENANT> --name <NAME>"),
            ("switchyard up", "-d, --detach"),
        ];
        for (command, is_right) in [
            ("switchyard up", true),
            ("switchyard up -d # in the background", true),
            ("switchyard up --fast", false),
            ("switchyard keys create --tenant acme --name ci --json", true),
            ("switchyard keys make", false),
            ("switchyard deployments web", true),
            ("switchyard start", false),
            ("switchyard --json", true),
        ] {
            assert_eq!(
                fault(&sections, command).is_none(),
                is_right,
                "{command}: {:?}",
                fault(&sections, command)
            );
        }
    }

    #[test]
    fn commands_are_found_in_spans_and_blocks() {
        let text = "say `switchyard up` or `ls`\n```sh\n$ switchyard down\nls\n```\nswitchyard is";
        assert_eq!(commands(text), [(1, "switchyard up".to_owned()), (3, "switchyard down".to_owned())]);
    }
}
