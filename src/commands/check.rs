//! `factory-tick check`: a table of checks, each of which looks at one thing and changes nothing. All are made, and
//! everything that is wrong is told at once. Also as cron would find it, in the few variables that cron gives.

mod configuration;
mod credentials;
mod crontab;
mod items;
mod permissions;
mod places;
pub(super) mod programs;
mod roles;
mod surroundings;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::{absolute, say};
use crate::cli::{CheckArgs, Format, Options};
use crate::config::{self, Config, Loaded, Role};
use crate::exit::{ExitStatus, Failure};
use crate::fleet::env::{self, Vars};
use crate::fleet::env_file::FileVars;
use crate::paint::{Paint, Tone};
use crate::{state, text};

/// Name of a check, and what it looks at.
type Check = (&'static str, fn(&Subject<'_>) -> Vec<Finding>);

/// In the order in which a person corrects things; the first of the worst gives the exit code.
const CHECKS: &[Check] = &[
    ("config", configuration::file),
    ("github", surroundings::github_actions),
    ("systemd", surroundings::systemd),
    ("user", surroundings::user),
    ("state", places::state),
    ("workspaces", places::workspaces),
    ("disk", places::disk),
    ("pidfile", places::pidfiles),
    ("env file", places::env_file),
    ("environment", roles::environment),
    ("program", roles::programs),
    ("permissions", permissions::permissions),
    ("credentials", credentials::credentials),
    ("prompt", roles::prompts),
    ("items", items::items),
];

/// What is checked, and how it would be run.
struct Subject<'a> {
    config: &'a Config,
    /// The variables that a tick would have.
    vars: Vars,
    /// What `[env] file` holds, or why it can't be used.
    file: Result<FileVars, String>,
    /// Those that this command has: under `--as-cron` they tell what cron's lack.
    shell: &'a Vars,
    as_cron: bool,
    state_path: PathBuf,
    state_is_named: bool,
    /// What the command line sets in the configuration.
    sets: &'a [String],
    began: Instant,
}

impl Subject<'_> {
    /// The PATH of a role's agents, where a tick has these variables.
    fn path_from(&self, vars: &Vars, role: &Role) -> OsString {
        self.of_role(vars, role).remove(OsStr::new("PATH")).unwrap_or_default()
    }

    /// The variables of a role's agents, where a tick has these.
    fn of_role(&self, vars: &Vars, role: &Role) -> Vars {
        let own = role.preset().map_or(&[][..], |preset| preset.env);
        let names: Vec<_> = role.env.iter().cloned().chain(own.iter().map(|&name| name.to_owned())).collect();
        env::of_role(vars, &self.config.env, &self.file_vars(), &names)
    }

    /// What `[env] file` holds; nothing where it can't be used, which is a finding of its own.
    fn file_vars(&self) -> FileVars {
        self.file.clone().unwrap_or_default()
    }
}

/// How a thing was found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Ok,
    /// A tick does its work; a person should know all the same.
    Note,
    /// A tick could not do its work. The status says what kind it is.
    Problem(ExitStatus),
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Problem(_) => "problem",
        }
    }
}

/// What a check found out about one thing.
#[derive(Debug, PartialEq)]
struct Finding {
    /// Which thing: a file, a role, an item.
    subject: String,
    level: Level,
    because: String,
    /// What to do.
    hint: Option<String>,
}

impl Finding {
    fn ok(subject: impl Into<String>, because: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), level: Level::Ok, because: because.into(), hint: None }
    }

    fn note(subject: impl Into<String>, because: impl Into<String>) -> Finding {
        Finding { level: Level::Note, ..Finding::ok(subject, because) }
    }

    fn problem(status: ExitStatus, subject: impl Into<String>, because: impl Into<String>) -> Finding {
        Finding { level: Level::Problem(status), ..Finding::ok(subject, because) }
    }

    fn hint(self, hint: impl Into<String>) -> Finding {
        Finding { hint: Some(hint.into()), ..self }
    }
}

pub(super) fn run(options: &Options, vars: &Vars, args: &CheckArgs) -> Result<ExitStatus, Failure> {
    let report = match config::load(&options.config, &options.set) {
        Err(problems) => {
            let found = configuration::problems(&problems);
            let findings = found.into_iter().map(|one| ("config", one)).collect();
            Report { is_whole: false, findings, ..Report::new(args) }
        }
        Ok(Loaded { config, .. }) => {
            let state_path = absolute(&state::directory(&config.dir, options.state_dir.as_deref()))?;
            let subject = Subject {
                config: &config,
                file: env::of_file(&config.env),
                vars: if args.as_cron { surroundings::cron(vars) } else { vars.clone() },
                shell: vars,
                as_cron: args.as_cron,
                state_path,
                state_is_named: options.state_dir.is_some(),
                sets: &options.set,
                began: Instant::now(),
            };
            let findings = CHECKS.iter().flat_map(|(name, check)| {
                let name = *name;
                check(&subject).into_iter().map(move |finding| (name, finding))
            });
            let mut report = Report { findings: findings.collect(), ..Report::new(args) };
            report.add_crontab(crontab::lines(&subject));
            report
        }
    };
    let status = report.status();
    if !options.quiet || status != ExitStatus::Ok {
        match options.format {
            Format::Json => say(&report.to_json()),
            Format::Text => say(report.to_text(Paint::stdout()).trim_end()),
        }
    }
    Ok(status)
}

/// Everything that was found.
struct Report {
    as_cron: bool,
    /// Whether there was a configuration, without which there is little to look at.
    is_whole: bool,
    findings: Vec<(&'static str, Finding)>,
    /// What makes cron run the ticks.
    crontab: Option<String>,
}

impl Report {
    fn new(args: &CheckArgs) -> Report {
        Report { as_cron: args.as_cron, is_whole: true, findings: Vec::new(), crontab: None }
    }

    fn add_crontab(&mut self, (lines, findings): (Option<String>, Vec<Finding>)) {
        self.crontab = lines;
        self.findings.extend(findings.into_iter().map(|finding| ("crontab", finding)));
    }

    fn status(&self) -> ExitStatus {
        let status = |level| if let Level::Problem(status) = level { status } else { ExitStatus::Ok };
        self.findings.iter().fold(ExitStatus::Ok, |worst, (_, one)| worst.worse(status(one.level)))
    }

    fn to_json(&self) -> String {
        let checks = self.findings.iter().map(|(name, finding)| {
            json!({
                "name": name,
                "subject": finding.subject,
                "ok": !matches!(finding.level, Level::Problem(_)),
                "level": finding.level.name(),
                "because": finding.because,
                "hint": finding.hint,
            })
        });
        text::one_json_line(&json!({
            "schema": 1,
            "status": self.status().name(),
            "exit_code": self.status().code(),
            "as_cron": self.as_cron,
            "checks": checks.collect::<Vec<_>>(),
            "crontab": self.crontab,
        }))
    }

    fn to_text(&self, paint: Paint) -> String {
        let mut rows = Vec::new();
        for (name, finding) in &self.findings {
            let Finding { subject, level, because, hint } = finding;
            rows.push([level.name().to_owned(), (*name).to_owned(), subject.clone(), because.clone()]);
            if let Some(hint) = hint {
                rows.push([String::new(), String::new(), String::new(), format!("→ {hint}")]);
            }
        }
        let table = text::painted_table(&rows, |_, column, cell| match (column, cell) {
            (0, "ok") => paint.put(Tone::Good, cell),
            (0, "note") => paint.put(Tone::Warn, cell),
            (0, "problem") => paint.put(Tone::Bad, cell),
            _ => cell.to_owned(),
        });
        let mut out = format!("{}\n{table}", self.headline());
        if !self.is_whole {
            out.push_str("Without a configuration nothing else can be looked at.\n");
        }
        if let Some(lines) = &self.crontab {
            let lines: Vec<_> = lines.lines().map(text::plain).collect();
            out.push_str(&format!("For `crontab -e`:\n{}\n", lines.join("\n")));
        }
        out
    }

    fn headline(&self) -> String {
        let count = |level: &str| {
            let count = self.findings.iter().filter(|(_, finding)| finding.level.name() == level).count();
            let plural = if count == 1 || level == "ok" { "" } else { "s" };
            (count > 0).then(|| format!("{count} {level}{plural}"))
        };
        let counts: Vec<_> = ["ok", "note", "problem"].into_iter().filter_map(count).collect();
        let how = if self.as_cron { "check as cron" } else { "check" };
        format!("{how}: {} ({})", self.status().name(), counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_and_the_worst_gives_the_code() {
        let report = |findings: Vec<Finding>| Report {
            as_cron: false,
            is_whole: true,
            findings: findings.into_iter().map(|finding| ("thing", finding)).collect(),
            crontab: Some("* * * * * true".to_owned()),
        };
        let item = || Finding::problem(ExitStatus::Partial, "AR-1.md", "is a pipe").hint("put a file there");
        let state = || Finding::problem(ExitStatus::CannotCreate, "/s", "others can write to it");
        assert_eq!(report(vec![Finding::ok("a", "b"), Finding::note("c", "d")]).status(), ExitStatus::Ok);
        assert_eq!(report(vec![item()]).status(), ExitStatus::Partial);
        let both = report(vec![item(), state(), Finding::problem(ExitStatus::Denied, "r", "K is not set")]);
        assert_eq!(both.status(), ExitStatus::CannotCreate);
        assert_eq!(
            both.to_text(Paint::OFF),
            "check: cannot-create (3 problems)\n  \
             problem  thing  AR-1.md  is a pipe\n                           \
             → put a file there\n  \
             problem  thing  /s       others can write to it\n  \
             problem  thing  r        K is not set\n\
             For `crontab -e`:\n* * * * * true\n"
        );
    }
}
