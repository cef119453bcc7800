//! What an agent is told: prompt templates, and the placeholders in its command line.
//!
//! Templates are the owner's, but everything that is put into them is untrusted text from a tracker. So nothing of
//! an item is ever read as a template, and a render has an end: bounded steps, bounded size, no file access.

use std::error::Error as _;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use crate::model::WorkItem;

/// A built-in prompt; its argument is how an agent ends, as items of a list.
///
/// The `FACTORY_` words stand inside sentences on purpose: harnesses like to print their prompt first, and a line that
/// *begins* with one of them would be taken for the agent's own word.
macro_rules! built_in {
    ($how_to_end:literal) => {
        concat!(
            r#"You are the {{ role }} of one work item. Nobody reads along and nobody can answer: decide for yourself, and finish.

# {{ item.key }}: {{ item.title }}

{% if item.body %}
{{ item.body | trim }}

{% endif %}
# How to work

- Your workspace is {{ workspace }}. Change nothing outside it.
- Read what is already there before you change anything: work of an earlier attempt may be among it.
- The item is done when what it asks for is there and you have checked it yourself. "#,
            $how_to_end,
            r#"
{% if last_error %}

# Attempt {{ attempt }}

The attempt before this one failed: {{ last_error }}
{% endif %}
{% if message %}

# From the person in charge

{{ message }}
{% endif %}"#
        )
    };
}

/// The prompt of a role with a command of its own that names no template.
pub const BUILT_IN: &str = built_in!(
    "Then end with exit code 0; with any other code it counts as failed and is tried again.
- If your session can be gone on with later, say so early: print a line of its own, `FACTORY_SESSION=<id>`.
- If only a person can bring it further, print a line of its own, `FACTORY_PARK=<reason>`, and end. Nothing is tried again until that person has looked."
);

/// The prompt of a role with a preset that names no template. Inside such a program an agent has neither an exit code
/// nor a session to tell of: those are the program's. Its messages are what is heard.
pub const BUILT_IN_OF_PRESET: &str = built_in!(
    "Then say in your last message what you did, and end. Ask nothing there: a last message that ends with a question sets the item aside until a person has looked, and nobody answers before.
- If only a person can bring it further, write a line of its own into your last message, `FACTORY_PARK=<reason>`, and end. Nothing is tried again until that person has looked."
);

/// What a session is told that goes on after an interruption, by a role that says nothing else.
pub const BUILT_IN_RESUME: &str = "You were interrupted before the work was finished. Look at what is already done, \
                                   then go on with the task you were given and finish it.";

/// What a session is told that had ended well while its item was not done, by a role that says nothing else.
pub const BUILT_IN_CONTINUE: &str = "The work is not done yet: the item still counts as open. Look at what your task \
                                     asks for and at what is there, do what is missing, and check it yourself.";

/// What a session is told after a person's answer, by a role that says nothing else.
pub const BUILT_IN_ANSWERED: &str = "Go on with the task you were given and finish it.";

/// What a session is told after the reason why it is not finished, by a role that says nothing else.
pub const BUILT_IN_UNFINISHED: &str = "Nothing that you start outlives the end of your session: wait for it, or stop \
                                       it yourself. Look at what is done, finish your task, and then end.";

/// Steps of the template engine per render. The built-in template takes about 30.
const FUEL: u64 = 200_000;

/// Size of a rendered prompt, in bytes: a loop over a large body must not fill the memory.
const RENDERED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a template can name.
#[derive(Clone, Debug, Serialize)]
pub struct PromptVars<'a> {
    /// The item, as its source tells it.
    pub item: &'a WorkItem,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The run, `<agent>.<n>`.
    pub run: &'a str,
    /// The role's name.
    pub role: &'a str,
    /// The workspace, an absolute path.
    pub workspace: &'a str,
    /// Why the attempt before this one failed; `None` when there was none.
    pub last_error: Option<&'a str>,
    /// What a person had to say with the last retry, until a run has heard it.
    pub message: Option<&'a str>,
}

/// Checks the syntax of a template. Names of variables are checked by [`render`] alone: only then are they known.
///
/// # Errors
///
/// What is wrong, and in which line of the template.
pub fn check(template: &str) -> Result<(), String> {
    engine().template_from_str(template).map(drop).map_err(|error| explain(&error))
}

/// Renders a prompt. An unknown variable is an error, never an empty text. A line that holds nothing but a
/// `{% tag %}` leaves no line behind.
///
/// # Errors
///
/// What is wrong (for an unknown variable, its name), and in which line of the template.
pub fn render(template: &str, vars: &PromptVars<'_>) -> Result<String, String> {
    let engine = engine();
    let template = engine.template_from_str(template).map_err(|error| explain(&error))?;
    let mut prompt = Bounded(Vec::new());
    template.render_captured_to(Value::from(Serde(vars)), &mut prompt).map_err(|error| explain(&error))?;
    String::from_utf8(prompt.0).map_err(|_| "the rendered prompt is not UTF-8".to_owned())
}

/// Replaces `{session}`, `{run}`, `{workspace}` and `{prompt_file}` in a command line. Each argument stays one
/// argument, a `None` leaves its placeholder as it is, and so do all other braces.
///
/// One pass: a value that itself looks like a placeholder is not looked at again.
pub fn fill(
    argv: &[String],
    session: Option<&str>,
    run: Option<&str>,
    workspace: Option<&str>,
    prompt_file: Option<&str>,
) -> Vec<String> {
    let values =
        [("{session}", session), ("{run}", run), ("{workspace}", workspace), ("{prompt_file}", prompt_file)];
    argv.iter().map(|argument| fill_one(argument, &values)).collect()
}

fn fill_one(argument: &str, values: &[(&str, Option<&str>)]) -> String {
    let mut filled = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        let hit = values
            .iter()
            .find_map(|(name, value)| value.filter(|_| rest.starts_with(name)).map(|v| (name, v)));
        let (shown, used) = hit.map_or(("{", 1), |(name, value)| (value, name.len()));
        filled.push_str(shown);
        rest = &rest[used..];
    }
    filled.push_str(rest);
    filled
}

fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_fuel(Some(FUEL));
    // Without it an error does not tell which variable was meant.
    engine.set_debug(true);
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
    if let Ok(syntax) = syntax.build() {
        engine.set_syntax(syntax);
    }
    engine
}

/// One line about a template error: where, what, and what was behind it.
fn explain(error: &minijinja::Error) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("the template takes more than {FUEL} steps"),
        (ErrorKind::WriteFailure, _) => {
            format!("the rendered prompt is larger than {} MiB", RENDERED_BYTES_MAX / 1024 / 1024)
        }
        (ErrorKind::UndefinedError, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let cause = match error.kind() {
        ErrorKind::WriteFailure => None,
        _ => error.source(),
    };
    let cause = cause.map_or(String::new(), |cause| format!(" ({cause})"));
    match error.line() {
        Some(line) => format!("line {line}: {what}{cause}"),
        None => format!("{what}{cause}"),
    }
}

/// A buffer that refuses to grow beyond [`RENDERED_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ItemId, ItemState};

    fn item() -> WorkItem {
        WorkItem {
            id: ItemId("dir:AR-1".into()),
            key: "AR-1".into(),
            title: "Fix <b> & \"c\"".into(),
            body: "First line.\n{{ 7 * 6 }}\n".into(),
            labels: vec!["backend".into(), "urgent".into()],
            priority: Some(2),
            state: ItemState::Open,
            blocked_by: vec![],
            created_at: None,
            updated_at: Some("2024-05-06T07:08:09Z".parse().expect("a timestamp")),
            origin: "AR-1.md".into(),
            hash: "h".into(),
            content_hash: "c".into(),
        }
    }

    fn rendered(template: &str) -> Result<String, String> {
        let item = item();
        render(
            template,
            &PromptVars {
                item: &item,
                attempt: 2,
                run: "ar-1-impl.7",
                role: "implementer",
                workspace: "/w/ar-1",
                last_error: None,
                message: None,
            },
        )
    }

    // covers: S33
    #[test]
    fn every_variable_is_there_and_nothing_is_escaped_or_read_as_a_template() {
        let all = "{{ item.id }}|{{ item.key }}|{{ item.title }}|{{ item.body }}|{{ item.labels|join(',') }}|\
                   {{ item.priority }}|{{ item.state }}|{{ item.blocked_by|length }}|{{ item.created_at }}|\
                   {{ item.updated_at }}|{{ attempt }}|{{ run }}|{{ role }}|{{ workspace }}|{{ last_error }}|\
                   {{ message }}";
        assert_eq!(
            rendered(all).as_deref(),
            Ok("dir:AR-1|AR-1|Fix <b> & \"c\"|First line.\n{{ 7 * 6 }}\n|backend,urgent|2|open|0|None|\
                2024-05-06T07:08:09Z|2|ar-1-impl.7|implementer|/w/ar-1|None|None")
        );
    }

    #[test]
    fn what_the_program_keeps_for_itself_is_not_in_the_item() {
        for field in ["origin", "hash", "content_hash"] {
            assert!(rendered(&format!("{{{{ item.{field} }}}}")).is_err(), "{field}");
        }
    }

    // covers: S32
    #[test]
    fn an_error_names_the_variable_and_the_line() {
        assert_eq!(rendered("a\n{{ titel }}"), Err("line 2: `titel` is undefined".into()));
        assert_eq!(rendered("a\n\n{{ item.titel }}"), Err("line 3: `item.titel` is undefined".into()));
        assert_eq!(rendered("{% if nope %}x{% endif %}"), Err("line 1: `nope` is undefined".into()));
    }

    #[test]
    fn a_render_ends() {
        let steps = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert_eq!(rendered(steps), Err("line 1: the template takes more than 200000 steps".into()));
        let bytes = "{% set x = 'x' * 90000 %}{% for a in range(9999) %}{{ x }}{% endfor %}";
        assert_eq!(rendered(bytes), Err("the rendered prompt is larger than 8 MiB".into()));
    }

    #[test]
    fn a_template_reaches_no_other_file() {
        for tag in ["{% include '/etc/passwd' %}", "{% extends 'a' %}", "{% import 'a' as b %}"] {
            let error = check(tag).expect_err(tag);
            assert!(error.starts_with("line 1: syntax error: unknown statement"), "{error}");
        }
    }

    #[test]
    fn syntax_is_checked_without_values() {
        assert_eq!(check("{{ anything.at.all }}"), Ok(()));
        let error = check("fine\n{% if item %}\n").expect_err("no endif");
        assert!(
            error.starts_with("line 2: syntax error") || error.starts_with("line 3: syntax error"),
            "{error}"
        );
    }

    #[test]
    fn the_built_in_prompt_says_what_matters() {
        let item = item();
        let mut vars = PromptVars {
            item: &item,
            attempt: 1,
            run: "ar-1-impl.1",
            role: "implementer",
            workspace: "/w/ar-1",
            last_error: None,
            message: None,
        };
        let first = render(BUILT_IN, &vars).expect("renders");
        for part in ["the implementer of", "AR-1: Fix <b>", "First line.", "/w/ar-1"] {
            assert!(first.contains(part), "{part} is missing in {first}");
        }
        assert!(!first.contains("failed:"), "{first}");

        vars.attempt = 2;
        vars.last_error = Some("exit code 9");
        let second = render(BUILT_IN, &vars).expect("renders");
        assert!(
            second.contains("# Attempt 2\n\nThe attempt before this one failed: exit code 9"),
            "{second}"
        );
        assert!(second.ends_with('\n') && !second.contains("\n\n\n"), "{second:?}");

        vars.message = Some("Use the orders table.");
        let third = render(BUILT_IN, &vars).expect("renders");
        assert_eq!(third, second + "\n# From the person in charge\n\nUse the orders table.\n");
    }

    // Agents of claude and codex were told to end with an exit code and to print their session's id: they have neither,
    // tried all the same, and asked at the end whether all was well, which parked the item.
    #[test]
    fn an_agent_of_a_preset_is_told_what_is_heard_of_it_there() {
        let item = item();
        let vars = PromptVars {
            item: &item,
            attempt: 2,
            run: "ar-1-impl.2",
            role: "implementer",
            workspace: "/w/ar-1",
            last_error: Some("exit code 9"),
            message: Some("Use the orders table."),
        };
        let [command, preset] =
            [BUILT_IN, BUILT_IN_OF_PRESET].map(|text| render(text, &vars).expect("renders"));
        for of_command in ["exit code 0", "FACTORY_SESSION"] {
            assert!(command.contains(of_command) && !preset.contains(of_command), "{of_command}: {preset}");
        }
        for told in ["`FACTORY_PARK=<reason>`", "ends with a question", "in your last message what you did"] {
            assert!(preset.contains(told), "{told} is missing in {preset}");
        }
        let around = |text: &str, mark: &str| text.split_once(mark).map(|(before, _)| before.to_owned());
        assert_eq!(around(&command, "Then end"), around(&preset, "Then say"));
        assert!(
            command.contains("- If your session") && preset.contains(".\n- If only a person"),
            "{preset}"
        );
        let failed = "\n\n# Attempt 2\n\nThe attempt before this one failed: exit code 9\n";
        assert!(command.contains(failed) && preset.contains(failed), "{preset}");
    }

    // A harness that prints its prompt must not be taken for an agent that gives up.
    #[test]
    fn no_line_of_a_built_in_text_begins_with_a_command_to_the_factory() {
        for text in [BUILT_IN, BUILT_IN_OF_PRESET, BUILT_IN_RESUME, BUILT_IN_CONTINUE] {
            assert!(text.lines().all(|line| !line.trim_start().starts_with("FACTORY_")));
        }
    }

    fn argv(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&argument| argument.to_owned()).collect()
    }

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let before =
            argv(&["sh", "-c", "${HOME} {} {run}{run} {{session}} {sess", "{workspace}/{prompt_file}", "ü{"]);
        assert_eq!(
            fill(&before, Some("s 1"), Some("r.1"), Some("/w"), Some("/p")),
            argv(&["sh", "-c", "${HOME} {} r.1r.1 {s 1} {sess", "/w//p", "ü{"])
        );
        assert_eq!(fill(&before, None, None, None, None), before);
    }

    #[test]
    fn a_replaced_value_is_not_read_again() {
        assert_eq!(fill(&argv(&["{session}"]), Some("{run}"), Some("r"), None, None), argv(&["{run}"]));
        assert_eq!(fill(&argv(&["{{run}}"]), Some("s"), Some("session"), None, None), argv(&["{session}"]));
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_an_error(text in "[{}%# a-z'\"\n|.ü]{0,60}") {
            let _ = rendered(&text);
        }

        #[test]
        fn text_without_placeholders_is_kept(text in "[{}a-z ü]{0,40}") {
            prop_assume!(!["{session}", "{run}", "{workspace}", "{prompt_file}"].iter().any(|p| text.contains(p)));
            prop_assert_eq!(fill(&argv(&[&text]), Some("S"), Some("R"), Some("W"), Some("P")), argv(&[&text]));
        }
    }
}
