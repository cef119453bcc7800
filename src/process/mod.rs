//! Processes: who they are, which of them belong to a run, and how they are ended.
//!
//! Everything here rests on three facts of Linux. A pid alone names nobody: it is given to
//! somebody else as soon as its owner is gone, so a process is known by pid *and* start time, and
//! is signalled through a descriptor that can't change hands. A zombie is dead, whatever `kill`
//! says. And a process can leave its session, its group, its parent and its environment behind:
//! no single trace finds a whole tree, so several are followed at once, and what was once seen to
//! belong stays known.
//!
//! - [`identity`]: one process, told apart from every other.
//! - [`scan`]: one look at all of `/proc`.
//! - [`signal`]: the only place that sends a signal, and whom it never sends one to.
//! - [`limit`], [`cgroup`]: two marks of a run that its processes can't shake off.
//! - [`tree`]: ends what is left of runs whose launcher is dead or late.
//! - [`wait`]: descriptors of processes, and pauses.
//! - [`sweep`]: ends what is left below a launcher, by the launcher itself.

pub mod cgroup;
pub mod identity;
pub mod limit;
pub mod listener;
pub mod protected;
pub mod scan;
pub mod signal;
pub mod sweep;
pub mod tree;
pub mod wait;

/// Real processes for the tests of this room. Whatever a test leaves behind ends by itself: every
/// script here sleeps a minute at most.
#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Pid, Resource, WaitId, WaitIdOptions, getrlimit};

    use super::identity::{Host, identify};
    use super::limit;
    use crate::model::Process;

    /// Says aloud that a test could not be done here. Where every test can, it has failed: mutants must not pass for
    /// machines that lack something.
    #[expect(clippy::print_stderr, reason = "what was not tested must be seen")]
    #[expect(clippy::disallowed_methods, reason = "a test run is told what to do by its environment")]
    pub(super) fn skipped(why: &str) {
        assert!(std::env::var_os("FACTORY_TEST_SKIP_NOTHING").is_none(), "skipped: {why}");
        eprintln!("SKIPPED: {why}");
    }

    /// Runs the test called `name` again in a process of its own, for what a process can do to itself alone, with a
    /// variable that tells it so.
    #[expect(clippy::disallowed_methods, reason = "a test runs itself again")]
    pub(super) fn passes_alone(name: &str, variable: (&str, &str)) {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output = again.args([name, "--exact"]).envs([variable]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    /// A marker that no other test and no other test program uses.
    pub(super) fn unique_marker() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("test-{}/a-{}.1", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts itself again, as a new process that ignores SIGTERM, and ends: a generation each
    /// millisecond. It stops when its file is gone, and after five thousand generations removes
    /// the file itself, so that it neither outlives its test nor is taken for caught when it tired.
    pub(super) struct Respawner {
        file: tempfile::NamedTempFile,
    }

    impl Respawner {
        /// With a marker in its environment. Returns when it is under way, an orphan already.
        pub(super) fn start(marker: &str) -> Respawner {
            Respawner::spawned_by(|script, file| {
                Some(Spawned::new(script, &[("FACTORY_RUN", marker), ("file", file)]))
            })
            .expect("nothing kept it from starting")
        }

        /// Under the limit of a run; its environment tells nothing.
        pub(super) fn under_limit(marker: &str) -> Option<Respawner> {
            Respawner::spawned_by(|script, file| {
                Spawned::under_limit(marker, &format!("export file={file}; {script}"))
            })
        }

        fn spawned_by(spawn: impl FnOnce(&str, &str) -> Option<Spawned>) -> Option<Respawner> {
            let script = r#"
                trap '' TERM
                export n=0 next='n=$((n+1))
                    if [ $n -gt 5000 ]; then rm -f "$file"
                    elif [ -e "$file" ]; then /bin/sh -c "$next" &
                    fi'
                /bin/sh -c "$next"
                echo on
                read line
            "#;
            let file = tempfile::NamedTempFile::new().expect("cannot make a temporary file");
            let path = file.path().to_str().expect("temporary paths are text");
            let mut child = spawn(script, path)?;
            child.line();
            child.end_without_reaping();
            Some(Respawner { file })
        }

        pub(super) fn tired(&self) -> bool {
            !self.file.path().exists()
        }
    }

    /// A shell script that runs beside the test, killed when the test ends.
    pub(super) struct Spawned {
        child: Child,
        stdout: BufReader<ChildStdout>,
    }

    impl Spawned {
        pub(super) fn new(script: &str, env: &[(&str, &str)]) -> Spawned {
            Spawned::with(script, env, |_| {})
        }

        /// With the marker of a run in its environment.
        pub(super) fn of_run(marker: &str, script: &str) -> Spawned {
            Spawned::new(script, &[("FACTORY_RUN", marker)])
        }

        /// Under the limit that stands for a run, and without its marker. `None`, said aloud, where this machine
        /// lets nobody set it: below a run whose value is smaller.
        pub(super) fn under_limit(marker: &str, script: &str) -> Option<Spawned> {
            let (ours, value) = (getrlimit(Resource::Rttime).maximum, limit::value(marker));
            if ours.is_some_and(|ours| ours < value) {
                skipped("this process has a smaller hard RLIMIT_RTTIME");
                return None;
            }
            Some(Spawned::with(r#"exec prlimit --rttime="$1" /bin/sh -c "$0""#, &[], |command| {
                command.arg(script).arg(format!("{value}:{value}"));
            }))
        }

        #[expect(clippy::disallowed_methods, reason = "tests start what they end")]
        pub(super) fn with(script: &str, env: &[(&str, &str)], adjust: impl FnOnce(&mut Command)) -> Spawned {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(script).env_remove("FACTORY_RUN").envs(env.iter().copied());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            adjust(&mut command);
            let mut child = command.spawn().expect("cannot start /bin/sh");
            let stdout = BufReader::new(child.stdout.take().expect("its stdout is piped"));
            Spawned { child, stdout }
        }

        pub(super) fn pid(&self) -> u32 {
            self.child.id()
        }

        /// Writes a line to its stdin.
        pub(super) fn say(&mut self, line: &str) {
            let stdin = self.child.stdin.as_mut().expect("its stdin was not closed before");
            writeln!(stdin, "{line}").expect("cannot write to the script");
        }

        /// The next line that the script prints: how a test knows that it got that far.
        pub(super) fn line(&mut self) -> String {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("cannot read from the script");
            assert!(line.ends_with('\n'), "the script ended before it was ready");
            line.trim().to_owned()
        }

        /// The process whose pid the script prints next.
        pub(super) fn process(&mut self, host: &Host) -> Process {
            let pid = self.line().parse().expect("the script prints a pid");
            identify(pid, host).unwrap().expect("the script prints the pid of a live process")
        }

        /// Closes its stdin, on which it waits, and leaves it a zombie.
        pub(super) fn end_without_reaping(&mut self) {
            drop(self.child.stdin.take());
            self.wait_for(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }

        /// Waits until it has stopped itself.
        pub(super) fn wait_stopped(&self) {
            self.wait_for(WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT);
        }

        pub(super) fn reap(&mut self) {
            self.child.wait().expect("cannot wait for the script");
        }

        fn wait_for(&self, what: WaitIdOptions) {
            let pid = Pid::from_raw(self.pid() as i32).unwrap();
            rustix::process::waitid(WaitId::Pid(pid), what).unwrap();
        }
    }

    impl Drop for Spawned {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
