//! `Procfile`: a name and a command a line.

use super::draft::{Draft, WEB};
use super::text_of;
use std::path::Path;

const FILE: &str = "Procfile";

pub(super) fn look(folder: &Path, draft: &mut Draft) {
    let Some(text) = text_of(folder, FILE) else { return };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let parts = line.split_once(':').map(|(name, command)| (name.trim(), command.trim()));
        let Some((name, command)) = parts.filter(|(name, command)| !name.is_empty() && !command.is_empty())
        else {
            draft.leave(format!("{FILE}: the line {line:?} has no command"));
            continue;
        };
        if name == "release" {
            if let Some(web) = draft.service(WEB) {
                web.pre_deploy = Some(command.to_owned());
            }
            draft.take(format!("{FILE}: release, which runs before each release as `pre_deploy`"));
            continue;
        }
        match draft.service(name) {
            Some(service) => {
                service.start = Some(command.to_owned());
                let name = service.name.clone();
                draft.take(format!("{FILE}: the service {name}, started with `{command}`"));
            }
            None => draft.leave(format!("{FILE}: {name:?} cannot be the name of a service")),
        }
    }
    draft.told_by = Some(FILE);
}
