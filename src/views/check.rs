//! What `check` found out, of everything that a tick needs.

use super::json;
use crate::exit::ExitStatus;
use crate::ui::layout::{Layout, Row, Span};
use crate::ui::style::Style;

/// How a thing was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// A tick does its work; a person should know all the same.
    Note,
    /// A tick could not do its work. The status says what kind it is.
    Problem(ExitStatus),
}

impl Level {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Problem(_) => "problem",
        }
    }

    fn style(self) -> Style {
        match self {
            Level::Ok => Style::Good,
            Level::Note => Style::Warn,
            Level::Problem(_) => Style::Bad,
        }
    }
}

/// What a check found out about one thing.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// Which thing: a file, a role, an item.
    pub subject: String,
    /// How it was found.
    pub level: Level,
    /// In words.
    pub because: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// All is well with it.
    pub fn ok(subject: impl Into<String>, because: impl Into<String>) -> Finding {
        Finding { subject: subject.into(), level: Level::Ok, because: because.into(), hint: None }
    }

    /// It is worth knowing.
    pub fn note(subject: impl Into<String>, because: impl Into<String>) -> Finding {
        Finding { level: Level::Note, ..Finding::ok(subject, because) }
    }

    /// It keeps a tick from its work, which would end with that status.
    pub fn problem(status: ExitStatus, subject: impl Into<String>, because: impl Into<String>) -> Finding {
        Finding { level: Level::Problem(status), ..Finding::ok(subject, because) }
    }

    /// The same, and what to do.
    pub fn hint(self, hint: impl Into<String>) -> Finding {
        Finding { hint: Some(hint.into()), ..self }
    }

    fn row(&self, name: &str) -> Row {
        let level = Span::whole(self.level.name()).style(self.level.style());
        let row = Row::new([level, Span::whole(name), Span::whole(&self.subject)]).prose(&self.because);
        match &self.hint {
            Some(hint) => row.field("→", Span::words(hint)),
            None => row,
        }
    }
}

/// Everything that was found.
#[derive(Debug)]
pub struct CheckView {
    /// Whether it was looked at as cron would find it.
    pub as_cron: bool,
    /// Whether there was a configuration, without which there is little to look at.
    pub is_whole: bool,
    /// Each with the name of its check, in the order in which a person corrects things.
    pub findings: Vec<(&'static str, Finding)>,
    /// What makes cron run the ticks.
    pub crontab: Option<String>,
}

impl CheckView {
    /// The worst of what was found.
    pub fn status(&self) -> ExitStatus {
        let status = |level| if let Level::Problem(status) = level { status } else { ExitStatus::Ok };
        self.findings.iter().fold(ExitStatus::Ok, |worst, (_, one)| worst.worse(status(one.level)))
    }

    /// For a script: one line.
    pub fn to_json(&self) -> String {
        let checks = self.findings.iter().map(|(name, finding)| json::CheckFinding {
            name,
            subject: &finding.subject,
            ok: !matches!(finding.level, Level::Problem(_)),
            level: finding.level.name(),
            because: &finding.because,
            hint: finding.hint.as_deref(),
        });
        json::one_line(&json::Check {
            schema: json::SCHEMA,
            status: self.status().name(),
            exit_code: self.status().code(),
            as_cron: self.as_cron,
            checks: checks.collect(),
            crontab: self.crontab.as_deref(),
        })
    }

    /// For a person, on a terminal of this width. The lines for a crontab are shown to the letter.
    pub fn to_page(&self, width: usize) -> Layout {
        let mut page = Layout::new(width);
        page.paragraph(0, &self.headline());
        page.table(&self.findings.iter().map(|(name, finding)| finding.row(name)).collect::<Vec<_>>());
        if !self.is_whole {
            page.paragraph(0, &[Span::words("Without a configuration nothing else can be looked at.")]);
        }
        if let Some(lines) = &self.crontab {
            page.heading("For `crontab -e`:");
            lines.lines().for_each(|line| page.verbatim(0, line));
        }
        page
    }

    fn headline(&self) -> [Span; 3] {
        let count = |level: &str| {
            let count = self.findings.iter().filter(|(_, finding)| finding.level.name() == level).count();
            let plural = if count == 1 || level == "ok" { "" } else { "s" };
            (count > 0).then(|| format!("{count} {level}{plural}"))
        };
        let counts: Vec<_> = ["ok", "note", "problem"].into_iter().filter_map(count).collect();
        let style = if self.status() == ExitStatus::Ok { Style::Good } else { Style::Bad };
        [
            Span::words(if self.as_cron { "check as cron:" } else { "check:" }).style(Style::Heading),
            Span::words(self.status().name()).style(style),
            Span::words(format!("({})", counts.join(", "))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_and_the_worst_gives_the_code() {
        let view = |findings: Vec<Finding>| CheckView {
            as_cron: false,
            is_whole: true,
            findings: findings.into_iter().map(|finding| ("thing", finding)).collect(),
            crontab: Some("* * * * * true".to_owned()),
        };
        let item = || Finding::problem(ExitStatus::Partial, "AR-1.md", "is a pipe").hint("put a file there");
        let state = || Finding::problem(ExitStatus::CannotCreate, "/s", "others can write to it");
        assert_eq!(view(vec![Finding::ok("a", "b"), Finding::note("c", "d")]).status(), ExitStatus::Ok);
        assert_eq!(view(vec![item()]).status(), ExitStatus::Partial);
        let both = view(vec![item(), state(), Finding::problem(ExitStatus::Denied, "r", "K is not set")]);
        assert_eq!(both.status(), ExitStatus::CannotCreate);
        assert_eq!(
            both.to_page(100).to_text(),
            "check: cannot-create (3 problems)\n  \
             problem  thing  AR-1.md  is a pipe\n    \
             →  put a file there\n  \
             problem  thing  /s       others can write to it\n  \
             problem  thing  r        K is not set\n\
             For `crontab -e`:\n* * * * * true\n"
        );
    }
}
