//! Printing results, and failures without a report.

use std::io::Write;
use std::time::Duration;

use crate::cli::{Format, Options};
use crate::clock;
use crate::config::Problems;
use crate::exit::{ExitStatus, Failure};
use crate::text::escape;
use crate::ui::layout::Layout;
use crate::ui::style::{Style, Styler};
use crate::views::report::TickReport;

pub(crate) fn bad_config(problems: &Problems, width: usize) -> Failure {
    let page = Some(problems.to_page(width));
    Failure { page, ..Failure::new(ExitStatus::BadConfig, problems.to_string()) }
}

/// Tells a failure that left nothing to report, in the format that was asked for.
pub(crate) fn tell_failure(options: &Options, failure: &Failure) -> ExitStatus {
    if options.format == Format::Json {
        let mut report = TickReport::new("tick", &clock::moment(""), options.dry_run);
        report.fail(failure);
        report.finish(None, Duration::ZERO);
        say(&report.to_json());
    } else if let Some(page) = &failure.page {
        let _ = std::io::stderr().write_all(page.painted(Styler::stderr()).as_bytes());
    } else {
        tell(Style::Bad, &failure.text);
    }
    failure.status
}

/// Prints a line of the result. A closed or full stdout changes no verdict.
pub(crate) fn say(line: &str) {
    let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Prints a result as it is. A closed or full stdout changes no verdict.
pub(crate) fn say_bytes(bytes: &[u8]) {
    let _ = std::io::stdout().write_all(bytes);
}

/// Prints a page of the result.
pub(crate) fn say_page(page: &Layout) {
    say(page.painted(Styler::stdout()).trim_end());
}

/// Prints a word to people that is no result, line by line: it may quote what a tracker says.
pub(crate) fn tell(style: Style, text: &str) {
    let lines: Vec<_> = text.lines().map(escape::plain).collect();
    let name = Styler::stderr().put(style, "factory-tick:");
    let _ = std::io::stderr().write_all(format!("{name} {}\n", lines.join("\n")).as_bytes());
}
