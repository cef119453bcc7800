//! What agents do that they should not, and what becomes of it.

use super::Way;

/// Whose agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    Root,
    Ordinary,
}

/// What is to become of the processes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// None is left.
    Gone,
    /// One can't be ended. It is told, and stays on record.
    Told,
    /// One lives and nobody knows: README names it.
    Escaped,
}

/// One misbehaviour, by its name in `misbehave.c`.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Only for one of them.
    user: Option<User>,
    /// Whether its processes still have the environment that they were given, for the user who looks.
    marked: fn(User) -> bool,
    /// Part of the ordinary tests.
    pub(super) is_ordinary: bool,
    fate: fn(User, Way) -> Fate,
}

impl Row {
    /// What must become of it; `None` where it can't be done.
    pub(super) fn fate(&self, user: User, way: Way) -> Option<Fate> {
        let is_possible = self.user.is_none_or(|only| only == user)
            // Its launcher must be told to go on before it sees anything; and its agent dies with it.
            && !(self.name == "stops-launcher" && way != Way::Stopped)
            && !(needs_group(self.name) && matches!(way, Way::KilledWithoutGroup | Way::KilledWithoutMarks));
        let is_unmarked = way == Way::KilledWithoutMarks && !(self.marked)(user);
        is_possible.then(|| if is_unmarked { Fate::Escaped } else { (self.fate)(user, way) })
    }
}

fn needs_group(name: &str) -> bool {
    ["group-below", "frozen", "threaded-group", "leaves-group", "wants-to-escape"].contains(&name)
}

fn gone(_: User, _: Way) -> Fate {
    Fate::Gone
}

/// An ordinary user may not signal root.
fn told(_: User, _: Way) -> Fate {
    Fate::Told
}

fn escapes_without_group(_: User, way: Way) -> Fate {
    if way == Way::KilledWithoutGroup { Fate::Escaped } else { Fate::Gone }
}

fn escapes(_: User, way: Way) -> Fate {
    if way == Way::Killed { Fate::Escaped } else { Fate::Gone }
}

const fn row(name: &'static str) -> Row {
    Row { name, user: None, marked: |_| true, is_ordinary: false, fate: gone }
}

impl Row {
    const fn ordinary(self) -> Row {
        Row { is_ordinary: true, ..self }
    }

    /// Its environment tells nothing.
    const fn bare(self) -> Row {
        Row { marked: |_| false, ..self }
    }

    /// Only root may read its environment.
    const fn hidden(self) -> Row {
        Row { marked: |user| user == User::Root, ..self }
    }

    const fn only(self, user: User) -> Row {
        Row { user: Some(user), ..self }
    }

    const fn with(self, fate: fn(User, Way) -> Fate) -> Row {
        Row { fate, ..self }
    }
}

/// All of them.
pub(super) const ROWS: &[Row] = &[
    row("session"),
    row("orphan"),
    row("daemon"),
    row("session-without-leader"),
    row("reaper-of-its-own").bare(),
    row("child-of-launcher").bare(),
    row("tree-of-100"),
    row("bare").bare(),
    row("overwrites-environment").bare().ordinary(),
    row("another-environment").bare(),
    row("large-environment").bare(),
    row("not-dumpable").hidden().ordinary(),
    row("another-name"),
    row("respawns-each-ms"),
    row("respawns-by-exec").bare(),
    row("respawns-at-once").ordinary(),
    row("respawns-in-8-chains"),
    row("execs-on-and-on").bare(),
    row("stopped"),
    row("deaf").bare(),
    row("answers-with-another").bare(),
    row("floods-stdout"),
    row("traced"),
    row("zombies"),
    row("waits-for-vfork"),
    row("without-first-thread").bare().ordinary(),
    row("removes-directory"),
    row("pid-namespace").only(User::Root),
    row("user-namespace").ordinary(),
    row("another-proc"),
    row("another-user").only(User::Root).ordinary(),
    row("changes-users").only(User::Root),
    row("set-uid-program").bare().only(User::Ordinary).with(told).ordinary(),
    row("group-below"),
    row("frozen"),
    row("threaded-group"),
    row("leaves-group"),
    row("unbound"),
    row("agent-is-another-user").only(User::Root),
    row("stops-launcher"),
    row("lower-limit").bare().with(escapes_without_group),
    row("wants-to-escape").with(escapes),
];
