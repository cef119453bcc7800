//! Items: what stands in their files, and what the files are called.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::Value;

use super::odd::{Odd, Outside, clear};
use super::{Call, Table, at_full_size, call, percent, wrong};
use crate::support::{Factory, NOTE_START, assert_has, put};

/// What is to become of a file.
enum Becomes {
    /// An item.
    Item,
    /// A report that names the file and says this; the item that it could be is left alone.
    Malformed(&'static str),
    /// Nothing: it is not the name of an item.
    Nothing,
}

use Becomes::{Item, Malformed, Nothing};

/// One file: what it is about, its name, its bytes, and what becomes of it.
struct Row {
    what: &'static str,
    name: Vec<u8>,
    bytes: Vec<u8>,
    becomes: Becomes,
}

/// Keeps its task, word for word, and notes its start.
const KEEPS: &str = r#"cat > "$LAB/$(basename "$FACTORY_WORKSPACE").prompt"; "#;

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |what, name: &[u8], bytes: &[u8], becomes| {
        rows.push(Row { what, name: name.to_owned(), bytes: bytes.to_owned(), becomes });
    };

    // Names of files. Each is an id, and so a key, a slug and a workspace.
    let names: &[(&str, &str)] = &[
        ("a name that a shell would run", "$(touch owned);`touch owned`&touch owned|.md"),
        ("a name in quotes", "\"'; touch owned; '.md"),
        ("a name that is an option", "-rf.md"),
        ("a name that is a long option", "--dry-run=.md"),
        ("a name that ends in dots and blanks", "end. . ..md"),
        ("a name with a star", "*?[a-z]{a,b}~.md"),
        ("a name with a backslash", "up\\..\\..\\x.md"),
        ("a name as the trash's", "factory-tick-trash.md"),
        ("a name that differs in case alone", "Case.md"),
        ("the same in the other case", "cASE.md"),
        ("a composed letter", "\u{e9}.md"),
        ("the same letter, decomposed", "e\u{301}.md"),
        ("a name turned around", "\u{202e}dm.txt\u{2066}.md"),
        ("a name with nothing to be seen", "a\u{200b}\u{2060}\u{ad}.md"),
        ("letters that look like others", "\u{430}dmin.md"),
        ("a name for a runner", "::set-output name=x::y.md"),
        ("a name for a runner, version 1", "##[add-path]up.md"),
        ("a template as a name", "{{ 7 * 7 }}{% for x in item %}.md"),
        ("a placeholder as a name", "{run}{workspace}.md"),
    ];
    for (what, name) in names {
        add(what, name.as_bytes(), b"# Told\n\nText\n", Item);
    }
    let long = "n".repeat(252);
    add("the longest name there is", format!("{long}.md").as_bytes(), b"# Told\n", Item);
    add("a name of dots", b"...md", b"# Told\n", Nothing);
    add("a hidden name", b".hidden.md", b"# Told\n", Nothing);
    add("an ending in capitals", b"CAPITAL.MD", b"# Told\n", Nothing);
    add("no name at all", b".md", b"# Told\n", Nothing);
    add("a name of blanks", b" .md", b"# Told\n", Malformed("would be its id, which is empty"));
    add("a line break in a name", b"a\n::error::b.md", b"# T\n", Malformed("holds the control character"));
    add("an escape in a name", b"a\x1b[2J.json", b"{}", Malformed("holds the control character"));
    add("a name that is not UTF-8", b"\xff\xfe.md", b"# T\n", Malformed("a name that is not UTF-8"));

    // Bytes.
    let wrong: &[(&str, &str, &[u8], &'static str)] = &[
        ("nothing", "empty.md", b"", "is empty"),
        ("nothing, as JSON", "empty.json", b"", "EOF"),
        ("blank lines", "blank.md", b" \n\r\n\t\n", "is empty"),
        ("no UTF-8", "latin.md", b"# T\n\ncaf\xe9\n", "is not UTF-8 in line 3"),
        ("half a character", "half.json", b"{\"title\":\"\xf0\x9f\"}", "is not UTF-8 in line 1"),
        ("a surrogate in UTF-8", "surrogate.md", b"# \xed\xa0\x80\n", "is not UTF-8"),
        ("UTF-16", "utf16.json", b"\xff\xfe{\0}\0", "is not UTF-8"),
        ("a NUL in the text", "nul.md", b"# T\n\na\0b\n", "NUL"),
        ("a NUL in a title", "nul.json", br#"{"title":"a\u0000b"}"#, "control character"),
        ("a NUL in a body", "nulbody.json", br#"{"body":"a\u0000b"}"#, "NUL"),
        ("a BEL in a title", "bel.md", b"# a\x07b\n", "control character"),
        ("an escape in a title", "esc.json", br#"{"title":"\u001b]0;x\u0007"}"#, "control character"),
        ("one of the C1 in a key", "c1.json", br#"{"key":"a\u009bb"}"#, "control character"),
        ("a line break in an id", "break.json", br#"{"id":"a\n::error::b"}"#, "control character"),
        ("half a surrogate pair", "lone.json", br#"{"title":"\ud800"}"#, "hex escape"),
        ("the other half", "lone2.json", br#"{"title":"\udc00x"}"#, "surrogate"),
        (
            "a key that is there twice",
            "twice.json",
            br#"{"title":"a","title":"b"}"#,
            "`title` is there twice",
        ),
        (
            "a key of TOML that is there twice",
            "twice.md",
            b"+++\ntitle='a'\ntitle='b'\n+++\n",
            "duplicate key",
        ),
        ("an unknown field", "unknown.json", br#"{"__proto__":{}}"#, "unknown field"),
        ("an array", "array.json", b"[{}]", "expected an object"),
        ("a null", "null.json", b"null", "expected an object"),
        ("two documents", "two.json", b"{}{}", "trailing"),
        ("a comment", "comment.json", b"{/**/}", "key must be a string"),
        ("NaN", "nan.json", br#"{"priority":NaN}"#, "expected value"),
        ("1e999", "huge.json", br#"{"priority":1e999}"#, "number out of range"),
        ("-1e999", "tiny.json", br#"{"priority":-1e999}"#, "number out of range"),
        ("-0", "zero.json", br#"{"priority":-0}"#, "priority"),
        ("a fraction", "float.json", br#"{"priority":1.5}"#, "priority"),
        ("2^63", "63.json", br#"{"priority":9223372036854775808}"#, "priority"),
        ("2^64", "64.json", br#"{"priority":18446744073709551616}"#, "priority"),
        ("2^63 as TOML", "63.md", b"+++\npriority=9223372036854775808\n+++\n# T\n", ""),
        ("a label that is a number", "label.json", br#"{"labels":[1]}"#, "labels"),
        ("a blocker that is an object", "blocker.json", br#"{"blocked_by":[{"a":1}]}"#, "blocked_by"),
        ("a day that is not", "day.json", br#"{"created_at":"2026-02-30T00:00:00Z"}"#, "RFC 3339"),
        ("an unknown state", "state.json", br#"{"state":"\u202eopen"}"#, "is \""),
        ("an empty id", "id.json", br#"{"id":" "}"#, "is empty"),
        ("YAML, with a bomb", "yaml.md", b"---\na: &a [x]\nb: &b [*a,*a]\n---\n# T\n", "YAML"),
        ("front matter without end", "open.md", b"+++\ntitle='x'\n", "never ends"),
    ];
    for (what, name, bytes, says) in wrong {
        add(what, name.as_bytes(), bytes, Malformed(says));
    }
    let fine: &[(&str, &str, &[u8])] = &[
        ("a mark before the text", "bom.md", b"\xef\xbb\xbf# Told\n"),
        ("a mark before JSON", "bom2.json", b"\xef\xbb\xbf{\"title\":\"Told\"}"),
        ("lines that end with CR LF", "crlf.md", b"# Told\r\n\r\na\r\n"),
        ("-2^63", "min.json", br#"{"title":"Told","priority":-9223372036854775808}"#),
        ("a pair of surrogates", "pair.json", br#"{"title":"\ud83e\udd80"}"#),
        ("nothing but braces", "braces.json", b"{}"),
        ("an id that climbs", "up.json", br#"{"id":"../../../up","title":"Told"}"#),
        ("an absolute id", "absolute.json", br#"{"id":"/etc/passwd","title":"Told"}"#),
        ("a key that climbs", "upkey.json", br#"{"key":"../lab","title":"Told"}"#),
        ("a key of slashes", "slashes.json", br#"{"key":"//","title":"Told"}"#),
        ("a key that is a dot", "dot.json", br#"{"key":".","title":"Told"}"#),
        ("a key as the state's", "state2.json", br#"{"key":"registry.json","title":"Told"}"#),
        ("a key as another's id", "other.json", br#"{"key":"OK-1","title":"Told"}"#),
        ("an id as of another source", "source.json", br#"{"id":"github:o/r#1","title":"Told"}"#),
        (
            "labels that steer",
            "labels.json",
            br###"{"title":"Told","labels":["\u202e","##[x]","\u001b[2J"]}"###,
        ),
        ("a body of commands", "runner.md", b"# ::error::x\n\n::stop-commands::y\n##[group]\n\x1b[31m"),
        (
            "a body of templates",
            "jinja.md",
            b"# {{ item }}\n\n{% for x in range(10) %}{{ x }}{% endfor %}\n{# c #}{{ 7*7 }}{{\n",
        ),
        ("words of the factory", "words.md", b"# Told\n\nFACTORY_PARK=x\nFACTORY_SESSION=y\n"),
    ];
    for (what, name, bytes) in fine {
        add(what, name.as_bytes(), bytes, Item);
    }

    // Sizes.
    let megabytes = usize::try_from(percent()).unwrap() * 500_000;
    let times = |text: &str, bytes: usize| text.repeat(bytes / text.len() + 1).into_bytes();
    let around =
        |before: &str, middle: &[u8], after: &str| [before.as_bytes(), middle, after.as_bytes()].concat();
    let depth = 100_000;
    add("brackets, 100,000 deep", b"deep.json", &times("[", depth), Malformed("expected an object"));
    add("objects, 100,000 deep", b"deep2.json", &times("{\"body\":", depth), Malformed("expected a string"));
    add(
        "labels, 100,000 deep",
        b"deep3.json",
        &around("{\"labels\":", &times("[", depth), ""),
        Malformed("labels"),
    );
    let toml = |middle: &[u8]| around("+++\nx = ", middle, "\n+++\n# T\n");
    add("brackets of TOML", b"deep.md", &toml(&times("[", depth)), Malformed("recurs"));
    add("tables of TOML", b"deep2.md", &toml(&times("{a=", depth)), Malformed("recurs"));
    let dots = 20 * depth * usize::try_from(percent().max(10)).unwrap() / 100;
    let dotted = |before: &str, after: &str| around(before, &times("a.", dots), after);
    add(
        "a key of up to 1,000,000 dots",
        b"dots.md",
        &dotted("+++\n", "a = 1\n+++\n# T\n"),
        Malformed("recursion"),
    );
    add(
        "a table of up to 1,000,000 dots",
        b"dots2.md",
        &dotted("+++\n[", "a]\n+++\n# T\n"),
        Malformed("recursion"),
    );
    let digits = times("9", 4 * depth);
    add("400,000 digits", b"digits.json", &around("{\"priority\":", &digits, "}"), Malformed("out of range"));
    add(
        "400,000 digits of TOML",
        b"digits.md",
        &around("+++\npriority = ", &digits, "\n+++\n# T\n"),
        Malformed(""),
    );
    // Close to what is read of a file at most, at any size of the rest.
    let large = times("x", 4_000_000);
    add(
        "a field's name of 4 MB",
        b"field.json",
        &around("{\"", &large, "\":1}"),
        Malformed("unknown field `xx"),
    );
    add(
        "a key of 4 MB",
        b"key.json",
        &around("{\"key\":\"", &large, "\"}"),
        Malformed("at most 512 are allowed"),
    );
    add("a day of 4 MB", b"days.json", &around("{\"created_at\":\"", &large, "\"}"), Malformed("RFC 3339"));
    add(
        "a state of 4 MB",
        b"states.json",
        &around("{\"state\":\"", &large, "\"}"),
        Malformed("it is \"open\""),
    );
    add(
        "a body beyond what is read",
        b"fat.md",
        &around("# T\n\n", &times("x", megabytes.max(4_200_000)), ""),
        Malformed("has more than 4194304 bytes"),
    );
    rows
}

/// A factory with a file of this row, and one item in order.
fn with(row: &Row) -> Factory {
    let factory = Factory::with_agent(NOTE_START);
    factory.item("OK-1");
    place(&factory, row);
    factory
}

#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
fn place(factory: &Factory, row: &Row) {
    fs::write(factory.issues().join(OsStr::from_bytes(&row.name)), &row.bytes).unwrap();
}

/// How a row is named in a message: its file, escaped as messages are.
fn shown(row: &Row) -> String {
    factory_tick::text::escape::plain(&String::from_utf8_lossy(&row.name))
}

// Whatever one file holds, the tick that reads it says so, names it, and starts the item that is in order.
pub(super) fn whatever_a_file_holds_it_becomes_an_item_or_is_reported_and_the_others_go_on() {
    let table = Table::default();
    for row in rows() {
        let factory = with(&row);
        let looked = call(&factory, &["-n", "--format", "json"]);
        let mut broken = wrong(&looked);
        let codes = if matches!(row.becomes, Malformed(_)) { 3 } else { 0 };
        if looked.ran.code != Some(codes) {
            broken.push(format!("it ended with {:?}: {}", looked.ran.code, looked.ran.stderr));
        } else {
            broken.extend(misread(&row, &looked));
        }
        table.row(row.what, &format!("{codes}"), &looked, broken);
    }
    table.close();
}

/// What a look at the folder makes of a row that it should not.
fn misread(row: &Row, looked: &Call) -> Vec<String> {
    let report = looked.ran.json();
    let errors: Vec<_> = report["errors"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let starts: Vec<_> =
        report["decisions"].as_array().unwrap().iter().filter(|one| one["action"] == "start").collect();
    let mut wrong = Vec::new();
    let expected = match &row.becomes {
        Item => 2,
        Nothing => 1,
        Malformed(says) => {
            let name = shown(row);
            let told = |error: &&str| {
                error.contains(*says) && factory_tick::text::escape::plain(error).contains(&name)
            };
            if !errors.iter().any(told) || errors.len() != 1 {
                wrong.push(format!("{name:?} and {says:?} are not told: {errors:?}"));
            }
            1
        }
    };
    if starts.len() != expected || starts.iter().all(|one| one["item"] != "dir:OK-1") {
        wrong.push(format!("{starts:?}"));
    }
    wrong
}

// All at once: each item that is one gets its own agent, workspace and text, once; nothing is made outside; and no
// screen shows anything raw.
pub(super) fn items_with_every_trick_get_what_is_theirs_and_no_screen_shows_it_raw() {
    let table = Table::default();
    let mut factory = Factory::with_agent(&format!("{NOTE_START}{KEEPS}"));
    put(&factory.path("prompt.md"), "{{ item.title }}\u{1}{{ item.body }}");
    factory.role("two", &["sh", "-c", "true"], "");
    factory.set("limits", "items_max", "1000");
    factory.set("tick", "starts_max", "100");
    let outside = Outside::beside(&factory);
    let before = outside.content();
    let rows: Vec<_> = rows().into_iter().filter(|row| row.bytes.len() < 10_000).collect();
    rows.iter().for_each(|row| place(&factory, row));
    factory.item("OK-1");
    let beside = names(&factory.path(""));
    let items = 1 + rows.iter().filter(|row| matches!(row.becomes, Item)).count();

    table.expect("all of them at once", &[3], &[], &call(&factory, &["-vv"]));
    factory.tick_until("all agents have started", |_| factory.starts().len() >= items);
    factory.wait_for("all have ended", || factory.agents_alive().is_empty());
    for arguments in
        [&["-n", "-vv"][..], &["-n", "--format", "json"], &["status"], &["check"], &["stop", "--all", "-n"]]
    {
        let looked = call(&factory, arguments);
        let broken = wrong(&looked);
        table.row(&format!("all of them: {}", arguments.join(" ")), "harmless", &looked, broken);
    }
    table.expect("all of them: the next tick", &[3], &[], &call(&factory, &["-vv"]));
    let ids: Vec<_> = factory.items().keys().cloned().collect();
    let some =
        ids.iter().enumerate().filter(|(at, _)| at_full_size() || at % 4 == 0).map(|(_, id)| id.as_str());
    for id in some {
        for arguments in [&["explain", "--", id][..], &["retry", "-n", "--", id], &["logs", "--", id]] {
            let looked = call(&factory, arguments);
            let mut broken = wrong(&looked);
            if arguments[0] == "explain" && looked.ran.code != Some(0) {
                broken.push(format!("{:?}", looked.ran));
            }
            table.row(
                &format!("{}: {}", arguments[0], factory_tick::text::escape::plain(id)),
                "harmless",
                &looked,
                broken,
            );
        }
    }

    let mut starts = factory.starts();
    starts.sort();
    let count = starts.len();
    starts.dedup();
    assert_eq!((starts.len(), count), (items, items), "each once");
    let prompts = names(&factory.lab("")).into_iter().filter(|name| name.ends_with(".prompt")).count();
    assert_eq!(prompts, items, "each in a workspace of its own");
    let workspaces = names(&factory.state("workspaces")).into_iter().filter(|name| name != ".factory-tick");
    assert_eq!(workspaces.count(), items);
    let made: Vec<_> = names(&factory.path("")).into_iter().filter(|name| !beside.contains(name)).collect();
    assert_eq!(made, [".factory-tick"], "nothing is made beside");
    assert_eq!(outside.content(), before);
    let task = factory.told("jinja.prompt");
    assert_has(&task, &["{{ item }}", "{% for x in range(10) %}{{ x }}{% endfor %}\n{# c #}{{ 7*7 }}{{"]);
    table.close();
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

// Whatever stands in the place of an item's file is reported by its name, never opened for long, and never followed.
pub(super) fn what_is_no_file_is_no_item_and_is_reported() {
    let table = Table::default();
    for odd in Odd::ALL.into_iter().filter(|odd| *odd != Odd::Foreign) {
        let factory = Factory::with_agent("true");
        factory.item("OK-1");
        let outside = Outside::beside(&factory);
        let path = factory.issues().join("odd.md");
        if !odd.put(&path, &outside) {
            continue;
        }
        let before = outside.content();
        // Somebody's text, and a text without a heading, are texts.
        let (codes, says): (&[i32], &[&str]) = match odd {
            Odd::HardLink | Odd::Garbage => (&[0], &["start odd-impl.1"]),
            _ => (&[3], &["odd.md"]),
        };
        let words: Vec<_> = says.iter().map(|word| word.replace("start ", "")).collect();
        let words: Vec<_> = words.iter().map(String::as_str).chain(["ok-1-impl.1"]).collect();
        table.expect(
            &format!("an item's file is {odd:?}"),
            codes,
            &words,
            &call(&factory, &["-n", "--format", "json"]),
        );
        assert_eq!(outside.content(), before, "{odd:?}");
        clear(&path);
    }
    table.close();
}

// Origin: measured - the folder is bounded, and so are time and memory: a tick reads as many items as it can, and where
// there are more it knows that it does not know.
pub(super) fn as_many_items_as_are_allowed_take_bounded_time_and_memory() {
    let table = Table::default();
    let mut factory = Factory::with_agent("true");
    factory.set("limits", "items_max", "1");
    let items = 1000 * percent();
    let folder = factory.issues();
    for n in 0..items {
        put(
            &folder.join(format!("N-{n}.json")),
            &format!("{{\"title\":\"Number {n}\",\"body\":\"{}\"}}", "x".repeat(1000)),
        );
    }
    let what = |text: &str| format!("{items} items: {text}");
    table.expect(&what("a dry run"), &[0], &["1 start"], &call(&factory, &["-n"]));
    table.expect(&what("a tick"), &[0], &["1 start"], &call(&factory, &[]));
    table.expect(&what("status"), &[0], &["alive"], &call(&factory, &["status"]));
    table.expect(&what("explain"), &[0], &["no_slot"], &call(&factory, &["explain", "N-7"]));
    if at_full_size() {
        put(&folder.join("one-more.md"), "# One more\n");
        table.expect("one more than are read", &[3], &["more than 100000 items"], &call(&factory, &[]));
    }
    table.close();
}
