//! `[hooks]`: programs that are run around an agent, and how long they may take.

use std::time::Duration;

use super::fields::{Place, argv};
use crate::config::toml::section::Section;
use crate::config::toml::value::Value;

/// Ten minutes: time enough for a clone and an install.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What ending a hook, and writing down that it has ended, may take beyond the grace of its processes.
const END_SLACK: Duration = Duration::from_secs(5);

/// `[hooks]`: program and arguments of each, empty where there is none; a program with a `/` is absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    /// After a workspace was made, once.
    pub after_create: Vec<String>,
    /// Before each run.
    pub before_run: Vec<String>,
    /// After each run that had begun.
    pub after_run: Vec<String>,
    /// Whether an item is parked when that hook fails after an agent that ended well.
    pub after_run_required: bool,
    /// Before a workspace is removed.
    pub before_remove: Vec<String>,
    /// The longest that each of them may take.
    pub timeout: Duration,
}

impl Hooks {
    /// The longest that one hook keeps its launcher, the ending of one that takes too long included.
    pub fn each(&self, grace: Duration) -> Duration {
        self.timeout + grace + END_SLACK
    }

    /// The longest from the claim of a run to the start of its agent. While one run of an item sets their
    /// workspace up, the others wait for it; and where it fails, one of them does it again.
    pub fn before_agent(&self, grace: Duration) -> Duration {
        let set_up = if self.after_create.is_empty() { 0 } else { 2 };
        let before_run = u32::from(!self.before_run.is_empty());
        self.each(grace) * (set_up + before_run)
    }
}

pub(super) fn hooks(section: Section<'_, '_>, place: &Place<'_>) -> Option<Hooks> {
    const IN_A_RUN: &[&str] = &["{session}", "{prompt_file}"];
    const WITHOUT_A_RUN: &[&str] = &["{session}", "{prompt_file}", "{run}"];
    let after_create = section.or("after_create", Vec::new(), |value| hook(value, place, IN_A_RUN));
    let before_run = section.or("before_run", Vec::new(), |value| hook(value, place, IN_A_RUN));
    let after_run = section.or("after_run", Vec::new(), |value| hook(value, place, IN_A_RUN));
    let after_run_required = section.or("after_run_required", false, Value::boolean);
    let before_remove = section.or("before_remove", Vec::new(), |value| hook(value, place, WITHOUT_A_RUN));
    // One without an end would hold its item for ever, and nobody would be told.
    let timeout = section.or("timeout", TIMEOUT, Value::positive_duration);
    section.close();
    Some(Hooks {
        after_create: after_create?,
        before_run: before_run?,
        after_run: after_run?,
        after_run_required: after_run_required?,
        before_remove: before_remove?,
        timeout: timeout?,
    })
}

/// A command line, or `[]` for none. `unknown` are the placeholders that mean nothing there.
fn hook(value: &Value<'_, '_>, place: &Place<'_>, unknown: &[&str]) -> Option<Vec<String>> {
    if value.list(|_| Some(()))?.is_empty() {
        return Some(Vec::new());
    }
    let argv = argv(value, place)?;
    let used = unknown.iter().find(|name| argv.iter().any(|argument| argument.contains(*name)));
    match used {
        Some(name) => value.refuse(&format!("uses {name}, which a hook like this is not given"), "remove it"),
        None => Some(argv),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_has_time_for_every_hook_before_its_agent() {
        let grace = Duration::from_secs(10);
        let some = || vec!["true".to_owned()];
        let mut hooks = Hooks {
            after_create: Vec::new(),
            before_run: Vec::new(),
            after_run: some(),
            after_run_required: false,
            before_remove: some(),
            timeout: Duration::from_secs(60),
        };
        assert_eq!(hooks.before_agent(grace), Duration::ZERO);
        hooks.before_run = some();
        assert_eq!(hooks.before_agent(grace), Duration::from_secs(75));
        hooks.after_create = some();
        assert_eq!(hooks.before_agent(grace), Duration::from_secs(3 * 75));
    }
}
