//! Access to the tables of a TOML document in which no problem hides another.
//!
//! Every read answers `Option`: `None` means that a [`Problem`] was noted, and reading goes on. Which keys there are
//! is told by the reads themselves: what nobody asked for is unknown.

use std::cell::RefCell;

use ::toml::de::{DeTable, DeValue};

use crate::config::toml::overrides;
use crate::config::toml::problems::{Problem, position};
use crate::config::toml::value::Value;
use crate::text::cut::{escaped, shortened};

/// What was found out about one document so far.
pub(in crate::config) struct Report<'t> {
    text: &'t str,
    /// What the command line sets, as it was typed.
    sets: &'t [String],
    problems: RefCell<Vec<Problem>>,
    /// Tables and keys that somebody asked for.
    known: RefCell<Vec<Known>>,
    unknown: RefCell<Vec<Unknown>>,
}

/// A key that exists, and the table it belongs in: `("[tick]", "every")`.
pub(in crate::config) type Known = (&'static str, &'static str);

struct Unknown {
    title: &'static str,
    key: String,
    at: usize,
    is_table: bool,
}

impl<'t> Report<'t> {
    pub(in crate::config) fn new(text: &'t str, sets: &'t [String]) -> Self {
        Report {
            text,
            sets,
            problems: RefCell::default(),
            known: RefCell::default(),
            unknown: RefCell::default(),
        }
    }

    /// Where the nth `--set` is: behind the end of the text, which may itself be a place.
    pub(in crate::config) fn position_of_set(&self, n: usize) -> usize {
        self.text.len() + 1 + n
    }

    pub(in crate::config) fn add(&self, at: usize, key: &str, what: String, hint: &str) {
        let set = at.checked_sub(self.position_of_set(0)).and_then(|n| Some((n, self.sets.get(n)?)));
        let (line, column) = match set {
            Some((n, _)) => (0, n + 1),
            None => position(self.text.as_bytes(), at),
        };
        self.problems.borrow_mut().push(Problem {
            line,
            column,
            set: set.map(|(_, set)| overrides::name(set)),
            key: escaped(key),
            what: escaped(&what),
            hint: hint.to_owned(),
        });
    }

    /// All problems by position, unknown keys among them: only now is it clear where those would belong.
    pub(in crate::config) fn finish(self) -> Vec<Problem> {
        let known = self.known.take();
        for Unknown { title, key, at, is_table } in self.unknown.take() {
            let what = match (is_table, title) {
                (true, "") => format!("there is no table `[{}]`", shortened(&key)),
                (false, "") => format!("`{}` stands outside of any table", shortened(&key)),
                (_, title) => format!("there is no `{}` in `{title}`", shortened(&key)),
            };
            self.add(at, &dotted(title, &key), what, &belongs(&known, title, &key));
        }
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }

    /// Every key that was asked for, in the order of asking.
    #[cfg(test)]
    pub(in crate::config) fn known(&self) -> Vec<Known> {
        self.known.borrow().clone()
    }
}

/// The best guess at what an unknown key was meant to be.
fn belongs(known: &[Known], title: &str, key: &str) -> String {
    let here = || known.iter().filter(|(table, _)| *table == title).map(|(_, name)| *name);
    let wanted = key.to_lowercase().replace('-', "_");
    let near = here()
        .map(|name| (strsim::damerau_levenshtein(name, &wanted), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min();
    if let Some((_, name)) = near {
        return format!("did you mean `{name}`?");
    }
    let elsewhere = known.iter().find(|(table, name)| !table.is_empty() && *name == wanted);
    if let Some((table, name)) = elsewhere {
        return format!("`{name}` belongs in `{table}`");
    }
    let names: Vec<_> = here().map(|name| format!("`{name}`")).collect();
    format!("what can stand here: {}", names.join(", "))
}

fn dotted(title: &str, key: &str) -> String {
    let table = title.trim_matches(['[', ']']);
    let dot = if table.is_empty() || key.is_empty() { "" } else { "." };
    format!("{table}{dot}{key}")
}

/// One table of the document, present or not.
pub(in crate::config) struct Section<'a, 't> {
    report: &'a Report<'t>,
    /// As people write it, `[tick]`; empty for the document.
    title: &'static str,
    table: Option<&'a DeTable<'t>>,
    at: usize,
}

impl<'a, 't> Section<'a, 't> {
    pub(in crate::config) fn document(report: &'a Report<'t>, table: &'a DeTable<'t>) -> Self {
        Section::new(report, "", Some(table), 0)
    }

    /// One table; `at` is where it begins.
    pub(in crate::config) fn new(
        report: &'a Report<'t>,
        title: &'static str,
        table: Option<&'a DeTable<'t>>,
        at: usize,
    ) -> Self {
        Section { report, title, table, at }
    }

    /// The table `key` in this one, empty when it is absent.
    pub(in crate::config) fn table(&self, key: &'static str, title: &'static str) -> Section<'a, 't> {
        match self.get(key) {
            None => Section::new(self.report, title, None, self.at),
            Some(value) => value.section(title),
        }
    }

    /// The value of `key`, `default` where it is absent.
    pub(in crate::config) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a, 't>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).map_or(Some(default), |value| read(&value))
    }

    /// The value of `key`, a problem where it is absent.
    pub(in crate::config) fn required<T>(
        &self,
        key: &'static str,
        hint: &str,
        read: impl FnOnce(&Value<'a, 't>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(value) => read(&value),
            None => {
                let what = if self.title.is_empty() {
                    format!("`{key}` is missing")
                } else {
                    format!("`{key}` is missing in `{}`", self.title)
                };
                self.report.add(self.at, &dotted(self.title, key), what, hint);
                None
            }
        }
    }

    /// Notes a problem of the whole table.
    pub(in crate::config) fn problem(&self, what: String, hint: &str) {
        self.report.add(self.at, &dotted(self.title, ""), what, hint);
    }

    /// Notes a problem of a few keys taken together, at the first of them that is there.
    pub(in crate::config) fn problem_of(&self, keys: &[&'static str], what: String, hint: &str) {
        let found = keys.iter().find_map(|key| self.get(key));
        match found {
            Some(value) => value.problem(what, hint),
            None => self.problem(what, hint),
        }
    }

    /// Notes a problem with a key where it is there and not empty.
    pub(in crate::config) fn refuse_key(&self, key: &'static str, what: &str, hint: &str) {
        if let Some(value) = self.get(key).filter(|value| !value.is_empty()) {
            value.problem(format!("`{key}` {what}"), hint);
        }
    }

    /// Ends the reading of this table: what was not asked for is unknown.
    pub(in crate::config) fn close(self) {
        let known = self.report.known.borrow();
        for (key, value) in self.table.into_iter().flatten() {
            if known.iter().any(|(title, name)| *title == self.title && name == key.get_ref()) {
                continue;
            }
            self.report.unknown.borrow_mut().push(Unknown {
                title: self.title,
                key: key.get_ref().to_string(),
                at: key.span().start,
                is_table: is_table(value.get_ref()),
            });
        }
    }

    fn get(&self, key: &'static str) -> Option<Value<'a, 't>> {
        let mut known = self.report.known.borrow_mut();
        if !known.contains(&(self.title, key)) {
            known.push((self.title, key));
        }
        let value = self.table?.get(key)?;
        let name = if self.title.is_empty() { format!("`{key}`") } else { format!("`{} {key}`", self.title) };
        Some(Value::new(self.report, name, dotted(self.title, key), value))
    }
}

fn is_table(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(array) => array.iter().any(|element| element.get_ref().is_table()),
        _ => false,
    }
}
