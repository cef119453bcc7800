//! The traces by which a tick finds what a run has started, when its launcher is dead. The launcher lays them before
//! it starts anything, and whatever it starts inherits them. Each is left where it can be had: a run without them
//! still has its marker, and is ended by its launcher as ever.

use std::time::Instant;

use crate::process::cgroup::Cgroup;
use crate::process::limit;
use crate::run::directory::{CGROUP, RunDir};
use crate::run::notes::Group;

/// What a launcher has laid, and must take away.
#[derive(Debug)]
pub(crate) struct Tags(Option<Cgroup>);

impl Tags {
    /// Removes the group, when nothing of the run is left. One that still holds somebody stays for a tick. Needs no run
    /// directory: that may have been deleted meanwhile.
    pub(crate) fn remove(&self) {
        if let Some(cgroup) = &self.0 {
            cgroup.remove();
        }
    }
}

/// Lays the traces of a run, in its launcher. Its group is on record before it is made: one that nobody knows of
/// would never be removed.
pub(crate) fn apply(run_dir: &RunDir, marker: &str) -> Tags {
    // Below another run an ordinary user may not raise the limit.
    let _ = limit::set(marker);
    let Some(cgroup) = Cgroup::of_run(marker) else { return Tags(None) };
    let group = Group { dir: cgroup.dir().to_owned() };
    let laid = run_dir.put(CGROUP, &group).and_then(|()| Ok(cgroup.create()?));
    match laid {
        Ok(()) => Tags(Some(cgroup)),
        Err(error) => {
            log::info!("the run goes without a control group: {error:#}");
            Tags(None)
        }
    }
}

/// Puts this process into the group of the run, if it has one: what it becomes or starts will be there too.
pub(crate) fn inherit(run_dir: &RunDir, marker: &str) {
    let recorded = run_dir.open().ok().flatten().and_then(|files| files.cgroup());
    if let Some(cgroup) = recorded.and_then(|group| Cgroup::to_join(&group.dir, marker)) {
        // A group in which the kernel allows no processes is as good as none.
        let _ = cgroup.join();
    }
}

/// The group of the run, if it has one.
pub(crate) fn group(run_dir: &RunDir, marker: &str) -> Option<Cgroup> {
    let group = run_dir.open().ok()??.cgroup()?;
    Cgroup::recorded(&group.dir, marker)
}

/// Removes the group of a run whose launcher was killed, when nothing is left of it. One that still holds somebody, a
/// protected process say, stays.
pub(crate) fn remove(run_dir: &RunDir, marker: &str) {
    if let Some(cgroup) = group(run_dir, marker) {
        cgroup.remove();
    }
}

/// Removes the groups that ended runs have left beside those of the runs which this process would start. `after`: the
/// answer of the look before, where it came to no end. The answer: see [`Cgroup::remove_left_over`].
pub fn remove_left_over(lineage: &str, after: Option<&str>, until: Instant) -> Option<String> {
    // No run has this marker: a run's name ends with a number. The group is made because its stamp is the kernel's now.
    let own = Cgroup::of_run(&format!("{lineage}/look"))?;
    own.create().ok()?;
    let more = own.remove_left_over(after, until);
    own.remove();
    more
}
