//! Whether the agents of a known program would find a credential. Which of several it takes, and whether its provider
//! accepts it, only the program knows; so one that is nowhere to be seen is no problem yet.

use std::ffi::OsStr;

use super::permissions::{home_of, preset_of};
use super::subject::Subject;
use crate::config::Role;
use crate::exit::ExitStatus;
use crate::harness::Preset;
use crate::views::check::Finding;

pub(super) fn credentials(subject: &Subject<'_>) -> Vec<Finding> {
    let of = |role: &Role| {
        let preset = role.commands().iter().find_map(|argv| preset_of(role, argv))?;
        Some(look(subject, role, preset))
    };
    subject.config.roles.iter().filter_map(of).collect()
}

fn look(subject: &Subject<'_>, role: &Role, preset: &Preset) -> Finding {
    let vars = subject.of_role(&subject.vars, role);
    let is_set = |name: &&&str| vars.get(OsStr::new(name)).is_some_and(|value| !value.is_empty());
    if let Some(name) = preset.credentials.iter().find(is_set) {
        return Finding::ok(&role.name, format!("{name} is set"));
    }
    let login = home_of(preset, &vars).map(|home| home.join(preset.home.login));
    if let Some(login) = login.as_ref().filter(|login| login.exists()) {
        return Finding::ok(&role.name, format!("a login lies in {}", login.display()));
    }
    let shell_has = |name: &&&str| subject.shell.contains_key(OsStr::new(name));
    let places = login.map_or_else(String::new, |login| format!(", and there is no {}", login.display()));
    match preset.credentials.iter().find(shell_has) {
        Some(name) if subject.as_cron => {
            let because = format!("{name} is set in your shell, but not under cron{places}");
            Finding::problem(ExitStatus::Denied, &role.name, because).hint(format!(
                "add a line {name}=… to the crontab, above the tick, or log in to {}",
                preset.name
            ))
        }
        Some(name) => {
            Finding::note(&role.name, format!("{name} is set, but not passed to its agents{places}"))
                .hint(format!("add it to the role: env = [\"{name}\"]"))
        }
        None => {
            let because = format!("none of {} is set{places}", preset.credentials.join(", "));
            Finding::note(&role.name, because)
                .hint(format!("unless {} gets its credential in another way, log in or set one", preset.name))
        }
    }
}
