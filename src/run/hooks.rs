//! The hooks of one run: each command line with its placeholders replaced and its program found.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Hooks, prompt};
use crate::model::RunId;
use crate::run::env::Vars;
use crate::run::program;

/// The hooks of one run as its launcher is given them: nothing left to replace, each program an absolute path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunHooks {
    /// After the workspace was made.
    pub after_create: Vec<String>,
    /// Before the agent.
    pub before_run: Vec<String>,
    /// After the agent.
    pub after_run: Vec<String>,
    /// The longest that each of them may take, in milliseconds.
    pub timeout_ms: u64,
    /// The longest that one of them keeps its launcher, its ending included, in milliseconds.
    pub each_ms: u64,
}

impl RunHooks {
    /// The configured hooks for one run. `vars` are the variables that they will have.
    ///
    /// # Errors
    ///
    /// A program that is not to be had: better told now than after an agent has worked for an hour.
    pub fn of_run(
        hooks: &Hooks,
        grace: Duration,
        run: &RunId,
        workspace: &Path,
        vars: &Vars,
    ) -> Result<RunHooks, String> {
        let run = run.to_string();
        let ready = |name: &str, argv: &[String]| resolve(name, argv, Some(&run), workspace, vars);
        Ok(RunHooks {
            after_create: ready("after_create hook", &hooks.after_create)?,
            before_run: ready("before_run hook", &hooks.before_run)?,
            after_run: ready("after_run hook", &hooks.after_run)?,
            timeout_ms: hooks.timeout.as_millis() as u64,
            each_ms: hooks.each(grace).as_millis() as u64,
        })
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        [&self.after_create, &self.before_run, &self.after_run].iter().all(|argv| argv.is_empty())
    }
}

/// The command line of a hook, or of what is run as one, with its placeholders replaced and its program found; empty where there is no such hook.
///
/// # Errors
///
/// That its program is not to be had.
pub fn resolve(
    name: &str,
    argv: &[String],
    run: Option<&str>,
    workspace: &Path,
    vars: &Vars,
) -> Result<Vec<String>, String> {
    let Some(first) = argv.first() else { return Ok(Vec::new()) };
    let program =
        program::find(first, vars.get(OsStr::new("PATH"))).map_err(|error| format!("its {name}: {error}"))?;
    let mut argv = prompt::fill(argv, None, run, Some(&workspace.to_string_lossy()), None);
    argv[0] = program
        .into_os_string()
        .into_string()
        .map_err(|path| format!("its {name}: {} is not UTF-8", path.to_string_lossy()))?;
    Ok(argv)
}
