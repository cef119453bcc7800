//! The lines of a crontab that run the ticks: whole paths, quoted for the shell, and escaped for cron itself.

use std::path::Path;
use std::time::Duration;

use super::roles;
use super::subject::Subject;
use super::surroundings::CRON_PATH;
use crate::exit::ExitStatus;
use crate::text::escape;
use crate::views::check::Finding;

/// What stands behind the folders that the roles need; cron's own PATH lacks the first.
const PATH_REST: &str = "/usr/local/bin:/usr/bin:/bin";

/// How often cron can run something at even intervals, in minutes; it knows nothing below one, and forgets yesterday.
const STEPS: [u64; 18] = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440];

/// The lines, and what is to be said about them.
pub(super) fn lines(subject: &Subject<'_>) -> (Option<String>, Vec<Finding>) {
    let mut findings = Vec::new();
    let every = subject.config.tick.every;
    let (schedule, is_exact) = schedule(every);
    if !is_exact {
        let because = format!("cron can't run every {} s: the line comes nearest to it", every.as_secs_f64());
        findings.push(Finding::note("crontab", because).hint("set [tick] every to what the line says"));
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            let because = format!("the system does not tell where this program is: {error}");
            findings.push(Finding::problem(ExitStatus::Partial, "crontab", because));
            "factory-tick".into()
        }
    };
    let state = subject.state_is_named.then_some(subject.state_path.as_path());
    let Some(command) = command(&program, &subject.config.path, state, subject.sets) else {
        let because = "a path or a --set has a line break in it or is not UTF-8, which no crontab can hold";
        findings.push(
            Finding::problem(ExitStatus::Partial, "crontab", because)
                .hint("rename the folder, or write what is set into the configuration"),
        );
        return (None, findings);
    };
    let folders = roles::folders_beyond(subject, &CRON_PATH.into());
    let path = match folders.is_empty() {
        true => String::new(),
        false => {
            let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
            format!("PATH={}:{PATH_REST}\n", folders.join(":"))
        }
    };
    (Some(format!("{path}{schedule} {command}")), findings)
}

/// What cron hands to the shell, as a crontab holds it; `None` where none can.
fn command(program: &Path, config: &Path, state: Option<&Path>, sets: &[String]) -> Option<String> {
    let mut words =
        vec![quoted(program.to_str()?)?, "-q".to_owned(), "-c".to_owned(), quoted(config.to_str()?)?];
    if let Some(state) = state {
        words.extend(["--state-dir".to_owned(), quoted(state.to_str()?)?]);
    }
    for set in sets {
        words.extend(["--set".to_owned(), quoted(set)?]);
    }
    // To cron a % is the end of the command and the beginning of its input.
    Some(words.join(" ").replace('%', "\\%"))
}

/// One word of a shell.
fn quoted(text: &str) -> Option<String> {
    if text.contains(['\n', '\r']) {
        return None;
    }
    Some(escape::shell_word(text))
}

/// The five fields, and whether they mean exactly that.
fn schedule(every: Duration) -> (String, bool) {
    let minutes = every.as_secs() / 60;
    let step = STEPS.into_iter().rev().find(|step| *step <= minutes).unwrap_or(1);
    let fields = match step {
        1 => "* * * * *".to_owned(),
        60 => "0 * * * *".to_owned(),
        1440 => "0 0 * * *".to_owned(),
        step if step < 60 => format!("*/{step} * * * *"),
        step => format!("0 */{} * * *", step / 60),
    };
    (fields, Duration::from_secs(step * 60) == every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_comes_as_often_as_it_can() {
        let seconds = |seconds| schedule(Duration::from_secs(seconds));
        for (given, fields, exact) in [
            (60, "* * * * *", true),
            (30, "* * * * *", false),
            (300, "*/5 * * * *", true),
            (420, "*/6 * * * *", false),
            (3600, "0 * * * *", true),
            (5400, "0 * * * *", false),
            (7200, "0 */2 * * *", true),
            (86_400, "0 0 * * *", true),
            (172_800, "0 0 * * *", false),
        ] {
            assert_eq!(seconds(given), (fields.to_owned(), exact), "{given} s");
        }
    }

    // covers: C04
    #[test]
    fn a_path_is_one_word_to_the_shell_and_no_input_to_cron() {
        let line = |config: &str| command(Path::new("/bin/factory-tick"), Path::new(config), None, &[]);
        assert_eq!(line("/srv/f/factory.toml").unwrap(), "/bin/factory-tick -q -c /srv/f/factory.toml");
        assert_eq!(line("/srv/it's $HOME").unwrap(), r"/bin/factory-tick -q -c '/srv/it'\''s $HOME'");
        assert_eq!(line("/srv/50%").unwrap(), r"/bin/factory-tick -q -c /srv/50\%");
        assert_eq!(line("/srv/a\nb"), None);
        let named =
            command(Path::new("/f"), Path::new("/c"), Some(Path::new("/s t")), &["a.b=[1]".to_owned()]);
        assert_eq!(named.unwrap(), "/f -q -c /c --state-dir '/s t' --set 'a.b=[1]'");
    }
}
