//! Public JSON: the keys of each document, and that no stored record is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use factory_tick::views::json::{
    AgentUse, Breaker, Check, CheckFinding, CoolOff, Counters, DailySpend, Decision, Explain, Handoff,
    Health, Heartbeat, Held, Hook, InFlight, Init, KillTick, Message, NextRun, Note, Notified, Outcome,
    Parked, Pause, Reaped, Record, RecordFailure, Relocate, Report, Retention, Rule, Skipped, Status,
    Stopped, Stuck, Survivor, TrackerNote, Waiting, Wanted,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap()
}

/// The keys of every object in a document, with the way to it: `parked[].key`.
fn paths(value: &Value, way: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let way = if way.is_empty() { key.clone() } else { format!("{way}.{key}") };
                found.insert(way.clone());
                // Names of actions, not keys.
                if way != "counts" {
                    paths(value, &way, found);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| paths(one, &format!("{way}[]"), found)),
        _ => {}
    }
}

#[track_caller]
fn assert_document(document: &impl Serialize, keys: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    paths(&value(document), "", &mut found);
    let want: BTreeSet<_> = keys.split_whitespace().map(str::to_owned).collect();
    let (missing, more): (Vec<_>, Vec<_>) =
        (want.difference(&found).collect(), found.difference(&want).collect());
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:?}\nnot on the list: {more:?}");
    found
}

fn text() -> String {
    "x".to_owned()
}

fn counters() -> Counters {
    Counters {
        dispatched: 0,
        dispatch_duplicate_suppressed: 0,
        dispatch_backoffs: 0,
        dispatch_terminal_failures: 0,
        dispatch_failure_reaper_handoffs: 0,
        dispatch_failure_reaper_handoff_failures: 0,
        handoffs_reaped: 0,
        resumes: 0,
        resume_name_collisions: 0,
        sessions_not_found: 0,
        agents_reaped: 0,
        survivors: 0,
        pid_identity_mismatches: 0,
        protected_pid_skips: 0,
        fences: 0,
        crashed_ticks: 0,
    }
}

const COUNTERS: &str = "counters counters.dispatched counters.dispatch_duplicate_suppressed \
    counters.dispatch_backoffs counters.dispatch_terminal_failures counters.dispatch_failure_reaper_handoffs \
    counters.dispatch_failure_reaper_handoff_failures counters.handoffs_reaped counters.resumes \
    counters.resume_name_collisions counters.sessions_not_found counters.agents_reaped counters.survivors \
    counters.pid_identity_mismatches counters.protected_pid_skips counters.fences counters.crashed_ticks";

const REPORT: &str = "schema dry_run status exit_code serial started_at duration_ms counts \
    decisions decisions[].action decisions[].item decisions[].agent decisions[].run decisions[].code \
    decisions[].because held held[].item held[].code held[].because held[].until outcomes outcomes[].action \
    outcomes[].item outcomes[].agent outcomes[].run outcomes[].ok outcomes[].class outcomes[].error \
    reaped reaped[].run reaped[].pid reaped[].signals survivors survivors[].run survivors[].pid \
    survivors[].because skipped skipped[].pid skipped[].reason errors";

const STATUS: &str = "schema alive paused pause pause.because pause.since pause.until \
    breaker breaker.failures breaker.since breaker.item breaker.because stopped stopped.code stopped.because \
    stopped.since cool_offs cool_offs[].scope cool_offs[].because cool_offs[].since cool_offs[].until \
    heartbeat heartbeat.version heartbeat.config heartbeat.pid heartbeat.start_ticks heartbeat.boot_id \
    heartbeat.host heartbeat.status heartbeat.serial heartbeat.ticks heartbeat.started_at heartbeat.updated_at \
    heartbeat.updated_at_ms heartbeat.exit_code heartbeat.reason heartbeat.reported_at heartbeat.paused \
    heartbeat.source heartbeat.source.ok heartbeat.source.since heartbeat.source.error \
    heartbeat.fleet heartbeat.fleet.ok heartbeat.fleet.since heartbeat.fleet.error \
    heartbeat.retention heartbeat.retention.looked_at heartbeat.retention.error \
    in_flight in_flight[].item in_flight[].key in_flight[].agent in_flight[].run in_flight[].phase \
    in_flight[].attempt in_flight[].attempts_max in_flight[].started_at in_flight[].deadline_at in_flight[].pid \
    in_flight[].log in_flight[].session in_flight[].takeover in_flight[].usd in_flight[].tokens \
    waiting waiting[].item waiting[].key waiting[].code waiting[].because waiting[].until \
    parked parked[].item parked[].key parked[].parked_by parked[].class parked[].because parked[].since \
    parked[].try parked[].takeover stuck stuck[].item stuck[].key stuck[].code stuck[].because stuck[].since \
    stuck[].try handoffs handoffs[].run handoffs[].item handoffs[].because handoffs[].since \
    handoffs[].survivors notes notes[].item notes[].key notes[].run notes[].because \
    daily_spend daily_spend.starts daily_spend.usd";

const EXPLAIN: &str = "schema item key title rules rules[].name rules[].run rules[].verdict rules[].because \
    rules[].until rules[].decides errors record record.phase record.origin record.attempts \
    record.uncharged_streak record.continuations record.due_at record.dispatches record.parked_by record.last \
    record.last.class record.last.because record.last.at record.tracker_note \
    record.tracker_note.wanted record.tracker_note.wanted.status record.tracker_note.wanted.at \
    record.tracker_note.wanted.because record.tracker_note.notified record.tracker_note.notified.status \
    record.tracker_note.notified.at record.tracker_note.notified.given_up record.tracker_note.tries \
    record.tracker_note.due_at record.tracker_note.last_error record.missing_reads \
    record.workspace_taken record.messages record.messages[].text record.messages[].heard \
    agents agents[].agent agents[].usd agents[].tokens next_runs next_runs[].run next_runs[].role \
    next_runs[].session next_runs[].argv next_runs[].cwd next_runs[].env next_runs[].hooks \
    next_runs[].hooks[].name next_runs[].hooks[].argv next_runs[].prompt next_runs_error events";

const CHECK: &str = "schema status exit_code as_cron checks checks[].name checks[].subject checks[].ok \
    checks[].level checks[].because checks[].hint crontab";

/// Every key of every document is in the list, and in README.md.
#[test]
fn documents_have_the_listed_keys_and_no_others() {
    let mut all = assert_document(&report(), &format!("{REPORT} {COUNTERS}"));
    all.extend(status_keys());
    all.extend(assert_document(&explain(), EXPLAIN));
    let finding =
        CheckFinding { name: "config", subject: "x", ok: true, level: "ok", because: "x", hint: None };
    let check =
        Check { schema: 1, status: "ok", exit_code: 0, as_cron: false, checks: vec![finding], crontab: None };
    all.extend(assert_document(&check, CHECK));
    let init = Init {
        schema: 1,
        dry_run: false,
        status: "ok",
        exit_code: 0,
        made: [text(), text()],
        harness: "command",
    };
    all.extend(assert_document(&init, "schema dry_run status exit_code made harness"));
    let relocate = Relocate {
        schema: 1,
        dry_run: false,
        status: "ok",
        exit_code: 0,
        state: text(),
        config: text(),
        lineage: text(),
    };
    all.extend(assert_document(&relocate, "schema dry_run status exit_code state config lineage"));
    let kill = KillTick { schema: 1, status: "ok", exit_code: 0, pid: 1, signal: "TERM", started_at: AT };
    all.extend(assert_document(&kill, "schema status exit_code pid signal started_at"));

    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("\n## JSON\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let words: BTreeSet<_> = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let name = |path: &String| path.rsplit('.').next().unwrap_or(path).to_owned();
    let unsaid: BTreeSet<_> = all.iter().map(name).filter(|key| !words.contains(key.as_str())).collect();
    assert!(unsaid.is_empty(), "the section JSON of README.md does not name {unsaid:?}");
}

fn report() -> Report {
    Report {
        schema: 1,
        dry_run: false,
        status: "ok",
        exit_code: 0,
        serial: None,
        started_at: AT,
        duration_ms: 0,
        counts: [("start", 1)].into(),
        decisions: vec![Decision {
            action: "start",
            item: None,
            agent: None,
            run: None,
            code: None,
            because: text(),
        }],
        held: vec![Held { item: text(), code: "done", because: text(), until: None }],
        outcomes: vec![Outcome {
            action: "start",
            item: None,
            agent: None,
            run: None,
            ok: true,
            class: None,
            error: None,
        }],
        reaped: vec![Reaped { run: text(), pid: 1, signals: vec!["TERM"] }],
        survivors: vec![Survivor { run: text(), pid: 1, because: text() }],
        skipped: vec![Skipped { pid: 1, reason: text() }],
        counters: counters(),
        errors: Vec::new(),
    }
}

fn status_keys() -> BTreeSet<String> {
    let health = || Health { ok: true, since: None, error: None };
    let heartbeat = Heartbeat {
        version: "x",
        config: "x",
        pid: 1,
        start_ticks: 1,
        boot_id: "x",
        host: "x",
        status: "idle",
        serial: 1,
        ticks: 1,
        started_at: AT,
        updated_at: AT,
        updated_at_ms: 0,
        exit_code: None,
        reason: None,
        reported_at: None,
        paused: false,
        source: health(),
        fleet: health(),
        retention: Some(Retention { looked_at: None, error: None }),
    };
    let in_flight = InFlight {
        item: text(),
        key: text(),
        agent: text(),
        run: text(),
        phase: "running",
        attempt: 1,
        attempts_max: 3,
        started_at: None,
        deadline_at: None,
        pid: None,
        log: text(),
        session: None,
        takeover: None,
        usd: None,
        tokens: None,
    };
    let waiting = Waiting { item: text(), key: text(), code: "backoff", because: text(), until: None };
    let parked = Parked {
        item: text(),
        key: text(),
        parked_by: None,
        class: None,
        because: text(),
        since: None,
        r#try: text(),
        takeover: Vec::new(),
    };
    let stuck =
        Stuck { item: text(), key: text(), code: "blocked", because: text(), since: AT, r#try: text() };
    let handoff = Handoff { run: text(), item: None, because: text(), since: AT, survivors: vec![1] };
    let note = Note { item: text(), key: text(), run: text(), because: text() };
    let status = Status {
        schema: 1,
        alive: true,
        paused: true,
        pause: Some(Pause { because: "x", since: AT, until: None }),
        breaker: Some(Breaker { failures: 1, since: AT, item: "x", because: "x" }),
        stopped: Some(Stopped { code: "disk_floor", because: "x", since: AT }),
        cool_offs: vec![CoolOff { scope: "machine", because: "x", since: AT, until: None }],
        heartbeat: Some(heartbeat),
        in_flight: &[in_flight],
        waiting: vec![&waiting],
        parked: vec![&parked],
        stuck: vec![&stuck],
        handoffs: &[handoff],
        notes: &[note],
        daily_spend: DailySpend { starts: 0, usd: None },
        counters: counters(),
    };
    assert_document(&status, &format!("{STATUS} {COUNTERS}"))
}

fn explain() -> Explain<'static> {
    let record = Record {
        phase: "waiting",
        origin: text(),
        attempts: 0,
        uncharged_streak: 0,
        continuations: 0,
        due_at: None,
        dispatches: 0,
        parked_by: None,
        last: Some(RecordFailure { class: None, because: text(), at: AT }),
        tracker_note: TrackerNote {
            wanted: Some(Wanted { status: "done", at: AT, because: text() }),
            notified: Some(Notified { status: "started", at: AT, given_up: false }),
            tries: 0,
            due_at: None,
            last_error: None,
        },
        missing_reads: 0,
        workspace_taken: None,
        messages: vec![Message { text: text(), heard: false }],
    };
    let next_run = NextRun {
        run: text(),
        role: text(),
        session: None,
        argv: Vec::new(),
        cwd: text(),
        env: Vec::new(),
        hooks: vec![Hook { name: "done", argv: Vec::new() }],
        prompt: text(),
    };
    let rule =
        Rule { name: "paused", run: None, verdict: "passes", because: "x", until: None, decides: false };
    Explain {
        schema: 1,
        item: "x",
        key: "x",
        title: None,
        rules: vec![rule],
        errors: &[],
        record: Some(record),
        agents: Box::leak(Box::new([AgentUse { agent: text(), usd: None, tokens: None }])),
        next_runs: Box::leak(Box::new([next_run])),
        next_runs_error: None,
        events: &[],
    }
}

// ---------------------------------------------------------------------------------------------
// No stored record is a document

/// Code of a file that serialises, or builds JSON by hand.
const SERIALISES: &[&str] = &["Serialize", "json!("];

/// A document that names a room could serialise a record of it: then a renamed field would change public JSON.
fn wrong(path: &str, code: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_document = path.starts_with("src/views/json/");
    for (number, line) in code.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        let other = line.contains("crate::") && !line.contains("crate::text::");
        let serialises = SERIALISES.iter().any(|word| line.contains(word));
        if is_document && other || !is_document && serialises {
            wrong.push(format!("{path}:{}: {line}", number + 1));
        }
    }
    wrong
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn documents_are_made_of_plain_values_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for path in files_below(&root.join("src/views")) {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        found.extend(wrong(&name, code));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn document_with_a_stored_record_is_reported() {
    let record = "use crate::registry::ItemRecord;\n";
    assert_eq!(wrong("src/views/json/status.rs", record).len(), 1);
    assert_eq!(wrong("src/views/status/mod.rs", record).len(), 0);
    assert_eq!(wrong("src/views/status/mod.rs", "#[derive(Debug, Serialize)]\n").len(), 1);
    assert_eq!(wrong("src/views/explain/mod.rs", "let fields = json!(record);\n").len(), 1);
    assert_eq!(wrong("src/views/json/mod.rs", "use crate::text::escape;\n").len(), 0);
}
