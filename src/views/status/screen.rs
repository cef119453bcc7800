//! The text of `status`: what needs a person comes first.

use jiff::Timestamp;

use super::{Heading, Parked, StatusView, StuckLine, Waiting};
use crate::config::Budget;
use crate::model::HoldReason;
use crate::registry::{CoolOff, DailySpend};
use crate::state::heartbeat::{Alive, Heartbeat, Status};
use crate::text::escape;
use crate::ui::layout::{Layout, Row, Span};
use crate::ui::style::Style;
use crate::views::json::{Handoff, InFlight, Note};

/// Lines of a screen. A part that is too long gives up its last rows first.
const LINES_MAX: usize = 40;

/// An empty one, and what is counted.
const FOOT_LINES: usize = 3;

/// Rows that each part keeps in any case.
const ROWS_MIN: usize = 2;

/// A headline that counts, and what it counts.
struct Section {
    title: &'static str,
    style: Style,
    rows: Vec<Row>,
}

impl StatusView {
    /// For a person, on a terminal of this width; `all` shows every row, however many.
    pub fn to_page(&self, width: usize, all: bool) -> Layout {
        let mut page = Layout::new(width);
        let (verdict, style) = match &self.heading.alive {
            Alive::Yes => ("factory-tick is alive".to_owned(), Style::Good),
            alive => (format!("factory-tick is {alive}"), Style::Bad),
        };
        page.paragraph(0, &[Span::words(verdict).style(style)]);
        page.fields(2, &self.fields());
        let sections = self.sections(all);
        if sections.is_empty() && !self.starts_nothing() {
            page.gap();
            page.paragraph(0, &[Span::words("Nothing is parked, in flight or waiting")]);
        }
        let room = if all { usize::MAX } else { LINES_MAX.saturating_sub(page.height() + FOOT_LINES) };
        for (section, shown) in sections.iter().zip(shares(&sections, width, room)) {
            let total = section.rows.len();
            page.gap();
            page.paragraph(0, &[Span::words(format!("{}: {total}", section.title)).style(section.style)]);
            page.table(&section.rows[..shown]);
            if shown < total {
                let hint = Span::whole(format!("{} status -v", self.heading.program));
                page.paragraph(2, &[Span::words(format!("… and {} more:", total - shown)), hint]);
            }
        }
        page.gap();
        page.paragraph(0, &[Span::words(format!("Done: {}", self.heading.done))]);
        page
    }

    /// Whether something keeps items from starting that no section shows: they may never have been started.
    fn starts_nothing(&self) -> bool {
        let Heading { daily_spend, budget, cool_offs, .. } = &self.heading;
        self.pause.is_some()
            || self.breaker.is_some()
            || self.stopped.is_some()
            || daily_spend.is_spent(budget)
            || !cool_offs.is_empty()
    }

    /// What is there in one sentence each: the tick, where everything lies, and what keeps it from working.
    fn fields(&self) -> Vec<(Span, Span)> {
        let heading = &self.heading;
        let now = heading.now;
        let mut fields = Vec::new();
        let mut add = |label: &str, style: Style, value: Span| {
            fields.push((Span::words(label).style(style), value));
        };
        if let Some(beat) = &self.heartbeat {
            add("tick", Style::Dim, Span::words(self.last_tick(beat)));
        }
        add("config", Style::Dim, Span::whole(heading.config.to_string_lossy()));
        add("state", Style::Dim, Span::whole(heading.state.to_string_lossy()));
        for (name, leg) in
            self.heartbeat.iter().flat_map(|beat| [("items", &beat.source), ("agents", &beat.fleet)])
        {
            if let (false, Some(since), Some(error)) = (leg.ok, leg.since, &leg.error) {
                add(name, Style::Bad, Span::words(format!("unknown {}: {error}", lasting(since, None, now))));
            }
        }
        let not_removed = self.heartbeat.as_ref().and_then(|beat| beat.retained.as_ref()?.error.as_ref());
        if let Some(error) = not_removed {
            add("retention", Style::Warn, Span::words(format!("what is old could not be removed: {error}")));
        }
        if let Some(words) = spent_today(&heading.budget, &heading.daily_spend) {
            let is_spent = heading.daily_spend.is_spent(&heading.budget);
            add("today", if is_spent { Style::Warn } else { Style::Dim }, Span::words(words));
        }
        let unpause = || format!("{} unpause", heading.program);
        if let Some(pause) = &self.pause {
            let words = format!("{}: {}", lasting(pause.since(), pause.until(), now), pause.because);
            add("paused", Style::Warn, Span::words(words));
            add("", Style::Dim, Span::whole(format!("→ to go on: {}", unpause())));
        }
        if let (Some(failing), Some(item)) = (&self.breaker, &heading.failed_last) {
            let since = lasting(failing.since, None, now);
            let words = format!(
                "open: {} failures in a row {since}, the last of {item}: {}; until a run ends well nothing starts",
                failing.failures, failing.because
            );
            add("breaker", Style::Bad, Span::words(words));
            add("", Style::Dim, Span::whole(format!("→ once the cause is gone: {}", unpause())));
        }
        if let Some(stopped) = &self.stopped {
            let since = lasting(stopped.since, None, now);
            add("stopped", Style::Bad, Span::words(format!("nothing starts {since}: {}", stopped.because)));
        }
        for (scope, cool_off) in &heading.cool_offs {
            add("cool-off", Style::Warn, Span::words(cooling(scope, cool_off, now)));
        }
        match heading.alive {
            Alive::Absent | Alive::Stopping | Alive::Dead => {
                add("", Style::Dim, Span::whole(format!("→ to run a tick: {}", heading.program)));
            }
            Alive::Stale { .. } => {
                add("", Style::Dim, Span::words("→ does cron still run it? `crontab -l` shows what it runs"));
            }
            Alive::Yes | Alive::Skewed | Alive::Unreadable(_) => {}
        }
        fields
    }

    fn last_tick(&self, beat: &Heartbeat) -> String {
        let now = self.heading.now;
        if beat.status == Status::Running && self.alive {
            return format!(
                "number {} runs for {} now, pid {}",
                beat.ticks,
                age(beat.started_at, now),
                beat.pid
            );
        }
        let due = beat.started_at.checked_add(self.heading.every).unwrap_or(beat.started_at);
        let due = if self.heading.alive == Alive::Skewed {
            String::new()
        } else if due < now {
            format!(", the next was due {}", relative(due, now))
        } else {
            format!(", the next is due {}", relative(due, now))
        };
        let ended = beat.reason.as_deref().unwrap_or("not ended");
        format!("number {}, {}{due}: {ended}", beat.ticks, ago(beat.updated_at, now))
    }

    fn sections(&self, all: bool) -> Vec<Section> {
        let now = self.heading.now;
        let program = &self.heading.program;
        let sections = [
            Section {
                title: "Parked",
                style: Style::Warn,
                rows: self.parked.iter().map(|one| one.row(now)).collect(),
            },
            Section {
                title: "Stuck",
                style: Style::Warn,
                rows: self.stuck.iter().map(|one| one.row(now)).collect(),
            },
            Section {
                title: "To be ended",
                style: Style::Warn,
                rows: self.handoffs.iter().map(|one| handoff_row(one, now, program)).collect(),
            },
            Section {
                title: "After a run",
                style: Style::Warn,
                rows: self.notes.iter().map(|one| note_row(one, program)).collect(),
            },
            Section {
                title: "In flight",
                style: Style::Heading,
                rows: self.in_flight.iter().map(|one| in_flight_row(one, now)).collect(),
            },
            Section {
                title: "Waiting",
                style: Style::Heading,
                rows: self.waiting.iter().map(|one| one.row(now, all)).collect(),
            },
        ];
        sections.into_iter().filter(|section| !section.rows.is_empty()).collect()
    }
}

/// How many rows of each part are shown, so that all of it takes no more lines than there is room for.
fn shares(sections: &[Section], width: usize, room: usize) -> Vec<usize> {
    // No row takes less than a line.
    let mut shown: Vec<_> =
        sections.iter().map(|section| section.rows.len().min(room.max(ROWS_MIN))).collect();
    let height = |(section, shown): (&Section, &usize)| {
        let mut page = Layout::new(width);
        page.table(&section.rows[..*shown]);
        let more = usize::from(*shown < section.rows.len());
        // An empty line and the headline.
        2 + page.height() + more
    };
    if room == usize::MAX {
        return shown;
    }
    let mut heights: Vec<_> = sections.iter().zip(&shown).map(height).collect();
    while heights.iter().sum::<usize>() > room {
        let can_shrink = (0..sections.len()).filter(|at| shown[*at] > ROWS_MIN);
        let Some(tallest) = can_shrink.max_by_key(|at| heights[*at]) else { break };
        shown[tallest] -= 1;
        heights[tallest] = height((&sections[tallest], &shown[tallest]));
    }
    shown
}

/// `3 of 200 starts, 1.20 of 5.00 USD`; nothing of a day without a start.
fn spent_today(budget: &Budget, daily_spend: &DailySpend) -> Option<String> {
    let of = |max: f64, words: String| if max > 0.0 { words } else { String::new() };
    let starts = of(budget.starts_per_day.into(), format!(" of {}", budget.starts_per_day));
    let max_usd = of(budget.usd_per_day, format!(" of {:.2}", budget.usd_per_day));
    let usd = daily_spend.usd.map_or_else(String::new, |usd| format!(", {usd:.2}{max_usd} USD"));
    let held = if daily_spend.exhausted(budget, 1).is_some() {
        format!("; nothing more starts until {}", escape::time(daily_spend.ends()))
    } else if daily_spend.held {
        format!("; too few are left for all roles of an item until {}", escape::time(daily_spend.ends()))
    } else {
        String::new()
    };
    (daily_spend.starts > 0 || daily_spend.usd.is_some())
        .then(|| format!("{}{starts} starts{usd}{held}", daily_spend.starts))
}

/// Who starts nothing, or is about to be tried again, and why.
fn cooling(scope: &str, cool_off: &CoolOff, now: Timestamp) -> String {
    let CoolOff { because, begun, until, .. } = cool_off;
    let since = begun.at;
    let who = match scope.split_once(':') {
        Some(("role" | "login" | "program", role)) => format!("role {role}"),
        Some(("harness", harness)) => format!("harness {harness}"),
        _ => format!("the {scope}"),
    };
    if cool_off.holds(now) {
        format!("{who} starts nothing {}: {because}", lasting(since, *until, now))
    } else {
        format!("{who} is tried with one run, after it failed {}: {because}", ago(since, now))
    }
}

/// `for 10 min, since 2026-11-20 08:42:00Z, until 2026-11-20 10:52:00Z (in 2 h)`
fn lasting(since: Timestamp, until: Option<Timestamp>, now: Timestamp) -> String {
    let until = until.map(|until| format!(", until {} ({})", escape::time(until), relative(until, now)));
    format!("for {}, since {}{}", age(since, now), escape::time(since), until.unwrap_or_default())
}

fn age(since: Timestamp, now: Timestamp) -> String {
    escape::duration(now.duration_since(since).as_secs())
}

/// `2 min 3 s ago`, of something that has happened
fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(at, now))
}

/// `in 4 min 10 s`, of something that is to happen; once it should have: `12 s ago`
fn relative(at: Timestamp, now: Timestamp) -> String {
    if at < now { ago(at, now) } else { format!("in {}", escape::duration(at.duration_since(now).as_secs())) }
}

fn in_flight_row(run: &InFlight, now: Timestamp) -> Row {
    let age = run.started_at.map_or_else(String::new, |at| age(at, now));
    let left = run.deadline_at.map(|at| match at > now {
        true => format!("{} left", escape::duration(at.duration_since(now).as_secs())),
        false => format!("its time was up {}", ago(at, now)),
    });
    let row = Row::new([
        Span::whole(&run.key),
        Span::whole(&run.run),
        Span::words(format!("{} {age}", run.phase)),
        Span::words(format!("attempt {}/{}", run.attempt, run.attempts_max)),
        Span::words(left.unwrap_or_default()),
        Span::words(run.pid.map_or_else(String::new, |pid| format!("pid {pid}"))),
    ]);
    let row = match escape::used(run.usd, run.tokens) {
        Some(used) => row.field("used", Span::words(used)),
        None => row,
    };
    let row = row.field("log", Span::whole(&run.log));
    match &run.takeover {
        Some(command) => row.field("take over", Span::whole(command)),
        None => row,
    }
}

impl Waiting {
    /// `all`: with all that is to be said of it.
    fn row(&self, now: Timestamp, all: bool) -> Row {
        let line = &self.line;
        let row = Row::new([Span::whole(&line.key), Span::words(line.code), Span::words(self.until(now))]);
        let row = row.prose(&line.because);
        if all { row } else { row.clipped() }
    }

    fn until(&self, now: Timestamp) -> String {
        match self.line.until {
            // It waits for something to happen, not for a time.
            None if matches!(self.code, HoldReason::HandoffPending | HoldReason::WorkspaceTaken) => {
                String::new()
            }
            Some(at) if at > now => format!("due {}", relative(at, now)),
            _ => "due".to_owned(),
        }
    }
}

impl Parked {
    /// What happened, and below it what helps.
    fn row(&self, now: Timestamp) -> Row {
        let line = &self.line;
        let by = if line.parked_by == Some("person") { "by a person" } else { "survivors" };
        let since = line.since.map_or_else(String::new, |at| ago(at, now));
        let cells = [Span::whole(&line.key), Span::words(line.class.unwrap_or(by)), Span::words(since)];
        let mut row = Row::new(cells).prose(&line.because);
        for help in &self.help {
            row = row.field(format!("→ {}:", help.to), Span::whole(&help.what));
        }
        for command in &line.takeover {
            row = row.field("→ to go on by hand:", Span::whole(command));
        }
        row
    }
}

impl StuckLine {
    /// What holds it, and below it what helps.
    fn row(&self, now: Timestamp) -> Row {
        let line = &self.line;
        let cells = [Span::whole(&line.key), Span::words(line.code), Span::words(ago(line.since, now))];
        let row = Row::new(cells).prose(&line.because);
        self.help.iter().fold(row, |row, help| row.field(format!("→ {}:", help.to), Span::whole(&help.what)))
    }
}

fn handoff_row(handoff: &Handoff, now: Timestamp, program: &str) -> Row {
    let survivors: Vec<_> = handoff.survivors.iter().map(ToString::to_string).collect();
    let row = Row::new([Span::whole(&handoff.run), Span::words(ago(handoff.since, now))]);
    if survivors.is_empty() {
        return row.prose(&handoff.because);
    }
    let row = row.prose(format!("{} (pids {})", handoff.because, survivors.join(", ")));
    let row = row.field("→ to try again:", Span::whole(format!("{program} reap")));
    row.field("→ or give them up:", Span::whole(format!("{program} reap --forget {}", handoff.run)))
}

fn note_row(note: &Note, program: &str) -> Row {
    let row = Row::new([Span::whole(&note.key), Span::whole(&note.run)]).prose(&note.because);
    row.field("→ what it printed:", Span::whole(format!("{program} logs {} --hooks", note.run)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClockReading;
    use crate::views::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_is_ago_and_what_comes_is_in() {
        assert_eq!(ago(at(100), at(100)), "0 s ago");
        assert_eq!(ago(at(100), at(223)), "2 min 3 s ago");
        assert_eq!(relative(at(160), at(100)), "in 1 min");
        assert_eq!(relative(at(100), at(160)), "1 min ago");
    }

    #[test]
    fn an_item_is_due_at_a_time_or_waits_for_something_to_happen() {
        let until = |code: HoldReason, until: Option<i64>| {
            let (item, key) = ("dir:A".to_owned(), "A".to_owned());
            let (because, until) = (String::new(), until.map(at));
            let waiting =
                Waiting { line: json::Waiting { item, key, code: code.name(), because, until }, code };
            waiting.until(at(100))
        };
        assert_eq!(until(HoldReason::Backoff, Some(105)), "due in 5 s");
        assert_eq!(until(HoldReason::Backoff, Some(100)), "due");
        assert_eq!(until(HoldReason::Backoff, None), "due");
        assert_eq!(until(HoldReason::HandoffPending, None), "");
    }

    #[test]
    fn who_cools_off_is_told_in_words_and_until_when() {
        let told = |scope: &str, until: Option<i64>| {
            let (because, until) = ("no room".to_owned(), until.map(at));
            let begun = ClockReading { at: at(40), mono_ms: 0, boot_id: String::new(), slept_ms: 0 };
            cooling(scope, &CoolOff { because, begun, until, streak: 1, credentials: None }, at(100))
        };
        let since = "for 1 min, since 1970-01-01 00:00:40Z";
        assert_eq!(told("role:impl", None), format!("role impl starts nothing {since}: no room"));
        assert_eq!(told("login:impl", None), told("role:impl", None));
        assert_eq!(told("program:impl", None), told("role:impl", None));
        assert_eq!(told("machine", None), format!("the machine starts nothing {since}: no room"));
        assert_eq!(
            told("harness:claude", Some(220)),
            format!("harness claude starts nothing {since}, until 1970-01-01 00:03:40Z (in 2 min): no room")
        );
        let trial = "harness claude is tried with one run, after it failed 1 min ago: no room";
        assert_eq!(told("harness:claude", Some(100)), trial);
    }

    #[test]
    fn a_day_tells_what_is_left_of_it() {
        let spent = |starts, usd, starts_per_day, usd_per_day| {
            let day = "2026-11-20".parse().unwrap();
            let budget = Budget { starts_per_day, item_starts_per_day: 0, usd_per_day, usd_per_run: 0.0 };
            spent_today(
                &budget,
                &DailySpend { day, starts, usd, tokens: None, taken_back_from: None, held: false },
            )
        };
        assert_eq!(spent(0, None, 200, 5.0), None, "nothing happened");
        let day = "2026-11-20".parse().unwrap();
        let daily_spend =
            DailySpend { day, starts: 2, usd: None, tokens: None, taken_back_from: None, held: true };
        assert_eq!(
            spent_today(
                &Budget { starts_per_day: 3, item_starts_per_day: 0, usd_per_day: 0.0, usd_per_run: 0.0 },
                &daily_spend
            )
            .unwrap(),
            "2 of 3 starts; too few are left for all roles of an item until 2026-11-21 00:00:00Z"
        );
        assert_eq!(spent(3, None, 0, 0.0).unwrap(), "3 starts");
        assert_eq!(spent(3, Some(1.2), 0, 0.0).unwrap(), "3 starts, 1.20 USD");
        assert_eq!(spent(3, Some(1.2), 200, 5.0).unwrap(), "3 of 200 starts, 1.20 of 5.00 USD");
        assert_eq!(
            spent(3, Some(5.0), 200, 5.0).unwrap(),
            "3 of 200 starts, 5.00 of 5.00 USD; nothing more starts until 2026-11-21 00:00:00Z"
        );
    }

    // A factory where everything failed at once had a status of three screens, of which the terminal showed the
    // last: what waits.
    #[test]
    fn what_is_too_much_for_a_screen_gives_way_where_there_is_most_of_it() {
        let section = |rows: usize, fields: usize| Section {
            title: "x",
            style: Style::Heading,
            rows: (0..rows)
                .map(|at| {
                    (0..fields).fold(Row::new([Span::whole(at.to_string())]), |row, _| {
                        row.field("f", Span::whole("v"))
                    })
                })
                .collect(),
        };
        let sections = [section(2, 2), section(1000, 0), section(20, 1)];
        assert_eq!(shares(&sections, 100, 32), [2, 10, 4], "8, 13 and 11 lines");
        assert_eq!(shares(&sections, 100, 0), [2, 2, 2], "nothing is left out altogether");
        assert_eq!(shares(&sections, 100, usize::MAX), [2, 1000, 20]);
    }
}
