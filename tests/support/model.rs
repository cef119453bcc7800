//! A model that is played on loopback, for the real agent programs: `fixtures/harness/model_stub.py`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{number_from, pause, put, skipped, system};

/// Discard, which no machine of today serves.
pub(crate) const NOBODY: u16 = 9;

/// Variables of claude that keep it from asking anybody but the model, each to be set to 1.
pub(crate) const QUIET: [&str; 3] =
    ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"];

/// What it takes to start on a loaded machine, and more.
const LIMIT: Duration = Duration::from_secs(60);

/// A model that answers as it is told.
pub(crate) struct Model {
    stub: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Model {
    /// Keeps its port, its mode and the requests that it got as files in this folder.
    pub(crate) fn start(folder: &Path) -> Model {
        put(&folder.join("mode"), "ok");
        let stub = system("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/harness/model_stub.py"))
            .args(["port", "mode", "requests"].map(|name| folder.join(name)))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !folder.join("port").exists() {
            assert!(begun.elapsed() < LIMIT, "the model never listened");
            pause(Duration::from_millis(10));
        }
        let port = fs::read_to_string(folder.join("port")).unwrap().parse().unwrap();
        Model { stub, folder: folder.to_owned(), port }
    }

    /// How it answers from now on: a mode of the stub.
    pub(crate) fn mode(&self, mode: &str) {
        let new = self.folder.join("mode.new");
        put(&new, mode);
        // Whole at every instant: a request may read it just now.
        fs::rename(new, self.folder.join("mode")).unwrap();
    }

    /// The requests that it got so far, one JSON object per line.
    pub(crate) fn requests(&self) -> String {
        fs::read_to_string(self.folder.join("requests")).unwrap_or_default()
    }
}

impl Drop for Model {
    /// The stub ends with its stdin.
    fn drop(&mut self) {
        drop(self.stub.stdin.take());
        let _ = self.stub.wait();
    }
}

/// Where a real program is. `None`, said aloud, where it was not fetched; a failure where it is required.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/harness/bin").join(name);
    let stub_runs = system("python3").arg("--version").stdout(Stdio::null()).status();
    if program.exists() && stub_runs.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    let why =
        format!("{name} is not in target/harness, or there is no python3; scripts/harness.sh fetches it");
    assert!(number_from("FACTORY_TICK_REQUIRE_HARNESS", 0) == 0, "{why}");
    skipped(&why);
    None
}

/// What codex needs to know of its model; `retries`: as many as it makes by itself.
pub(crate) fn codex_config(port: u16, retries: bool) -> String {
    let retries = if retries { "" } else { "request_max_retries = 0\nstream_max_retries = 0\n" };
    format!(
        "model = \"gpt-5\"\nmodel_provider = \"stub\"\n[model_providers.stub]\nname = \"stub\"\n\
         base_url = \"http://127.0.0.1:{port}/v1\"\nwire_api = \"responses\"\nenv_key = \"STUB_KEY\"\n{retries}"
    )
}
