//! The registry's two generations, and what a commit, a kill and damage do to them.

use factory_tick::registry::Registry;

/// What is on disk. The bodies are kept as text: what can't be read back is lost here too.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    current: Option<String>,
    backup: Option<String>,
    /// What stands, parsed: what the next load gives.
    pub(super) standing: Registry,
    /// Generations that were lost for good.
    pub(super) losses: u64,
    /// A commit of this tick failed: nothing more may be built on it.
    pub(super) unknown: bool,
}

impl Disk {
    /// `registry.json` is damaged, if its predecessor is there to be read instead.
    pub(super) fn damage(&mut self) -> bool {
        if self.current.is_none() || self.backup.is_none() || self.current == self.backup {
            return false;
        }
        self.current = None;
        self.losses += 1;
        self.standing = self.read();
        true
    }

    /// What a tick loads when it begins.
    pub(super) fn load(&mut self) -> Registry {
        self.unknown = false;
        self.read()
    }

    fn read(&self) -> Registry {
        let body = self.current.as_ref().or(self.backup.as_ref());
        body.map(|body| serde_json::from_str(body).expect("every generation loads again")).unwrap_or_default()
    }

    /// Whether nobody would have to read the backup.
    pub(super) fn is_whole(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn is(&self, body: &str) -> bool {
        self.current.as_deref() == Some(body)
    }

    /// The generation that stands becomes the backup too. A damaged one does not: the backup is all there is.
    pub(super) fn keep_backup(&mut self) {
        if self.current.is_some() {
            self.backup.clone_from(&self.current);
        }
    }

    pub(super) fn publish(&mut self, body: String, registry: &Registry) {
        self.current = Some(body);
        self.standing = registry.clone();
    }
}
