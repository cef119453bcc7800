//! What people see, at the widths of a terminal and of a telephone: the screens that README.md shows are what the
//! program makes of `fixtures/screens`, to the letter. `WRITE_SCREENS=1 cargo test --test it screens` writes them anew.

use std::path::Path;
use std::time::Duration;

use factory_tick::config::{self, Config, Problems};
use factory_tick::decide::{self, Request};
use factory_tick::exit::ExitStatus;
use factory_tick::model::{
    ClockReading, Deadline, FleetView, FollowUp, FollowUpReason, ItemId, ItemState, LocalFacts, Observed,
    RunObservation, SourceView, WorkItem, World,
};
use factory_tick::registry::{AgentPhase, CoolOff, FailureStreak, ItemRecord, Paused, Registry};
use factory_tick::source;
use factory_tick::state::heartbeat::{Alive, Health, Heartbeat, HeartbeatState, Status};
use factory_tick::text::escape;
use factory_tick::ui::style::Styler;
use factory_tick::views::check::{CheckView, Finding};
use factory_tick::views::explain::ExplainView;
use factory_tick::views::json::NextRun;
use factory_tick::views::report::TickReport;
use factory_tick::views::status::{StatusInput, StatusView};
use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::support::{Factory, Ran, assert_has, binary, number_from, put};

const HOME: &str = "/srv/factory";
const WORKSPACES: &str = "/srv/factory/.factory-tick/workspaces";
const STATE: &str = "/srv/factory/.factory-tick";
const CRONTAB: &str = "* * * * * /usr/local/bin/factory-tick -q -c /srv/factory/factory.toml";

/// Widths that every screen must stand.
const WIDTHS: [usize; 4] = [100, 60, 50, 30];

/// A factory that stands still.
struct Still {
    config: Config,
    registry: Registry,
    beat: Heartbeat,
    now: ClockReading,
}

impl Still {
    fn new() -> Still {
        let text = include_str!("../../fixtures/screens/factory.toml");
        let prompt = |_: &Path| Ok(include_str!("../../fixtures/screens/prompt.md").to_owned());
        let config = config::parse(text, &Path::new(HOME).join("factory.toml"), &prompt);
        let at = "2026-11-20T08:52:00Z".parse().unwrap();
        Still {
            config: config.unwrap(),
            registry: serde_json::from_str(include_str!("../../fixtures/screens/registry.json")).unwrap(),
            beat: serde_json::from_str(include_str!("../../fixtures/screens/heartbeat.json")).unwrap(),
            now: ClockReading { at, mono_ms: 3_600_000, boot_id: "boot".to_owned(), slept_ms: 0 },
        }
    }

    fn status(&self) -> StatusView {
        self.status_when(&Alive::Yes)
    }

    fn status_when(&self, alive: &Alive) -> StatusView {
        let pulse = match alive {
            Alive::Absent => HeartbeatState::Absent,
            _ => HeartbeatState::Beat(Box::new(self.beat.clone())),
        };
        let source = source::build(&self.config.source);
        StatusView::new(&StatusInput {
            config: &self.config,
            state: Path::new(STATE),
            workspaces: Path::new(WORKSPACES),
            item_place: &|origin| source.place(origin),
            program: "factory-tick",
            registry: Some(&self.registry),
            heartbeat_state: &pulse,
            alive,
            now: &self.now,
        })
    }

    /// As the program would explain an item, but for the environment, of which there is none.
    fn explain(&self, id: &str) -> ExplainView {
        let id = ItemId(id.to_owned());
        let world = self.world();
        let (plan, gates) = decide::explain(&self.config, &self.registry, &world, &id);
        let launches = decide::next_launches(&self.config, &self.registry, &world, &id).unwrap();
        let runs = launches.into_iter().map(|launch| NextRun {
            run: launch.spec.id.to_string(),
            role: launch.spec.role,
            session: launch.spec.session,
            argv: launch.argv,
            cwd: format!("{WORKSPACES}/{}", launch.snapshot.workspace),
            env: [
                "FACTORY_ITEM",
                "FACTORY_PROMPT_FILE",
                "FACTORY_ROLE",
                "FACTORY_RUN",
                "FACTORY_WORKSPACE",
                "GIT_CEILING_DIRECTORIES",
                "HOME",
                "PATH",
            ]
            .map(str::to_owned)
            .into(),
            hooks: Vec::new(),
            prompt: launch.prompt,
        });
        let record = &self.registry.items[&id];
        let events = [
            json!({"at": "2026-11-20T08:20:11Z", "event": "start", "item": id, "run": "ar-3-impl.1", "because": "attempt 1 of 3"}),
            json!({"at": "2026-11-20T08:51:15Z", "event": "fail", "item": id, "run": "ar-3-impl.1", "because": record.last.as_ref().unwrap().because}),
        ];
        ExplainView::new(&id, record.key.clone(), Some(title(&record.key)), &plan, &gates, Some(record))
            .with_agents(self.registry.agents_of(&id))
            .with_next_runs(Ok(runs.collect()))
            .with_events(events.into_iter())
    }

    fn world(&self) -> World {
        let items = self.registry.items.iter().map(|(id, record)| WorkItem {
            id: id.clone(),
            key: record.key.clone(),
            title: title(&record.key),
            body: "See the log of the nightly build.".to_owned(),
            labels: Vec::new(),
            priority: None,
            state: ItemState::Open,
            blocked_by: Vec::new(),
            created_at: None,
            updated_at: None,
            origin: record.origin.clone(),
            hash: record.hash.clone().unwrap(),
            content_hash: record.content_hash.clone().unwrap(),
        });
        let flying = self.registry.agents.values().filter(|agent| agent.state != AgentPhase::Idle);
        let runs = flying.filter_map(|agent| agent.run.clone()).chain(self.registry.handoffs.keys().cloned());
        let runs = runs.map(|run| {
            (
                run,
                RunObservation::Alive {
                    claim: None,
                    reported: Default::default(),
                    late_after: Duration::ZERO,
                },
            )
        });
        World {
            now: self.now.clone(),
            source: Observed::Known(SourceView { items: items.collect(), unreadable: Vec::new() }),
            fleet: Observed::Known(FleetView { runs: runs.collect(), ..FleetView::default() }),
            local: LocalFacts {
                lineage: "screens".to_owned(),
                workspaces: WORKSPACES.into(),
                ..LocalFacts::default()
            },
            workspaces_taken: Default::default(),
        }
    }
}

fn title(key: &str) -> String {
    format!("What {key} is about")
}

fn bad_config() -> Problems {
    let text = include_str!("../../fixtures/screens/bad.toml");
    let found = config::parse(text, &Path::new(HOME).join("factory.toml"), &|_| Err(String::new()));
    Problems::Found { path: "factory.toml".into(), list: found.unwrap_err(), text: text.to_owned() }
}

/// What `check` finds where nothing is wrong, and where something is.
fn checked(is_well: bool) -> CheckView {
    let (bad_config, partial) = (ExitStatus::BadConfig, ExitStatus::Partial);
    let config = || Finding::ok(format!("{HOME}/factory.toml"), "reads without a problem: role implementer");
    let state = || Finding::ok(STATE, "the first tick makes it");
    let disk = || Finding::ok(HOME, "66.8 GiB are free");
    let prompt = || Finding::ok("implementer", "the built-in one renders with AR-1");
    let items = || Finding::ok(format!("{HOME}/issues"), "open and in scope: 4 of 4");
    let findings = if is_well {
        vec![
            ("config", config()),
            ("state", state()),
            ("disk", disk()),
            ("program", Finding::ok("implementer", format!("{HOME}/bin/claude is found"))),
            (
                "permissions",
                Finding::ok("implementer", "its agent may act, by --permission-mode acceptEdits"),
            ),
            ("prompt", prompt()),
            ("items", items()),
        ]
    } else {
        let because = "\"claude\" is not in PATH (/usr/bin:/bin)";
        let hint = "install it, name it by its absolute path, or add its folder to [env] path_prepend";
        let may_not = "its agent may do nothing: claude -p denies its agent every tool that changes something, and \
                       ends well";
        let allow = r#"add to its args such as "--permission-mode", "acceptEdits""#;
        let broken = format!("{HOME}/issues/AR-8.json:2:1: EOF while parsing an object");
        vec![
            ("config", config()),
            ("state", state()),
            ("disk", disk()),
            ("program", Finding::problem(bad_config, "implementer", because).hint(hint)),
            ("permissions", Finding::problem(bad_config, "implementer", may_not).hint(allow)),
            ("prompt", prompt()),
            ("items", Finding::problem(partial, "AR-8.json", broken)),
            ("items", items()),
            (
                "crontab",
                Finding::note("crontab", "cron can't run every 90 s: the line comes nearest to it")
                    .hint("set [tick] every to what the line says"),
            ),
        ]
    };
    let crontab = Some(CRONTAB.to_owned());
    CheckView { as_cron: is_well, is_whole: true, findings, crontab }
}

/// A screen of the README, by its name.
fn screen(name: &str, width: usize) -> String {
    let still = Still::new();
    match name {
        "status" => still.status().to_page(width, false).to_text(),
        "explain AR-3" => still.explain("dir:AR-3").to_page(width).to_text(),
        "-n" => bad_config().to_page(width).to_text(),
        "check" => checked(false).to_page(width).to_text(),
        "check --as-cron" => checked(true).to_page(width).to_text(),
        other => panic!("README.md shows {other:?}, which nobody makes"),
    }
}

/// README.md with every screen in it made anew. A screen is the block after a comment that names it:
/// `<!-- screen: status, 50 columns -->`.
fn with_screens_made(readme: &str) -> String {
    let mut parts = readme.split("<!-- screen: ");
    let mut made = parts.next().unwrap().to_owned();
    for part in parts {
        let (mark, rest) = part.split_once(" -->\n```console\n").expect("a block follows the comment");
        let (name, width) =
            mark.strip_suffix(" columns").and_then(|mark| mark.rsplit_once(", ")).expect(mark);
        let (_, after) = rest.split_once("```\n").expect("the block ends");
        let screen = screen(name, width.parse().unwrap());
        made.push_str(&format!(
            "<!-- screen: {mark} -->\n```console\n$ factory-tick {name}\n{screen}```\n{after}"
        ));
    }
    made
}

#[test]
fn the_screens_in_the_readme_are_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let made = with_screens_made(&readme);
    if number_from("WRITE_SCREENS", 0) == 1 {
        put(&path, &made);
        return;
    }
    for (is, should_be) in readme.lines().zip(made.lines()) {
        assert_eq!(is, should_be, "WRITE_SCREENS=1 cargo test --test it screens brings README.md up to date");
    }
    assert_eq!(readme.len(), made.len());
}

// ---------------------------------------------------------------------------------------------
// Every width

/// What a person may want to copy from a status: ids, paths, commands.
fn to_copy(status: &StatusView) -> Vec<String> {
    let json: Value = serde_json::from_str(&status.to_json()).unwrap();
    let rows =
        ["in_flight", "waiting", "parked", "handoffs"].map(|name| json[name].as_array().unwrap().clone());
    let mut found: Vec<String> = vec![STATE.to_owned(), format!("{HOME}/factory.toml")];
    for row in rows.concat() {
        if row["survivors"].as_array().is_some_and(|survivors| !survivors.is_empty()) {
            found.push(format!("factory-tick reap --forget {}", row["run"].as_str().unwrap()));
        }
        let takeovers = row["takeover"].as_array().cloned().unwrap_or_default();
        let ways = row["try"].as_str().unwrap_or_default().split("; ");
        found.extend(ways.filter_map(|way| Some(way.split_once(": ")?.1.to_owned())));
        let words = [&row["key"], &row["run"], &row["log"], &row["takeover"]].into_iter().chain(&takeovers);
        found.extend(words.filter_map(|word| word.as_str().map(escape::plain)));
    }
    found
}

/// No line is wider than the terminal, unless it is one thing to copy; and everything to copy is there, whole.
#[track_caller]
fn assert_fits(screen: &str, width: usize, to_copy: &[String]) {
    for line in screen.lines().filter(|line| line.width() > width) {
        let is_one_thing = to_copy.iter().any(|one| line.trim() == one);
        let is_one_word = !line.trim().contains(' ');
        assert!(is_one_thing || is_one_word, "{width} columns: {line:?}\n{screen}");
    }
    for one in to_copy {
        assert!(
            screen.lines().any(|line| line.contains(one.as_str())),
            "{width} columns: no {one:?}\n{screen}"
        );
    }
}

#[test]
fn a_status_fits_every_terminal_and_breaks_nothing_that_can_be_copied() {
    let mut still = Still::new();
    let status = still.status();
    for width in WIDTHS {
        assert_fits(&status.to_page(width, false).to_text(), width, &to_copy(&status));
    }
    // Names that somebody else made up.
    let id = ItemId("dir:AR-3".to_owned());
    still.registry.items.get_mut(&id).unwrap().key =
        "移行 \u{1b}[2J and a very long key of an item, as some trackers have them".to_owned();
    still.registry.items.get_mut(&id).unwrap().last.as_mut().unwrap().because =
        "データベースの移行に失敗しました。".repeat(9);
    let status = still.status();
    for width in WIDTHS {
        assert_fits(&status.to_page(width, true).to_text(), width, &to_copy(&status));
    }
}

#[test]
fn explain_and_a_bad_configuration_fit_every_terminal() {
    for width in WIDTHS {
        let explained = screen("explain AR-3", width);
        // A prompt is shown to the letter.
        let explained: String = explained
            .lines()
            .filter(|line| !line.starts_with("  |"))
            .map(|line| format!("{line}\n"))
            .collect();
        let cwd = format!("{WORKSPACES}/AR-3");
        assert_fits(
            &explained,
            width,
            &["ar-3-impl.2".to_owned(), cwd, r#"["/srv/factory/agent.sh"]"#.to_owned()],
        );
        assert_fits(&screen("-n", width), width, &["factory.toml:8:11:".to_owned()]);
    }
}

#[test]
fn a_check_fits_every_terminal_and_its_crontab_stays_whole() {
    for width in WIDTHS {
        for is_well in [true, false] {
            let shown = checked(is_well).to_page(width).to_text();
            let to_copy = [
                format!("{HOME}/factory.toml"),
                format!("{HOME}/issues"),
                STATE.to_owned(),
                CRONTAB.to_owned(),
            ];
            assert_fits(&shown, width, &to_copy);
        }
    }
}

#[test]
fn colour_adds_nothing_to_the_words() {
    let still = Still::new();
    let pages = [
        still.status().to_page(100, true),
        still.status_when(&Alive::Dead).to_page(50, false),
        still.explain("dir:AR-3").to_page(100),
        checked(false).to_page(100),
        bad_config().to_page(100),
    ];
    for page in pages {
        let painted = page.painted(Styler::ON);
        assert!(painted.contains("\u{1b}["), "{painted}");
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), page.to_text());
    }
}

// A reader of the narrow page must miss nothing that a reader of the wide one sees.
#[test]
fn a_narrow_page_says_what_a_wide_one_says() {
    let words = |name: &str, width| {
        let mut words: Vec<_> = screen(name, width).split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    for width in [60, 50, 30] {
        for name in ["explain AR-3", "check", "check --as-cron"] {
            assert_eq!(words(name, width), words(name, 100), "{name}");
        }
    }
    let all = |width| {
        let text = Still::new().status().to_page(width, true).to_text();
        let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    for width in [60, 50, 30] {
        assert_eq!(all(width), all(100));
    }
}

#[test]
fn what_keeps_a_factory_from_working_is_in_its_head() {
    let mut still = Still::new();
    let since = "2026-11-20T08:42:00Z".parse().unwrap();
    still.beat.source =
        Health { ok: false, since: Some(since), error: Some("issues: permission denied".to_owned()) };
    let begun = ClockReading { at: since, mono_ms: 0, boot_id: String::new(), slept_ms: 0 };
    let until = Some("2026-11-20T10:52:00Z".parse().unwrap());
    still.registry.paused =
        Some(Paused { because: "the bill".to_owned(), deadline: Deadline::until(until, &begun) });
    let (because, item) = ("no login".to_owned(), ItemId("dir:AR-3".to_owned()));
    still.registry.failure_streak = Some(FailureStreak { failures: 5, since, item, because });
    still.registry.daily_spend.as_mut().unwrap().starts = 200;
    let because = "API_KEY is not set".to_owned();
    let cool_off = CoolOff { because, begun, until: None, streak: 0, credentials: None };
    still.registry.cool_offs.insert("role:implementer".to_owned(), cool_off);
    let told = |alive: &Alive| still.status_when(alive).to_page(100, false).to_text();
    let head = told(&Alive::Stale { age: Duration::from_secs(620) });
    assert_has(
        &head,
        &[
            "factory-tick is stale: the last heartbeat is 10 min 20 s old\n",
            "\n  items     unknown for 10 min, since 2026-11-20 08:42:00Z: issues: permission denied\n",
            "\n  today     200 of 200 starts, 1.20 of 5.00 USD; nothing more starts until 2026-11-21 00:00:00Z\n",
            "\n  paused    for 10 min, since 2026-11-20 08:42:00Z, until 2026-11-20 10:52:00Z (in 2 h): the bill\n",
            "\n            → to go on: factory-tick unpause\n",
            "\n  breaker   open: 5 failures in a row for 10 min, since 2026-11-20 08:42:00Z, the last of AR-3: no\n",
            "\n            login; until a run ends well nothing starts\n",
            "\n            → once the cause is gone: factory-tick unpause\n",
            "\n  cool-off  role implementer starts nothing for 10 min, since 2026-11-20 08:42:00Z: API_KEY is not\n",
            "→ does cron still run it?",
        ],
    );
    for alive in [Alive::Absent, Alive::Stopping, Alive::Dead] {
        assert_has(&told(&alive), &["→ to run a tick: factory-tick\n"]);
    }
    assert!(!told(&Alive::Skewed).contains("next"), "by a clock that was moved nothing is due");
    still.beat.status = Status::Running;
    assert_has(
        &still.status().to_page(100, false).to_text(),
        &["  tick      number 412 runs for 15 s now, pid 23388\n"],
    );
}

// Between the end of a run and the resume that follows it by itself, an item was in no part of the status.
#[test]
fn an_item_between_two_of_its_runs_waits() {
    let mut still = Still::new();
    let due_at = "2026-11-20T08:57:00Z".parse().unwrap();
    let agent = still.registry.agents.values_mut().find(|agent| agent.spec.item.0 == "dir:AR-6").unwrap();
    (agent.state, agent.run, agent.follow_ups) =
        (AgentPhase::Idle, None, vec![FollowUp::new(FollowUpReason::Failure, true, due_at)]);
    let screen = still.status().to_page(100, false).to_text();
    assert_has(
        &screen,
        &["In flight: 1\n", "Waiting: 3\n", "\n  AR-6  backoff  due in 5 min        exit code 2\n"],
    );
}

#[test]
fn a_status_is_one_screen_however_much_there_is() {
    let mut still = Still::new();
    let waiting = ItemId("dir:AR-3".to_owned());
    let parked = ItemId("dir:AR-2".to_owned());
    for n in 100..400 {
        let mut copy = |id: &ItemId, name: &str| {
            let key = format!("{name}-{n}");
            let record =
                ItemRecord { slug: key.to_lowercase(), key: key.clone(), ..still.registry.items[id].clone() };
            still.registry.items.insert(ItemId(format!("dir:{key}")), record);
        };
        copy(&waiting, "W");
        copy(&parked, "P");
    }
    let status = still.status();
    let screen = status.to_page(100, false).to_text();
    assert!(screen.lines().count() <= 40, "{screen}");
    assert_has(
        &screen,
        &["Parked: 302\n", "In flight: 2\n", "Waiting: 302\n", "more: factory-tick status -v\n"],
    );
    let shown =
        |text: &str| text.lines().filter(|line| line.starts_with("  W-") || line.starts_with("  P-")).count();
    assert!(shown(&screen) >= 2, "{screen}");
    let whole = status.to_page(100, true).to_text();
    assert_eq!(shown(&whole), 600);
    assert!(!whole.contains("more:"));
}

#[test]
fn a_report_fits_every_terminal() {
    let still = Still::new();
    let plan = decide::decide(&still.config, &still.registry, &still.world(), &Request::default());
    let told = |width| {
        let mut report = TickReport::new("tick", &still.now, false);
        report.add_plan(&plan, &still.registry);
        report.note(
            "items: web-244.md: this is no TOML: unclosed table, expected `]`; mend it or move it".to_owned(),
        );
        report.finish(None, Duration::ZERO);
        report.to_page(width, true).to_text()
    };
    assert_has(
        &told(100),
        &["tick: partial (", "\n  held       AR-3     backoff         until 2026-11-20 08:56:01Z: 1 of 3"],
    );
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for width in WIDTHS {
        assert_fits(&told(width), width, &["ar-5-impl.2".to_owned(), "web#244".to_owned()]);
        assert_eq!(words(&told(width)), words(&told(100)));
    }
}

// ---------------------------------------------------------------------------------------------
// The terminal itself

/// What the program says of a broken configuration; its stdout is a terminal of so many columns, or a pipe.
fn complaint(factory: &Factory, terminal: Option<u16>, columns: Option<&str>) -> String {
    let mut command = factory.program(&[]);
    columns.map(|columns| command.env("COLUMNS", columns));
    let pty = terminal.map(|ws_col| {
        let size = Winsize { ws_row: 40, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        openpty(Some(&size), None).unwrap()
    });
    if let Some(pty) = &pty {
        command.stdout(pty.slave.try_clone().unwrap());
    }
    Ran::of(&mut command).expect(78).stderr
}

#[test]
fn the_width_is_the_terminals_else_that_of_columns_else_100() {
    let factory = Factory::new();
    let text = include_str!("../../fixtures/screens/bad.toml");
    put(&factory.path("factory.toml"), text);
    let (wide, narrow) = (screen("-n", 100), screen("-n", 50));
    assert_ne!(wide, narrow);
    assert_eq!(complaint(&factory, None, None), wide, "a pipe changes nothing but the default");
    assert_eq!(complaint(&factory, None, Some("50")), narrow);
    assert_eq!(complaint(&factory, None, Some("wide")), wide);
    assert_eq!(complaint(&factory, Some(50), None), narrow);
    assert_eq!(complaint(&factory, Some(50), Some("100")), narrow, "the terminal was made smaller since");
    assert_eq!(complaint(&factory, Some(0), Some("50")), narrow, "it does not know");
}

// Two programs on one session write over each other's work: whoever takes over ends the agent first.
#[test]
fn the_line_to_take_over_works_as_it_is_printed() {
    let mut factory = Factory::new();
    factory.role(
        "impl",
        &["sh", "-c", "echo FACTORY_SESSION=s-7; exec sleep 600"],
        r#"resume = ["sh", "-c", "echo $1 > went-on", "-", "{session}"]"#,
    );
    factory.item("AR-1");
    factory.tick().expect(0);
    factory.wait_for("its session is known", || {
        factory.tick();
        factory.agent("ar-1-impl")["session"] == "s-7"
    });
    let status = factory.run(&["-c", "./factory.toml", "status", "--format", "json"]).expect(0).json();
    let line = status["in_flight"][0]["takeover"].as_str().unwrap().to_owned();
    assert!(line.starts_with("factory-tick -c ./factory.toml stop AR-1 && cd /"), "{line}");
    assert_has(
        &factory.run(&["status"]).expect(0).stdout,
        &["    take over\n      factory-tick stop AR-1 && cd "],
    );

    let programs = binary().parent().unwrap().display();
    Ran::of(&mut factory.shell(&format!("PATH={programs}:$PATH; {line}"))).expect(0);
    factory.wait_all_gone();
    let went_on = factory.state("workspaces/AR-1/went-on");
    assert_eq!(std::fs::read_to_string(went_on).unwrap(), "s-7\n");

    // Now nothing of it runs: the same without the stop.
    let status = factory.run(&["status", "--format", "json"]).expect(0).json();
    let by_hand = status["parked"][0]["takeover"][0].as_str().unwrap();
    assert_eq!(line.split_once(" && ").unwrap().1, by_hand);
}
