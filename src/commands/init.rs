//! `factory-tick init`: a configuration in which everything is explained, and an item to try it with. What is there
//! already is never touched.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::app::context::absolute;
use crate::app::output::{say, say_page};
use crate::app::{programs, terminal};
use crate::cli::{Format, Options};
use crate::durable::atomic;
use crate::exit::{ExitStatus, Failure};
use crate::harness::{self, Preset};
use crate::run::env::Vars;
use crate::ui::layout::{Layout, Row, Span};
use crate::ui::style::Style;
use crate::views::json;

/// All tables but the roles, each key with its default behind a `#`.
const TABLES: &str = include_str!("init/factory.toml");

/// The rest of a role that runs a command: one that works wherever there is a shell.
const COMMAND: &str = include_str!("init/command.toml");

/// What every role has.
const ROLE: &str = include_str!("init/role.toml");

const SAMPLE: &str = include_str!("init/HELLO-1.md");

/// The folder of items, and the sample in it.
const ISSUES: &str = "issues";
const SAMPLE_NAME: &str = "HELLO-1.md";

/// Where cron looks for programs by itself.
const CRON_FOLDERS: [&str; 2] = ["/usr/bin", "/bin"];

pub(super) fn run(options: &Options, vars: &Vars) -> Result<ExitStatus, Failure> {
    let config = absolute(&options.config)?;
    let folder = config.parent().map(Path::to_path_buf).unwrap_or_default();
    let issues = folder.join(ISSUES);
    let sample = issues.join(SAMPLE_NAME);
    refuse_what_is_there(&config, &issues, &sample)?;
    let agent = Agent::found(vars);
    let others = others_in(&issues);
    if !options.dry_run {
        // The configuration comes last: a folder without one is no factory yet, and can be begun again.
        make_folder(&issues)
            .and_then(|()| make_sample(&sample))
            .and_then(|()| make_configuration(&config, &agent.configuration()))?;
    }
    let made = [&config, &sample].map(|path| path.display().to_string());
    let status = match options.dry_run && options.detailed_exitcode {
        true => ExitStatus::WouldAct,
        false => ExitStatus::Ok,
    };
    match options.format {
        Format::Json => say(&json::one_line(&json::Init {
            schema: json::SCHEMA,
            dry_run: options.dry_run,
            status: status.name(),
            exit_code: status.code(),
            made,
            harness: agent.harness(),
        })),
        Format::Text => {
            say_page(&to_page(terminal::width(vars), options.dry_run, &agent, &made, others, &folder));
        }
    }
    Ok(status)
}

/// For a person, on a terminal of this width.
fn to_page(
    width: usize,
    dry_run: bool,
    agent: &Agent,
    made: &[String],
    others: usize,
    folder: &Path,
) -> Layout {
    let mut page = Layout::new(width);
    let title = if dry_run { "dry run, nothing changed: init:" } else { "init:" };
    page.paragraph(0, &[Span::words(title).style(Style::Heading), Span::words("ok").style(Style::Good)]);
    let row = |path: &String| Row::new([Span::whole("made"), Span::whole(path)]);
    page.table(&made.iter().map(row).collect::<Vec<_>>());
    page.paragraph(0, &[Span::words(format!("Each item gets one agent: {}", agent.told()))]);
    if others > 0 {
        let there = format!("The folder {ISSUES} was there: {others} files of it are items, too");
        page.paragraph(0, &[Span::words(there)]);
    }
    if folder.ancestors().any(|folder| folder.join(".git").exists()) {
        let ignored = "Git sees nothing of .factory-tick, where the state and the workspaces will be";
        page.paragraph(0, &[Span::words(ignored)]);
    }
    page.paragraph(
        0,
        &[
            Span::words("Next:"),
            Span::whole("factory-tick check;"),
            Span::whole("factory-tick -n"),
            Span::words("shows what a tick would do;"),
            Span::whole("factory-tick"),
            Span::words("does it"),
        ],
    );
    page
}

/// The agent of the role that is written.
struct Agent {
    preset: Option<&'static Preset>,
    program: Option<PathBuf>,
    /// Folders that cron's PATH lacks, and in which the agent's programs are.
    folders: Vec<PathBuf>,
}

impl Agent {
    /// The first known program that is on PATH.
    fn found(vars: &Vars) -> Agent {
        let path = vars.get(std::ffi::OsStr::new("PATH")).cloned().unwrap_or_default();
        for preset in harness::PRESETS {
            let wanted = programs::wanted(preset.name, &path);
            let Some(program) = wanted.first().and_then(|first| first.found.clone().ok()) else { continue };
            let mut folders = Vec::new();
            // What its first line names by a path, cron finds as well.
            for one in wanted.iter().filter(|one| !one.name.contains('/')) {
                let folder = one.found.as_ref().ok().and_then(|found| found.parent());
                let is_new = |folder: &&Path| {
                    !CRON_FOLDERS.iter().any(|known| folder == &Path::new(known))
                        && !folders.contains(&folder.to_path_buf())
                };
                folders.extend(folder.filter(is_new).map(Path::to_path_buf));
            }
            return Agent { preset: Some(preset), program: Some(program), folders };
        }
        Agent { preset: None, program: None, folders: Vec::new() }
    }

    fn harness(&self) -> &'static str {
        self.preset.map_or("command", |preset| preset.name)
    }

    fn told(&self) -> String {
        match &self.program {
            Some(program) => {
                format!("{}, found at {}", self.harness(), program.display())
            }
            None => {
                "a shell command that only writes two files, for neither claude nor codex was found on PATH"
                    .to_owned()
            }
        }
    }

    fn configuration(&self) -> String {
        let mut text = TABLES.to_owned();
        if !self.folders.is_empty() {
            let folders: Vec<_> =
                self.folders.iter().map(|folder| toml_text(&folder.to_string_lossy())).collect();
            text = text.replace("#path_prepend = []", &format!("path_prepend = [{}]", folders.join(", ")));
        }
        text.push_str("[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\n");
        match self.preset {
            None => text.push_str(&format!("#harness = \"command\"\n{COMMAND}#args = []\n")),
            Some(preset) => {
                let args: Vec<_> = preset.grants.suggested.iter().map(|word| toml_text(word)).collect();
                text.push_str(&format!(
                    "harness = \"{}\"\n# What it may do: it runs without a person who could be asked.\nargs = [{}]\n",
                    preset.name,
                    args.join(", ")
                ));
            }
        }
        // A program that streams what it does may be silent for as long as its longest command.
        let stall = self.preset.map_or(0, |preset| preset.stall.as_secs() / 60);
        text.push_str(&match stall {
            0 => ROLE.to_owned(),
            minutes => ROLE.replace("#stall = \"0\"", &format!("#stall = \"{minutes}m\"")),
        });
        text
    }
}

/// A text as TOML writes it; JSON's way is one of TOML's.
fn toml_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// Nothing is written where any of it would have to be overwritten.
fn refuse_what_is_there(config: &Path, issues: &Path, sample: &Path) -> Result<(), Failure> {
    let refused = |why: String| Failure::new(ExitStatus::Refused, format!("{why}; nothing was written"));
    let folder = config.parent().unwrap_or(config);
    if !folder.is_dir() {
        return Err(refused(format!("{}: there is no such folder, make it first", folder.display())));
    }
    if issues.symlink_metadata().is_ok() && !issues.is_dir() {
        return Err(refused(format!("{}: it must be a folder, move what is there away", issues.display())));
    }
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    // One that an `init` left which was killed is as good as new.
    let is_ours = |path: &&Path| *path == sample && is_that(path, SAMPLE);
    let there: Vec<_> = [config, sample]
        .into_iter()
        .filter(|path| is_there(path) && !is_ours(path))
        .map(Path::display)
        .collect();
    match there[..] {
        [] => Ok(()),
        _ => {
            let names: Vec<_> = there.iter().map(ToString::to_string).collect();
            let verb = if there.len() == 1 { "is" } else { "are" };
            Err(refused(format!("{} {verb} there already", names.join(" and "))))
        }
    }
}

/// How many other items a folder of items would have.
fn others_in(issues: &Path) -> usize {
    let is_item = |name: &str| !name.starts_with('.') && (name.ends_with(".md") || name.ends_with(".json"));
    let entries = fs::read_dir(issues).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != SAMPLE_NAME && is_item(name)).count()
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if !path.is_dir() => Err(failed(path, &error)),
        _ => Ok(()),
    }
}

/// The sample of another `init` is as good as one's own.
fn make_sample(path: &Path) -> Result<(), Failure> {
    if make_file(path, SAMPLE)? || is_that(path, SAMPLE) { Ok(()) } else { Err(just_made(path)) }
}

fn make_configuration(path: &Path, content: &str) -> Result<(), Failure> {
    if make_file(path, content)? { Ok(()) } else { Err(just_made(path)) }
}

fn just_made(path: &Path) -> Failure {
    let text = format!("{} has just been made by somebody else; it was left as it is", path.display());
    Failure::new(ExitStatus::Refused, text)
}

/// Whole, or not at all; never in the place of another one, not even of one that appears at this moment. False where
/// one was there.
fn make_file(path: &Path, content: &str) -> Result<bool, Failure> {
    let make = || -> io::Result<bool> {
        let folder = File::open(path.parent().unwrap_or(path))?;
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidFilename)?;
        let made = atomic::link_new(&folder, name, content.as_bytes())?;
        if made {
            // It holds no secret, and the user of the ticks may be another one.
            fs::set_permissions(path, Permissions::from_mode(0o644))?;
        }
        Ok(made)
    };
    make().map_err(|error| failed(path, &error))
}

fn is_that(path: &Path, content: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == content.as_bytes())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ExitStatus::IoError, format!("cannot make {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{self, Config};

    const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");
    const ALL_DEFAULTS: &str = include_str!("../../fixtures/config/all-defaults.toml");

    fn agent(name: Option<&str>, folders: &[&str]) -> Agent {
        let preset = name.map(|name| harness::preset(name).unwrap());
        let program = name.map(|name| Path::new("/bin").join(name));
        Agent { preset, program, folders: folders.iter().map(PathBuf::from).collect() }
    }

    /// With every key that stands behind a `#`.
    fn uncommented(text: &str) -> String {
        let bare = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(bare).collect()
    }

    fn parsed(text: &str) -> Config {
        let read = config::parse(text, Path::new("/srv/factory.toml"), &|_| Ok(String::new()));
        read.unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
    }

    #[test]
    fn what_is_written_means_the_defaults_and_shows_every_key_with_its_own() {
        let text = agent(None, &[]).configuration();
        let (as_written, minimal) = (parsed(&text), parsed(MINIMAL));
        assert_eq!(
            Config { roles: Vec::new(), ..as_written.clone() },
            Config { roles: Vec::new(), ..minimal.clone() }
        );
        assert_eq!(parsed(&uncommented(&text)), as_written);

        let (shown, all): (toml::Table, toml::Table) =
            (uncommented(&text).parse().unwrap(), ALL_DEFAULTS.parse().unwrap());
        let but_roles = |table: &toml::Table| {
            let mut table = table.clone();
            table.remove("role");
            table
        };
        assert_eq!(but_roles(&shown), but_roles(&all));
        let role = |table: &toml::Table| {
            let mut role = table["role"].as_array().unwrap()[0].as_table().unwrap().clone();
            role.insert("command".to_owned(), toml::Value::Array(Vec::new()));
            role
        };
        assert_eq!(role(&shown), role(&all));
    }

    #[test]
    fn a_role_of_a_known_program_may_act_and_shows_what_else_can_be_said() {
        for preset in harness::PRESETS {
            let text = agent(Some(preset.name), &["/home/me/.local/bin", "/opt/a b"]).configuration();
            let table: toml::Table = text.parse().unwrap();
            let role = table["role"].as_array().unwrap()[0].as_table().unwrap();
            assert_eq!(role["harness"].as_str(), Some(preset.name));
            let args = role["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
            assert!(args.eq(preset.grants.suggested.iter().copied()));
            let path = table["env"]["path_prepend"].as_array().unwrap();
            assert_eq!(
                path.iter().filter_map(|folder| folder.as_str()).collect::<Vec<_>>(),
                ["/home/me/.local/bin", "/opt/a b"]
            );
            assert_eq!(parsed(&uncommented(&text)), parsed(&text), "each is shown with its default");
            let keys = |text: &str| -> BTreeSet<String> {
                let table: toml::Table = uncommented(text).parse().unwrap();
                table["role"].as_array().unwrap()[0].as_table().unwrap().keys().cloned().collect()
            };
            let of_commands = ["command", "resume", "session", "session_gone"].map(str::to_owned);
            let expected: BTreeSet<_> = keys(ALL_DEFAULTS).difference(&of_commands.into()).cloned().collect();
            assert_eq!(keys(&text), expected);
        }
    }
}
