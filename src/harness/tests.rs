//! The tables against what the real programs print.

use std::fs;
use std::path::Path;

use super::*;
use crate::model::{AgentName, ClockReading, Exit, ExitReason, Output, Reported, Room};

const INDEX: &str = include_str!("../../fixtures/harness/INDEX");

/// The first id of each recording.
const ID: &str = "00000000-0000-4000-8000-000000000001";

fn exit(code: Option<i32>, signal: Option<i32>, reason: ExitReason) -> Exit {
    let moment = ClockReading { at: Timestamp::UNIX_EPOCH, mono_ms: 0, boot_id: String::new(), slept_ms: 0 };
    Exit {
        code,
        signal,
        reason,
        error: None,
        started: moment.clone(),
        ended: moment,
        cpu_ms: 0,
        peak_kib: 0,
        reported: Reported::default(),
        after_run_ms: None,
        done: None,
        room: Room::default(),
        limit_ms: None,
    }
}

fn exited(code: i32) -> Exit {
    exit(Some(code), None, ExitReason::Exited)
}

fn printed(stdout: &str, stderr: &str) -> Output {
    Output { stdout_tail: stdout.to_owned(), stderr_tail: stderr.to_owned() }
}

fn named(name: &str) -> &'static Preset {
    preset(name).unwrap()
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/harness").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the index: name, how, end, verdict.
fn index() -> Vec<[&'static str; 4]> {
    let lines = INDEX.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let columns = |line: &'static str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [name, how, _, end, verdict] = columns[..] else { panic!("{line}") };
        [name, how, end, verdict]
    };
    lines.map(columns).collect()
}

/// What is read from a recording.
fn recorded(name: &str) -> Reading {
    let [_, how, end, _] = index().into_iter().find(|line| line[0] == name).unwrap();
    let exit = match end {
        "stalled" => exit(None, Some(9), ExitReason::Stalled),
        "signal9" => exit(None, Some(9), ExitReason::Exited),
        code => exited(code.parse().unwrap()),
    };
    let output = printed(&file(&format!("{name}.stdout")), &file(&format!("{name}.stderr")));
    let resumed = ["resume", "unknown", "early", "midway"].contains(&how);
    let preset = named(name.split('-').next().unwrap());
    let argv = if how == "servers" { vec!["--mcp-config".to_owned()] } else { Vec::new() };
    let mut unconnected =
        output.stdout_tail.lines().filter_map(|line| unconnected_on(preset, &argv, line.as_bytes()));
    let reported =
        Reported { unconnected: unconnected.next_back().unwrap_or_default(), ..Reported::default() };
    read(preset, &exit, &reported, &output, resumed)
}

/// What a message is read as that a program ended with, after it had done some work.
fn last_said(name: &str, message: &str) -> Reading {
    let words = serde_json::Value::from(message);
    let stdout = match name {
        "claude" => format!(
            r#"{{"type":"result","subtype":"success","is_error":false,"num_turns":2,"result":{words},"session_id":"{ID}"}}"#
        ),
        _ => format!(
            "{{\"type\":\"item.completed\",\"item\":{{\"type\":\"agent_message\",\"text\":{words}}}}}\n{{\"type\":\"turn.completed\"}}"
        ),
    };
    read(named(name), &exited(0), &Reported::default(), &printed(&stdout, ""), false)
}

// Origin: claude ends with code 0 when it was refused its tools or asks back, and calls an error of its provider a
// success (measured); with code 1 and no word of its own when it is not logged in or can't reach anybody, which failed
// a whole backlog within minutes.
// covers: F26 V04
#[test]
fn every_recording_means_what_the_index_says() {
    let wrong: Vec<_> = index()
        .into_iter()
        .map(|[name, _, _, verdict]| (name, verdict, recorded(name)))
        .filter(|(_, verdict, reading)| format!("{:?}", reading.verdict) != *verdict)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let streams = |ext: &str| {
        let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/harness")).unwrap();
        folder.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == ext)).count()
    };
    assert_eq!((streams("stdout"), streams("stderr")), (index().len(), index().len()), "a file has no line");
}

#[test]
fn a_reason_says_what_the_program_said() {
    let reasons = [
        ("claude-session-in-use", "exit code 1: Error: Session ID 00000000-"),
        ("claude-429", "exit code 1: API Error: Request rejected (429)"),
        ("claude-limit", "exit code 1: You've hit your session limit · resets Jan 1, 2100"),
        ("claude-refused", "exit code 1: API Error: Unable to connect to API (ConnectionRefused)"),
        ("claude-down", "it was waiting for its provider until it was ended"),
        ("claude-tools-denied", "the agent was not allowed to use Bash: "),
        ("claude-question", "the agent asks: Which of the two databases do you want me to use?"),
        ("claude-max-turns", "exit code 1: Reached maximum number of turns (1)"),
        ("claude-killed", "killed by signal 9"),
        ("codex-resume-unknown", "exit code 1: Error: thread/resume: thread/resume failed: no rollout found"),
        ("codex-401", "exit code 1: unexpected status 401 Unauthorized"),
        ("codex-fresh", "it says that it is done"),
    ];
    for (name, begin) in reasons {
        let reading = recorded(name);
        assert!(reading.because.starts_with(begin), "{name}: {}", reading.because);
    }
}

#[test]
fn sessions_costs_and_last_words_are_found() {
    let told = |name: &str| {
        let reading = recorded(name);
        (reading.session, reading.usd, reading.tokens, reading.last_message)
    };
    let done = Some("done".to_owned());
    let id = Some(ID.to_owned());
    assert_eq!(told("claude-fresh"), (id.clone(), Some(0.000125), Some(9), done.clone()));
    assert_eq!(told("claude-tools-allowed"), (id.clone(), Some(0.00025), Some(18), done.clone()));
    assert_eq!(told("claude-killed"), (id.clone(), None, None, None));
    assert_eq!(told("claude-session-in-use").0, None);
    assert_eq!(told("codex-fresh"), (id.clone(), None, Some(9), done.clone()));
    // Codex counts the whole session.
    assert_eq!(told("codex-resume"), (id.clone(), None, Some(18), done));
    assert_eq!(told("codex-killed"), (id, None, None, None));
    for name in ["claude-resume-unknown", "claude-resume-after-early", "codex-resume-unknown"] {
        assert_eq!(told(name).0, None, "{name}: a session that is gone can't be resumed");
    }
}

// Origin: egg#3212, a respawn loop at the limit; factory#297, Retry-After ignored.
// covers: V16 F65
#[test]
fn a_limit_says_when_it_ends_where_the_program_does() {
    let year_2100 = ResetHint::At("2100-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(recorded("claude-limit").reset_at, Some(year_2100));
    assert_eq!(recorded("claude-429").reset_at, None);
    assert_eq!(recorded("codex-limit").reset_at, None);
    let after = |words: &str| {
        let line = serde_json::json!({"type": "turn.failed", "error": {"message": words}});
        let reading =
            read(named("codex"), &exited(1), &Reported::default(), &printed(&line.to_string(), ""), false);
        (reading.verdict, reading.reset_at)
    };
    let limited = |ms| (Meaning::RateLimited, Some(ResetHint::After(Duration::from_millis(ms))));
    assert_eq!(after("Rate limit reached for gpt-5. Please try again in 11.054s. Visit us"), limited(11_054));
    assert_eq!(after("Rate limit reached. Try again in 20 minutes."), limited(1_200_000));
    assert_eq!(after("Rate limit reached. Please try again in 250ms."), limited(250));
    for odd in ["in", "in s", "in 5", "in 5 fortnights", "in 1.2.3s", "in 99999999999999999999999h"] {
        assert_eq!(
            after(&format!("Rate limit reached, try again {odd}")),
            (Meaning::RateLimited, None),
            "{odd}"
        );
    }
}

// Origin: claude-code#85040, #48455: exit 0 with no prompt and no output, for days.
// covers: F26 V04
#[test]
fn silence_is_no_success() {
    for name in ["claude", "codex"] {
        for stdout in
            ["", "\n", "hello\n", "{\"type\":\"thread.started\",\"thread_id\":\"t\"}\n", "[]\n5\nnull\n"]
        {
            let reading = read(named(name), &exited(0), &Reported::default(), &printed(stdout, ""), false);
            assert_eq!(reading.verdict, Meaning::NoEffect, "{name}: {stdout:?}");
        }
    }
    let nothing = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":0,"result":"x"}"#;
    let reading = read(named("claude"), &exited(0), &Reported::default(), &printed(nothing, ""), false);
    assert_eq!(reading.verdict, Meaning::NoEffect);
}

#[test]
fn work_without_a_word_is_work() {
    let stdout = "{\"type\":\"item.completed\",\"item\":{\"type\":\"file_change\",\"status\":\"completed\"}}\n\
                  {\"type\":\"turn.completed\",\"usage\":{}}\n";
    let reading = read(named("codex"), &exited(0), &Reported::default(), &printed(stdout, ""), false);
    assert_eq!((reading.verdict, reading.tokens), (Meaning::Ok, None));
}

// covers: V21
#[test]
fn a_question_is_told_by_its_mark() {
    let meaning = |message: &str| last_said("claude", message).verdict;
    for question in
        ["Which one?", "I looked.\n\n**Shall I go on?**\n", "(Really?)", "“Which?”", "どちらですか？"]
    {
        assert_eq!(meaning(question), Meaning::NeedsInput, "{question:?}");
    }
    for statement in ["Done.", "Is it red? No, it is blue.", "What is left?\nNothing.", "?!", "a ?b"] {
        assert_eq!(meaning(statement), Meaning::Ok, "{statement:?}");
    }
}

// covers: V20
#[test]
fn an_agent_asks_for_a_person_in_its_own_words() {
    for name in ["claude", "codex"] {
        let reading = last_said(name, "I can't go on.\nFACTORY_PARK= which database?\nThat is all.");
        assert_eq!(reading.verdict, Meaning::NeedsInput, "{name}");
        assert_eq!(reading.because, "the agent asks for a person: which database?");
        assert_eq!(
            last_said(name, "Say `FACTORY_PARK=x` to park.\nFACTORY_PARK=").verdict,
            Meaning::Ok,
            "{name}"
        );
    }
    let reported = Reported { session: None, park: Some("help".into()), ..Reported::default() };
    let reading = read(named("codex"), &exited(1), &reported, &printed("", ""), false);
    assert_eq!(reading.verdict, Meaning::NeedsInput);
    // Only the agent's own words count, not what a tool printed.
    let tool = r#"{"type":"item.completed","item":{"type":"command_execution","aggregated_output":"FACTORY_PARK=no"}}"#;
    let stdout = format!("{tool}\n{{\"type\":\"turn.completed\"}}\n");
    let reading = read(named("codex"), &exited(0), &Reported::default(), &printed(&stdout, ""), false);
    assert_eq!(reading.verdict, Meaning::Ok);
}

// Origin: Maestro#1043, t3code#6671: codex' words for a missing session were not known. omnigent#6270: the same code
// also means that another process holds the session.
// covers: F24 F25 V14
#[test]
fn gone_is_only_what_was_resumed_and_busy_is_not_gone() {
    let codex = |stderr: &str, resumed| {
        read(named("codex"), &exited(1), &Reported::default(), &printed("", stderr), resumed).verdict
    };
    let gone = file("codex-resume-unknown.stderr");
    assert_eq!(codex(&gone, true), Meaning::SessionGone);
    assert_eq!(codex(&gone, false), Meaning::Agent);
    let busy = format!(
        "Error: thread/resume: cannot resume thread {ID} with history while it is already running (code -32600)"
    );
    assert_eq!(codex(&busy, true), Meaning::Agent);
    let claude = |stderr: &str, resumed| {
        read(named("claude"), &exited(1), &Reported::default(), &printed("", stderr), resumed).verdict
    };
    let taken = file("claude-session-in-use.stderr");
    assert_eq!(claude(&taken, false), Meaning::SessionTaken);
    assert_eq!(claude(&taken, true), Meaning::Agent);
    assert_eq!(claude("Error: port 3000 is already in use.", false), Meaning::Agent);
    // A session whose run ends well is not gone, whatever was said on the way.
    let output = printed(&file("codex-resume.stdout"), &gone);
    assert_eq!(read(named("codex"), &exited(0), &Reported::default(), &output, true).verdict, Meaning::Ok);
}

// covers: V38
#[test]
fn half_lines_noise_and_news_change_nothing() {
    for name in ["claude-fresh", "claude-limit", "claude-tools-denied", "codex-tools-allowed", "codex-401"] {
        let whole = recorded(name);
        let [_, _, end, _] = index().into_iter().find(|line| line[0] == name).unwrap();
        let stdout = file(&format!("{name}.stdout"));
        let last_lines = stdout.find('\n').unwrap();
        let mangled = [
            stdout.replace('\n', "\r\n\nnpm warn something\n{\"type\":\"news\",\"message\":5}\n"),
            stdout.trim_end().to_owned(),
            stdout.replace("{\"type\"", "{\"new_field\":{\"a\":[null]},\"type\""),
        ];
        let cut = [1, last_lines / 2, last_lines].map(|at| stdout[at..].to_owned());
        let read = |stdout: &str| {
            let reported = Reported { session: whole.session.clone(), park: None, ..Reported::default() };
            let preset = named(name.split('-').next().unwrap());
            read(preset, &exited(end.parse().unwrap()), &reported, &printed(stdout, ""), false)
        };
        for stdout in mangled.iter().chain(&cut) {
            assert_eq!(read(stdout), whole, "{name}: {stdout}");
        }
    }
}

// covers: V38
#[test]
fn a_result_longer_than_what_is_read_is_not_taken_for_success() {
    let stdout = file("claude-tools-denied.stdout");
    let tail = &stdout[stdout.find("permission_denials").unwrap()..];
    let reading = read(named("claude"), &exited(0), &Reported::default(), &printed(tail, ""), false);
    assert_eq!(reading.verdict, Meaning::NoEffect);
    assert!(reading.because.contains("too long"), "{}", reading.because);
}

// covers: V38
#[test]
fn what_was_overcome_is_no_cause() {
    let limited = file("claude-429.stdout");
    let failed = file("claude-max-turns.stdout");
    let output = printed(&(limited.clone() + &failed), "");
    let reading = read(named("claude"), &exited(1), &Reported::default(), &output, false);
    assert_eq!(reading.verdict, Meaning::Agent, "it went on after the limit");
    let full = r#"{"type":"turn.failed","error":{"message":"Codex ran out of room in the model's context window."}}"#;
    let logged = "ERROR codex_core: stream disconnected before completion; retrying";
    let reading = read(named("codex"), &exited(1), &Reported::default(), &printed(full, logged), false);
    assert_eq!(reading.verdict, Meaning::Agent, "it reconnected, and failed for another reason");
    let waited = file("claude-down.stdout");
    let went_on = file("claude-killed.stdout");
    let killed = exit(None, Some(9), ExitReason::Exited);
    let output = printed(&(waited + &went_on), "");
    assert_eq!(read(named("claude"), &killed, &Reported::default(), &output, false).verdict, Meaning::Agent);
}

// covers: V04
#[test]
fn a_code_of_0_does_not_hide_an_error() {
    let output = printed(&file("claude-429.stdout"), "");
    let reading = read(named("claude"), &exited(0), &Reported::default(), &output, false);
    assert_eq!(reading.verdict, Meaning::RateLimited);
    assert!(reading.because.starts_with("exit code 0, but it reports an error: "), "{}", reading.because);
}

#[test]
fn a_success_does_not_hide_a_code() {
    let output = printed(&file("claude-fresh.stdout"), "");
    assert_eq!(
        read(named("claude"), &exited(3), &Reported::default(), &output, false).verdict,
        Meaning::Agent
    );
}

// covers: V17
#[test]
fn what_its_launcher_ended_was_waiting_or_was_not() {
    let ended = |reason, name: &str| {
        let output = printed(&file(&format!("{name}.stdout")), "");
        read(
            named(name.split('-').next().unwrap()),
            &exit(None, Some(15), reason),
            &Reported::default(),
            &output,
            false,
        )
        .verdict
    };
    assert_eq!(ended(ExitReason::Deadline, "codex-down"), Meaning::Unreachable);
    assert_eq!(ended(ExitReason::Stalled, "claude-down"), Meaning::Unreachable);
    assert_eq!(ended(ExitReason::Stopped, "codex-down"), Meaning::Agent);
    assert_eq!(ended(ExitReason::Stalled, "claude-killed"), Meaning::Agent);
    assert_eq!(ended(ExitReason::Stalled, "claude-fresh"), Meaning::Agent);
}

// Origin: a format that prints nothing until its end looks stalled; the lines of a program that waits for its provider
// look alive (measured: codex prints them for ever).
// covers: F77
#[test]
fn waiting_is_no_progress() {
    for (name, waiting) in
        [("claude-down", 2), ("codex-down", 2), ("claude-529-retries", 2), ("codex-fresh", 0)]
    {
        let preset = named(name.split('-').next().unwrap());
        let stdout = file(&format!("{name}.stdout"));
        let waits = stdout.lines().filter(|line| !is_progress(preset, line.as_bytes())).count();
        assert!(waits >= waiting && waits < stdout.lines().count(), "{name}: {waits}");
        assert!(waiting > 0 || waits == 0, "{name}: {waits}");
    }
    let codex = named("codex");
    assert!(!is_progress(codex, b"\r\n"));
    assert!(is_progress(codex, b"compiling"));
    assert!(is_progress(codex, b"\xff\xfe"));
    assert!(is_progress(codex, &[b'{'; WAITING_BYTES_MAX + 1]));
    let again =
        br#"{"type":"error","message":"Reconnecting... 2/5 (unexpected status 529 <unknown status code>)"}"#;
    assert!(!is_progress(codex, again));
    assert!(is_progress(named("claude"), again), "each program waits in its own words");
}

#[test]
fn a_session_is_named_on_one_line() {
    let named_by = |name: &str, line: &str| session_on(named(name), line.as_bytes());
    let line = |id: &str| serde_json::json!({"type": "thread.started", "thread_id": id}).to_string();
    assert_eq!(named_by("codex", &line("t-1")), Some("t-1".into()));
    assert_eq!(named_by("claude", &line("t-1")), None);
    assert_eq!(named_by("codex", r#"{"type":"item.completed","thread_id":"t-2"}"#), None);
    for odd in ["", "-c", "--yolo", "a b", "a\u{1b}", "../x", "t;id", &"x".repeat(257)] {
        assert_eq!(named_by("codex", &line(odd)), None, "{odd:?}");
    }
}

// covers: V34
#[test]
fn a_chosen_session_is_the_runs_own() {
    let run = |n| RunId { agent: AgentName("ar-1-impl".into()), n };
    // Stored plans and live sessions depend on it.
    assert_eq!(chosen_session("lineage", &run(1)), "e39e5f02-97d2-4e73-823c-02ed3bf4bb96");
    let all: std::collections::BTreeSet<_> =
        (1..100).flat_map(|n| [chosen_session("a", &run(n)), chosen_session("b", &run(n))]).collect();
    assert_eq!(all.len(), 198);
    for id in all {
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(
            (parts.as_slice(), &id[14..15], &id[19..20]),
            ([8, 4, 4, 4, 12].as_slice(), "4", "8"),
            "{id}"
        );
    }
}

// covers: F77 P15d
#[test]
fn command_lines_are_filled() {
    let args = ["--model", "big one"].map(str::to_owned);
    let joined = |argv: Vec<String>| argv.join("|");
    let (claude, codex) = (named("claude"), named("codex"));
    assert_eq!(
        joined(claude.start_argv(ID, &args)),
        format!("claude|-p|--output-format|stream-json|--verbose|--session-id|{ID}|--model|big one")
    );
    assert_eq!(
        joined(claude.resume_argv(ID, &[])),
        format!("claude|-p|--output-format|stream-json|--verbose|--resume|{ID}")
    );
    assert_eq!(
        joined(codex.start_argv("", &args)),
        "codex|exec|--json|--skip-git-repo-check|-c|check_for_update_on_startup=false|--model|big one|-"
    );
    assert_eq!(
        joined(codex.resume_argv(ID, &args)),
        format!(
            "codex|exec|--json|--skip-git-repo-check|-c|check_for_update_on_startup=false|--model|big one|resume|{ID}|-"
        )
    );
    // An argument that looks like one of ours is the person's.
    let odd = ["{session}".to_owned()];
    assert_eq!(
        joined(codex.start_argv("x", &odd)),
        "codex|exec|--json|--skip-git-repo-check|-c|check_for_update_on_startup=false|{session}|-"
    );
}

#[test]
fn presets_go_by_name() {
    for name in ["claude", "codex"] {
        assert_eq!(preset(name).unwrap().name, name);
    }
    for name in ["command", "Claude", ""] {
        assert!(preset(name).is_none(), "{name:?}");
    }
}
