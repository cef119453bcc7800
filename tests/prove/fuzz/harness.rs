//! What agent programs print.

use std::fs;
use std::path::Path;

use factory_tick::harness::{Meaning, is_progress, preset, read, session_on};
use factory_tick::model::{ClockReading, Exit, ExitReason, Output, Reported, Room};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::cases;
use super::change::{Change, Splice, apply, changes, spliced, splices};
use super::receipts::is_plain;

/// What is kept of a last message, in bytes, and of a quotation in a reason; each may get a mark that more was there.
const MESSAGE_BYTES_MAX: usize = (4 << 10) + 3;

fn recordings() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/harness");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut outputs: Vec<_> =
        names.filter(|path| path.extension().is_some_and(|end| end == "stdout")).collect();
    outputs.sort();
    outputs.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// One that was recorded, some of its lines changed as JSON, and then as bytes.
fn output() -> impl Strategy<Value = String> {
    let changed =
        |(text, line, changes, splices): (String, prop::sample::Index, Vec<Change>, Option<Vec<Splice>>)| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if !lines.is_empty() {
                let line = line.index(lines.len());
                if let Ok(mut value) = serde_json::from_str::<Value>(&lines[line]) {
                    apply(&mut value, &changes);
                    lines[line] = value.to_string();
                }
            }
            let text = lines.join("\n");
            let bytes = splices
                .map_or_else(|| text.clone().into_bytes(), |splices| spliced(text.as_bytes(), &splices));
            String::from_utf8_lossy(&bytes).into_owned()
        };
    let recorded = prop::sample::select(recordings());
    let splices = prop::option::of(splices());
    prop_oneof![
        1 => any::<String>(),
        8 => (recorded, any::<prop::sample::Index>(), changes(), splices).prop_map(changed),
    ]
}

fn exit(code: Option<i32>, reason: ExitReason) -> Exit {
    let moment = ClockReading { at: Timestamp::UNIX_EPOCH, mono_ms: 0, slept_ms: 0, boot_id: String::new() };
    Exit {
        code,
        signal: None,
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

pub(super) const PROPERTIES: &[(&str, fn())] =
    &[("output", any_output_is_read_within_its_limits_and_always_alike)];

proptest! {
    #![proptest_config(cases())]

    fn any_output_is_read_within_its_limits_and_always_alike(
        stdout in output(),
        stderr in any::<String>(),
        code in prop::option::of(0..3),
        reason in prop::sample::select(vec![ExitReason::Exited, ExitReason::Stalled, ExitReason::Deadline]),
        resumed in any::<bool>(),
    ) {
        for name in ["claude", "codex"] {
            let (exit, output) = (exit(code, reason), Output { stdout_tail: stdout.clone(), stderr_tail: stderr.clone() });
            let read = || read(preset(name).unwrap(), &exit, &Reported::default(), &output, resumed);
            let reading = read();
            prop_assert!(reading.verdict != Meaning::Ok || code == Some(0), "{reading:?}");
            prop_assert!(reading.because.len() <= 1000 || reading.because.contains("was not allowed"), "{reading:?}");
            prop_assert!(reading.usd.is_none_or(|usd| usd.is_finite() && usd >= 0.0), "{reading:?}");
            prop_assert!(reading.last_message.as_ref().is_none_or(|message| message.len() <= MESSAGE_BYTES_MAX));
            prop_assert!(reading.session.as_deref().is_none_or(is_plain), "{reading:?}");
            prop_assert_eq!(read(), reading);
            for line in stdout.lines() {
                let _ = (session_on(preset(name).unwrap(), line.as_bytes()), is_progress(preset(name).unwrap(), line.as_bytes()));
            }
        }
    }
}
