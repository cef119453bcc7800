//! The whole program with its agents under the real agent-relay broker. See [`crate::broker`] for where that comes from.

mod killed;
mod names;
mod protected;
mod proxy;
mod secrets;
mod trouble;
mod work;

use std::collections::BTreeSet;

use crate::broker::Broker;
use crate::support::{Factory, Ran, live_processes, toml_text};

/// Works until it is let go; tells of two that do so at once for one item. Its children hold that lock too.
const WORKS: &str = r#"exec 9>"$LAB/lock-$FACTORY_ITEM"; flock -n 9 || echo "$FACTORY_RUN" >> "$LAB/doubles"
    echo "$FACTORY_RUN" >> "$LAB/starts"; trap 'exit 143' TERM
    until [ -e "$LAB/go" ]; do sleep 0.05; done; "#;

/// A child in a session of its own, deaf to whatever can be ignored. It says its pid in `$LAB/far`.
const DEAF_CHILD: &str =
    r#"setsid sh -c 'trap "" HUP INT TERM; echo $$ >> "$LAB/far"; while :; do sleep 600; done' & "#;

/// A factory and its broker. The agents end before the broker does.
struct Case {
    factory: Factory,
    broker: Broker,
}

impl Case {
    /// `None` where the broker was not fetched.
    fn new(factory: Factory) -> Option<Case> {
        Some(Case::under(factory, Broker::start()?))
    }

    /// Under this broker, found by its file.
    fn under(mut factory: Factory, broker: Broker) -> Case {
        let folder = broker.cwd().join(".agentworkforce/relay").display().to_string();
        factory.set("fleet", "kind", "\"broker\"");
        factory.set("fleet", "broker_state_dir", &toml_text(&folder));
        factory.set("fleet", "grace", "\"300ms\"");
        factory.set("attempts", "backoff_base", "\"1ms\"");
        Case { factory, broker }
    }

    /// The broker, found at this URL alone.
    fn at(&mut self, url: &str) {
        self.factory.set("fleet", "broker_url", &toml_text(url));
        let key = self.broker.find().unwrap().key;
        self.factory.var("RELAY_BROKER_API_KEY", key.reveal());
    }

    /// Its own URL.
    fn url(&self) -> String {
        self.broker.find().unwrap().origin.to_string()
    }

    /// Ticks until the item is done.
    #[track_caller]
    fn tick_until_done(&self, key: &str) -> Ran {
        let done = |_: &Ran| self.factory.recorded(key)["state"] == "done";
        self.factory.tick_until(&format!("{key} is done"), done)
    }

    /// Whatever carries a marker of this factory.
    fn marked(&self) -> BTreeSet<u32> {
        let ours = format!("FACTORY_RUN={}/", self.factory.lineage());
        let all = live_processes().into_iter();
        all.filter(|(_, vars)| vars.iter().any(|var| var.starts_with(&ours))).map(|(pid, _)| pid).collect()
    }

    /// Waits until this many agents have noted their start.
    #[track_caller]
    fn wait_started(&self, count: usize) {
        self.factory.wait_for("the agents run", || self.factory.starts().len() == count);
    }

    fn go(&self) {
        crate::support::put(&self.factory.lab("go"), "");
    }
}

/// A counter of the registry.
fn counter(factory: &Factory, name: &str) -> u64 {
    factory.registry()["counters"][name].as_u64().unwrap()
}

/// The shell's way up from a process, as the pids above it.
fn above(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    std::iter::successors(parent(pid), |pid| parent(*pid)).collect()
}
