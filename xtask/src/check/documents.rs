//! Rules over documents: a page for each error code, a line for each dependency, no path of anyone's machine.

use super::Finding;
use crate::workspace::Workspace;

const CODES: &str = "crates/base/src/codes.rs";
const PAGES: &str = "docs/errors/";
const DEPENDENCIES: &str = "docs/dependencies.md";
/// Begins of paths that exist on one machine only, in two halves so that this table does not find itself.
const MACHINE_PATHS: [(&str, &str); 5] =
    [("/ro", "ot/"), ("/wo", "rk/"), ("/home", "/"), ("/Us", "ers/"), ("bash_", "jobs")];
/// Folders of home that are words of the trade rather than somebody's.
const MACHINE_PATHS_ALLOWED: [&str; 1] = ["/home/app/"];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Finding>, String> {
    let mut findings = check_pages(workspace)?;
    findings.extend(check_dependencies(workspace)?);
    for file in workspace.files.iter().filter(|file| !file.ends_with(".lock")) {
        // What is not UTF-8 is no text.
        let text = workspace.read(file).unwrap_or_default();
        findings.extend(machine_paths(file, &text));
    }
    Ok(findings)
}

/// Codes and pages are the same set.
fn check_pages(workspace: &Workspace) -> Result<Vec<Finding>, String> {
    let codes: Vec<String> = workspace.read(CODES)?.lines().filter_map(code).map(str::to_owned).collect();
    if codes.is_empty() {
        return Ok(vec![Finding::new(
            CODES,
            "no codes were found; does this rule still read the file's form?",
        )]);
    }
    let pages: Vec<&str> = workspace
        .files
        .iter()
        .filter_map(|file| file.strip_prefix(PAGES)?.strip_suffix(".md"))
        .filter(|page| *page != "README")
        .collect();
    let without_page = codes
        .iter()
        .filter(|code| !pages.contains(&code.as_str()))
        .map(|code| Finding::new(CODES, format!("{code} has no page {PAGES}{code}.md")));
    let without_code = pages
        .iter()
        .filter(|page| !codes.iter().any(|code| code == *page))
        .map(|page| Finding::new(format!("{PAGES}{page}.md"), "no error code has this name"));
    Ok(without_page.chain(without_code).collect())
}

/// The name in a line such as `NOT_FOUND = "not_found", 404, "Not found";`.
fn code(line: &str) -> Option<&str> {
    let (constant, rest) = line.trim().split_once(" = \"")?;
    let is_constant = constant.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let (name, rest) = rest.split_once("\", ")?;
    (is_constant && rest.starts_with(|digit: char| digit.is_ascii_digit())).then_some(name)
}

/// Each external crate of the root manifest has a row that begins with its name.
fn check_dependencies(workspace: &Workspace) -> Result<Vec<Finding>, String> {
    let text = workspace.read(DEPENDENCIES)?;
    let described: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches(['|', '-', ' ']).strip_prefix('`')?.split('`').next())
        .collect();
    let missing = workspace.external.iter().filter(|name| !described.contains(&name.as_str())).map(|name| {
        Finding::new(
            DEPENDENCIES,
            format!("no row says why `{name}` is here, what it costs, what was rejected"),
        )
    });
    let stale = described
        .iter()
        .filter(|name| !workspace.external.iter().any(|external| external == *name))
        .map(|name| Finding::new(DEPENDENCIES, format!("`{name}` is no dependency any more")));
    Ok(missing.chain(stale).collect())
}

fn machine_paths(file: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| {
            MACHINE_PATHS.iter().any(|(first, second)| line.contains(&format!("{first}{second}")))
                && !MACHINE_PATHS_ALLOWED.iter().any(|allowed| line.contains(allowed))
        })
        .map(|(index, _)| Finding::new(format!("{file}:{}", index + 1), "names a path of somebody's machine"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read() {
        assert_eq!(code("    NOT_FOUND = \"not_found\", 404, \"Not found\";"), Some("not_found"));
        assert_eq!(code("    let x = \"not_found\", 404"), None);
    }

    #[test]
    fn machine_paths_are_found() {
        let own = format!("see {}{}x", MACHINE_PATHS[0].0, MACHINE_PATHS[0].1);
        assert_eq!(machine_paths("a", &own).len(), 1);
        assert!(machine_paths("a", "a tree/root node").is_empty());
    }
}
