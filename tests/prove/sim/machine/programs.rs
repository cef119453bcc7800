//! The known programs: they print what the real ones were recorded to print (`fixtures/harness`), with the ids, costs
//! and times of this world in it.

use factory_tick::harness;
use factory_tick::model::{ClockReading, ExitReason, FailureClass, Launch, RunId};
use jiff::Timestamp;

use super::super::provider::Answer;
use super::{End, Launcher, Machine, Script};

/// The session's id in each recording.
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// When the limit ends in the recording of one.
const RESET: &str = "4102444800";

/// What codex says of a limit in its recording; and before the time, where its provider tells that.
const LIMIT: &str = "exceeded retry limit, last status: 429 Too Many Requests";
const TRY_AGAIN: &str = "Rate limit reached for gpt-5. Please try again in ";

/// What a program prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Words {
    Done,
    ToolsDenied,
    Question,
    Empty,
    /// Success, with a command in the background that is stopped.
    Unfinished,
    /// A provider that does not take what is in the session.
    BadRequest,
    /// A failure of its own.
    Fails,
    /// Nothing after its first lines.
    Silent,
    SessionInUse,
    SessionUnknown,
    /// No capacity, and no word on when there is.
    Busy,
    /// A limit, and when it ends.
    Limit,
    /// The provider's own error.
    Broken,
    /// No connection, and it gives up.
    Unconnected,
    /// No connection, and it never gives up.
    Reconnecting,
    Refused,
}

/// What is true of a run that is over, whoever looks.
#[derive(Clone, Debug)]
pub(in super::super) struct Ending {
    pub(in super::super) harness: String,
    pub(in super::super) words: Words,
    pub(in super::super) reason: ExitReason,
    /// Its agent asked for a person.
    pub(in super::super) parked: bool,
    pub(in super::super) claimed: ClockReading,
    pub(in super::super) ended: ClockReading,
    pub(in super::super) credentials: Option<String>,
    /// When the provider is to be asked again, as it was told.
    pub(in super::super) reset: Option<Timestamp>,
    pub(in super::super) session: Option<String>,
    pub(in super::super) resumed: bool,
    pub(in super::super) micro_usd: Option<u64>,
    /// Of the run, or of its session where the program counts that.
    pub(in super::super) tokens: Option<u64>,
}

impl Ending {
    /// What its end means; `None`: it is neither the program's nor its launcher's word that tells.
    pub(in super::super) fn means(&self) -> Option<Option<FailureClass>> {
        let claude = self.harness == "claude";
        let failed = |class| Some(Some(class));
        match (self.reason, self.words) {
            (ExitReason::Stopped, _) => failed(FailureClass::Killed),
            (ExitReason::Deadline | ExitReason::Stalled, Words::Reconnecting) => {
                failed(FailureClass::Unreachable)
            }
            (ExitReason::Deadline, _) => failed(FailureClass::Deadline),
            (ExitReason::Stalled, _) => failed(FailureClass::Stalled),
            (ExitReason::Launch | ExitReason::Hook | ExitReason::Infra | ExitReason::Machine, _) => None,
            (ExitReason::Exited, _) if self.parked => failed(FailureClass::NeedsInput),
            (ExitReason::Exited, words) => match words {
                Words::Done => Some(None),
                // Nothing that it prints tells what its sandbox kept its agent from.
                Words::ToolsDenied if !claude => Some(None),
                Words::ToolsDenied | Words::Question => failed(FailureClass::NeedsInput),
                Words::Empty => failed(FailureClass::NoEffect),
                Words::Unfinished => failed(FailureClass::Unfinished),
                Words::BadRequest if self.resumed => failed(FailureClass::SessionGone),
                Words::BadRequest => failed(FailureClass::Agent),
                Words::Fails | Words::Silent => failed(FailureClass::Agent),
                Words::SessionInUse => failed(FailureClass::SessionTaken),
                Words::SessionUnknown => failed(FailureClass::SessionGone),
                Words::Busy | Words::Limit => failed(FailureClass::RateLimited),
                // It calls every such error a lack of capacity.
                Words::Broken | Words::Unconnected if !claude => failed(FailureClass::RateLimited),
                Words::Broken | Words::Unconnected | Words::Reconnecting => failed(FailureClass::Unreachable),
                Words::Refused => failed(FailureClass::Denied),
            },
        }
    }
}

/// What a run of a known program is about to do.
#[derive(Clone, Debug)]
pub(super) struct Program {
    harness: String,
    credentials: Option<String>,
    session: String,
    resumed: bool,
    words: Words,
}

macro_rules! recorded {
    ($name:literal) => {
        (
            include_str!(concat!("../../../../fixtures/harness/", $name, ".stdout")),
            include_str!(concat!("../../../../fixtures/harness/", $name, ".stderr")),
        )
    };
}

fn recording(harness: &str, words: Words) -> (&'static str, &'static str) {
    match (harness, words) {
        ("claude", Words::Done) => recorded!("claude-fresh"),
        ("claude", Words::ToolsDenied) => recorded!("claude-tools-denied"),
        ("claude", Words::Question) => recorded!("claude-question"),
        ("claude", Words::Empty) => recorded!("claude-empty"),
        ("claude", Words::Unfinished) => recorded!("claude-background"),
        ("claude", Words::BadRequest) => recorded!("claude-resume-400"),
        ("claude", Words::Fails) => recorded!("claude-max-turns"),
        ("claude", Words::Silent) => recorded!("claude-killed"),
        ("claude", Words::SessionInUse) => recorded!("claude-session-in-use"),
        ("claude", Words::SessionUnknown) => recorded!("claude-resume-unknown"),
        ("claude", Words::Busy) => recorded!("claude-429"),
        ("claude", Words::Limit) => recorded!("claude-limit"),
        ("claude", Words::Broken) => recorded!("claude-500"),
        ("claude", Words::Unconnected) => recorded!("claude-refused"),
        ("claude", Words::Reconnecting) => recorded!("claude-down"),
        ("claude", Words::Refused) => recorded!("claude-401"),
        (_, Words::Done) => recorded!("codex-fresh"),
        (_, Words::ToolsDenied) => recorded!("codex-tools-denied"),
        (_, Words::Question) => recorded!("codex-question"),
        (_, Words::Empty) => recorded!("codex-empty"),
        (_, Words::Unfinished) => recorded!("codex-background"),
        (_, Words::BadRequest) => recorded!("codex-resume-400"),
        (_, Words::Fails | Words::Silent | Words::SessionInUse) => recorded!("codex-killed"),
        (_, Words::SessionUnknown) => recorded!("codex-resume-unknown"),
        (_, Words::Busy | Words::Limit) => recorded!("codex-429"),
        (_, Words::Broken | Words::Unconnected) => recorded!("codex-500"),
        (_, Words::Reconnecting) => recorded!("codex-down"),
        (_, Words::Refused) => recorded!("codex-401"),
    }
}

impl Machine {
    /// Makes a script that of a known program, where it is one.
    pub(super) fn know_program(&mut self, launch: &Launch, script: &mut Script) {
        if harness::preset(&launch.spec.harness).is_none() {
            return;
        }
        let dice = &mut self.providers.dice;
        let chosen = launch.spec.chosen_session.as_ref();
        let session = launch.spec.session.as_ref().or(chosen).cloned().unwrap_or_else(|| {
            self.sessions += 1;
            format!("t{}", self.sessions)
        });
        let resumed = launch.spec.session.is_some();
        if resumed && script.end == End::SessionGone {
            self.conversations.remove(&session);
        }
        let words = match script.end {
            _ if resumed && !self.conversations.contains_key(&session) => Words::SessionUnknown,
            _ if chosen.is_some() && dice.percent(3) => Words::SessionInUse,
            End::Code(0) => match dice.range(0, 19) {
                0 => Words::ToolsDenied,
                1 => Words::Question,
                2 => Words::Empty,
                3 | 4 => Words::Unfinished,
                _ => Words::Done,
            },
            End::Signal => Words::Silent,
            End::Park | End::NeverRan(_) => Words::Done,
            End::Code(_) if dice.percent(10) => Words::BadRequest,
            End::Code(_) | End::SessionGone => Words::Fails,
        };
        if words == Words::SessionInUse {
            self.conversations.entry(session.clone()).or_default();
        }
        script.session = (words != Words::SessionUnknown && words != Words::SessionInUse)
            .then(|| (dice.range(0, 4_000).min(script.life.unwrap_or(4_000)), session.clone()));
        let (harness, credentials) = (launch.spec.harness.clone(), launch.credentials.clone());
        script.program = Some(Program { harness, credentials, session, resumed, words });
        if !matches!(script.end, End::NeverRan(_)) {
            script.end = end_of(words, script.end);
        }
    }

    /// The program of a run was started. Without its provider it does not last, or lasts for ever.
    pub(super) fn begin_program(&mut self, run: &RunId) {
        let clock_ms = self.clock_ms;
        let Some(script) = self.runs.get_mut(run).and_then(|one| one.script.as_mut()) else { return };
        let Some(program) = &mut script.program else { return };
        let dice = &mut self.providers.dice;
        let makes_session = program.words != Words::SessionUnknown && !program.resumed;
        if makes_session && (program.harness != "claude" || dice.percent(80)) {
            self.conversations.entry(program.session.clone()).or_default();
        }
        let life = dice.pick(&[300, 2_000, 30_000]);
        let answer = self.providers.answer(&program.harness, program.credentials.as_ref(), clock_ms);
        let asks = !matches!(program.words, Words::SessionUnknown | Words::SessionInUse);
        if !asks || answer == Answer::Works || script.stuck {
            return;
        }
        let dice = &mut self.providers.dice;
        let waits = answer == Answer::Down && dice.percent(70) && program.harness == "codex";
        script.life = (!waits).then_some(life);
        if waits {
            program.words = Words::Reconnecting;
        }
    }

    /// What the program of a run says in the end, by what its provider answers just then.
    pub(super) fn end_program(&mut self, run: &RunId) {
        let clock_ms = self.clock_ms;
        let Some(script) = self.runs.get_mut(run).and_then(|one| one.script.as_mut()) else { return };
        let Some(program) = &mut script.program else { return };
        if matches!(program.words, Words::SessionUnknown | Words::SessionInUse) {
            return;
        }
        let answer = self.providers.answer(&program.harness, program.credentials.as_ref(), clock_ms);
        program.words = match answer {
            Answer::Works => return,
            Answer::Full { tells: true, .. } => Words::Limit,
            Answer::Full { .. } => Words::Busy,
            Answer::Down if self.providers.dice.percent(50) => Words::Broken,
            Answer::Down => Words::Unconnected,
            Answer::Refuses => Words::Refused,
        };
        script.end = End::Code(1);
    }

    /// Its log, as its end left it. Without a receipt nobody knows what it meant.
    pub(super) fn print_program(&mut self, run: &RunId, now: &ClockReading, reason: ExitReason) {
        let clock_ms = self.clock_ms;
        let Some(one) = self.runs.get_mut(run) else { return };
        let Some(script) = &one.script else { return };
        let Some(mut program) = script.program.clone() else { return };
        // One that never began has no log.
        let (Launcher::Sweeping(_), true) = (one.launcher, one.begun > 0) else { return };
        if reason != ExitReason::Exited && program.words != Words::Reconnecting {
            program.words = Words::Silent;
        }
        let (stdout, stderr) = recording(&program.harness, program.words);
        let (mut stdout, stderr) =
            (stdout.replace(ID, &program.session), stderr.replace(ID, &program.session));
        if stdout.contains(&program.session) {
            one.reported.session = Some(program.session.clone());
            self.conversations.entry(program.session.clone()).or_default();
        }
        let left_ms = match self.providers.answer(&program.harness, program.credentials.as_ref(), clock_ms) {
            Answer::Full { left_ms, .. } => left_ms,
            _ => 0,
        };
        let wait_s = left_ms / 1_000 + 1;
        let mut reset = None;
        if program.words == Words::Limit && program.harness == "claude" {
            let at = now.at.as_second() + wait_s as i64;
            stdout = stdout.replace(RESET, &at.to_string());
            reset = Timestamp::from_second(at).ok();
        } else if program.words == Words::Limit {
            stdout = stdout.replace(LIMIT, &format!("{TRY_AGAIN}{wait_s}s."));
            reset = Some(now.after(std::time::Duration::from_secs(wait_s)));
        }
        if program.harness == "claude" && program.words == Words::Done {
            let cost = self.providers.dice.pick(&["0.000125", "0.25", "1.7500005"]);
            stdout = stdout.replace("\"total_cost_usd\":0.000125", &format!("\"total_cost_usd\":{cost}"));
        }
        let (mut micro_usd, mut tokens) = (None, None);
        if let Some(at) = stdout.find("{\"type\":\"result\"") {
            let end = &stdout[at..];
            micro_usd = number(end, "total_cost_usd").map(|usd| (usd * 1e6).round() as u64);
            let keys =
                ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
            tokens = Some(keys.iter().filter_map(|key| number(end, key)).sum::<f64>() as u64);
        } else if let Some(at) = stdout.find("{\"type\":\"turn.completed\"") {
            // It tells what the whole session has used so far.
            let used = self.conversations.entry(program.session.clone()).or_default();
            let (input, output) =
                (number(&stdout[at..], "input_tokens"), number(&stdout[at..], "output_tokens"));
            let (input, output) = (input.unwrap_or(0.0) as u64, output.unwrap_or(0.0) as u64);
            let was = format!("\"input_tokens\":{input},");
            let is = format!("\"input_tokens\":{},", input + used.0);
            stdout = stdout.replace(&was, &is);
            let was = format!("\"output_tokens\":{output},");
            let is = format!("\"output_tokens\":{},", output + used.1);
            stdout = stdout.replace(&was, &is);
            (used.0, used.1) = (used.0 + input, used.1 + output);
            tokens = Some(used.0 + used.1);
        }
        (one.stdout, one.stderr) = (stdout, stderr);
        *self.printed.entry((program.harness.clone(), program.words)).or_default() += 1;
        let Some(claimed) = one.claimed.clone() else { return };
        if !script.exit_lost {
            let ending = Ending {
                harness: program.harness,
                words: program.words,
                reason,
                parked: one.reported.park.is_some(),
                claimed,
                ended: now.clone(),
                credentials: program.credentials,
                reset,
                session: Some(program.session),
                resumed: program.resumed,
                micro_usd,
                tokens,
            };
            self.ends.insert(run.clone(), ending);
        }
    }
}

fn end_of(words: Words, end: End) -> End {
    match words {
        Words::Done if end == End::Park => End::Park,
        Words::Done | Words::ToolsDenied | Words::Question | Words::Empty | Words::Unfinished => End::Code(0),
        Words::Silent => End::Signal,
        _ => End::Code(1),
    }
}

/// The number after the first such key.
fn number(text: &str, key: &str) -> Option<f64> {
    let key = format!("\"{key}\":");
    let rest = &text[text.find(&key)? + key.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}
