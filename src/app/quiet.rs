//! What cron mails: under `-q` a tick prints when its exit code or its reason differs from those of the tick before,
//! and once a day while they last. What newly needs a person is always new, whatever the tick before had to say.
//!
//! What the tick before had to say stands in the heartbeat. A tick that could not even begin writes none: what it said
//! stands in a file of its own. It can't stand in the heartbeat: such a tick may not hold the lock, so it would overwrite the
//! heartbeat of the tick that does, and it would look alive. That the file can't be read or written changes no verdict; the
//! worst that comes of it is one more mail.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::context::located;
use crate::cli::Options;
use crate::clock;
use crate::durable::atomic;
use crate::exit::ExitStatus;
use crate::fingerprint;
use crate::state::heartbeat::{Heartbeat, HeartbeatState};
use crate::state::{self, HostDir};

const FILE: &str = "mail.json";

const SCHEMA: u32 = 1;

/// More than it ever takes, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// What lasts is told again after this long.
const REMIND_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What nobody was reminded of for so long is over, or its configuration is no more.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(48);

/// How a tick ended, as far as a person is to hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    exit_code: u8,
    /// Of the reason, which may be as long as all that is wrong with a configuration.
    digest: String,
}

impl Verdict {
    pub(crate) fn new(status: ExitStatus, reason: &str) -> Verdict {
        Verdict::of(status.code(), reason)
    }

    fn of(exit_code: u8, reason: &str) -> Verdict {
        Verdict { exit_code, digest: fingerprint::plain_sha256_hex(&[reason.as_bytes()]) }
    }
}

/// What was told of a tick, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    #[serde(flatten)]
    verdict: Verdict,
    told_at: Option<Timestamp>,
    /// When the heartbeat was written that stood then: with the next one this is no longer the tick before.
    beat_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    schema: u32,
    /// By configuration: two may have been given the same directory, of which one is refused.
    told: BTreeMap<String, Told>,
}

/// Whether a tick has something new to say, or something that lasts for another day by now.
fn says(before: Option<&Told>, verdict: &Verdict, now: Timestamp) -> bool {
    let Some(before) = before else { return verdict.exit_code != ExitStatus::Ok.code() };
    if before.verdict != *verdict {
        return true;
    }
    // One that is from the future was told by a clock that was wrong.
    let is_recent = |at: Timestamp| (SignedDuration::ZERO..REMIND_AFTER).contains(&now.duration_since(at));
    verdict.exit_code != ExitStatus::Ok.code() && !before.told_at.is_some_and(is_recent)
}

/// Where it is remembered what was told of the ticks of one configuration.
pub(crate) struct ChangeFilter<'a> {
    dir: &'a HostDir,
    config: String,
    /// The latest heartbeat of that configuration.
    beat: Option<&'a Heartbeat>,
}

impl<'a> ChangeFilter<'a> {
    /// `heartbeat_state` is the heartbeat before this tick's own.
    pub(crate) fn new(
        dir: &'a HostDir,
        config: &Path,
        heartbeat_state: &'a HeartbeatState,
    ) -> ChangeFilter<'a> {
        let config = config.to_string_lossy().into_owned();
        let beat = match heartbeat_state {
            HeartbeatState::Beat(beat) => Some(beat.as_ref()).filter(|beat| beat.config == config),
            HeartbeatState::Absent | HeartbeatState::Unreadable(_) => None,
        };
        ChangeFilter { dir, config, beat }
    }

    pub(crate) fn has_changed(&self, verdict: &Verdict, now: Timestamp) -> bool {
        says(self.before().as_ref(), verdict, now)
    }

    /// Remembers that it was told now, for a tick without a heartbeat.
    fn remember(&self, verdict: &Verdict, now: Timestamp) {
        let mut told = self.read();
        told.retain(|_, told| told.told_at.is_some_and(|at| now.duration_since(at).abs() < KEPT_FOR));
        let mine = Told { verdict: verdict.clone(), told_at: Some(now), beat_at: self.beat_at() };
        told.insert(self.config.clone(), mine);
        let written = serde_json::to_vec(&Kept { schema: SCHEMA, told }).map_err(Into::into);
        if let Err(error) = written.and_then(|bytes| atomic::replace(self.dir, FILE, &bytes, false)) {
            log::warn!("cannot write {}: {error}", self.dir.path().join(FILE).display());
        }
    }

    /// What was told of the tick before this one.
    fn before(&self) -> Option<Told> {
        let without_beat = self.read().remove(&self.config).filter(|told| told.beat_at == self.beat_at());
        without_beat.or_else(|| {
            let beat = self.beat?;
            let verdict = Verdict::of(beat.exit_code?, beat.reason.as_deref()?);
            Some(Told { verdict, told_at: beat.reported_at, beat_at: None })
        })
    }

    fn beat_at(&self) -> Option<Timestamp> {
        self.beat.map(|beat| beat.updated_at)
    }

    fn read(&self) -> BTreeMap<String, Told> {
        let bytes = atomic::read_bounded(self.dir, FILE, BYTES_MAX).ok().flatten();
        let kept: Option<Kept> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        kept.filter(|kept| kept.schema == SCHEMA).map(|kept| kept.told).unwrap_or_default()
    }
}

/// Whether a tick that writes no heartbeat has something new to say; remembered when it has. Where there is no state
/// directory to trust, everything is new.
pub(crate) fn has_changed_without_heartbeat(options: &Options, status: ExitStatus, reason: &str) -> bool {
    let Ok((config, state)) = located(options) else { return true };
    // Whether its file system is one to trust with a lock is no matter here.
    let Ok(Some(dir)) = HostDir::open_existing(&state, true) else { return true };
    let (heartbeat_state, now) = (state::backend(&dir, 0).heartbeat(), clock::wall());
    let (change_filter, verdict) =
        (ChangeFilter::new(&dir, &config, &heartbeat_state), Verdict::new(status, reason));
    let has_changed = change_filter.has_changed(&verdict, now);
    if has_changed {
        change_filter.remember(&verdict, now);
    }
    has_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClockReading, ClockTracker};
    use crate::state::heartbeat::{self, Health, Status};

    const CONFIG: &str = "/f/factory.toml";

    /// A state directory, cron, and a clock.
    struct Night {
        _holder: tempfile::TempDir,
        dir: HostDir,
        heartbeat_state: HeartbeatState,
        minute: i64,
        mails: Vec<(i64, u8)>,
    }

    impl Night {
        fn new() -> Night {
            let holder = tempfile::tempdir().unwrap();
            let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
            Night {
                _holder: holder,
                dir,
                heartbeat_state: HeartbeatState::Absent,
                minute: 0,
                mails: Vec::new(),
            }
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_second(1_700_000_000 + self.minute * 60).unwrap()
        }

        /// The tick of the next minute; one of a code above 64 writes no heartbeat.
        fn tick(&mut self, status: ExitStatus, reason: &str) {
            self.minute += 1;
            let (now, verdict) = (self.now(), Verdict::new(status, reason));
            let change_filter = ChangeFilter::new(&self.dir, Path::new(CONFIG), &self.heartbeat_state);
            let has_changed = change_filter.has_changed(&verdict, now);
            if has_changed {
                self.mails.push((self.minute, status.code()));
            }
            if status.code() > 64 {
                if has_changed {
                    change_filter.remember(&verdict, now);
                }
                return;
            }
            let before = change_filter.beat.and_then(|beat| beat.reported_at);
            let told = if has_changed { Some(now) } else { before };
            self.heartbeat_state = HeartbeatState::Beat(Box::new(beat(status, reason, now, told)));
        }

        fn ticks(&mut self, count: i64, status: ExitStatus, reason: &str) {
            (0..count).for_each(|_| self.tick(status, reason));
        }
    }

    fn beat(status: ExitStatus, reason: &str, now: Timestamp, told: Option<Timestamp>) -> Heartbeat {
        let leg = Health { ok: true, since: None, error: None };
        Heartbeat {
            schema: heartbeat::SCHEMA,
            version: String::new(),
            config: CONFIG.to_owned(),
            pid: 1,
            start_ticks: 1,
            boot_id: String::new(),
            host: String::new(),
            status: Status::Idle,
            serial: 1,
            ticks: 1,
            started_at: now,
            updated_at: now,
            updated_at_ms: now.as_millisecond(),
            exit_code: Some(status.code()),
            paused: false,
            source: leg.clone(),
            fleet: leg,
            reason: Some(reason.to_owned()),
            reported_at: told,
            retained: None,
            groups: None,
            steady: ClockTracker::first(ClockReading {
                at: now,
                mono_ms: 0,
                boot_id: String::new(),
                slept_ms: 0,
            }),
        }
    }

    // Origin: measured - one mail a minute, all night.
    // covers: F78 C08
    #[test]
    fn a_night_of_minutes_makes_a_handful_of_mails() {
        use ExitStatus::{BadConfig, BadState, Ok, Partial};
        let mut night = Night::new();
        night.ticks(100, Ok, "ok");
        assert_eq!(night.mails, [], "all is well");
        night.ticks(1500, BadConfig, "1 problem");
        assert_eq!(night.mails, [(101, 78), (101 + 1440, 78)], "once, and once a day");
        night.mails.clear();
        // Somebody tries to mend it, and does.
        night.ticks(5, BadConfig, "another problem");
        night.ticks(5, Ok, "ok");
        assert_eq!(night.mails, [(1601, 78), (1606, 0)]);
        night.mails.clear();
        // The same again is news again.
        night.ticks(5, BadConfig, "another problem");
        night.ticks(1500, BadState, "damaged");
        night.ticks(1500, Partial, "no items");
        night.ticks(1500, Ok, "ok");
        let mails = [(1611, 78), (1616, 65), (3056, 65), (3116, 3), (4556, 3), (4616, 0)];
        assert_eq!(night.mails, mails);
    }

    // covers: C09
    #[test]
    fn a_clock_that_was_wrong_silences_nobody_for_longer_than_a_day() {
        let mut night = Night::new();
        night.minute = 1_000_000;
        night.tick(ExitStatus::BadConfig, "x");
        night.minute = 0;
        night.ticks(100, ExitStatus::BadConfig, "x");
        assert_eq!(night.mails, [(1_000_001, 78), (1, 78)]);
    }

    // covers: C09
    #[test]
    #[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
    fn a_memory_that_is_lost_or_can_not_be_kept_costs_a_mail_and_no_more() {
        let mut night = Night::new();
        night.ticks(2, ExitStatus::BadState, "x");
        assert_eq!(night.mails, [(1, 65)]);
        let path = night.dir.path().join(FILE);
        std::fs::write(&path, "{\"schema\":1,").unwrap();
        night.ticks(2, ExitStatus::BadState, "x");
        assert_eq!(night.mails, [(1, 65), (3, 65)]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        night.ticks(2, ExitStatus::BadState, "x");
        assert_eq!(night.mails.len(), 4);
    }

    // Two configurations that were given one directory: the one is refused while the other's ticks write heartbeats.
    // covers: C08
    #[test]
    fn what_another_configuration_does_is_no_tick_before() {
        let mut night = Night::new();
        let (theirs, verdict) =
            (Path::new("/f/other.toml"), Verdict::new(ExitStatus::BadConfig, "not yours"));
        let mut mails = 0;
        for _ in 0..10 {
            night.tick(ExitStatus::Ok, "ok");
            let change_filter = ChangeFilter::new(&night.dir, theirs, &night.heartbeat_state);
            if change_filter.has_changed(&verdict, night.now()) {
                mails += 1;
                change_filter.remember(&verdict, night.now());
            }
        }
        assert_eq!((mails, night.mails.len()), (1, 0));
    }
}
