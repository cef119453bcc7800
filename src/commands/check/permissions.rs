//! Whether the agents of a known program may do anything. One that may not ends well all the same, having done
//! nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::subject::Subject;
use crate::app::programs;
use crate::config::Role;
use crate::exit::ExitStatus;
use crate::harness::{self, Permitted, Preset};
use crate::run::env::Vars;
use crate::views::check::Finding;

/// Settings have a few hundred.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;

pub(super) fn permissions(subject: &Subject<'_>) -> Vec<Finding> {
    let look = |role: &Role| {
        let mut findings: Vec<_> = role
            .commands()
            .iter()
            .filter_map(|argv| Some(judge(subject, role, preset_of(role, argv)?, &argv[1..])))
            .collect();
        // Its fresh start and its resume mostly say the same.
        findings.dedup();
        findings
    };
    subject.config.roles.iter().flat_map(look).collect()
}

/// The preset that a command is about: the role's, or the one whose program a configured command runs.
pub(super) fn preset_of(role: &Role, argv: &[String]) -> Option<&'static Preset> {
    let program = Path::new(argv.first()?).file_name()?.to_str()?;
    role.preset().or_else(|| harness::preset(program))
}

/// Where the program of a preset keeps its settings and its login.
pub(super) fn home_of(preset: &Preset, vars: &Vars) -> Option<PathBuf> {
    let named = vars.get(OsStr::new(preset.home.var)).filter(|named| !named.is_empty());
    let below = |home| Path::new(home).join(preset.home.folder);
    named.map(PathBuf::from).or_else(|| vars.get(OsStr::new("HOME")).map(below))
}

fn judge(subject: &Subject<'_>, role: &Role, preset: &Preset, args: &[String]) -> Finding {
    let (grants, vars) = (&preset.grants, subject.of_role(&subject.vars, role));
    let overridden = vars.get(OsStr::new(grants.root_override)).is_some_and(|value| value == "1");
    if let Some(word) = grants.refused_to_root(args).filter(|_| is_root() && !overridden) {
        let because = format!("{} refuses {word} to root", preset.name);
        let hint = format!(
            "run as another user; or, where nothing can be harmed, [env] set = {{ {} = \"1\" }}",
            grants.root_override
        );
        return Finding::problem(ExitStatus::BadConfig, &role.name, because).hint(hint);
    }
    match grants.of(args) {
        Permitted::By(words) => Finding::ok(&role.name, format!("its agent may act, by {words}")),
        Permitted::Elsewhere(words) => {
            Finding::ok(&role.name, format!("its agent may do what {words} allows"))
        }
        Permitted::Nothing => match settings_that_grant(preset, &vars) {
            Some(file) => Finding::ok(&role.name, format!("its agent may do what {} allows", file.display())),
            None => {
                let words: Vec<_> = grants.suggested.iter().map(|word| format!("\"{word}\"")).collect();
                let key = if role.preset().is_some() { "args" } else { "command" };
                let because = format!("its agent may do nothing: {}", grants.without);
                Finding::problem(ExitStatus::BadConfig, &role.name, because)
                    .hint(format!("add to its {key} such as {}", words.join(", ")))
            }
        },
    }
}

fn settings_that_grant(preset: &Preset, vars: &Vars) -> Option<PathBuf> {
    let file = home_of(preset, vars)?.join(preset.home.settings);
    let text = programs::head(&file, SETTINGS_BYTES_MAX)?;
    String::from_utf8_lossy(&text).contains(preset.home.grant).then_some(file)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
