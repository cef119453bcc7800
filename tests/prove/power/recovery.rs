//! The power is back: the disk is mounted in a machine of its own, with another boot, and ticks run on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cut::Promised;
use crate::support::{Factory, Ran, put};

/// Ticks that may follow until nothing is left to decide.
const TICKS_MAX: usize = 12;

/// What happens in that machine. Its own processes are the only ones in `/proc`, so it is known when they are quiet; no
/// control groups, for their names would be those of the machine beside it.
const SCRIPT: &str = r#"
device=$(losetup --find --show "$JOB/disk") || exit 90
trap 'umount "$DISK"; losetup --detach "$device"' EXIT
mount -t ext4 "$device" "$DISK" || exit 90
mount --bind "$JOB/marks" "$MARKS" || exit 91
mount --bind "$JOB/boot_id" /proc/sys/kernel/random/boot_id || exit 92
mount -t tmpfs none /sys/fs/cgroup || exit 93
[ ! -d "$DISK/state" ] || cp -a "$DISK/state" "$JOB/found" || exit 94
"$TICK" status --format json >"$JOB/status" 2>&1
echo $? >"$JOB/status.code"
n=0
while [ "$n" -lt "$TICKS_MAX" ]; do
  n=$((n + 1))
  "$TICK" --format json >"$JOB/$n.json" 2>"$JOB/$n.err"
  echo $? >"$JOB/$n.code"
  while set -- /proc/[0-9]*; [ $# -gt 1 ]; do sleep 0.01; done
  ! grep -q '"decisions":\[\]' "$JOB/$n.json" || break
done
cp -a "$DISK/state" "$JOB/end" || exit 95
"#;

/// What was found on a disk, and what became of it.
pub(super) struct Recovered {
    job: PathBuf,
    /// How the script ended.
    ran: Ran,
}

/// Lets ticks run on that disk. `job`: of those that run at once, each has a number.
pub(super) fn recover(factory: &Factory, job: usize, image: &[u8]) -> Recovered {
    let job = factory.path(&format!("job-{job}"));
    let _ = fs::remove_dir_all(&job);
    fs::create_dir_all(job.join("marks")).unwrap();
    write_sparse(&job.join("disk"), image);
    put(&job.join("boot_id"), "11111111-2222-4333-8444-555555555555\n");
    ["marks/mark", "marks/after"].iter().for_each(|name| put(&job.join(name), ""));
    let mut shell =
        factory.shell(r#"exec timeout -k 5 120 unshare --mount --pid --fork --mount-proc sh -c "$SCRIPT""#);
    shell
        .env("SCRIPT", SCRIPT)
        .env("JOB", &job)
        .env("DISK", factory.path("disk"))
        .env("MARKS", factory.lab("marks"))
        .env("TICKS_MAX", TICKS_MAX.to_string());
    let ran = Ran::of(&mut shell);
    Recovered { job, ran }
}

/// What is all zeros takes no room.
fn write_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    const PIECE: usize = 4096;
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, (number * PIECE) as u64).unwrap();
        }
    }
}

impl Recovered {
    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.job.join(name)).ok()
    }

    fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_str(&self.read(name)?).ok()
    }

    fn code(&self, name: &str) -> Option<i32> {
        self.read(&format!("{name}.code"))?.trim().parse().ok()
    }

    /// How many ran.
    pub(super) fn ticks(&self) -> usize {
        (1..=TICKS_MAX).take_while(|n| self.code(&n.to_string()).is_some()).count()
    }

    /// What it did not keep of what had been promised.
    pub(super) fn broken(&self, promised: &Promised) -> Vec<String> {
        let mut broken = Vec::new();
        let serial = self.json("found/registry.json").and_then(|found| found["serial"].as_u64());
        if serial.unwrap_or(0) < promised.serial {
            broken.push(format!("lost: generation {} was promised, {serial:?} is there", promised.serial));
        }
        let no_claim =
            promised.kept.iter().filter(|run| self.json(&format!("found/runs/{run}/claim")).is_none());
        broken.extend(no_claim.map(|run| format!("lost: {run} had begun, and nobody has claimed it")));
        if self.ran.code != Some(0) {
            broken.push(format!("it ended with {:?}: {}", self.ran.code, self.ran.stderr));
            return broken;
        }
        if !matches!(self.code("status"), Some(0 | 3)) {
            broken.push(format!("status: {:?}", self.read("status")));
        }
        let ticks = self.ticks();
        for tick in 1..=ticks {
            let tick = tick.to_string();
            if !matches!(self.code(&tick), Some(0 | 3 | 4)) {
                let (printed, told) = (self.read(&format!("{tick}.json")), self.read(&format!("{tick}.err")));
                broken.push(format!("tick {tick} ended with {:?}: {printed:?} {told:?}", self.code(&tick)));
            }
        }
        let last = self.json(&format!("{ticks}.json")).unwrap_or_default();
        if last["decisions"] != serde_json::json!([]) {
            broken.push(format!("it never comes to an end: {}", last["decisions"]));
        }
        broken.extend(
            self.doubled(promised).into_iter().map(|run| format!("doubled: {run} was started twice")),
        );
        broken.extend(self.odd_ends());
        broken
    }

    /// Runs that were started here, and before too.
    fn doubled(&self, promised: &Promised) -> Vec<String> {
        let told = self.read("marks/mark").unwrap_or_default();
        let started = told.lines().filter_map(|line| line.split_once('/'));
        let mut before: BTreeSet<_> = promised.starts.clone();
        started.map(|(_, run)| run.to_owned()).filter(|run| !before.insert(run.clone())).collect()
    }

    /// What the items come to, and what lies about.
    fn odd_ends(&self) -> Vec<String> {
        let Some(end) = self.json("end/registry.json") else {
            return vec!["there is no registry".to_owned()];
        };
        let items = end["body"]["items"].as_object().cloned().unwrap_or_default();
        // What waits behind a pause of which a person was told waits on.
        let is_paused = !end["body"]["paused"].is_null();
        let is_over = |item: &Value| is_paused || item["state"] == "done" || item["state"] == "parked";
        let open = items.iter().filter(|(_, item)| !is_over(item));
        let mut odd: Vec<_> = open.map(|(id, item)| format!("{id} has no end: {item}")).collect();
        let known = items.len() + end["body"]["done"].as_object().map_or(0, serde_json::Map::len);
        if known != 5 {
            odd.push(format!("of five items, {known} are known"));
        }
        let names = fs::read_dir(self.job.join("end")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let strange = names.filter(|name| name.contains(".tmp") || name.contains("corrupt"));
        odd.extend(strange.map(|name| format!("left lying about: {name}")));
        odd
    }
}
