//! What every check looks at.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Instant;

use crate::config::{Config, Role};
use crate::run::env::{self, Vars};
use crate::run::env_file::FileVars;

/// What is checked, and how it would be run.
pub(super) struct Subject<'a> {
    pub(super) config: &'a Config,
    /// The variables that a tick would have.
    pub(super) vars: Vars,
    /// What `[env] file` holds, or why it can't be used.
    pub(super) file: Result<FileVars, String>,
    /// Those that this command has: under `--as-cron` they tell what cron's lack.
    pub(super) shell: &'a Vars,
    pub(super) as_cron: bool,
    pub(super) state_path: PathBuf,
    pub(super) state_is_named: bool,
    /// What the command line sets in the configuration.
    pub(super) sets: &'a [String],
    pub(super) began: Instant,
}

impl Subject<'_> {
    /// The PATH of a role's agents, where a tick has these variables.
    pub(super) fn path_from(&self, vars: &Vars, role: &Role) -> OsString {
        self.of_role(vars, role).remove(OsStr::new("PATH")).unwrap_or_default()
    }

    /// The variables of a role's agents, where a tick has these.
    pub(super) fn of_role(&self, vars: &Vars, role: &Role) -> Vars {
        let own = role.preset().map_or(&[][..], |preset| preset.env);
        let names: Vec<_> = role.env.iter().cloned().chain(own.iter().map(|&name| name.to_owned())).collect();
        env::of_role(vars, &self.config.env, &self.file_vars(), &names)
    }

    /// What `[env] file` holds; nothing where it can't be used, which is a finding of its own.
    pub(super) fn file_vars(&self) -> FileVars {
        self.file.clone().unwrap_or_default()
    }
}
