//! What a fleet leaves on disk, listed, and taken away when it is over.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::config::EnvConfig;
use crate::durable::Trash;
use crate::fleet::local::LocalFleet;
use crate::fleet::local::fences::{self, Fenced};
use crate::model::{Claim, RunHandle, RunId, RunTrace};
use crate::process::identity::{self, Life};
use crate::run::directory::{RunDir, RunFiles};
use crate::run::env::{self, Vars};
use crate::run::tmp;
use crate::workspace::TRASH;
use crate::workspace::ownership::Marks;

/// What `--set` had set, for the process that removes: a list in JSON, as a value may have more than one line. Not on its
/// command line, which everybody on the machine may read, and where a secret would stand for hours.
const SETS: &str = "FACTORY_TICK_REMOVER_SETS";

/// What became of a run's directory that was to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// It lies in the trash, or was gone before.
    Gone,
    /// It stays, because it does not say itself that the run is over: why.
    Kept(String),
}

impl LocalFleet {
    /// Every run that has a directory, and when that last changed.
    ///
    /// # Errors
    ///
    /// That `runs/` can't be listed.
    pub fn traces(&self) -> Result<Vec<RunTrace>> {
        let mut traces = Vec::new();
        for entry in listed(&self.runs)? {
            let Some(run) = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok()) else {
                continue;
            };
            // Gone by now, or never a run's directory.
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir()
                && let Ok(changed_at) = Timestamp::new(data.mtime(), 0)
            {
                traces.push(RunTrace { run, changed_at });
            }
        }
        Ok(traces)
    }

    /// The names of the workspaces that belong to this factory, those among them that are gone too.
    ///
    /// # Errors
    ///
    /// That their marks can't be listed.
    pub fn workspaces_owned(&self) -> Result<BTreeSet<String>> {
        match self.workspaces.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            root => Ok(Marks::of(&root?, &self.lineage).ours()?),
        }
    }

    /// Takes a run's directory away, if its own receipts say that nothing of it lives or ever will: whatever the
    /// caller believes, the directory of a run that lives is its only trace.
    ///
    /// # Errors
    ///
    /// That it can't be read, fenced or moved.
    pub fn discard(&self, run: &RunId, trash: &Trash) -> Result<Discarded> {
        let dir = RunDir::new(self.runs.join(run.to_string()));
        let Some(files) = dir.open()? else { return Ok(Discarded::Gone) };
        if let Some(why) = self.why_not_over(run, &dir, &files)? {
            return Ok(Discarded::Kept(why));
        }
        // One that can't be removed keeps nothing: no later try would fare better.
        if matches!(tmp::remove(&dir, None), Ok(false)) {
            return Ok(Discarded::Kept(
                "its temporary directory is large, and is still being removed".to_owned(),
            ));
        }
        trash.take(dir.path())?;
        Ok(Discarded::Gone)
    }

    /// The trash of the folder of workspaces; `None` where there is no such folder.
    ///
    /// # Errors
    ///
    /// That the folder can't be found out.
    pub fn trash_of_workspaces(&self) -> io::Result<Option<Trash>> {
        // The folder may be configured by a link; what lies in it is then elsewhere.
        match self.workspaces.canonicalize() {
            Ok(real) => Ok(Some(Trash::at(real.join(TRASH)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts the process that clears workspaces and empties the trash. It needs nobody to wait for it.
    /// `sets`: keys of the configuration that were set on the command line.
    ///
    /// # Errors
    ///
    /// That no process can be made.
    pub fn start_remover(&self, config: &Path, state: &Path, sets: &[String]) -> io::Result<()> {
        // It makes the environment of its hooks of its own, as a tick makes that of agents.
        let own = EnvConfig { path_prepend: Vec::new(), ..self.env.clone() };
        #[expect(
            clippy::disallowed_methods,
            reason = "the fleet is what starts processes that outlive a tick"
        )]
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("factory-tick")
            .arg("__remove")
            .arg(config)
            .arg(state)
            .env_clear()
            .envs(env::of_role(&self.inherited, &own, &Default::default(), &[]))
            .env(SETS, serde_json::to_string(sets)?)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
    }
}

/// What [`LocalFleet::start_remover`] was given as `sets`, in the process that it started; else nothing.
pub fn sets_of_remover(vars: &Vars) -> Vec<String> {
    let text = vars.get(OsStr::new(SETS)).and_then(|value| value.to_str());
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

impl LocalFleet {
    /// Why a run may still be alive, or may still start. One that nobody has claimed is fenced.
    fn why_not_over(&self, run: &RunId, dir: &RunDir, files: &RunFiles) -> Result<Option<String>> {
        let claim = files.claim()?;
        if let Some(Claim::Launcher(claimed)) = &claim
            && let RunHandle::Local(launcher) = &claimed.handle
            && identity::launcher_life(launcher, &self.host) == Life::OtherBoot
        {
            return Ok(None);
        }
        let swept = files.swept()?;
        if let Some(survivor) = swept.iter().flat_map(|swept| &swept.survivors).next() {
            return Ok(Some(format!("its process {} could not be ended", survivor.pid)));
        }
        Ok(match claim {
            None => match fences::fence(dir, &self.live, run, &identity::own(&self.host)?, "retention")? {
                Fenced::Won => None,
                Fenced::Lost => Some("it was claimed just now".to_owned()),
                Fenced::Locked(holder) => Some(fences::locked(holder.as_ref())),
            },
            Some(Claim::Launcher(_)) if swept.is_none() => {
                Some("nobody has written down that nothing of it is left".to_owned())
            }
            Some(Claim::Launcher(_) | Claim::FencedBy(_) | Claim::Refused(_)) => None,
        })
    }
}

/// What is in a folder; nothing where there is none.
fn listed(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    entries.with_context(|| format!("cannot list {}", folder.display()))
}
