//! What runs leave on disk: listed, read, and taken away when they are over.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::durable::Trash;
use crate::fleet::local::LocalFleet;
use crate::fleet::local::fences::{self, Fenced};
use crate::fleet::run_store::{Discarded, RunLog, RunStore};
use crate::model::{Claim, RunHandle, RunId, RunTrace};
use crate::process::identity::{self, Life};
use crate::run::directory::{HOOKS_LOG, RunDir, RunFiles};
use crate::run::log_reader::LogReader;
use crate::run::tmp;

impl RunStore for LocalFleet {
    fn list(&self) -> Result<Vec<RunTrace>> {
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

    fn has(&self, run: &RunId) -> bool {
        self.run_dir(run).path().is_dir()
    }

    fn discard(&self, run: &RunId, trash: &Trash) -> Result<Discarded> {
        let dir = self.run_dir(run);
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

    fn open_log(&self, run: &RunId, log: RunLog) -> Result<Option<LogReader>> {
        let dir = self.run_dir(run);
        let Some(files) = dir.open()? else { return Ok(None) };
        // Only the bound of the logs is asked of it, so one that can't be read keeps nobody from reading them.
        let spec = files.whole_spec().unwrap_or_else(|error| {
            log::warn!("{error:#}");
            None
        });
        let name = match log {
            RunLog::Stdout => "stdout.log",
            RunLog::Stderr => "stderr.log",
            RunLog::Hooks => HOOKS_LOG,
        };
        let bytes_max = spec.map_or(self.log_bytes_max, |spec| spec.log_bytes_max);
        Ok(Some(LogReader::new(dir.file(name), bytes_max)))
    }

    fn place(&self) -> PathBuf {
        self.runs.clone()
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use super::*;
    use crate::fleet::{self, Home};
    use crate::process::identity::Host;
    use crate::{clock, config};

    #[test]
    fn run_store_lists_runs_and_opens_their_logs() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state.path().join("runs/a-impl.1")).unwrap();
        fs::create_dir_all(state.path().join("runs/no run")).unwrap();
        let mut log = fs::File::create(state.path().join("runs/a-impl.1/stderr.log")).unwrap();
        log.write_all(b"a word\n").unwrap();
        let role = "[[role]]\nname = \"r\"\nsuffix = \"r\"\ncommand = [\"agent\"]\n";
        let config = config::parse(role, "/f/factory.toml".as_ref(), &|_| Err(String::new())).unwrap();
        let host = Host::read().unwrap();
        let now = clock::moment(&host.boot_id);
        let (lineage, vars) = ("lineage".to_owned(), BTreeMap::new());
        let home = Home { state: state.path().to_owned(), lineage, host, now, vars };
        let store = fleet::run_store(&config, home);
        let (run, other): (RunId, RunId) = ("a-impl.1".parse().unwrap(), "a-impl.2".parse().unwrap());
        let listed: Vec<_> = store.list().unwrap().into_iter().map(|trace| trace.run).collect();
        assert_eq!(listed, std::slice::from_ref(&run));
        assert!(store.has(&run) && !store.has(&other));
        let mut heard = Vec::new();
        let mut log = store.open_log(&run, RunLog::Stderr).unwrap().unwrap();
        log.read(&mut |bytes| heard.write_all(bytes)).unwrap();
        assert_eq!(heard, b"a word\n");
        assert!(store.open_log(&other, RunLog::Stderr).unwrap().is_none());
    }
}
