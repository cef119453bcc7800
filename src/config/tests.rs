//! The configuration as its users meet it: what they may type, and what they are told when it is wrong.

use std::collections::BTreeSet;

use ::toml::de::DeValue;
use proptest::prelude::*;

use super::*;

const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");
const ALL_DEFAULTS: &str = include_str!("../../fixtures/config/all-defaults.toml");

/// Templates that exist in these tests, and no other file.
fn prompt_of_test(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some("/etc/factory/good.md") => Ok("Do {{ item.title }}\n".into()),
        Some("/etc/factory/bad.md") => Ok("Do\n{{ item.title\n".into()),
        _ => Err("there is no such file".into()),
    }
}

fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
    parse(text, Path::new("/etc/factory/factory.toml"), &prompt_of_test)
}

/// What a person is told about `text`.
fn told(text: &str) -> String {
    match parsed(text) {
        Ok(_) => "no problem".to_owned(),
        Err(list) => Problems::Found { path: "factory.toml".into(), list, text: String::new() }.to_string(),
    }
}

fn good(text: &str) -> Config {
    parsed(text).unwrap_or_else(|_| panic!("{text}\n{}", told(text)))
}

/// The minimal configuration with `lines` before its role.
fn with(lines: &str) -> String {
    format!("{lines}\n{MINIMAL}")
}

/// The minimal configuration with `lines` added to its role.
fn with_role(lines: &str) -> String {
    format!("{MINIMAL}{lines}\n")
}

/// Every table and key of the file with all defaults, and the value as it is typed there.
fn documented() -> Vec<(String, String, String)> {
    let document = DeTable::parse(ALL_DEFAULTS).expect("TOML");
    let mut keys = Vec::new();
    let mut collect = |title: &str, table: &DeTable<'_>| {
        for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != "scope") {
            keys.push((title.to_owned(), key.get_ref().to_string(), ALL_DEFAULTS[value.span()].to_owned()));
        }
    };
    for (name, value) in document.get_ref() {
        match value.get_ref() {
            DeValue::Table(table) => {
                collect(&format!("[{name}]"), table);
                if let Some(scope) = table.get("scope") {
                    collect("[source.scope]", scope.get_ref().as_table().expect("a table"));
                }
            }
            DeValue::Array(roles) => collect("[[role]]", roles[0].get_ref().as_table().expect("a table")),
            other => panic!("{name} is no table: {other:?}"),
        }
    }
    keys
}

// covers: S25
#[test]
fn the_minimal_configuration_means_the_documented_defaults() {
    let config = good(MINIMAL);
    let seconds = Duration::from_secs;
    assert_eq!(
        config,
        Config {
            path: "/etc/factory/factory.toml".into(),
            dir: "/etc/factory".into(),
            tick: Tick {
                every: seconds(60),
                deadline: seconds(50),
                starts_max: 5,
                heartbeat_stale: seconds(180),
            },
            allow_network_fs: false,
            limits: Limits { items_max: 3, per_label: BTreeMap::new(), disk_free_min_bytes: 5 << 30 },
            attempts: Attempts {
                max: 3,
                backoff_base: seconds(300),
                backoff_max: seconds(3600),
                jitter: 0.2,
                resumes_max: 1,
                breaker: 5,
            },
            budget: Budget {
                starts_per_day: 200,
                item_starts_per_day: 20,
                usd_per_day: 0.0,
                usd_per_run: 0.0
            },
            source: SourceConfig::Dir { path: "/etc/factory/issues".into() },
            scope: Scope::default(),
            writeback: WritebackModes {
                started: WritebackMode::BestEffort,
                done: WritebackMode::BestEffort,
                parked: WritebackMode::BestEffort,
            },
            fleet: FleetConfig {
                kind: FleetKind::Local,
                grace: seconds(10),
                start_grace: seconds(30),
                protected_pids: vec![],
                protected_pidfiles: vec![],
            },
            workspace_root: None,
            hooks: Hooks {
                after_create: vec![],
                before_run: vec![],
                after_run: vec![],
                after_run_required: false,
                before_remove: vec![],
                timeout: seconds(600),
            },
            env: EnvConfig::default(),
            retention: Retention {
                runs_per_item: Some(10),
                age: Some(Duration::from_secs(30 * 24 * 60 * 60)),
            },
            done: Done::Exit,
            log_bytes_max: 50 << 20,
            events_bytes_max: 64 << 20,
            roles: vec![Role {
                name: "implementer".into(),
                suffix: "impl".into(),
                harness: "command".into(),
                command: vec!["/etc/factory/agent.sh".into(), "{prompt_file}".into()],
                args: vec![],
                resume: vec![],
                resume_prompt: None,
                session: None,
                session_gone: vec![],
                env: vec![],
                deadline: Some(seconds(3600)),
                stall: None,
                prompt: crate::config::prompt::BUILT_IN.into(),
                prompt_path: None,
            }],
        }
    );
}

// covers: S25
#[test]
fn every_documented_key_is_taken_with_its_default_and_changes_nothing() {
    let minimal = good(MINIMAL);
    assert_eq!(good(ALL_DEFAULTS), minimal);
    for (title, key, value) in documented() {
        let line = format!("{key} = {value}");
        let text = match title.as_str() {
            "[[role]]" if MINIMAL.contains(&format!("\n{key} =")) => continue,
            "[[role]]" => with_role(&line),
            _ => with(&format!("{title}\n{line}")),
        };
        assert_eq!(good(&text), minimal, "{title} {line}");
    }
}

#[test]
fn every_key_that_is_read_is_documented() {
    let report = toml::section::Report::new(ALL_DEFAULTS, &[]);
    let document = DeTable::parse(ALL_DEFAULTS).expect("TOML");
    let path = Path::new("/etc/factory/factory.toml");
    let place = fields::Place { path, dir: Path::new("/etc/factory"), read_prompt: &prompt_of_test };
    read::config(&report, document.get_ref(), &place).expect("no problem");
    let is_table =
        |&&(title, key): &&toml::section::Known| title.is_empty() || (title, key) == ("[source]", "scope");
    let known: BTreeSet<_> = report
        .known()
        .iter()
        .filter(|known| !is_table(known))
        .map(|(title, key)| (title.to_string(), key.to_string()))
        .collect();
    let documented: BTreeSet<_> = documented().into_iter().map(|(title, key, _)| (title, key)).collect();
    assert_eq!(known, documented);
}

#[test]
fn what_is_set_is_what_comes_out() {
    let config = good(
        r#"
        [tick]
        every = "2m"
        deadline = "5500ms"
        starts_max = 2
        [state]
        allow_network_fs = true
        [limits]
        items_max = 7
        per_label = { " BackEnd " = 2 }
        disk_free_min = "0"
        [attempts]
        max = 9
        backoff_base = "1s"
        backoff_max = "1s"
        jitter = 0
        resumes_max = 0
        [source]
        path = "../work/./items"
        [source.scope]
        labels = [" Factory ", "  "]
        title_prefix = "[bot] "
        [writeback]
        started = "required"
        done = "off"
        [fleet]
        grace = "0"
        start_grace = "1s"
        protected_pids = [1, 4711]
        protected_pidfiles = ["broker.pid", "/run/x.pid"]
        [workspace]
        root = "/srv/work"
        [hooks]
        after_create = ["git", "clone", "https://example.org/{run}", "{workspace}"]
        before_remove = ["bin/archive", "{workspace}"]
        timeout = "90s"
        [env]
        file = "agents.env"
        path_prepend = ["bin"]
        set = { EDITOR = "true", _x1 = "" }
        [retention]
        runs_per_item = 0
        age = "0"
        log_bytes_max = "1KiB"
        events_bytes_max = "0"
        [[role]]
        name = "the reviewer"
        suffix = "rev2"
        command = ["agent", "a/b", "{workspace}", "{other}"]
        resume = ["bin/agent", "--resume", "{session}"]
        resume_prompt = "go on"
        session = 'session: (\S+)'
        session_gone = ["no such session"]
        env = ["FACTORY_API_KEY"]
        deadline = "0"
        stall = "20m"
        prompt = "good.md"
        "#,
    );
    assert_eq!(config.tick.heartbeat_stale, Duration::from_secs(360));
    assert_eq!(config.tick.deadline, Duration::from_millis(5500));
    assert!(config.allow_network_fs);
    assert_eq!(config.limits.per_label, BTreeMap::from([("backend".to_owned(), 2)]));
    assert_eq!(config.limits.disk_free_min_bytes, 0);
    assert_eq!((config.attempts.jitter, config.attempts.resumes_max), (0.0, 0));
    assert_eq!(config.source, SourceConfig::Dir { path: "/etc/factory/../work/items".into() });
    assert_eq!(config.scope.labels, ["factory", ""]);
    assert_eq!(config.scope.title_prefix, "[bot] ");
    assert_eq!(config.writeback.started, WritebackMode::Required);
    assert_eq!(
        (config.writeback.done, config.writeback.parked),
        (WritebackMode::Off, WritebackMode::BestEffort)
    );
    assert_eq!(config.fleet.grace, Duration::ZERO);
    assert_eq!(config.fleet.protected_pids, [1, 4711]);
    assert_eq!(
        config.fleet.protected_pidfiles,
        [Path::new("/etc/factory/broker.pid"), Path::new("/run/x.pid")]
    );
    assert_eq!(config.workspace_root.as_deref(), Some(Path::new("/srv/work")));
    assert_eq!(config.hooks.after_create, ["git", "clone", "https://example.org/{run}", "{workspace}"]);
    assert_eq!(config.hooks.before_remove, ["/etc/factory/bin/archive", "{workspace}"]);
    assert_eq!((config.hooks.before_run.len(), config.hooks.timeout.as_secs()), (0, 90));
    assert_eq!(config.env.file.as_deref(), Some(Path::new("/etc/factory/agents.env")));
    assert_eq!(config.env.path_prepend, [Path::new("/etc/factory/bin")]);
    assert_eq!(config.env.set.get("EDITOR").map(String::as_str), Some("true"));
    assert_eq!((config.log_bytes_max, config.events_bytes_max), (1024, 0));
    assert_eq!((config.retention.runs_per_item, config.retention.age), (None, None));
    let role = &config.roles[0];
    assert_eq!(role.command, ["agent", "a/b", "{workspace}", "{other}"]);
    assert_eq!(role.resume, ["/etc/factory/bin/agent", "--resume", "{session}"]);
    assert_eq!(role.resume_prompt.as_deref(), Some("go on"));
    assert_eq!(role.session.as_deref(), Some(r"session: (\S+)"));
    assert_eq!(role.env, ["FACTORY_API_KEY"]);
    assert_eq!((role.deadline, role.stall), (None, Some(Duration::from_secs(1200))));
    assert_eq!(role.prompt, "Do {{ item.title }}\n");
    assert_eq!(role.prompt_path.as_deref(), Some(Path::new("/etc/factory/good.md")));
}

#[test]
fn unknown_source_kind_is_refused_with_the_known_ones() {
    assert_eq!(
        told(&with("[source]\nkind = \"github\"")),
        "factory.toml:2:8: `[source] kind` can't be \"github\"\n  hint: it takes \"dir\"\n\
         1 problem in factory.toml"
    );
}

#[test]
fn rare_keys_still_have_a_type() {
    for line in ["[budget]\nusd_per_day = \"5\"", "[done]\ncommand = \"x\"", "[done]\nwhen = \"later\""] {
        let told = told(&with(line));
        assert!(told.contains("1 problem "), "{told}");
    }
}

/// Each `fixtures/config/bad/*.toml`, against what is printed about it: the `.txt` beside it.
// covers: I20
#[test]
fn every_problem_is_told_with_its_place_and_a_hint() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/bad");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of bad configurations") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).expect("a bad configuration");
            let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
            assert_eq!(told(&text) + "\n", expected, "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 20, "bad configurations in {}", folder.display());
}

/// A role with this harness, and nothing else that it needs.
fn with_harness(name: &str) -> String {
    format!("[[role]]\nname = \"a\"\nsuffix = \"a\"\nharness = \"{name}\"\n")
}

#[test]
fn a_preset_needs_no_command_and_brings_its_own_stall_and_prompt() {
    for name in ["claude", "codex"] {
        let role = good(&with_harness(name)).roles.remove(0);
        assert_eq!((role.harness.as_str(), role.command.len(), role.can_resume()), (name, 0, true));
        assert_eq!(role.stall, Some(Duration::from_secs(20 * 60)));
        let empty = good(&format!("{}prompt = \"\"\n", with_harness(name))).roles.remove(0);
        assert_eq!([role.prompt, empty.prompt], [crate::config::prompt::BUILT_IN_OF_PRESET; 2]);
        let off = good(&format!("{}stall = \"0\"\nargs = [\"--model\", \"x\"]\n", with_harness(name)));
        assert_eq!(
            (off.roles[0].stall, off.roles[0].args.as_slice()),
            (None, &["--model", "x"].map(String::from)[..])
        );
    }
    assert!(told(&with_harness("gemini")).contains("can't be \"gemini\""));
}

#[test]
fn what_a_preset_knows_better_is_refused() {
    for (key, value) in [
        ("command", "[\"claude\"]"),
        ("resume", "[\"claude\"]"),
        ("session", "\"id (.*)\""),
        ("session_gone", "[\"gone\"]"),
    ] {
        let told = told(&format!("{}{key} = {value}\n", with_harness("claude")));
        let what = format!(
            "factory.toml:5:{}: `{key}` is for `harness = \"command\"`; claude has its own",
            key.len() + 4
        );
        assert!(told.starts_with(&what) && told.ends_with("1 problem in factory.toml"), "{told}");
    }
    let told = told(&with_role("args = [\"x\"]"));
    assert!(told.contains("`args` is for a preset") && told.ends_with("1 problem in factory.toml"), "{told}");
}

#[test]
fn a_resume_may_find_its_session_by_itself() {
    assert_eq!(
        good(&with_role("resume = [\"agent\", \"--continue\"]")).roles[0].resume,
        ["agent", "--continue"]
    );
}

#[test]
fn limits_are_inclusive() {
    for (title, key, least, most) in [
        ("[tick]", "starts_max", "1", "100"),
        ("[limits]", "items_max", "1", "1000"),
        ("[attempts]", "max", "1", "100"),
        ("[attempts]", "resumes_max", "0", "100"),
        ("[attempts]", "jitter", "0.0", "0.3"),
        ("[attempts]", "breaker", "0", "1000"),
        ("[budget]", "starts_per_day", "0", "1000000"),
        ("[budget]", "item_starts_per_day", "0", "1000000"),
        ("[budget]", "usd_per_day", "0.0", "1000000.0"),
        ("[budget]", "usd_per_run", "0.0", "1000000.0"),
    ] {
        good(&with(&format!("{title}\n{key} = {least}")));
        good(&with(&format!("{title}\n{key} = {most}")));
        assert!(parsed(&with(&format!("{title}\n{key} = -1"))).is_err());
        assert!(parsed(&with(&format!("{title}\n{key} = {most}1"))).is_err());
    }
    let named = |name: &str, suffix: &str| {
        parsed(&format!("[[role]]\nname = '{name}'\nsuffix = '{suffix}'\ncommand = ['x']")).is_ok()
    };
    assert!(named(&"n".repeat(64), &"s".repeat(16)));
    assert!(!named(&"n".repeat(65), "s"));
    assert!(!named("n", &"s".repeat(17)));
}

#[test]
fn a_crew_as_large_as_a_tick_is_fine() {
    let second = MINIMAL.replace("impl", "rev");
    assert_eq!(good(&format!("[tick]\nstarts_max = 2\n{MINIMAL}{second}")).roles.len(), 2);
    assert_eq!(good(&format!("[budget]\nstarts_per_day = 2\n{MINIMAL}{second}")).roles.len(), 2);
    assert_eq!(good(&format!("[budget]\nstarts_per_day = 0\n{MINIMAL}{second}")).roles.len(), 2);
    let told = told(&format!("[budget]\nstarts_per_day = 1\n{MINIMAL}{second}"));
    assert!(told.contains("2 roles, but `[budget] starts_per_day` is 1: no item could ever start"), "{told}");
    assert!(told.contains("raise `starts_per_day`"), "{told}");
    assert!(parsed(&format!("[budget]\nitem_starts_per_day = 1\n{MINIMAL}{second}")).is_err());
}

#[test]
fn what_makes_an_item_done_and_its_command_belong_together() {
    assert_eq!(good(&with("[done]\nwhen = \"source\"")).done, Done::Source);
    let command = good(&with("[done]\nwhen = \"command\"\ncommand = [\"./is-done.sh\", \"{workspace}\"]"));
    let argv = ["/etc/factory/is-done.sh", "{workspace}"].map(str::to_owned);
    assert_eq!(command.done, Done::Command(argv.to_vec()));
    for (table, what) in [
        ("when = \"command\"", "`[done] when` is \"command\", and there is none"),
        ("when = \"command\"\ncommand = []", "`[done] when` is \"command\", and there is none"),
        ("command = [\"x\"]", "`[done] command` is never asked while `when` is \"exit\""),
        (
            "when = \"source\"\ncommand = [\"x\"]",
            "`[done] command` is never asked while `when` is \"source\"",
        ),
    ] {
        let told = told(&with(&format!("[done]\n{table}")));
        assert!(told.contains(what) && told.ends_with("1 problem in factory.toml"), "{told}");
    }
}

fn folder_with(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    put(&path, bytes);
    (folder, path)
}

#[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a file of the test");
}

#[test]
fn a_file_is_loaded_from_where_it_really_lies() {
    let (folder, path) = folder_with("real.toml", with_role("prompt = \"p.md\"").as_bytes());
    put(&folder.path().join("p.md"), b"Hello {{ item.key }}");
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let link = elsewhere.path().join("factory.toml");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let config = load(&link, &[]).unwrap_or_else(|problems| panic!("{problems}")).config;
    let real = std::fs::canonicalize(folder.path()).expect("the folder");
    assert_eq!((config.path, config.dir.clone()), (real.join("real.toml"), real.clone()));
    assert_eq!(config.source, SourceConfig::Dir { path: real.join("issues") });
    assert_eq!(config.roles[0].prompt, "Hello {{ item.key }}");
}

#[test]
fn a_file_that_is_not_there_or_not_a_file_is_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("factory.toml");
    assert_eq!(load(&path, &[]), Err(Problems::Absent { path: path.clone() }));
    let own = folder.path().to_owned();
    assert_eq!(
        load(&own, &[]),
        Err(Problems::Unreadable { path: own, why: "it is not a regular file".into() })
    );
}

#[test]
fn a_fifo_does_not_stop_the_program() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("factory.toml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a FIFO");
    assert!(matches!(load(&path, &[]), Err(Problems::Unreadable { .. })));
}

#[test]
fn a_file_too_large_or_not_text_is_refused() {
    let (_folder, path) = folder_with("factory.toml", &vec![b'#'; 1024 * 1024 + 1]);
    let why = "it is larger than 1 MiB".to_owned();
    assert_eq!(load(&path, &[]), Err(Problems::Unreadable { path, why }));

    let (_folder, path) = folder_with("factory.toml", b"[tick]\n# \xff\n");
    let told = load(&path, &[]).expect_err("no UTF-8").to_string();
    assert!(told.contains("factory.toml:2:3: this is not UTF-8\n"), "{told}");
}

#[test]
fn nesting_without_end_is_a_problem_and_no_overflow() {
    for deep in ["[", "{a="] {
        assert!(parsed(&format!("x = {}", deep.repeat(100_000))).is_err());
    }
    assert!(parsed(&format!("{}a = 1", "a.".repeat(100_000))).is_err());
    assert!(parsed(&format!("[{}a]", "a.".repeat(100_000))).is_err());
    for deep in ["{{ (", "{{ [", "{% if ", "{% if 1 %}", "{{ not ", "{{ -"] {
        assert!(crate::config::prompt::check(&deep.repeat(100_000)).is_err());
    }
}

#[test]
fn problems_are_reported_under_the_name_that_was_typed() {
    let (_folder, path) = folder_with("factory.toml", b"");
    let told = load(&path, &[]).expect_err("no role").to_string();
    assert!(told.starts_with(&format!("{}:1:1: ", path.display())), "{told}");
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_list_of_problems(text in any::<String>()) {
        if let Err(problems) = parsed(&text) {
            prop_assert!(!problems.is_empty());
        }
    }

    // Text that is nearly right reaches further than noise does.
    #[test]
    fn any_edit_of_a_good_text_is_read_or_told(
        at in 0..ALL_DEFAULTS.len(),
        cut in 0..30usize,
        put in prop_oneof![
            Just(String::new()), "[ -~]{0,6}", Just("[[role]]\n".into()), Just("\u{0}".into()), Just("ü".into()),
            Just("{}".into()), Just("-1".into()), Just("99999999999999999999".into()), Just("1979-05-27".into()),
        ],
    ) {
        let mut text = ALL_DEFAULTS.to_owned();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &put);
        let lines = text.lines().count().max(1);
        if let Err(problems) = parsed(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.is_sorted_by_key(|problem| (problem.line, problem.column)));
            for Problem { line, column, what, hint, .. } in problems {
                prop_assert!((1..=lines + 1).contains(&line) && column >= 1);
                prop_assert!(!what.is_empty() && !hint.is_empty());
                prop_assert!(!what.contains(char::is_control) && !hint.contains(char::is_control));
            }
        }
    }
}

fn told_with(text: &str, sets: &[&str]) -> Result<Config, String> {
    let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
    let read = parse_with(text, &sets, Path::new("/etc/factory/factory.toml"), &prompt_of_test);
    read.map_err(|list| {
        Problems::Found { path: "factory.toml".into(), list, text: String::new() }.to_string()
    })
}

#[track_caller]
fn good_with(text: &str, sets: &[&str]) -> Config {
    told_with(text, sets).unwrap_or_else(|told| panic!("{sets:?}\n{told}"))
}

#[test]
fn what_the_command_line_sets_stands_where_the_file_says_nothing_or_something_else() {
    let text = with("[limits]\nitems_max = 7");
    let config = good_with(
        &text,
        &[
            "limits.items_max=1",
            "limits.per_label.\"back.end\"=2",
            "tick.every=5m",
            " fleet.grace = 3s ",
            "source.scope.labels=[\"a\", \"b\"]",
            "source.scope.title_prefix=",
            "env.set={ A = \"1\" }",
            "env.set.B=2",
            "env.set.B=x=y # no comment",
            "role.implementer.deadline=5m",
            "role.'implementer'.prompt=good.md",
            "",
        ],
    );
    assert_eq!(config.limits.items_max, 1);
    assert_eq!(config.limits.per_label, BTreeMap::from([("back.end".to_owned(), 2)]));
    assert_eq!(config.tick.every, Duration::from_secs(300));
    assert_eq!(config.fleet.grace, Duration::from_secs(3));
    assert_eq!((config.scope.labels.len(), config.scope.title_prefix.as_str()), (2, ""));
    let set: Vec<_> = config.env.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(set, ["A=1", "B=x=y # no comment"], "the last one wins");
    assert_eq!(config.roles[0].deadline, Some(Duration::from_secs(300)));
    assert_eq!(config.roles[0].prompt, "Do {{ item.title }}\n");
    // A whole table takes the place of what was there, and a role's new name is its name.
    assert_eq!(good_with(&text, &["limits={}"]).limits.items_max, 3);
    let renamed = good_with(&text, &["role.implementer.name=impl", "role.impl.suffix=x"]);
    assert_eq!((renamed.roles[0].name.as_str(), renamed.roles[0].suffix.as_str()), ("impl", "x"));
    assert_eq!(good_with("", &["role=[{ name = \"a\", suffix = \"a\", command = [\"x\"] }]"]).roles.len(), 1);
    // What is wrong in the file is no more once something else is set.
    good_with(&with("[limits]\nitems_max = 0"), &["limits.items_max=1"]);
}

#[test]
fn what_the_command_line_sets_is_checked_as_the_file_is() {
    let told = |sets: &[&str]| told_with(&with("[limits]\nitems_max = 7"), sets).expect_err("a problem");
    let one = |set: &str| told(&[set]);
    assert_eq!(
        one("limits.items_max=0"),
        "--set limits.items_max: `[limits] items_max` is 0, which is out of range\n  hint: it takes an integer from 1 to \
         1000\n1 problem in what --set sets"
    );
    let cases = [
        ("limits.items_max=many", "--set limits.items_max: `[limits] items_max` takes an integer from"),
        ("limits.itms_max=1", "there is no `itms_max` in `[limits]`\n  hint: did you mean `items_max`?"),
        (
            "limts.items_max=1",
            "--set limts.items_max: there is no table `[limts]`\n  hint: did you mean `limits`?",
        ),
        ("items_max=1", "`items_max` stands outside of any table\n  hint: `items_max` belongs in `[limits]`"),
        ("limits=5", "`limits` takes a table, not an integer"),
        ("tick.every.x=5", "`[tick] every` takes a duration, not a table"),
        ("budget.usd_per_day=-5", "`[budget] usd_per_day`"),
        ("attempts.backoff_max=1s", "--set attempts.backoff_max: `[attempts] backoff_max` is shorter"),
        ("limits.items_max", "--set limits.items_max: has no `=` in it\n  hint: write table.key=value"),
        ("=1", "begins with no key: \"\""),
        ("a b=1", "begins with no key: \"a b\""),
        ("role.reviewer.deadline=5m", "there is no role \"reviewer\"\n  hint: the roles are \"implementer\""),
        (
            "role.implementer.deadlin=5m",
            "there is no `deadlin` in `[[role]]`\n  hint: did you mean `deadline`?",
        ),
        ("role.implementer=5", "takes tables, not an integer"),
        ("role.implementer.prompt=none.md", "--set role.implementer.prompt: `[[role]] prompt` can't be read"),
    ];
    for (set, want) in cases {
        let told = one(set);
        assert!(told.contains(want), "{set}: {told}");
        assert!(told.ends_with("1 problem in what --set sets"), "{set}: {told}");
    }
    // With those of the file, in the order in which they were typed.
    let all = told_with(&with("[tick]\nevry = 1"), &["fleet.grace=secret value", "limits.items_max=0"]);
    let all = all.expect_err("three problems");
    let at = |part: &str| all.find(part).unwrap_or_else(|| panic!("{part} in {all}"));
    assert!(
        at("--set fleet.grace: ") < at("--set limits.items_max: ") && at("--set limits") < at("toml:2:1: ")
    );
    assert!(all.ends_with("3 problems in factory.toml, 2 of them in what --set sets"), "{all}");
    let blank = told_with("", &["env.set.KEY=s3cret", "role.x.name=y"]).expect_err("no role");
    assert!(blank.contains("the file names no role") && !blank.contains("s3cret"), "{blank}");
}

#[test]
fn what_was_read_can_be_read_again_without_its_files_and_without_what_was_set() {
    let (folder, path) = folder_with("factory.toml", with_role("prompt = \"p.md\"").as_bytes());
    put(&folder.path().join("p.md"), b"Hello {{ item.key }}");
    put(&folder.path().join("other.md"), b"Bye");
    let plain = load(&path, &[]).expect("it is good");
    let sets = ["limits.items_max=1".to_owned(), "role.implementer.prompt=other.md".to_owned()];
    let set = load(&path, &sets).expect("it is good");
    assert_eq!((set.config.limits.items_max, set.config.roles[0].prompt.as_str()), (1, "Bye"));
    assert_eq!(set.original, plain.original, "what is set is not kept");
    std::fs::remove_file(&path).expect("it was there");
    std::fs::remove_file(folder.path().join("p.md")).expect("it was there");
    assert_eq!(plain.original.read(&[]), Ok(plain.config));
    assert_eq!(
        plain.original.read(&sets),
        Ok(set.config),
        "a template that is only set is read from its file"
    );
    assert!(plain.original.read(&["limits.items_max=0".to_owned()]).is_err());
}

#[test]
fn what_is_wrong_is_also_told_in_a_few_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let absent = load(&folder.path().join("x.toml"), &[]).expect_err("there is none").brief();
    assert!(absent.ends_with("x.toml: there is no such file"), "{absent}");
    let list = parsed("[tick]\nevry = 1").expect_err("two problems");
    let found = Problems::Found { path: "factory.toml".into(), list, text: String::new() };
    assert_eq!(found.brief(), "2 problems in factory.toml");
    let unreadable = load(folder.path(), &[]).expect_err("a folder").brief();
    assert!(unreadable.ends_with(": it is not a regular file"), "{unreadable}");
}

proptest! {
    #[test]
    fn any_set_is_taken_or_told(
        set in "(limits|role|tick|env|source)?[.]?(items_max|implementer|set|scope)?[.='\" a-z0-9{}\\[\\]#\u{0}\n-]{0,20}",
        value in "[-=.'\"a-z0-9{}\\[\\]#\u{0}\n, ]{0,20}",
    ) {
        let sets = [format!("{set}={value}")];
        let read = parse_with(MINIMAL, &sets, Path::new("/etc/factory/factory.toml"), &prompt_of_test);
        for problem in read.err().into_iter().flatten() {
            prop_assert!(!problem.what.contains(char::is_control) && !problem.hint.contains(char::is_control));
            prop_assert!(problem.set.is_none_or(|set| !set.contains(char::is_control)));
        }
    }
}
