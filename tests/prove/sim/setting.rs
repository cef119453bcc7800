//! The configuration of a seed.

use std::fmt::Write as _;
use std::path::Path;

use factory_tick::config::{self, Config};

use super::dice::Dice;

/// What stderr says when a session is gone.
pub(super) const SESSION_GONE: &str = "no such session";

/// Fails for one title of the tracker: an item whose prompt can't be rendered.
const PROMPT: &str = "{{ item.key }}{% if 'unrenderable' in item.title %}{{ nope }}{% endif %} {{ message }}";

/// Draws a configuration as a person could have typed it.
pub(super) fn draw(dice: &mut Dice) -> Config {
    let roles = dice.pick(&[1, 1, 2, 2, 3]);
    let mut text = format!(
        "[tick]\nstarts_max = {}\n[limits]\nitems_max = {}\n",
        dice.range(roles, 5),
        dice.range(1, 4)
    );
    if dice.percent(40) {
        text += &format!("per_label = {{ backend = {} }}\n", dice.range(1, 2));
    }
    let base_s = dice.pick(&[1, 60, 300]);
    write!(
        text,
        "[attempts]\nmax = {}\nresumes_max = {}\nbreaker = {}\nbackoff_base = \"{base_s}s\"\nbackoff_max = \"{}s\"\njitter = {}\n",
        dice.range(1, 4),
        dice.range(0, 2),
        dice.pick(&[0, 0, 0, 3, 8]),
        base_s * dice.pick(&[1, 4, 12]),
        dice.pick(&["0.0", "0.2", "0.3"]),
    )
    .unwrap();
    writeln!(text, "[budget]\nstarts_per_day = {}", dice.pick(&[0, 0, 4, 12, 200])).unwrap();
    text += dice.pick(&[
        "",
        "",
        "[done]\nwhen = \"source\"\n",
        "[done]\nwhen = \"command\"\ncommand = [\"is-done\"]\n",
    ]);
    text += "[source]\npath = \"issues\"\n[source.scope]\n";
    if dice.percent(50) {
        text += "labels = [\"factory\"]\n";
    }
    if dice.percent(30) {
        text += "title_prefix = \"[go]\"\n";
    }
    text += "[writeback]\n";
    for kind in ["started", "done", "parked"] {
        writeln!(text, "{kind} = \"{}\"", dice.pick(&["required", "best-effort", "off"])).unwrap();
    }
    writeln!(
        text,
        "[fleet]\ngrace = \"{}s\"\nstart_grace = \"{}s\"",
        dice.pick(&[1, 10]),
        dice.pick(&[5, 30, 90])
    )
    .unwrap();
    if dice.percent(30) {
        text += "[hooks]\nbefore_run = [\"prepare\"]\nafter_run = [\"save\"]\ntimeout = \"90s\"\n";
    }
    let limits: Vec<_> = (0..roles).map(|_| (dice.pick(&[0, 120, 400]), dice.percent(70))).collect();
    // From dice of its own: seeds that are known to hold something against a mutant go on to do so.
    let mut aside = dice.aside();
    write!(
        text,
        "[retention]\nruns_per_item = {}\nage = \"{}s\"\n",
        aside.pick(&[0, 1, 2, 5]),
        aside.pick(&[0, 60, 600, 3600]),
    )
    .unwrap();
    text = text.replacen(
        "[budget]\n",
        &format!("[budget]\nitem_starts_per_day = {}\n", aside.pick(&[0, 0, 3, 5, 20])),
        1,
    );
    let of_presets = aside.percent(40);
    for (role, (deadline_s, resumes)) in limits.into_iter().enumerate() {
        let suffix = ["impl", "review", "1"][role];
        write!(
            text,
            "[[role]]\nname = \"role {role}\"\nsuffix = \"{suffix}\"\ndeadline = \"{deadline_s}s\"\n"
        )
        .unwrap();
        if of_presets && aside.percent(80) {
            writeln!(text, "harness = \"{}\"", aside.pick(&["claude", "codex"])).unwrap();
            continue;
        }
        writeln!(text, "command = [\"agent\"]\nsession_gone = [\"{SESSION_GONE}\"]").unwrap();
        if resumes {
            text += "resume = [\"agent\", \"--resume\", \"{session}\"]\n";
        }
    }
    let mut config = config::parse(&text, Path::new("/simulated/factory.toml"), &|_| Err(String::new()))
        .unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
    config.roles.iter_mut().for_each(|role| role.prompt = PROMPT.to_owned());
    config
}
