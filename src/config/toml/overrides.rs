//! `--set key=value`: single keys of the configuration from the command line.
//!
//! They are put into the document before anything is checked, so that what holds for the file holds for them too.

use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeString, DeTable, DeValue};

use crate::text::cut::{quoted, shortened};

const HOW: &str = "write table.key=value, such as limits.items_max=1, or role.NAME.deadline=5m for a role";

/// What is wrong, and what to do.
type Wrong = (String, String);

/// An override that can't be put into the document.
pub(in crate::config) struct Refused {
    /// Where it is, as [`apply`] was told.
    pub(in crate::config) at: usize,
    /// What is wrong.
    pub(in crate::config) what: String,
    /// What to do.
    pub(in crate::config) hint: String,
}

/// Puts each into the document, in order: the last one wins. Blank ones ask for nothing. `position` is the place of the
/// nth override, as a byte of the text. Returns those that are wrong.
pub(in crate::config) fn apply<'t>(
    document: &mut DeTable<'t>,
    sets: &'t [String],
    position: impl Fn(usize) -> usize,
) -> Vec<Refused> {
    let mut refused = Vec::new();
    for (n, set) in sets.iter().enumerate().filter(|(_, set)| !set.trim().is_empty()) {
        let at = position(n);
        if let Err((what, hint)) = put(document, set, at..at) {
            refused.push(Refused { at, what, hint });
        }
    }
    refused
}

/// What names it to a person: its key. Values may be long, or nobody else's business.
pub(in crate::config) fn name(set: &str) -> String {
    let key = split(set).map_or(set, |(key, _)| key);
    shortened(key.trim())
}

fn put<'t>(document: &mut DeTable<'t>, set: &'t str, span: Range<usize>) -> Result<(), Wrong> {
    let (key, value) = split(set).ok_or_else(|| ("has no `=` in it".to_owned(), HOW.to_owned()))?;
    let path = path(key).ok_or_else(|| (format!("begins with no key: {}", quoted(key)), HOW.to_owned()))?;
    // A value that is no TOML is a string that nobody has put in quotes: a shell takes those away.
    let value = DeValue::parse(value).map_or_else(|_| DeValue::String(value.into()), Spanned::into_inner);
    let value = placed(value, &span);
    match path.as_slice() {
        [first, name, rest @ ..] if first == "role" => {
            insert(role(document, name)?, rest, value, &span);
        }
        [first, rest @ ..] => insert(entry(document, first, &span), rest, value, &span),
        [] => {}
    }
    Ok(())
}

/// Key and value, at the first `=` that is not in quotes.
fn split(set: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in set.char_indices() {
        match (quote, c) {
            (None, '=') => return Some((set[..at].trim(), set[at + 1..].trim())),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// The parts of a dotted key, as TOML writes them.
fn path(key: &str) -> Option<Vec<String>> {
    if key.contains('\n') {
        return None;
    }
    let text = format!("{key} = 0");
    let document = DeTable::parse(&text).ok()?;
    let (mut table, mut path) = (document.get_ref(), Vec::new());
    loop {
        let (key, value) = table.into_iter().next()?;
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// The same value, each part of it said to be at this place.
fn placed<'t>(value: DeValue<'t>, span: &Range<usize>) -> Spanned<DeValue<'t>> {
    let value = match value {
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|one| placed(one.into_inner(), span)).collect())
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (Spanned<DeString<'t>>, Spanned<DeValue<'t>>)| {
                (Spanned::new(span.clone(), key.into_inner()), placed(value.into_inner(), span))
            };
            DeValue::Table(table.into_iter().map(entry).collect())
        }
        other => other,
    };
    Spanned::new(span.clone(), value)
}

/// The role of this name.
fn role<'a, 't>(document: &'a mut DeTable<'t>, wanted: &str) -> Result<&'a mut Spanned<DeValue<'t>>, Wrong> {
    let roles = match document.get_mut("role").map(Spanned::get_mut) {
        Some(DeValue::Array(roles)) => roles.as_mut(),
        _ => &mut [],
    };
    let names: Vec<_> = roles.iter().map(|role| role_name(role.get_ref()).map(str::to_owned)).collect();
    match names.iter().position(|name| name.as_deref() == Some(wanted)) {
        Some(at) => Ok(&mut roles[at]),
        None => {
            let names: Vec<_> = names.iter().flatten().map(|name| quoted(name)).collect();
            let hint = match names.as_slice() {
                [] => "the file names no role; begin one there with [[role]]".to_owned(),
                names => format!("the roles are {}", names.join(", ")),
            };
            Err((format!("there is no role {}", quoted(wanted)), hint))
        }
    }
}

fn role_name<'a>(role: &'a DeValue<'_>) -> Option<&'a str> {
    role.as_table()?.get("name")?.get_ref().as_str()
}

/// Sets the value at the end of a path. What stands in the way becomes a table: whether one may stand there is
/// checked with everything else.
fn insert<'t>(
    place: &mut Spanned<DeValue<'t>>,
    path: &[String],
    value: Spanned<DeValue<'t>>,
    span: &Range<usize>,
) {
    match path {
        [] => *place = value,
        [first, rest @ ..] => {
            if !place.get_ref().is_table() {
                *place = empty(span);
            }
            if let DeValue::Table(table) = place.get_mut() {
                insert(entry(table, first, span), rest, value, span);
            }
        }
    }
}

/// The value of a key, made where there is none.
fn entry<'a, 't>(table: &'a mut DeTable<'t>, key: &str, span: &Range<usize>) -> &'a mut Spanned<DeValue<'t>> {
    let key = Spanned::new(span.clone(), DeString::from(key.to_owned()));
    table.entry(key).or_insert_with(|| empty(span))
}

fn empty<'t>(span: &Range<usize>) -> Spanned<DeValue<'t>> {
    Spanned::new(span.clone(), DeValue::Table(DeTable::new()))
}
