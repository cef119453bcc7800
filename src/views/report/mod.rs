//! What a tick tells: to a person as text, to a script as JSON, and to its caller as an exit status.

mod document;
mod news;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Config;
use crate::exit::{ExitStatus, Failure};
use crate::model::{
    Action, ClockReading, FailureClass, Held, HoldReason, ItemId, Outcome, Plan, ReapOutcome, Reaped, RunId,
    Signalled, Skipped, StartOutcome, StepOutcome, Unavailable,
};
use crate::registry::{Counters, Registry};
use crate::text::escape;
use crate::tick::{Ticked, decision_of};
use crate::ui::layout::{Layout, Row, Span};
use crate::ui::style::Style;

/// How many errors the one line of a reason names.
const REASON_PARTS_MAX: usize = 3;

/// What one run of the program did.
#[derive(Clone, Debug)]
pub struct TickReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    serial: Option<u64>,
    started_at: Timestamp,
    duration_ms: u64,
    counts: BTreeMap<&'static str, usize>,
    decisions: Vec<DecisionLine>,
    held: Vec<Held>,
    outcomes: Vec<OutcomeLine>,
    reaped: Vec<(RunId, Signalled)>,
    survivors: Vec<SurvivorLine>,
    skipped: Vec<Skipped>,
    counters: Counters,
    errors: Vec<String>,
    title: &'static str,
    exit: ExitStatus,
    is_alarming: bool,
    keys: BTreeMap<ItemId, String>,
}

#[derive(Clone, Debug)]
struct DecisionLine {
    action: &'static str,
    item: Option<ItemId>,
    run: Option<RunId>,
    code: Option<&'static str>,
    because: String,
}

#[derive(Clone, Debug)]
struct OutcomeLine {
    action: &'static str,
    item: Option<ItemId>,
    run: Option<RunId>,
    ok: bool,
    class: Option<FailureClass>,
    error: Option<String>,
}

#[derive(Clone, Debug)]
struct SurvivorLine {
    run: RunId,
    pid: u32,
    because: String,
}

impl TickReport {
    /// A report of nothing yet. `title` is how its text begins.
    pub fn new(title: &'static str, now: &ClockReading, dry_run: bool) -> TickReport {
        TickReport {
            title,
            dry_run,
            serial: None,
            started_at: now.at,
            duration_ms: 0,
            counts: BTreeMap::new(),
            decisions: Vec::new(),
            held: Vec::new(),
            outcomes: Vec::new(),
            reaped: Vec::new(),
            survivors: Vec::new(),
            skipped: Vec::new(),
            counters: Counters::default(),
            errors: Vec::new(),
            exit: ExitStatus::Ok,
            is_alarming: false,
            keys: BTreeMap::new(),
        }
    }

    /// The exit status so far.
    pub fn exit(&self) -> ExitStatus {
        self.exit
    }

    /// Whether something new needs a person. The exit status may tell of something worse, and be the same as the tick
    /// before.
    pub fn is_alarming(&self) -> bool {
        self.is_alarming
    }

    /// Something else that the exit status must tell, if it is worse.
    pub fn worsen(&mut self, status: ExitStatus) {
        self.exit = self.exit.worse(status);
    }

    /// A failure that ended the run.
    pub fn fail(&mut self, failure: &Failure) {
        self.errors.push(failure.text.clone());
        self.worsen(failure.status);
    }

    /// Something that went wrong and that the program got over.
    pub fn note(&mut self, error: String) {
        self.errors.push(error);
        self.worsen(ExitStatus::Partial);
    }

    /// How long it took, and the generation that stands.
    pub fn finish(&mut self, serial: Option<u64>, took: Duration) {
        self.serial = serial;
        self.duration_ms = took.as_millis() as u64;
        for line in &self.decisions {
            *self.counts.entry(line.action).or_default() += 1;
        }
        self.counts.insert("held", self.held.len());
    }

    /// One line that stays the same as long as the state of affairs does: what `-q` compares.
    pub fn reason(&self) -> String {
        let mut parts: Vec<String> = self.errors.iter().map(|error| without_run_numbers(error)).collect();
        parts.extend(self.survivors.iter().map(|line| format!("{} survives", line.pid)));
        parts.sort();
        let more = parts.len().saturating_sub(REASON_PARTS_MAX);
        parts.truncate(REASON_PARTS_MAX);
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        if parts.is_empty() {
            self.exit.name().to_owned()
        } else {
            format!("{}: {}", self.exit.name(), parts.join("; "))
        }
    }

    /// Adds one iteration.
    pub fn add(&mut self, ticked: &Ticked, config: &Config, before: &Registry, after: &Registry) {
        self.add_plan(&ticked.plan, after);
        for outcome in &ticked.outcomes {
            self.add_outcome(&ticked.plan, outcome);
        }
        self.counters = after.counters.clone();
        self.worsen(judge(ticked, after));
        if news::needs_person(before, after)
            || news::is_stopped_anew(config, before, after)
            || news::is_kept_anew(before, after)
        {
            self.is_alarming = true;
            self.worsen(ExitStatus::Attention);
        }
    }

    /// Adds a plan that was not carried out.
    pub fn add_plan(&mut self, plan: &Plan, registry: &Registry) {
        for (id, record) in &registry.items {
            self.keys.insert(id.clone(), record.key.clone());
        }
        self.decisions.extend(plan.decisions().map(|(_, decision)| DecisionLine {
            action: decision.action.name(),
            item: decision.item.clone(),
            run: decision.action.run().cloned(),
            code: decision.action.code(),
            because: decision.because.clone(),
        }));
        self.held.clone_from(&plan.held);
        self.errors.extend(plan.errors.iter().cloned());
        self.counters = registry.counters.clone();
        if !plan.errors.is_empty() {
            self.worsen(ExitStatus::Partial);
        }
    }

    fn add_outcome(&mut self, plan: &Plan, outcome: &StepOutcome) {
        let Some(decision) = decision_of(plan, outcome) else { return };
        let run = decision.action.run();
        let ok = outcome.outcome.is_as_meant();
        let class = match &outcome.outcome {
            Outcome::Start(StartOutcome::NotStarted { class, .. }) => Some(*class),
            _ => None,
        };
        let error = outcome.outcome.error();
        if let (Outcome::Reap(ReapOutcome::Reaped(reaped)), Some(run)) = (&outcome.outcome, run) {
            self.add_reaped(run, reaped);
        }
        if let Some(error) = &error {
            let subject = run
                .map_or_else(|| decision.item.as_ref().map(ToString::to_string), |run| Some(run.to_string()));
            let subject = subject.unwrap_or_default();
            self.errors.push(format!("{} {subject}: {error}", decision.action.name()));
        }
        self.outcomes.push(OutcomeLine {
            action: decision.action.name(),
            item: decision.item.clone(),
            run: run.cloned(),
            ok,
            class,
            error,
        });
    }

    fn add_reaped(&mut self, run: &RunId, reaped: &Reaped) {
        self.reaped.extend(reaped.signalled.iter().map(|signalled| (run.clone(), signalled.clone())));
        self.survivors.extend(reaped.survivors.iter().map(|survivor| SurvivorLine {
            run: run.clone(),
            pid: survivor.pid,
            because: survivor.because.clone(),
        }));
        self.skipped.extend(reaped.skipped.iter().cloned());
    }

    /// For a person, on a terminal of this width; `verbose`: also what is held for an ordinary reason.
    pub fn to_page(&self, width: usize, verbose: bool) -> Layout {
        let mut page = Layout::new(width);
        page.paragraph(0, &self.headline());
        let mut rows: Vec<_> = self.decisions.iter().map(|line| self.decision_row(line)).collect();
        for line in self.outcomes.iter().filter(|line| !line.ok && line.error.is_some()) {
            let error = format!("{} failed: {}", line.action, line.error.as_deref().unwrap_or_default());
            rows.push(self.row("!", line.item.as_ref(), &run_name(line.run.as_ref()), &error));
        }
        for line in &self.survivors {
            let because = format!("pid {} could not be ended: {}", line.pid, line.because);
            rows.push(self.row("!", None, &line.run.to_string(), &because));
        }
        for held in self.held.iter().filter(|held| verbose || !is_quiet(held.code)) {
            let until =
                held.until.map_or_else(String::new, |until| format!("until {}: ", escape::time(until)));
            let because = format!("{until}{}", held.because);
            rows.push(self.row("held", Some(&held.item), held.code.name(), &because));
        }
        page.table(&rows);
        for error in self.errors.iter().filter(|error| {
            !self.outcomes.iter().any(|line| error.ends_with(line.error.as_deref().unwrap_or("\0")))
        }) {
            page.paragraph(2, &[Span::words("!").style(Style::Bad), Span::words(error)]);
        }
        page
    }

    fn decision_row(&self, line: &DecisionLine) -> Row {
        let is_note = line.action == "writeback";
        let because = match line.code {
            Some(code) if !is_note => format!("{code}: {}", line.because),
            _ => line.because.clone(),
        };
        let what =
            if is_note { line.code.unwrap_or_default().to_owned() } else { run_name(line.run.as_ref()) };
        self.row(line.action, line.item.as_ref(), &what, &because)
    }

    /// `what`: an action, `held`, or `!` for what failed.
    fn row(&self, what: &str, item: Option<&ItemId>, subject: &str, because: &str) -> Row {
        let style = match what {
            "done" => Style::Good,
            "park" | "stop" | "cool_off" => Style::Warn,
            "fail" | "!" => Style::Bad,
            _ => Style::Plain,
        };
        let cells = [Span::whole(what).style(style), Span::whole(self.key(item)), Span::whole(subject)];
        let row = Row::new(cells).prose(because);
        if what == "held" { row.style(Style::Dim) } else { row }
    }

    fn key(&self, item: Option<&ItemId>) -> String {
        let Some(id) = item else { return String::new() };
        self.keys.get(id).cloned().filter(|key| !key.is_empty()).unwrap_or_else(|| id.plain().to_owned())
    }

    fn headline(&self) -> [Span; 3] {
        let did: Vec<_> = self
            .counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let did = if did.is_empty() { "nothing to do".to_owned() } else { did.join(", ") };
        [
            Span::words(format!("{}:", self.title)).style(Style::Heading),
            Span::words(self.exit.name()).style(self.style()),
            Span::words(format!("({did}) in {} ms", self.duration_ms)),
        ]
    }

    fn style(&self) -> Style {
        match self.exit {
            ExitStatus::Ok | ExitStatus::WouldAct => Style::Good,
            ExitStatus::Partial
            | ExitStatus::Attention
            | ExitStatus::Interrupted
            | ExitStatus::Terminated => Style::Warn,
            _ => Style::Bad,
        }
    }
}

/// The same words without the numbers of runs: each try has a new one, and would be news each minute.
fn without_run_numbers(text: &str) -> String {
    let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part_of_name(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        let name = word.trim_end_matches('.');
        match name.parse::<RunId>() {
            // An agent is named `<slug>-<suffix>`; "1.5" is no run.
            Ok(run) if run.agent.0.contains('-') => {
                told.push_str(&run.agent.0);
                told.push_str(&word[name.len()..]);
            }
            _ => told.push_str(word),
        }
        let separator = rest[end..].find(is_part_of_name).map_or(rest.len(), |at| end + at);
        told.push_str(&rest[end..separator]);
        rest = &rest[separator..];
    }
    told
}

fn run_name(run: Option<&RunId>) -> String {
    run.map_or_else(String::new, ToString::to_string)
}

/// Held for a reason that is not worth a line in every tick.
fn is_quiet(code: HoldReason) -> bool {
    matches!(code, HoldReason::Done | HoldReason::AlreadyActive | HoldReason::NotInScope)
}

/// What an iteration means for the exit status, unless somebody is needed.
fn judge(ticked: &Ticked, after: &Registry) -> ExitStatus {
    let mut status = ExitStatus::Ok;
    for outcome in &ticked.outcomes {
        if !outcome.outcome.is_as_meant() {
            status = status.worse(ExitStatus::Partial);
        }
    }
    for (_, decision) in ticked.plan.decisions() {
        status = status.worse(match &decision.action {
            Action::Fail { class: FailureClass::Launch | FailureClass::Writeback, .. } => ExitStatus::Partial,
            Action::CoolOff { scope, cooling: Some(_) } if is_of_credentials(scope) => ExitStatus::Denied,
            _ => ExitStatus::Ok,
        });
    }
    // A tick that looked for work could not start all of it; one that only ends runs did all it was to do.
    if ticked.source.is_some() && !after.cool_offs.is_empty() {
        status = status.worse(ExitStatus::Partial);
    }
    let failures = [ticked.source.as_ref(), Some(&ticked.fleet)].into_iter().flatten();
    if failures.filter_map(|answer| answer.as_ref().err()).any(Unavailable::is_denied) {
        status = status.worse(ExitStatus::Denied);
    }
    match (&ticked.source, &ticked.fleet) {
        (Some(Err(_)), Err(_)) => status.worse(ExitStatus::Unavailable),
        (Some(Err(_)), _) | (_, Err(_)) => status.worse(ExitStatus::Partial),
        _ => status,
    }
}

/// Whether a role lacks variables or credentials, which another exit status tells.
fn is_of_credentials(scope: &str) -> bool {
    scope.starts_with("role:") || scope.starts_with("login:")
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: P05b
    #[test]
    fn compared_reason_holds_no_run_numbers() {
        for (text, without) in [
            (
                "start ok-1-impl.7: ok-1-impl.7: cannot create /s/runs/ok-1-impl.7: denied",
                "start ok-1-impl: ok-1-impl: cannot create /s/runs/ok-1-impl: denied",
            ),
            ("processes of ab-c.12. Then", "processes of ab-c. Then"),
            ("version 1.5, v2.10 and claude-2.x stay", "version 1.5, v2.10 and claude-2.x stay"),
            ("é-impl.3 …", "é-impl …"),
            ("", ""),
        ] {
            assert_eq!(without_run_numbers(text), without);
        }
    }
}
