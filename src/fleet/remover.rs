//! Starts the process that clears workspaces and empties the trash ([`mod@crate::commands::remove`]).

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config::{Config, EnvConfig};
use crate::run::env::{self, Vars};

/// What `--set` had set, for the process that removes: a list in JSON, as a value may have more than one line. Not on its
/// command line, which everybody on the machine may read, and where a secret would stand for hours.
const SETS: &str = "FACTORY_TICK_REMOVER_SETS";

/// Starts it. It needs nobody to wait for it. `sets`: keys of the configuration that were set on the command line.
///
/// # Errors
///
/// That no process can be made.
pub fn start(config: &Config, state: &Path, sets: &[String], inherited: &Vars) -> io::Result<()> {
    // It makes the environment of its hooks of its own, as a tick makes that of agents.
    let own = EnvConfig { path_prepend: Vec::new(), ..config.env.clone() };
    #[expect(clippy::disallowed_methods, reason = "the fleet is what starts processes that outlive a tick")]
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("factory-tick")
        .arg("__remove")
        .arg(&config.path)
        .arg(state)
        .env_clear()
        .envs(env::of_role(inherited, &own, &Default::default(), &[]))
        .env(SETS, serde_json::to_string(sets)?)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// What [`start`] was given as `sets`, in the process that it started; else nothing.
pub fn sets(vars: &Vars) -> Vec<String> {
    let text = vars.get(OsStr::new(SETS)).and_then(|value| value.to_str());
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
