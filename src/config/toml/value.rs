//! One value of a TOML document, read as what it should be or refused by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use ::toml::Spanned;
use ::toml::de::DeValue;

use crate::config::toml::section::{Report, Section};
use crate::config::toml::units::{self, NotA};
use crate::text::cut::{quoted, shortened};

/// One value of the document.
pub(in crate::config) struct Value<'a, 't> {
    report: &'a Report<'t>,
    /// As people call it: `` `[tick] every` ``.
    name: String,
    key: String,
    value: &'a Spanned<DeValue<'t>>,
}

impl<'a, 't> Value<'a, 't> {
    pub(in crate::config) fn new(
        report: &'a Report<'t>,
        name: String,
        key: String,
        value: &'a Spanned<DeValue<'t>>,
    ) -> Self {
        Value { report, name, key, value }
    }

    /// Notes a problem of this value.
    pub(in crate::config) fn problem(&self, what: String, hint: &str) {
        self.report.add(self.value.span().start, &self.key, what, hint);
    }

    /// Notes what is wrong with this value, beginning with its name.
    pub(in crate::config) fn refuse<T>(&self, what: &str, hint: &str) -> Option<T> {
        self.problem(format!("{} {what}", self.name), hint);
        None
    }

    pub(in crate::config) fn string(&self) -> Option<String> {
        self.string_like("a string", "put it in quotes")
    }

    fn string_like(&self, what: &str, hint: &str) -> Option<String> {
        match self.value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => self.mistyped(what, hint),
        }
    }

    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        match self.value.get_ref().as_bool() {
            Some(read) => Some(read),
            None => self.mistyped("true or false", "write true or false, without quotes"),
        }
    }

    pub(in crate::config) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let what = format!("an integer from {} to {}", range.start(), range.end());
        let DeValue::Integer(typed) = self.value.get_ref() else {
            return self.mistyped(&what, "write a whole number, without quotes");
        };
        match u32::from_str_radix(typed.as_str(), typed.radix()).ok().filter(|read| range.contains(read)) {
            Some(read) => Some(read),
            None => self.refuse(
                &format!("is {}, which is out of range", shortened(&typed.to_string())),
                &format!("it takes {what}"),
            ),
        }
    }

    /// An integer or a float within `range`.
    pub(in crate::config) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        let (typed, read) = match self.value.get_ref() {
            DeValue::Integer(typed) => {
                let read = i64::from_str_radix(typed.as_str(), typed.radix()).ok();
                // Far beyond 2^53 the nearest float will do: it is compared with a range and no more.
                #[expect(clippy::cast_precision_loss, reason = "see above")]
                (typed.to_string(), read.map(|read| read as f64))
            }
            DeValue::Float(typed) => (typed.to_string(), typed.as_str().parse().ok()),
            _ => return self.mistyped(&what, "write a number, without quotes"),
        };
        match read.filter(|read| range.contains(read)) {
            Some(read) => Some(read),
            None => self.refuse(
                &format!("is {}, which is out of range", shortened(&typed)),
                &format!("it takes {what}"),
            ),
        }
    }

    pub(in crate::config) fn duration(&self) -> Option<Duration> {
        const HINT: &str = "write a whole number and ms, s, m, h or d, in quotes: \"90s\"; \"0\" is off";
        self.quantity("a duration", HINT, units::duration, "is longer than a hundred years")
    }

    /// A duration that can't be switched off.
    pub(in crate::config) fn positive_duration(&self) -> Option<Duration> {
        const HINT: &str = "write a whole number and ms, s, m, h or d, in quotes: \"90s\"";
        let read = self.quantity("a duration", HINT, units::duration, "is longer than a hundred years")?;
        if read.is_zero() { self.refuse("can't be 0", HINT) } else { Some(read) }
    }

    /// A size, in bytes.
    pub(in crate::config) fn size(&self) -> Option<u64> {
        const HINT: &str = "write a whole number and KiB, MiB or GiB, in quotes: \"50MiB\"; \"0\" is off";
        self.quantity("a size", HINT, units::size, "is larger than any file")
    }

    fn quantity<T>(
        &self,
        noun: &str,
        hint: &str,
        read: impl FnOnce(&str) -> Result<T, NotA>,
        too_large: &str,
    ) -> Option<T> {
        let text = self.string_like(noun, hint)?;
        match read(&text) {
            Ok(read) => Some(read),
            Err(NotA::Quantity) => self.refuse(&format!("is {}, which is not {noun}", quoted(&text)), hint),
            Err(NotA::Possible) => self.refuse(&format!("is {}, which {too_large}", quoted(&text)), hint),
        }
    }

    /// One of a few words, with what each of them means.
    pub(in crate::config) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let hint = match names.as_slice() {
            [name] => format!("it takes {name}"),
            names => format!("it takes one of {}", names.join(", ")),
        };
        let text = self.string_like("a string", &hint)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => self.refuse(&format!("can't be {}", quoted(&text)), &hint),
        }
    }

    /// Whether it is an empty text or an empty array.
    pub(in crate::config) fn is_empty(&self) -> bool {
        match self.value.get_ref() {
            DeValue::String(text) => text.is_empty(),
            DeValue::Array(array) => array.is_empty(),
            _ => false,
        }
    }

    /// An array, each element read by `read`. All are read, whatever becomes of the first.
    pub(in crate::config) fn list<T>(
        &self,
        mut read: impl FnMut(&Value<'a, 't>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.mistyped("an array", "put it in brackets: [\"one\", \"two\"]");
        };
        let elements: Vec<_> = array.iter().map(|value| read(&self.element(value))).collect();
        elements.into_iter().collect()
    }

    /// An array of strings.
    pub(in crate::config) fn strings(&self) -> Option<Vec<String>> {
        self.list(Value::string)
    }

    /// A table with keys of the user's own choice. `read` makes of a key and its value what is kept.
    pub(in crate::config) fn map<T>(
        &self,
        mut read: impl FnMut(&str, &Value<'a, 't>) -> Option<(String, T)>,
    ) -> Option<BTreeMap<String, T>> {
        let Some(table) = self.value.get_ref().as_table() else {
            return self.mistyped("a table", "put it in braces: { name = … }");
        };
        let mut map = BTreeMap::new();
        let mut whole = true;
        for (key, value) in table {
            let entry = self.entry(key.get_ref(), value);
            match read(key.get_ref(), &entry) {
                None => whole = false,
                Some((name, meaning)) => {
                    if map.insert(name, meaning).is_some() {
                        entry.refuse::<()>(
                            "is there twice, but for upper and lower case",
                            "remove one of them",
                        );
                        whole = false;
                    }
                }
            }
        }
        whole.then_some(map)
    }

    /// The tables of an array of tables.
    pub(in crate::config) fn sections(&self, title: &'static str) -> Option<Vec<Section<'a, 't>>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            return self.mistyped("an array of tables", &format!("write {title}, with two brackets"));
        };
        let tables: Vec<_> = array.iter().map(|value| self.element(value)).collect();
        if let Some(other) = tables.iter().find(|element| !element.value.get_ref().is_table()) {
            return other.mistyped("tables", &format!("begin each with {title}, on a line of its own"));
        }
        Some(tables.iter().map(|table| table.section(title)).collect())
    }

    /// This value as a table, an empty one if it is none.
    pub(in crate::config) fn section(&self, title: &'static str) -> Section<'a, 't> {
        let table = self.value.get_ref().as_table();
        if table.is_none() {
            self.mistyped::<()>("a table", &format!("begin it with {title}, on a line of its own"));
        }
        Section::new(self.report, title, table, self.value.span().start)
    }

    /// An element of this array: it goes by the name of the whole.
    fn element(&self, value: &'a Spanned<DeValue<'t>>) -> Value<'a, 't> {
        Value::new(self.report, self.name.clone(), self.key.clone(), value)
    }

    /// An entry of this table: `` `[env] set.EDITOR` ``.
    fn entry(&self, key: &str, value: &'a Spanned<DeValue<'t>>) -> Value<'a, 't> {
        let name = format!("{}.{}`", self.name.trim_end_matches('`'), shortened(key));
        Value::new(self.report, name, format!("{}.{key}", self.key), value)
    }

    fn mistyped<T>(&self, expected: &str, hint: &str) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.refuse(&format!("takes {expected}, not {found}"), hint)
    }
}
