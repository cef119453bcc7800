//! Colour: for people at a terminal, and wherever it was asked for; never in what a script reads.

use crate::pty::seen_on_a_terminal;
use crate::support::{Factory, put};

const ESCAPE: char = '\u{1b}';

#[test]
fn a_terminal_gets_colour_unless_the_environment_says_otherwise() {
    let factory = Factory::with_agent("exit 0");
    let colours = |arguments: &[&str], vars: &[(&str, &str)]| {
        let text = seen_on_a_terminal(&factory, arguments, vars);
        assert!(text.contains("dry run, nothing changed") && text.contains("ok"), "{text:?}");
        text.contains(ESCAPE)
    };
    let xterm = ("TERM", "xterm-256color");
    assert!(colours(&["-n"], &[xterm]));
    assert!(!colours(&["-n"], &[("TERM", "dumb")]));
    assert!(!colours(&["-n"], &[xterm, ("NO_COLOR", "1")]));
    assert!(!colours(&["-n"], &[xterm, ("CLICOLOR", "0")]));
    assert!(!colours(&["-n", "--color", "never"], &[xterm]));
    assert!(colours(&["-n", "--color", "always"], &[xterm, ("NO_COLOR", "1")]), "what is typed wins");
}

#[test]
fn a_pipe_gets_colour_where_it_is_asked_for_and_the_words_stay_the_same() {
    let mut factory = Factory::with_agent("exit 0");
    factory.item("AR-1");
    let plain = factory.run(&["-n"]).expect(0).stdout;
    assert!(!plain.contains(ESCAPE), "{plain:?}");
    let without_time = |text: &str| text.split(" in ").next().unwrap().to_owned();
    let painted = factory.run(&["-n", "--color=always"]).expect(0).stdout;
    assert!(painted.contains(ESCAPE), "{painted:?}");
    let stripped = anstream::adapter::strip_str(&painted).to_string();
    assert_eq!(without_time(&stripped), without_time(&plain));

    factory.var("CLICOLOR_FORCE", "1");
    assert!(factory.run(&["-n"]).expect(0).stdout.contains(ESCAPE));
    assert!(!factory.run(&["-n", "--color", "never"]).expect(0).stdout.contains(ESCAPE));
    factory.var("FACTORY_TICK_COLOR", "never");
    assert!(!factory.run(&["-n"]).expect(0).stdout.contains(ESCAPE));
    // Nothing that a script reads is ever painted.
    for command in [&["-n"][..], &["status"], &["explain", "AR-1"]] {
        let ran = factory.run(&[command, &["--format", "json", "--color", "always"]].concat());
        assert!(!ran.stdout.contains(ESCAPE), "{command:?}: {}", ran.stdout);
    }
}

#[test]
fn complaints_the_log_and_help_follow_the_same_choice() {
    let mut factory = Factory::with_agent("exit 0");
    // Two generations of the registry.
    factory.item("AR-1");
    factory.tick().expect(0);
    let commands: [(&[&str], i32); 4] = [
        // Of the parser, of a command, and of a configuration.
        (&["--color", "always", "--nope"], 2),
        (&["--color=always", "stop", "nobody"], 5),
        (&["--color=always", "-c", "nowhere.toml"], 78),
        (&["--color=always", "--help"], 0),
    ];
    let said = |arguments: &[&str], code: i32| {
        let ran = factory.run(arguments).expect(code);
        ran.stdout + &ran.stderr
    };
    for (arguments, code) in commands {
        assert!(said(arguments, code).contains(ESCAPE), "{arguments:?}");
        let plain: Vec<_> = arguments.iter().map(|one| one.replace("always", "never")).collect();
        let plain: Vec<_> = plain.iter().map(String::as_str).collect();
        assert!(!said(&plain, code).contains(ESCAPE), "{plain:?}");
    }
    put(&factory.state("registry.json"), "{\"schema\":1,");
    let logged = |choice: &str| factory.run(&["-n", "--color", choice]).expect(0).stderr;
    assert!(logged("always").contains("factory-tick: \u{1b}[33mwarn\u{1b}[0m: "), "{}", logged("always"));
    assert!(logged("never").contains("factory-tick: warn: "));
    factory.var("FACTORY_TICK_COLOR", "always");
    assert!(factory.run(&["--nope"]).expect(2).stderr.contains(ESCAPE));
}
