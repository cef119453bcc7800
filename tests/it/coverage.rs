//! Which test covers which rule: the rules of `tests/rules`, one line each, against the tags above the tests.
//!
//! A tag is a claim: the test fails when the rule breaks. It stands directly above its test, or above a proof of
//! `tests/prove`, and names rules by id. `cargo prove coverage` writes the table of rules and tests to
//! `target/COVERAGE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::support::put;

/// What a tag begins with. Written in two parts: this line is none.
const TAG: &str = concat!("// ", "covers:");

/// In the order in which they are read.
const SHEETS: &[(&str, &str)] = &[
    ("runs", include_str!("../rules/runs.toml")),
    ("verdicts", include_str!("../rules/verdicts.toml")),
    ("items", include_str!("../rules/items.toml")),
    ("dispatch", include_str!("../rules/dispatch.toml")),
    ("around", include_str!("../rules/around.toml")),
    ("names", include_str!("../rules/names.toml")),
    ("broker", include_str!("../rules/broker.toml")),
    ("keeping", include_str!("../rules/keeping.toml")),
    ("telling", include_str!("../rules/telling.toml")),
    ("scheduler", include_str!("../rules/scheduler.toml")),
    ("failures", include_str!("../rules/failures.toml")),
    ("found", include_str!("../rules/found.toml")),
];

/// Rules of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    title: String,
    rules: BTreeMap<String, Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// What must hold.
    text: String,
    /// Where it was learned.
    origin: Option<String>,
    /// Why no test covers it.
    not_covered: Option<String>,
}

/// The rules that one test claims.
#[derive(Debug, PartialEq)]
struct Claim {
    /// `module::name`.
    test: String,
    rules: Vec<String>,
}

/// By rule: the tests that cover it.
type Coverage = BTreeMap<String, BTreeSet<String>>;

fn sheets() -> Vec<Sheet> {
    let read = |(name, text): &(&str, &str)| {
        toml::from_str(text).unwrap_or_else(|error| panic!("tests/rules/{name}.toml: {error}"))
    };
    SHEETS.iter().map(read).collect()
}

/// What the tags of a file claim, and what is wrong with them.
fn claims(path: &str, text: &str) -> (Vec<Claim>, Vec<String>) {
    let (mut claims, mut wrong) = (Vec::new(), Vec::new());
    let lines: Vec<_> = text.lines().collect();
    let mut pending: Vec<String> = Vec::new();
    let mut is_test = false;
    let is_proofs = path.starts_with("tests/prove/");
    for (at, line) in lines.iter().enumerate() {
        let here = || format!("{path}:{}", at + 1);
        let trimmed = line.trim_start();
        if let Some(ids) = trimmed.strip_prefix(TAG) {
            let ids: Vec<_> = ids.split_whitespace().map(str::to_owned).collect();
            if ids.is_empty() {
                wrong.push(format!("{}: a tag without a rule", here()));
            }
            pending.extend(ids);
        } else if is_nearly_a_tag(trimmed) {
            wrong.push(format!("{}: a tag is written {TAG:?} and rules after it", here()));
        } else if trimmed.starts_with("#[") {
            is_test |= trimmed == "#[test]";
        } else if !trimmed.starts_with("//") {
            let rules = std::mem::take(&mut pending);
            let function =
                if is_proofs { proof(trimmed) } else { trimmed.strip_prefix("fn ").filter(|_| is_test) };
            match function {
                _ if rules.is_empty() => {}
                None if is_proofs => {
                    wrong.push(format!("{}: {rules:?} are claimed by what is no proof", here()))
                }
                None => wrong.push(format!("{}: {rules:?} are claimed by what is no #[test]", here())),
                Some(function) => {
                    let name = function.split('(').next().unwrap_or_default();
                    claims.push(Claim { test: format!("{}::{name}", module(path, &lines[..at])), rules });
                }
            }
            is_test = false;
        }
    }
    if !pending.is_empty() {
        wrong.push(format!("{path}: {pending:?} are claimed by nothing"));
    }
    (claims, wrong)
}

/// A proof is a function that its module shows to others. The compiler finds the ones that nothing calls.
fn proof(line: &str) -> Option<&str> {
    line.strip_prefix("pub(crate) fn ").or(line.strip_prefix("pub(super) fn "))
}

/// Something else than a sentence that happens to begin like one.
fn is_nearly_a_tag(line: &str) -> bool {
    let words = line.strip_prefix("//").map(|rest| rest.trim_start_matches(['/', '!', ' ']).to_lowercase());
    words.is_some_and(|words| words.starts_with(TAG.trim_start_matches("// ")))
}

/// `decide::tests::reconciling` for `src/decide/tests/reconciling.rs`, `it::crash` for `tests/it/crash.rs`, `prove::sweep` for `tests/prove/sweep.rs`, and
/// `backoff::tests` for what stands in the module of tests at the end of `src/backoff.rs`.
fn module(path: &str, before: &[&str]) -> String {
    let inside = path.strip_prefix("src/").or(path.strip_prefix("tests/")).unwrap_or(path);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let name = inside.strip_suffix("/mod").unwrap_or(inside).replace('/', "::");
    let in_tests = before.iter().any(|line| line.starts_with("mod tests {"));
    if in_tests { format!("{name}::tests") } else { name }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, in a fixed order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let files = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => {
            vec![path].into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
        }
    };
    paths.into_iter().flat_map(files).collect()
}

/// Everything that is claimed in the tree.
fn all_claims() -> (Vec<Claim>, Vec<String>) {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for folder in ["src", "tests"] {
        for path in rust_files(&root().join(folder)) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            let (more, bad) = claims(name, &fs::read_to_string(&path).unwrap());
            all.extend(more);
            wrong.extend(bad);
        }
    }
    (all, wrong)
}

/// The claims by rule, and what rules and claims don't agree on.
fn compare(sheets: &[Sheet], claims: &[Claim]) -> (Coverage, Vec<String>) {
    let (mut coverage, mut wrong) = (Coverage::new(), Vec::new());
    let mut known = BTreeMap::new();
    for (id, rule) in sheets.iter().flat_map(|sheet| &sheet.rules) {
        if known.insert(id, rule).is_some() {
            wrong.push(format!("{id} is the name of two rules"));
        }
    }
    for Claim { test, rules } in claims {
        for id in rules {
            if !known.contains_key(id) {
                wrong.push(format!("{test} claims {id}, which is no rule"));
            } else if !coverage.entry(id.clone()).or_default().insert(test.clone()) {
                wrong.push(format!("{test} claims {id} twice"));
            }
        }
    }
    for (id, rule) in known {
        match (coverage.contains_key(id), &rule.not_covered) {
            (false, None) => wrong.push(format!("{id} has no test, and no reason for that: {}", rule.text)),
            (true, Some(why)) => wrong.push(format!("{id} has a test, and is said to have none: {why}")),
            _ => {}
        }
    }
    (coverage, wrong)
}

/// The tables, for people.
fn table(sheets: &[Sheet], coverage: &Coverage) -> String {
    let rules = || sheets.iter().flat_map(|sheet| &sheet.rules);
    let covered = rules().filter(|(id, _)| coverage.contains_key(*id)).count();
    let mut text = format!(
        "# Rules and their tests\n\n\
         `cargo prove coverage` writes this from `tests/rules` and the tags above the tests; edit those.\n\n\
         {covered} of {} rules are covered.\n",
        rules().count()
    );
    for Sheet { title, rules } in sheets {
        let covered = rules.iter().filter_map(|(id, rule)| Some((id, rule, coverage.get(id)?)));
        let _ = write!(text, "\n## {title}\n\n| rule | what must hold | tests |\n| --- | --- | --- |\n");
        for (id, rule, tests) in covered {
            let tests: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
            let _ = writeln!(text, "| {id} | {} | {} |", told(rule), tests.join("<br>"));
        }
    }
    let _ = write!(text, "\n## Not covered\n\n| rule | what must hold | why not |\n| --- | --- | --- |\n");
    for (id, rule) in rules() {
        if let Some(why) = &rule.not_covered {
            let _ = writeln!(text, "| {id} | {} | {why} |", told(rule));
        }
    }
    text
}

fn told(rule: &Rule) -> String {
    match &rule.origin {
        Some(origin) => format!("{} ({origin})", rule.text),
        None => rule.text.clone(),
    }
}

/// The table of the tree, where rules and tags agree.
#[track_caller]
fn checked_table() -> String {
    let (claims, mut wrong) = all_claims();
    let sheets = sheets();
    let (coverage, disagreements) = compare(&sheets, &claims);
    wrong.extend(disagreements);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    table(&sheets, &coverage)
}

/// Writes the table there, where rules and tags agree.
pub(crate) fn write(path: &Path) {
    put(path, &checked_table());
}

#[test]
fn each_rule_has_a_test_or_a_reason_and_the_table_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("COVERAGE.md");
    write(&path);
    let table = fs::read_to_string(path).unwrap();
    for test in ["decide::", "it::", "prove::"] {
        assert!(table.contains(&format!("| `{test}")), "no rule is covered by {test} alone or first");
    }
}

#[test]
fn a_tag_belongs_to_a_test() {
    let read = |lines: &[&str]| claims("src/decide/tests/runs.rs", &lines.join("\n"));
    let tag = format!("{TAG} D01 F02");
    let claim = |test: &str| Claim { test: test.to_owned(), rules: vec!["D01".to_owned(), "F02".to_owned()] };
    let good = ["// A story.", &tag, "#[test]", "#[expect(dead_code)]", "fn it_holds() {", "}"];
    assert_eq!(read(&good), (vec![claim("decide::tests::runs::it_holds")], vec![]));
    let inline = ["mod tests {", &format!("    {tag}"), "    #[test]", "    fn it_holds() {"];
    let (claims_inline, wrong) = claims("src/backoff.rs", &inline.join("\n"));
    assert_eq!((claims_inline, wrong), (vec![claim("backoff::tests::it_holds")], vec![]));

    let (proofs, wrong) =
        claims("tests/prove/sweep.rs", &[&tag, "pub(crate) fn it_holds(order: &Order) {"].join("\n"));
    assert_eq!((proofs, wrong), (vec![claim("prove::sweep::it_holds")], vec![]));
    let (_, wrong) = claims("tests/prove/sweep.rs", &[&tag, "#[test]", "fn it_holds() {"].join("\n"));
    assert!(wrong.concat().contains("no proof"), "{wrong:?}");

    let wrong = |lines: &[&str]| read(lines).1.join("\n");
    assert!(
        wrong(&[&tag, "fn it_holds() {"])
            .contains(":2: [\"D01\", \"F02\"] are claimed by what is no #[test]")
    );
    assert!(wrong(&[&tag, "", "#[test]", "fn far_away() {"]).contains("no #[test]"));
    assert!(wrong(&[&tag]).contains("claimed by nothing"));
    assert!(wrong(&[TAG, "#[test]", "fn x() {"]).contains("without a rule"));
    for near in [TAG.replace("cov", "Cov"), TAG.replace(' ', ""), TAG.replace("//", "///")] {
        assert!(wrong(&[&near]).contains("a tag is written"), "{near}");
    }
}

#[test]
fn rules_and_claims_are_compared() {
    let sheet = |text: &str| toml::from_str::<Sheet>(text).unwrap();
    let sheets = [sheet(
        "title = 't'\n[rules]\nA1 = { text = 'a' }\nA2 = { text = 'b', not_covered = 'later' }\nA3 = { text = 'c' }",
    )];
    let claim = |rules: &[&str]| Claim {
        test: "m::t".to_owned(),
        rules: rules.iter().map(|&rule| rule.to_owned()).collect(),
    };
    let wrong = |claims: &[Claim]| compare(&sheets, claims).1;
    assert_eq!(wrong(&[claim(&["A1", "A3"])]), [""; 0]);
    assert_eq!(wrong(&[claim(&["A1"])]), ["A3 has no test, and no reason for that: c"]);
    assert_eq!(wrong(&[claim(&["A1", "A2", "A3"])]), ["A2 has a test, and is said to have none: later"]);
    assert_eq!(wrong(&[claim(&["A1", "A3", "A4"])]), ["m::t claims A4, which is no rule"]);
    assert_eq!(wrong(&[claim(&["A1", "A3", "A3"])]), ["m::t claims A3 twice"]);
    let (coverage, _) = compare(&sheets, &[claim(&["A1", "A3"])]);
    let table = table(&sheets, &coverage);
    assert!(table.contains("\n2 of 3 rules are covered.\n"), "{table}");
    assert!(table.contains("\n| A1 | a | `m::t` |\n") && table.contains("\n| A2 | b | later |\n"), "{table}");
}
