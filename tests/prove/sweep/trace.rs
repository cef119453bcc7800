//! What strace wrote, and which points of it are worth a fault.

use std::collections::BTreeMap;
use std::fmt;

/// One system call of a recording.
#[derive(Clone, Debug)]
pub(super) struct Call {
    name: String,
    /// The line, up to its result.
    text: String,
    /// Whether strace put a fault there.
    injected: bool,
}

/// A call to put a fault at.
#[derive(Clone, Debug)]
pub(super) struct Point {
    name: String,
    /// Counting from one, among the calls of its name: so does strace.
    nth: usize,
    text: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:when={} {}", self.name, self.nth, self.text)
    }
}

impl Point {
    /// Whether a process that is refused it has no memory to go on with.
    pub(super) fn is_of_memory(&self) -> bool {
        MEMORY.contains(&self.name.as_str())
    }
}

const MEMORY: &[&str] = &["brk", "mmap", "mprotect", "mremap", "munmap", "madvise"];

/// Calls that change nothing which outlives the process. A kill before one leaves what a kill before the next call that
/// does would leave, so that one alone is tried. `close` is among them because the end of a process closes everything.
const CHANGES_NOTHING: &[&str] = &[
    "access",
    "arch_prctl",
    "close",
    "fcntl",
    "fstat",
    "fstatfs",
    "getcwd",
    "getdents64",
    "geteuid",
    "getpid",
    "getppid",
    "getrandom",
    "getrusage",
    "gettid",
    "getuid",
    "ioctl",
    "lseek",
    "newfstatat",
    "poll",
    "pread64",
    "read",
    "readlink",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "statfs",
    "statx",
    "uname",
];

/// Calls that do not fail when they are called as they should be. What a library makes of it if they do is not ours;
/// and a `close` that fails has closed all the same, which strace does not do.
const NEVER_FAILS: &[&str] = &[
    "close",
    "exit_group",
    "geteuid",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sigaltstack",
    // The kernel fails it never; the library that calls it panics if strace does.
    "umask",
    "uname",
];

impl Call {
    fn changes_something(&self) -> bool {
        match self.name.as_str() {
            "open" | "openat" => self.text.contains("O_CREAT") || self.text.contains("O_TRUNC"),
            // The limit that marks a run is one of what its processes inherit.
            "prlimit64" => self.text.contains("RTTIME"),
            // The one that makes it this program. Strace does not count it.
            "execve" => false,
            name => !CHANGES_NOTHING.contains(&name) && !MEMORY.contains(&name),
        }
    }

    /// A process can always ask for its own limits, and the library that asks relies on that.
    fn never_fails(&self) -> bool {
        let asks_for_limit = self.name == "prlimit64" && self.text.contains(", NULL, {");
        asks_for_limit || NEVER_FAILS.contains(&self.name.as_str())
    }

    /// Whether it is the same call as another, in a folder of another name, of a process with other numbers. What a
    /// call returned in its arguments is missing where it was not made.
    fn is_like(&self, other: &Call) -> bool {
        let known = |shape: String| match self.name.as_str() {
            name if name.starts_with("open") || !CHANGES_NOTHING.contains(&name) => shape,
            _ => shape.split(", ").next().unwrap_or_default().to_owned(),
        };
        let (one, other) = (known(self.shape()), known(other.shape()));
        one.starts_with(&other) || other.starts_with(&one)
    }

    /// What it looks like without numbers, random names and addresses.
    fn shape(&self) -> String {
        // What it does not return from is cut short.
        let text = self.text.split("<unfinished").next().unwrap_or_default().trim_end();
        let mut shape = String::new();
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_of_folder = shape.ends_with("factory-tick-");
            let varies = is_of_folder || name.chars().any(|c| c.is_ascii_digit());
            shape.push_str(if varies { "#" } else { name });
            shape.push_str(&word[name.len()..]);
        }
        shape
    }
}

/// The calls of a trace, in order.
pub(super) fn read(trace: &str) -> Vec<Call> {
    let call = |line: &str| {
        let name = line.split_once('(')?.0;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
        let text = line.rsplit_once(" = ").map_or(line, |(text, _)| text).trim_end();
        let injected = line.contains("(INJECTED)");
        is_name.then(|| Call { name: name.to_owned(), text: text.to_owned(), injected })
    };
    trace.lines().filter_map(call).collect()
}

/// What is done to a process.
pub(super) enum Fault {
    /// It is killed before the call.
    Kill,
    /// The call fails with this error.
    Error(String),
}

/// Whether a fault happened.
#[derive(PartialEq, Eq)]
pub(super) enum Hit {
    /// At the call that was recorded.
    There,
    /// At another one of its name.
    Elsewhere,
    /// Not at all.
    Not,
}

impl Fault {
    pub(super) fn name(&self) -> &str {
        match self {
            Fault::Kill => "KILL",
            Fault::Error(error) => error,
        }
    }

    /// For strace.
    pub(super) fn injection(&self, point: &Point) -> String {
        let what = match self {
            Fault::Kill => "signal=KILL".to_owned(),
            Fault::Error(error) => format!("error={error}"),
        };
        format!("inject={}:{what}:when={}", point.name, point.nth)
    }

    /// Where it is worth trying.
    pub(super) fn points(&self, calls: &[Call]) -> Vec<Point> {
        let main = begin_of_main(calls);
        let mut seen = BTreeMap::new();
        let mut looks = BTreeMap::new();
        let mut points = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let nth = seen.entry(call.name.as_str()).and_modify(|count| *count += 1).or_insert(1_usize);
            let is_wanted = match self {
                Fault::Kill => call.changes_something(),
                // What the loader and the language's runtime make of an error is not ours, and no end of a process
                // fails. Looks of one kind (each process, each entry of PATH) are tried three times, not each.
                Fault::Error(_) => {
                    let look = looks.entry(call.shape()).and_modify(|count| *count += 1).or_insert(1_usize);
                    at >= main && !call.never_fails() && (call.changes_something() || *look <= 3)
                }
            };
            if is_wanted {
                points.push(Point { name: call.name.clone(), nth: *nth, text: call.text.clone() });
            }
        }
        points
    }

    pub(super) fn hit(&self, point: &Point, calls: &[Call], code: Option<i32>) -> Hit {
        let struck = match self {
            Fault::Kill if code.is_none() => calls.last(),
            Fault::Kill => None,
            Fault::Error(_) => calls.iter().find(|call| call.injected),
        };
        let recorded = Call { name: String::new(), text: point.text.clone(), injected: false };
        match struck {
            None => Hit::Not,
            Some(call) if call.is_like(&recorded) => Hit::There,
            Some(_) => Hit::Elsewhere,
        }
    }
}

/// Behind what a process does before its `main`: the runtime's last call there is to be told of a bus error.
fn begin_of_main(calls: &[Call]) -> usize {
    let last = calls.iter().position(|call| call.text.starts_with("rt_sigaction(SIGBUS, {"));
    last.expect("the runtime's calls are in the recording") + 1
}
