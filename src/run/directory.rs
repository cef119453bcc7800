//! The files of one run, `runs/<run>/`: what a tick asks for in them and what a launcher answers.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::durable::atomic::{self, ReadError};
use crate::durable::seal;
use crate::model::{Claim, CleanupReceipt, Exit, Output, Reported};
use crate::run::notes::{ExecError, Group, TmpNote};
use crate::run::spec::{Spec, Terminal};

/// What was asked for.
pub const SPEC: &str = "spec.json";
/// The prompt, and the agent's stdin.
pub const PROMPT: &str = "prompt.md";
/// Who may start the run.
pub const CLAIM: &str = "claim";
/// How the main process ended.
pub const EXIT: &str = "exit";
/// What became of everything the run had started.
pub const SWEPT: &str = "swept";
/// What the agent has said of itself.
pub const SAID: &str = "said";
/// What the hooks printed, and how each ended.
pub const HOOKS_LOG: &str = "hooks.log";
/// The control group that its processes are in.
pub const CGROUP: &str = "cgroup";
/// That the run is to end: for a launcher that no signal reaches, in another pid namespace.
pub const STOP: &str = "stop";
/// Which temporary directory is its own.
pub const TMP: &str = "tmp";
/// Why the program could not be executed.
pub const EXEC_ERROR: &str = "exec-error";

/// No receipt is near this long; whatever is longer is not one.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

/// How much of each stream's end is read for a verdict.
const TAIL_BYTES: u64 = 64 << 10;

/// One run's directory.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The directory itself, for whom another one under the same path is a stranger's.
    pinned: Option<Arc<OwnedFd>>,
}

impl RunDir {
    /// The directory at this path.
    pub fn new(path: PathBuf) -> RunDir {
        RunDir { path, pinned: None }
    }

    /// The directory that is at this path now, whatever is there later. When the state is deleted and a new
    /// factory makes a run of the same name, its files are not to be mistaken for this one's.
    ///
    /// # Errors
    ///
    /// That it can't be opened.
    pub fn pinned(path: PathBuf) -> Result<RunDir> {
        let dir = atomic::open_dir(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(RunDir { path, pinned: Some(Arc::new(dir)) })
    }

    /// Whether a pinned directory is still the one at its path.
    pub fn is_still_there(&self) -> bool {
        let Some(pinned) = &self.pinned else { return self.path.exists() };
        let (Ok(ours), Ok(there)) = (rustix::fs::fstat(pinned), rustix::fs::stat(&self.path)) else {
            return false;
        };
        (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
    }

    pub(crate) fn dir(&self) -> io::Result<OwnedFd> {
        match &self.pinned {
            Some(pinned) => pinned.try_clone(),
            None => atomic::open_dir(&self.path),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Its files as they are now; `None` where there is no such directory.
    pub fn open(&self) -> Result<Option<RunFiles>> {
        match self.dir() {
            Ok(dir) => Ok(Some(RunFiles { dir, path: self.path.clone() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", self.path.display())),
        }
    }

    /// The prompt, opened to be an agent's stdin. A FIFO in its place is never waited for: nobody would end a launcher
    /// that has no agent yet, and so no deadline.
    ///
    /// # Errors
    ///
    /// That there is none, or something else has its place.
    pub fn prompt(&self) -> io::Result<File> {
        let named = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("cannot read {}: {error}", self.file(PROMPT).display()))
        };
        let opened = atomic::open_regular(self.dir()?.as_fd(), PROMPT).map_err(|error| match error {
            // With its number: what the machine is short of is nobody's fault.
            ReadError::Io(error) => error,
            other => named(&other),
        })?;
        let (file, _) = opened.ok_or_else(|| named(&"there is none"))?;
        // It was only for the open; what an agent finds on its stdin is an ordinary file.
        rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?;
        Ok(file)
    }

    /// The specification of the run.
    ///
    /// # Errors
    ///
    /// That there is none, or that it can't be read.
    pub fn spec(&self) -> Result<Spec> {
        let gone = || format!("there is no spec.json in {}", self.path.display());
        self.open()?.with_context(gone)?.spec()?.with_context(gone)
    }

    /// Asks the launcher to stop without a signal. Not durable: whoever asks looks at what comes of it, and asks again.
    ///
    /// # Errors
    ///
    /// That the file can't be made.
    pub fn ask_to_stop(&self) -> Result<()> {
        let ask = || atomic::replace(self.dir()?, STOP, b"", false);
        ask().with_context(|| format!("cannot write {}", self.file(STOP).display()))
    }

    /// Whether the launcher was asked to stop without a signal.
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        self.dir().is_ok_and(|dir| rustix::fs::statat(dir, STOP, flags).is_ok())
    }

    /// Takes the claim; false where somebody was faster. Whole or absent at every instant, durable when true.
    pub fn link_claim(&self, claim: &Claim) -> Result<bool> {
        let link = || atomic::link_new(self.dir()?, CLAIM, &sealed(claim)?);
        link().with_context(|| format!("cannot write {}", self.file(CLAIM).display()))
    }

    /// Writes a receipt over whatever stood there, durably.
    pub fn put(&self, name: &str, receipt: &impl Serialize) -> Result<()> {
        let put = || atomic::replace(self.dir()?, name, &sealed(receipt)?, true);
        put().with_context(|| format!("cannot write {}", self.file(name).display()))
    }
}

/// A run's files, read.
#[derive(Debug)]
pub struct RunFiles {
    dir: OwnedFd,
    path: PathBuf,
}

impl RunFiles {
    /// What was asked for.
    pub fn spec(&self) -> Result<Option<Spec>> {
        self.read(SPEC)
    }

    /// The same, where one that is not whole is as if absent.
    ///
    /// # Errors
    ///
    /// That the system refused, so that nothing is known.
    pub fn whole_spec(&self) -> Result<Option<Spec>> {
        self.receipt(SPEC)
    }

    /// Who may start the run.
    ///
    /// # Errors
    ///
    /// That the system refused, or that it is damaged: somebody may have claimed the run, and live.
    pub fn claim(&self) -> Result<Option<Claim>> {
        self.read(CLAIM).map_err(|error| match error.downcast_ref::<ReadError>() {
            Some(ReadError::Io(_)) => error,
            _ => error.context(
                "whether it lives can't be told, so it is left alone; when nothing of it does, remove the damaged file",
            ),
        })
    }

    /// How the main process ended. What is not whole is as if absent: it says nothing.
    ///
    /// # Errors
    ///
    /// That the system refused, so that nothing is known.
    pub fn exit(&self) -> Result<Option<Exit>> {
        self.receipt(EXIT)
    }

    /// What became of everything it had started; what is not whole is as if absent.
    ///
    /// # Errors
    ///
    /// That the system refused, so that nothing is known.
    pub fn swept(&self) -> Result<Option<CleanupReceipt>> {
        self.receipt(SWEPT)
    }

    /// What the agent has said of itself; what is not whole is as if it had said nothing.
    ///
    /// # Errors
    ///
    /// That the system refused, so that nothing is known.
    pub fn reported(&self) -> Result<Reported> {
        Ok(self.receipt(SAID)?.unwrap_or_default())
    }

    /// The control group of its processes; unreadable is as if it had none.
    pub fn cgroup(&self) -> Option<Group> {
        self.read(CGROUP).unwrap_or_else(|error| ignore(&error))
    }

    /// Its temporary directory; unreadable is as if it had none.
    pub(crate) fn tmp(&self) -> Option<PathBuf> {
        let note: Option<TmpNote> = self.read(TMP).unwrap_or_else(|error| ignore(&error));
        note.map(|note| note.path)
    }

    /// Why the program could not be executed.
    pub fn exec_error(&self) -> Option<ExecError> {
        self.read(EXEC_ERROR).unwrap_or_else(|error| ignore(&error))
    }

    /// Only a refusal of the system is an error: whatever else stands there is no receipt, now and later.
    fn receipt<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.read(name).or_else(|error| match error.downcast_ref::<ReadError>() {
            Some(ReadError::Io(_)) => Err(error),
            _ => Ok(ignore(&error)),
        })
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = || self.path.join(name).display().to_string();
        let bytes = atomic::read_bounded(&self.dir, name, RECEIPT_BYTES_MAX)
            .with_context(|| format!("cannot read {}", path()))?;
        bytes.map(|bytes| parse(&bytes).with_context(|| format!("{} is not whole", path()))).transpose()
    }

    /// The last output of both streams. A terminal has one: what is looked for on either stands there.
    ///
    /// # Errors
    ///
    /// That the system refused, so that nothing is known.
    pub fn output(&self) -> Result<Output> {
        let stdout_tail = self.tail("stdout.log")?;
        let is_one = self.whole_spec()?.is_some_and(|spec| spec.terminal == Some(Terminal::Own));
        let stderr_tail = if is_one { stdout_tail.clone() } else { self.tail("stderr.log")? };
        Ok(Output { stdout_tail, stderr_tail })
    }

    fn tail(&self, name: &str) -> Result<String> {
        let read = || -> io::Result<Vec<u8>> {
            let (mut file, length) = match atomic::open_regular(self.dir.as_fd(), name) {
                Ok(Some(opened)) => opened,
                Err(ReadError::Io(error)) => return Err(error),
                // An agent could have put a FIFO there.
                Ok(None) | Err(_) => return Ok(Vec::new()),
            };
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().with_context(|| format!("cannot read {}", self.path.join(name).display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn parse<T: DeserializeOwned>(receipt: &[u8]) -> Result<T> {
    Ok(serde_json::from_slice(&seal::unseal(receipt).map_err(Error::msg)?)?)
}

/// The bytes of a receipt.
pub(crate) fn sealed(receipt: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    Ok(seal::seal(&serde_json::to_vec(receipt)?))
}

fn ignore<T>(error: &anyhow::Error) -> Option<T> {
    log::warn!("{error:#}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // Origin: a tick that could not open the receipt of a run that had ended well, for lack of file descriptors, took it
    // for absent. The run counted as vanished: its item was charged, and the work done once more.
    // covers: F68
    #[test]
    fn what_the_system_refuses_is_not_absent_and_what_is_not_whole_is() {
        let home = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(home.path().to_owned());
        let files = run_dir.open().unwrap().unwrap();
        assert!(files.exit().unwrap().is_none() && files.swept().unwrap().is_none());
        for name in [EXIT, SWEPT, SAID, SPEC] {
            atomic::replace(atomic::open_dir(home.path()).unwrap(), name, b"{\"code\":", false).unwrap();
        }
        assert!(files.exit().unwrap().is_none() && files.swept().unwrap().is_none());
        assert!(files.whole_spec().unwrap().is_none());
        assert_eq!(files.reported().unwrap(), Reported::default());
        assert_eq!(files.output().unwrap(), Output::default());

        // Nothing can be opened below what is no directory: one of the system's refusals, whoever runs this.
        let no_dir = std::fs::File::open(home.path().join(EXIT)).unwrap();
        let refused = RunFiles { dir: no_dir.into(), path: home.path().to_owned() };
        assert!(refused.exit().is_err() && refused.swept().is_err() && refused.reported().is_err());
        assert!(refused.whole_spec().is_err() && refused.output().is_err());
    }

    // Origin: read - that no file could be opened, for lack of descriptors say, lost its number on the way, and an item was
    // charged for a command that could not be started.
    // covers: F68
    #[test]
    fn what_keeps_a_prompt_from_being_opened_is_told_by_the_systems_number() {
        let home = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(home.path().to_owned());
        let error = run_dir.prompt().unwrap_err();
        assert!(error.to_string().ends_with("prompt.md: there is none"), "{error}");
        atomic::replace(atomic::open_dir(home.path()).unwrap(), PROMPT, b"task", false).unwrap();
        run_dir.prompt().unwrap();
        let no_dir = std::fs::File::open(home.path().join(PROMPT)).unwrap();
        let refused = RunDir { path: home.path().to_owned(), pinned: Some(Arc::new(no_dir.into())) };
        assert_eq!(
            refused.prompt().unwrap_err().raw_os_error(),
            Some(rustix::io::Errno::NOTDIR.raw_os_error())
        );
    }
}
