//! `factory-tick check`: a table of checks, each of which looks at one thing and changes nothing. All are made, and
//! everything that is wrong is told at once. Also as cron would find it, in the few variables that cron gives.

mod broker;
mod configuration;
mod credentials;
mod crontab;
mod items;
mod permissions;
mod places;
mod roles;
mod subject;
mod surroundings;

use std::time::Instant;

use self::subject::Subject;
use crate::app::context::absolute;
use crate::app::output::{say, say_page};
use crate::app::terminal;
use crate::cli::{CheckArgs, Format, Options};
use crate::config::{self, Loaded};
use crate::exit::{ExitStatus, Failure};
use crate::run::env::{self, Vars};
use crate::state;
use crate::views::check::{CheckView, Finding};

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
    ("broker", broker::broker),
    ("program", roles::programs),
    ("permissions", permissions::permissions),
    ("credentials", credentials::credentials),
    ("prompt", roles::prompts),
    ("items", items::items),
];

pub(super) fn run(options: &Options, vars: &Vars, args: &CheckArgs) -> Result<ExitStatus, Failure> {
    let view = match config::load(&options.config, &options.set) {
        Err(problems) => {
            let found = configuration::problems(&problems);
            let findings = found.into_iter().map(|one| ("config", one)).collect();
            CheckView { as_cron: args.as_cron, is_whole: false, findings, crontab: None }
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
            let (crontab, of_crontab) = crontab::lines(&subject);
            let findings = findings.chain(of_crontab.into_iter().map(|finding| ("crontab", finding)));
            CheckView { as_cron: args.as_cron, is_whole: true, findings: findings.collect(), crontab }
        }
    };
    let status = view.status();
    if !options.quiet || status != ExitStatus::Ok {
        match options.format {
            Format::Json => say(&view.to_json()),
            Format::Text => say_page(&view.to_page(terminal::width(vars))),
        }
    }
    Ok(status)
}
