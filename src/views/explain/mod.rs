//! One item, seen through: what the next tick would make of it and why, what its next runs would be given, and what
//! became of it lately.

mod document;
mod record;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use self::record::labelled;
use super::json;
use crate::model::{
    Action, AgentName, Decision, GateVerdict, Gates, Held, HoldReason, ItemId, Plan, RunId, Step,
};
use crate::registry::{AgentRecord, ItemRecord};
use crate::text::escape;
use crate::ui::layout::{Layout, Row, Span};
use crate::ui::style::Style;

/// How many of the latest events are shown.
const EVENTS_MAX: usize = 10;

/// Everything that `explain` tells.
#[derive(Debug)]
pub struct ExplainView {
    item: ItemId,
    key: String,
    title: Option<String>,
    rules: Vec<Rule>,
    errors: Vec<String>,
    record: Option<ItemRecord>,
    agents: Vec<json::AgentUse>,
    next_runs: Vec<json::NextRun>,
    next_runs_error: Option<String>,
    events: Vec<Value>,
}

/// A rule that applies to the item now.
#[derive(Debug)]
struct Rule {
    /// Its action, or the code of what holds the item where the rule does not let it pass.
    name: &'static str,
    run: Option<RunId>,
    verdict: Verdict,
    because: String,
    until: Option<Timestamp>,
    /// Whether it says what becomes of the item now.
    decides: bool,
    starts: bool,
    tells: bool,
}

/// What a rule does with the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It lets it pass.
    Passes,
    /// It keeps it waiting.
    Holds,
    /// Something is done.
    Acts,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Passes => "passes",
            Verdict::Holds => "holds",
            Verdict::Acts => "acts",
        }
    }
}

impl ExplainView {
    /// Reads off a plan for everything: what other items take is told too.
    pub fn new(
        id: &ItemId,
        key: String,
        title: Option<String>,
        plan: &Plan,
        gates: &Gates,
        record: Option<&ItemRecord>,
    ) -> Self {
        let mut rules = rules(id, plan, gates);
        mark(&mut rules);
        ExplainView {
            item: id.clone(),
            key,
            title,
            rules,
            errors: plan.errors.clone(),
            record: record.cloned(),
            agents: Vec::new(),
            next_runs: Vec::new(),
            next_runs_error: None,
            events: Vec::new(),
        }
    }

    /// What its agents have used.
    pub fn with_agents<'a>(mut self, agents: impl Iterator<Item = (&'a AgentName, &'a AgentRecord)>) -> Self {
        let spent = |(name, agent): (&AgentName, &AgentRecord)| json::AgentUse {
            agent: name.to_string(),
            usd: agent.cost,
            tokens: agent.tokens,
        };
        self.agents = agents.map(spent).collect();
        self
    }

    /// What its next runs would be given, or why that can't be told.
    pub fn with_next_runs(mut self, runs: Result<Vec<json::NextRun>, String>) -> Self {
        match runs {
            Ok(runs) => self.next_runs = runs,
            Err(why) => self.next_runs_error = Some(why),
        }
        self
    }

    /// The latest of these events that are about the item.
    pub fn with_events(mut self, events: impl Iterator<Item = Value>) -> Self {
        // That an old run's directory was removed says nothing of the item, and there can be many of them at once.
        let is_chore = |event: &Value| event["event"] == "remove" && event["run"].is_string();
        let ours: Vec<_> =
            events.filter(|event| event["item"] == self.item.0.as_str() && !is_chore(event)).collect();
        self.events = ours.into_iter().rev().take(EVENTS_MAX).rev().collect();
        self
    }

    /// For a person, on a terminal of this width.
    pub fn to_page(&self, width: usize) -> Layout {
        let mut page = Layout::new(width);
        let title = self.title.as_ref().map_or_else(String::new, |title| format!(": {title}"));
        page.heading(format!("{} ({}){title}", self.key, self.item));
        page.heading("Now");
        if self.rules.is_empty() {
            page.paragraph(2, &[Span::words("nothing: its source does not tell of it")]);
        }
        page.table(&self.rules.iter().map(Rule::row).collect::<Vec<_>>());
        for error in &self.errors {
            page.paragraph(2, &[Span::words("!").style(Style::Bad), Span::words(error)]);
        }
        if let Some(record) = &self.record {
            page.heading("Record");
            let mut fields = record::fields(record);
            fields.extend(self.agents.iter().filter_map(used_field));
            page.fields(2, &fields);
        }
        for run in &self.next_runs {
            add_next_run(run, &mut page);
        }
        if let Some(why) = &self.next_runs_error {
            page.heading("Next run");
            page.paragraph(2, &[Span::words("!").style(Style::Bad), Span::words(why)]);
        }
        if !self.events.is_empty() {
            page.heading("Lately");
            page.table(&self.events.iter().map(event_row).collect::<Vec<_>>());
        }
        page
    }
}

/// In the order in which they are asked: what is done before it is the item's turn, the gates, what is done then.
fn rules(id: &ItemId, plan: &Plan, gates: &Gates) -> Vec<Rule> {
    let (before, after) = plan.steps.split_at(gates.after.min(plan.steps.len()));
    let of_steps = |steps: &[Step]| -> Vec<Rule> {
        let ours = steps.iter().filter_map(|step| match step {
            Step::Decide(decision) if decision.item.as_ref() == Some(id) => Some(Rule::of_decision(decision)),
            _ => None,
        });
        ours.collect()
    };
    let mut rules = of_steps(before);
    rules.extend(gates.verdicts.iter().map(Rule::of_gate));
    rules.extend(of_steps(after));
    // What no gate was asked about.
    let held = plan.held.iter().filter(|held| held.item == *id);
    let by_gate = |held: &Held| gates.verdicts.iter().any(|gate| gate.holds && gate.code == held.code);
    rules.extend(held.filter(|held| !by_gate(held)).map(Rule::of_held));
    rules
}

/// The first that holds decides: for each run where each is asked about, else for the item. Then what is started. Where
/// there is neither, the last thing that becomes of the item, whatever its tracker is told.
fn mark(rules: &mut [Rule]) {
    let mut held = BTreeSet::new();
    for rule in rules.iter_mut() {
        rule.decides = match rule.verdict {
            Verdict::Holds => !held.contains(&None) && held.insert(rule.run.clone()),
            Verdict::Acts => rule.starts,
            Verdict::Passes => false,
        };
    }
    if !rules.iter().any(|rule| rule.decides)
        && let Some(last) = rules.iter_mut().rfind(|rule| rule.verdict == Verdict::Acts && !rule.tells)
    {
        last.decides = true;
    }
}

impl Rule {
    fn of_decision(decision: &Decision) -> Rule {
        let action = &decision.action;
        Rule {
            name: action.name(),
            run: action.run().cloned(),
            verdict: Verdict::Acts,
            because: decision.because.clone(),
            until: None,
            decides: false,
            starts: matches!(action, Action::Start(_) | Action::Resume(_)),
            tells: matches!(action, Action::Writeback(_)),
        }
    }

    fn of_gate(gate: &GateVerdict) -> Rule {
        let verdict = if gate.holds { Verdict::Holds } else { Verdict::Passes };
        let run = gate.run.clone();
        Rule { verdict, run, ..Rule::of(gate.code, &gate.because, gate.until) }
    }

    fn of_held(held: &Held) -> Rule {
        Rule::of(held.code, &held.because, held.until)
    }

    fn of(code: HoldReason, because: &str, until: Option<Timestamp>) -> Rule {
        Rule {
            name: code.name(),
            run: None,
            verdict: Verdict::Holds,
            because: because.to_owned(),
            until,
            decides: false,
            starts: false,
            tells: false,
        }
    }

    fn row(&self) -> Row {
        let mark = if self.decides { "→" } else { "" };
        let style = match self.verdict {
            Verdict::Holds if self.decides => Style::Warn,
            Verdict::Acts if self.decides => Style::Good,
            _ => Style::Plain,
        };
        let until = self.until.map_or_else(String::new, |until| format!("until {}: ", escape::time(until)));
        let run = self.run.as_ref().map_or_else(String::new, ToString::to_string);
        let cells = [mark, self.name, self.verdict.name()].map(|cell| Span::whole(cell).style(style));
        let row = Row::new(cells.into_iter().chain([Span::whole(run)]));
        let row = row.prose(format!("{until}{}", self.because));
        if self.verdict == Verdict::Passes { row.style(Style::Dim) } else { row }
    }
}

fn used_field(used: &json::AgentUse) -> Option<(Span, Span)> {
    escape::used(used.usd, used.tokens).map(|words| labelled(&used.agent, Span::words(words)))
}

fn add_next_run(run: &json::NextRun, page: &mut Layout) {
    let mut fields = vec![
        labelled("role", Span::whole(&run.role)),
        labelled("argv", Span::whole(escape::json_words(&run.argv))),
        labelled("cwd", Span::whole(&run.cwd)),
        labelled("variables", Span::words(run.env.join(" "))),
    ];
    fields.extend(run.session.as_ref().map(|session| labelled("session", Span::whole(session))));
    let argv = |hook: &json::Hook| labelled(hook.name, Span::whole(escape::json_words(&hook.argv)));
    fields.extend(run.hooks.iter().map(argv));
    page.heading(format!("Next run {}", run.run));
    page.fields(2, &fields);
    for line in run.prompt.lines() {
        page.verbatim(2, &format!("| {line}"));
    }
}

fn event_row(event: &Value) -> Row {
    let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let at = word("at").parse().map_or_else(|_| word("at"), escape::time);
    let because = if event["because"].is_string() { word("because") } else { word("error") };
    let what = if event["run"].is_string() { word("run") } else { word("workspace") };
    Row::new([Span::whole(at), Span::whole(word("event")), Span::whole(what)]).prose(because)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(code: HoldReason, run: Option<&str>, holds: bool) -> GateVerdict {
        let run = run.map(|run| run.parse().unwrap());
        GateVerdict { code, run, holds, because: String::new(), until: None }
    }

    /// The names of the rules that decide, of a plan in which nothing is done.
    fn deciding(verdicts: Vec<GateVerdict>, held: &[HoldReason]) -> Vec<&'static str> {
        let id = ItemId("dir:A".to_owned());
        let held = held.iter().map(|code| Held {
            item: id.clone(),
            code: *code,
            because: String::new(),
            until: None,
        });
        let plan = Plan { held: held.collect(), ..Plan::default() };
        let gates = Gates { after: 0, verdicts };
        let view = ExplainView::new(&id, "A".to_owned(), None, &plan, &gates, None);
        view.rules.into_iter().filter(|rule| rule.decides).map(|rule| rule.name).collect()
    }

    #[test]
    fn the_first_rule_that_holds_decides_and_those_behind_it_are_told() {
        use HoldReason::{Backoff, Blocked, NoSlot, Parked, SourceUnknown};
        let item = vec![gate(Parked, None, false), gate(Blocked, None, true), gate(NoSlot, None, true)];
        assert_eq!(deciding(item, &[Blocked]), ["blocked"]);
        let runs = vec![
            gate(Parked, None, false),
            gate(Backoff, Some("a-impl.1"), true),
            gate(NoSlot, Some("a-impl.1"), true),
            gate(Backoff, Some("a-rev.1"), false),
            gate(NoSlot, Some("a-rev.1"), true),
        ];
        assert_eq!(deciding(runs, &[Backoff]), ["backoff", "no_slot"], "each run has its own");
        let barred = vec![gate(Parked, None, true), gate(Backoff, Some("a-impl.1"), true)];
        assert_eq!(deciding(barred, &[Parked]), ["parked"]);
        assert_eq!(deciding(vec![], &[SourceUnknown]), ["source_unknown"], "what no gate was asked about");
        assert_eq!(deciding(vec![], &[]), Vec::<&str>::new());
    }
}
