//! The power goes: the state directory on a disk of its own, cut at every point, with and without what the disk had only
//! in its cache. Clean ticks go on from whatever is there when it comes back.
//!
//! What the disk is told while real ticks start real agents is recorded below the file system ([`disk`]), and with it,
//! in the same order, what was promised meanwhile: strace tells of each commit that returned, and each agent says that it
//! has begun. From that any number of disks can be made as a power cut may leave them ([`cut`]): all that was written
//! up to a point, or that without anything that no flush had reached, or with a part of it, sector by sector. Each is
//! mounted, which replays its journal, and ticks run on it in a machine of their own, with another boot ([`recovery`]).
//!
//! It takes root, a loop device and `/dev/fuse`, and about a second per image. The same is done where ext4 keeps no order
//! that POSIX does not ask for, and with ticks whose flushes of the state directory are lost, which has to be noticed.
//! What is not modelled: a disk that lies about a flush, or that loses what lay on it before.

mod cut;
mod disk;
mod recovery;
mod session;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;

use crate::support::{is_root, system};
use crate::{COMMAND, lacking, say};
use cut::Recording;
use session::Plan;

/// The arguments of `cargo prove power`.
#[derive(Args)]
pub(crate) struct Order {
    /// How many disks to make of each recording. With fewer than 100 the lost flushes may not show, and that counts as a
    /// failure
    #[arg(default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    images: u64,
    /// Try an ordinary ext4 alone: no strict one, and no lost flushes that must be noticed
    #[arg(long)]
    ordinary: bool,
    /// Whether these are the mounts of this process alone.
    #[arg(long, hide = true)]
    inside: bool,
}

/// As people have it.
const ORDINARY: Plan = Plan { name: "ext4", options: "data=ordered", flushes_lost: false };

/// A file system that keeps no promise but those of POSIX: data that nobody has flushed may be missing from a file that has
/// its name already.
const STRICT: Plan =
    Plan { name: "ext4, strict", options: "data=writeback,noauto_da_alloc", flushes_lost: false };

/// What this test must notice.
const BROKEN: Plan = Plan { name: "directory not flushed", flushes_lost: true, ..ORDINARY };

/// Images at a time.
const JOBS: usize = 2;

// Origin: measured - without the flush of the directory, 132 of 240 simulated power cuts lost a generation that a tick had
// acted upon; agents that it had started were then nobody's.
// covers: K20
pub(crate) fn power_cut_loses_no_promise(order: &Order) {
    if let Some(why) = missing() {
        return lacking(&why);
    }
    if !order.inside {
        // Whatever is mounted is mounted for nobody else, and gone with the last process of it.
        let inside = system("unshare")
            .args(["--mount", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([COMMAND, "power", &order.images.to_string(), "--inside"])
            .args(order.ordinary.then_some("--ordinary"))
            .status()
            .unwrap();
        assert!(inside.success(), "what went wrong is told above");
        return;
    }
    sweep(order);
}

/// What the machine lacks for this.
fn missing() -> Option<String> {
    if !is_root() {
        return Some("no power was cut: only root can mount a disk".to_owned());
    }
    let is_there = |path: &&str| std::path::Path::new(path).exists();
    if let Some(device) = ["/dev/fuse", "/dev/loop-control"].iter().find(|path| !is_there(path)) {
        return Some(format!("no power was cut: there is no {device}"));
    }
    let programs = [("strace", "-V"), ("mkfs.ext4", "-V"), ("unshare", "-V"), ("losetup", "-V")];
    let lacks = |(program, option): &&(&str, &str)| {
        !system(program).arg(option).output().is_ok_and(|output| output.status.success())
    };
    programs.iter().find(lacks).map(|(program, _)| format!("no power was cut: {program} is not there"))
}

fn sweep(order: &Order) {
    say(&format!(
        "{:<22} {:>6} {:>7} {:>7} {:>6} {:>6} {:>5} {:>7} {:>6} {:>6} {:>5}",
        "", "writes", "flushes", "commits", "starts", "images", "lost", "doubled", "other", "ticks", "s"
    ));
    assert_kept(ORDINARY, order.images);
    if order.ordinary {
        return;
    }
    assert_kept(STRICT, order.images);
    let broken = cut_all(BROKEN, order.images.div_ceil(2));
    assert!(broken.lost > 0, "a tick that flushes nothing was not noticed: this test can't fail");
}

fn assert_kept(plan: Plan, images: u64) {
    let violations = cut_all(plan, images).violations;
    assert!(violations.is_empty(), "{}:\n{}", plan.name, violations.join("\n"));
}

/// What came of all images of one recording.
#[derive(Default)]
struct Tally {
    writes: usize,
    flushes: usize,
    commits: u64,
    starts: usize,
    images: usize,
    /// Images on which an acknowledged generation was missing.
    lost: usize,
    /// Images after which a run was started a second time.
    doubled: usize,
    violations: Vec<String>,
    /// The most ticks that any of them took.
    ticks: usize,
    took: Duration,
}

fn cut_all(plan: Plan, images: u64) -> Tally {
    let begun = Instant::now();
    let (factory, recording) = session::record(plan);
    let cuts = recording.cuts(usize::try_from(images).unwrap());
    let tally = Mutex::new(recording.tally(cuts.len()));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for job in 0..JOBS {
            let (factory, recording, cuts, tally, next) = (&factory, &recording, &cuts, &tally, &next);
            scope.spawn(move || {
                while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let promised = recording.promised(cut);
                    let found = recovery::recover(factory, job, &recording.image(cut));
                    let broken = found.broken(&promised);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.ticks = tally.ticks.max(found.ticks());
                    tally.lost += usize::from(broken.iter().any(|one| one.starts_with("lost")));
                    tally.doubled += usize::from(broken.iter().any(|one| one.starts_with("doubled")));
                    tally.violations.extend(broken.into_iter().map(|one| format!("{cut}: {one}")));
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap();
    tally.took = begun.elapsed();
    tally.print(plan.name);
    tally
}

impl Recording {
    fn tally(&self, images: usize) -> Tally {
        let (writes, flushes) = self.counts();
        let all = self.promised(&self.whole());
        Tally { writes, flushes, commits: all.serial, starts: all.starts.len(), images, ..Tally::default() }
    }
}

impl Tally {
    fn print(&self, name: &str) {
        say(&format!(
            "{:<22} {:>6} {:>7} {:>7} {:>6} {:>6} {:>5} {:>7} {:>6} {:>6} {:>5}",
            name,
            self.writes,
            self.flushes,
            self.commits,
            self.starts,
            self.images,
            self.lost,
            self.doubled,
            self.violations.len() - self.lost - self.doubled,
            self.ticks,
            self.took.as_secs()
        ));
    }
}
