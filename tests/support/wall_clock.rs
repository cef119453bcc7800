//! The wall clock of a machine, for the programs of a test: faketime tells it, the monotonic clocks stay as they are.
//!
//! To a program that looks at it for a moment each minute, a night that passes in half a minute is one in which the
//! machine sleeps between any two looks.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use jiff::SignedDuration;

use crate::support::{put, skipped, system};

/// A clock that can be set.
pub(crate) struct WallClock {
    /// Keeps what the library shares between processes, and removes it in the end, however those are killed.
    keeper: Child,
    file: PathBuf,
    /// What makes a program see this clock.
    pub(crate) vars: Vec<(&'static str, String)>,
    /// How far it is ahead of the machine's own.
    pub(crate) ahead: SignedDuration,
}

impl WallClock {
    /// Right at first. `None`, said aloud, where there is no faketime; a failure where it is required.
    pub(crate) fn new(folder: &Path, required: bool) -> Option<WallClock> {
        let told = r#"printf '%s\n%s\n' "$LD_PRELOAD" "$FAKETIME_SHARED"; exec cat >/dev/null"#;
        let keeper = system("faketime")
            .args(["-f", "+0", "sh", "-c", told])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut keeper) = keeper else {
            let why = "there is no faketime, so no clock can be set; the Debian package is called faketime";
            assert!(!required, "{why}");
            skipped(why);
            return None;
        };
        let mut lines = BufReader::new(keeper.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("faketime ended").unwrap();
        let (library, shared) = (line(), line());
        let file = folder.join("clock");
        let vars = vec![
            ("LD_PRELOAD", library),
            ("FAKETIME_SHARED", shared),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        let mut clock = WallClock { keeper, file, vars, ahead: SignedDuration::ZERO };
        clock.go(0);
        Some(clock)
    }

    /// So many seconds pass, or are taken back.
    pub(crate) fn go(&mut self, seconds: i64) {
        self.ahead += SignedDuration::from_secs(seconds);
        let new = self.file.with_extension("new");
        put(&new, &format!("{:+}\n", self.ahead.as_secs()));
        // Whole at every instant: somebody may read it just now.
        std::fs::rename(new, &self.file).unwrap();
    }
}

impl Drop for WallClock {
    /// It ends with its stdin.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
