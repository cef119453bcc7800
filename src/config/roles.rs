//! `[[role]]`: which agents an item gets, and how each is started.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::Role;
use super::fields::{Place, argv, passed_name, path};
use crate::config::prompt;
use crate::config::toml::section::Section;
use crate::config::toml::value::Value;
use crate::harness::{self, Preset};
use crate::text::cut::quoted;

const NAME_BYTES_MAX: usize = 64;
const SUFFIX_BYTES_MAX: usize = 16;

/// The harness whose command lines and words are the configuration's own.
const COMMAND: &str = "command";

/// Keys that say what a preset knows better.
const OF_COMMAND: [&str; 4] = ["command", "resume", "session", "session_gone"];

/// Reads all roles. `limits`: keys that limit how many agents may start together, and their values; 0 is no limit.
pub(super) fn roles(
    document: &Section<'_, '_>,
    place: &Place<'_>,
    limits: &[(&str, u32)],
) -> Option<Vec<Role>> {
    const EXAMPLE: &str =
        "add [[role]] with name = \"implementer\", suffix = \"impl\" and command = [\"./agent.sh\"]";
    document.required("role", EXAMPLE, |value| {
        let mut names = Vec::new();
        let mut suffixes = Vec::new();
        let sections = value.sections("[[role]]")?;
        if sections.is_empty() {
            return value.refuse("has no role in it", EXAMPLE);
        }
        // A crew starts whole or not at all: one that exceeds the starts of a tick or a day never would.
        for (key, max) in limits.iter().filter(|(_, max)| *max > 0) {
            if let Some(first_too_many) = sections.get(*max as usize) {
                first_too_many.problem(
                    format!("{} roles, but `{key}` is {max}: no item could ever start", sections.len()),
                    &format!("raise `{}`, or configure fewer roles", key.rsplit(' ').next().unwrap_or(key)),
                );
            }
        }
        let roles: Vec<_> =
            sections.into_iter().map(|section| role(section, place, &mut names, &mut suffixes)).collect();
        roles.into_iter().collect()
    })
}

fn role(
    section: Section<'_, '_>,
    place: &Place<'_>,
    names: &mut Vec<String>,
    suffixes: &mut Vec<String>,
) -> Option<Role> {
    let name = section.required("name", "name = \"implementer\"", |value| unique(value, name(value)?, names));
    let suffix =
        section.required("suffix", "suffix = \"impl\": the end of the names of its agents", |value| {
            unique(value, suffix(value)?, suffixes)
        });
    let harness = section.or("harness", None, harness);
    let command = match harness {
        Some(None) => {
            section.required("command", "command = [\"./agent.sh\"]", |value| command(value, place))
        }
        _ => section.or("command", Vec::new(), |value| argv(value, place)),
    };
    let args = section.or("args", Vec::new(), Value::strings);
    let resume = section.or("resume", Vec::new(), |value| match value.strings()? {
        typed if typed.is_empty() => Some(typed),
        _ => argv(value, place),
    });
    let resume_prompt = section.or("resume_prompt", String::new(), Value::string);
    let session = section.or("session", None, session);
    let session_gone = section.or("session_gone", Vec::new(), |value| value.list(gone_text));
    let env = section.or("env", Vec::new(), |value| value.list(passed_name));
    let deadline = section.or("deadline", Duration::from_secs(60 * 60), Value::duration);
    let stall = harness.flatten().map_or(Duration::ZERO, |preset| preset.stall);
    let stall = section.or("stall", stall, Value::duration);
    let built_in = if harness.flatten().is_some() { prompt::BUILT_IN_OF_PRESET } else { prompt::BUILT_IN };
    let prompt = section.or("prompt", (built_in.to_owned(), None), |value| template(value, place, built_in));
    if let Some(harness) = harness {
        refuse_others(&section, harness);
    }
    section.close();

    let (prompt, prompt_path) = prompt?;
    Some(Role {
        name: name?,
        suffix: suffix?,
        harness: harness?.map_or(COMMAND, |preset| preset.name).to_owned(),
        command: command?,
        args: args?,
        resume: resume?,
        resume_prompt: Some(resume_prompt?).filter(|text| !text.is_empty()),
        session: session?,
        session_gone: session_gone?,
        env: env?,
        deadline: deadline.map(off)?,
        stall: stall.map(off)?,
        prompt,
        prompt_path,
    })
}

/// A preset, or `None` for `command`.
fn harness(value: &Value<'_, '_>) -> Option<Option<&'static Preset>> {
    let presets = harness::PRESETS.into_iter().map(|preset| (preset.name, Some(preset)));
    let known: Vec<_> = std::iter::once((COMMAND, None)).chain(presets).collect();
    value.one_of(&known)
}

/// Keys that mean nothing to this harness: what is ignored in silence is what somebody relies on.
fn refuse_others(section: &Section<'_, '_>, harness: Option<&Preset>) {
    match harness {
        Some(preset) => {
            let name = preset.name;
            for key in OF_COMMAND {
                section.refuse_key(
                    key,
                    &format!("is for `harness = \"command\"`; {name} has its own"),
                    "remove it; what is to be added to the command line goes into `args`",
                );
            }
        }
        None => {
            let hint = "put them into `command`, and into `resume` where they hold for that, too";
            section.refuse_key("args", "is for a preset such as `harness = \"claude\"`", hint);
        }
    }
}

/// A duration of which `"0"` means that there is no limit.
fn off(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

fn unique(value: &Value<'_, '_>, text: String, taken: &mut Vec<String>) -> Option<String> {
    if taken.contains(&text) {
        return value.refuse(&format!("is {} a second time", quoted(&text)), "each role needs its own");
    }
    taken.push(text.clone());
    Some(text)
}

fn name(value: &Value<'_, '_>) -> Option<String> {
    let name = value.string()?;
    if name.trim().is_empty() {
        return value.refuse("is blank", "name = \"implementer\"");
    }
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return value.refuse(
            &format!("can't be {}", quoted(&name)),
            &format!("it takes at most {NAME_BYTES_MAX} bytes and no control characters"),
        );
    }
    Some(name)
}

fn suffix(value: &Value<'_, '_>) -> Option<String> {
    let suffix = value.string()?;
    let plain = suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !plain || suffix.is_empty() || suffix.len() > SUFFIX_BYTES_MAX {
        return value.refuse(
            &format!("can't be {}", quoted(&suffix)),
            &format!("it takes 1 to {SUFFIX_BYTES_MAX} of a-z and 0-9"),
        );
    }
    Some(suffix)
}

/// A command line for a fresh start.
fn command(value: &Value<'_, '_>, place: &Place<'_>) -> Option<Vec<String>> {
    let argv = argv(value, place)?;
    if argv.iter().any(|argument| argument.contains("{session}")) {
        return value.refuse("uses {session}, but a fresh start has none", "move it to `resume`");
    }
    Some(argv)
}

/// A pattern whose first group is the session id.
fn session(value: &Value<'_, '_>) -> Option<Option<String>> {
    const HINT: &str = "give a regular expression whose first group is the session id: 'session: (\\S+)'";
    let pattern = value.string()?;
    if pattern.is_empty() {
        return Some(None);
    }
    match Regex::new(&pattern) {
        Ok(regex) if regex.captures_len() < 2 => value.refuse("has no group", HINT),
        Ok(_) => Some(Some(pattern)),
        Err(error) => {
            // A syntax error is told in several lines with a drawing; the last one says what it is.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let why = last.strip_prefix("error: ").unwrap_or(last);
            value.refuse(&format!("is no regular expression: {why}"), HINT)
        }
    }
}

fn gone_text(value: &Value<'_, '_>) -> Option<String> {
    let text = value.string()?;
    if text.trim().is_empty() {
        return value.refuse("has a blank text in it", "it would be found in any output; remove it");
    }
    Some(text)
}

/// The text of a prompt template, and the file it is from.
fn template(value: &Value<'_, '_>, place: &Place<'_>, built_in: &str) -> Option<(String, Option<PathBuf>)> {
    if value.string()?.is_empty() {
        return Some((built_in.to_owned(), None));
    }
    let file = path(value, place)?;
    let shown = quoted(&file.display().to_string());
    let text = match (place.read_prompt)(&file) {
        Ok(text) => text,
        Err(why) => {
            return value.refuse(
                &format!("can't be read from {shown}: {why}"),
                "name a template file, or \"\" for the built-in one",
            );
        }
    };
    match prompt::check(&text) {
        Ok(()) => Some((text, Some(file))),
        Err(why) => value.refuse(
            &format!("is no template: {shown}, {why}"),
            "templates are minijinja, which reads as Jinja does",
        ),
    }
}
