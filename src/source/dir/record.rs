//! One item as somebody typed it, checked field by field.
//!
//! JSON files and the front matter of Markdown files share one reader, and so the same rules and
//! the same words for what is wrong. A field that nobody knows is an error: a `lables` that was
//! silently dropped would take its item out of the scope without a word.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::fingerprint;
use crate::model::{ItemId, ItemState, WorkItem};
use crate::text::cut::quoted;

/// The longest id or key, in bytes: they go into names, logs and environments, and a body that
/// slipped into the wrong field should be told as that.
const NAME_BYTES_MAX: usize = 512;

/// What an item may say, in the order in which people are told.
const FIELDS: [&str; 10] =
    ["id", "key", "title", "body", "labels", "priority", "state", "blocked_by", "created_at", "updated_at"];

/// What is wrong with a file, and where if that is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Line and column, from 1.
    pub(super) at: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub(super) what: String,
}

impl Problem {
    /// A problem with the file as a whole.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Problem { at: None, what: what.into() }
    }

    /// A problem at a byte of the file.
    pub(super) fn at_byte(text: &str, byte: usize, what: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Problem { at: Some((line, column)), what: what.into() }
    }
}

/// An item before its defaults.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RawItem {
    pub(super) id: Option<String>,
    pub(super) key: Option<String>,
    pub(super) title: Option<String>,
    pub(super) body: Option<String>,
    labels: Vec<String>,
    priority: Option<i64>,
    state: Option<ItemState>,
    blocked_by: Vec<String>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl RawItem {
    /// Reads a JSON file.
    pub(super) fn from_json(text: &str) -> Result<RawItem, Problem> {
        serde_json::from_str(text).map_err(|error| {
            let shown = error.to_string();
            // The position is told once, in front, like that of every other problem.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let what = shown.strip_suffix(&place).unwrap_or(&shown);
            Problem {
                at: (error.line() > 0).then(|| (error.line(), error.column().max(1))),
                what: what.to_owned(),
            }
        })
    }

    /// Reads the TOML that lies at `range` of `text`.
    pub(super) fn from_toml(text: &str, range: Range<usize>) -> Result<RawItem, Problem> {
        toml::from_str(&text[range.clone()]).map_err(|error| {
            let byte = error.span().map_or(0, |span| span.start);
            Problem::at_byte(text, range.start + byte, error.message())
        })
    }

    /// The item, with defaults for what was not said. `stem` is the file's name without its ending.
    pub(super) fn into_item(self, stem: &str, origin: &str) -> Result<WorkItem, Problem> {
        let id = match self.id {
            Some(id) => id,
            None => name(stem).map_err(|why| {
                Problem::new(format!(
                    "the file's name would be its id, which {why}; rename it, or give it an `id`"
                ))
            })?,
        };
        let key = self.key.unwrap_or_else(|| id.clone());
        let title = self.title.unwrap_or_else(|| key.clone());
        let body = self.body.unwrap_or_default();
        let labels = tidy_labels(self.labels);
        let blocked_by = tidy_blockers(self.blocked_by);
        let state = self.state.unwrap_or(ItemState::Open);
        Ok(WorkItem {
            hash: fingerprint::item(&title, &body, &labels, state, &blocked_by, self.priority),
            content_hash: fingerprint::content(&title, &body),
            id: canonical(&id),
            key,
            title,
            body,
            labels,
            priority: self.priority,
            state,
            blocked_by,
            created_at: self.created_at,
            updated_at: self.updated_at,
            origin: origin.to_owned(),
        })
    }
}

/// The canonical id of what a folder calls `id`.
pub(super) fn canonical(id: &str) -> ItemId {
    ItemId(format!("dir:{id}"))
}

/// The id that a file of this name has when it doesn't say another, if that can be one.
pub(super) fn id_of_stem(stem: &str) -> Option<ItemId> {
    name(stem).ok().map(|id| canonical(&id))
}

fn tidy_labels(labels: Vec<String>) -> Vec<String> {
    let mut labels: Vec<String> =
        labels.iter().map(|label| label.trim().to_lowercase()).filter(|label| !label.is_empty()).collect();
    labels.sort();
    labels.dedup();
    labels
}

/// As they were typed: what a blocker means is for the reader of the whole list to say.
fn tidy_blockers(blockers: Vec<String>) -> Vec<String> {
    let mut known = std::collections::HashSet::new();
    let trimmed = blockers.iter().map(|blocker| blocker.trim());
    trimmed.filter(|blocker| !blocker.is_empty() && known.insert(*blocker)).map(str::to_owned).collect()
}

// ---------------------------------------------------------------------------------------------
// What each field may hold

/// An id or a key.
fn name(text: &str) -> Result<String, String> {
    let name = line(text)?;
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes; at most {NAME_BYTES_MAX} are allowed", name.len()));
    }
    Ok(name)
}

/// One line of text that says something.
fn line(text: &str) -> Result<String, String> {
    let line = text.trim();
    if line.is_empty() {
        return Err("is empty; leave it out to get its default".to_owned());
    }
    if let Some(control) = line.chars().find(|c| c.is_control()) {
        return Err(format!("holds the control character {}; remove it", control.escape_default()));
    }
    Ok(line.to_owned())
}

/// Any text. NUL is refused rather than escaped: no argument, no variable and no terminal can
/// carry it, and an escaped one would be a text that nobody wrote.
fn text(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("holds a NUL character; remove it".to_owned());
    }
    Ok(text.to_owned())
}

fn state(text: &str) -> Result<ItemState, String> {
    match text {
        "open" => Ok(ItemState::Open),
        "closed" => Ok(ItemState::Closed),
        _ => Err(format!("is {}; it is \"open\" or \"closed\"", quoted(text))),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let why = match text.parse::<Timestamp>() {
        Ok(time) if is_rfc3339(text) => return Ok(time),
        Ok(_) => String::new(),
        Err(error) => format!(": {error}"),
    };
    let text = quoted(text);
    Err(format!("is {text}, which is not an RFC 3339 time such as 2026-01-31T12:00:00Z{why}"))
}

/// The shape alone: the timestamp's own parser knows the calendar, but takes more than RFC 3339
/// does (a zone in brackets, a time without seconds), which other readers of the file would not.
fn is_rfc3339(text: &str) -> bool {
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(c, wanted)| match wanted {
                b'0' => c.is_ascii_digit(),
                b'T' => matches!(c, b'T' | b't' | b' '),
                b'+' => matches!(c, b'+' | b'-'),
                _ => c == wanted,
            })
    };
    let Some((time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    fits(time, "0000-00-00T00:00:00") && (matches!(offset, "Z" | "z") || fits(offset, "+00:00"))
}

// ---------------------------------------------------------------------------------------------
// Reading with the position of each mistake: every check runs while its value is being read
//
// Derived code would lose three things that people are told: the field of a wrong type, the field that an unknown one
// was meant to be, and the position of a check that fails after its value was read.

impl<'de> Deserialize<'de> for RawItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DraftVisitor)
    }
}

struct DraftVisitor;

impl<'de> Visitor<'de> for DraftVisitor {
    type Value = RawItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with some of the fields {}", FIELDS.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawItem, A::Error> {
        let mut raw = RawItem::default();
        let mut seen = Vec::with_capacity(FIELDS.len());
        while let Some(field) = map.next_key_seed(Field { seen: &mut seen })? {
            match field {
                "id" => raw.id = map.next_value_seed(Text { field, read: name })?,
                "key" => raw.key = map.next_value_seed(Text { field, read: name })?,
                "title" => raw.title = map.next_value_seed(Text { field, read: line })?,
                "body" => raw.body = map.next_value_seed(Text { field, read: text })?,
                "labels" => raw.labels = map.next_value_seed(Texts { field })?,
                "priority" => raw.priority = map.next_value_seed(Integer { field })?,
                "state" => raw.state = map.next_value_seed(Text { field, read: state })?,
                "blocked_by" => raw.blocked_by = map.next_value_seed(Texts { field })?,
                "created_at" => raw.created_at = map.next_value_seed(Time { field })?,
                "updated_at" => raw.updated_at = map.next_value_seed(Time { field })?,
                _ => unreachable!("{field} is in FIELDS but is not read"),
            }
        }
        Ok(raw)
    }
}

/// The name of a field: known, and there once.
struct Field<'s> {
    seen: &'s mut Vec<&'static str>,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Field<'_> {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, typed: &str) -> Result<&'static str, E> {
        let Some(&field) = FIELDS.iter().find(|&&field| field == typed) else {
            return Err(E::custom(unknown_field(typed)));
        };
        if self.seen.contains(&field) {
            return Err(E::custom(format!("`{field}` is there twice; keep one")));
        }
        self.seen.push(field);
        Ok(field)
    }
}

fn unknown_field(typed: &str) -> String {
    /// Below this, two words only happen to share letters.
    const ALIKE: f64 = 0.8;
    /// Longer than any field's name with any slip of the fingers. To compare a text that has the length of a file takes
    /// as long as reading thousands of them.
    const COMPARED_BYTES_MAX: usize = 64;
    if typed.len() > COMPARED_BYTES_MAX {
        let begun: String = typed.chars().take(COMPARED_BYTES_MAX / 2).collect();
        return format!("unknown field `{begun}…`; remove it: an item has {}", FIELDS.join(", "));
    }
    let alike = |field: &str| strsim::jaro_winkler(&typed.to_lowercase(), field);
    let nearest = FIELDS.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    match nearest.filter(|nearest| alike(nearest) >= ALIKE) {
        Some(nearest) => format!("unknown field `{typed}`; did you mean `{nearest}`?"),
        None => format!("unknown field `{typed}`; remove it: an item has {}", FIELDS.join(", ")),
    }
}

/// A string that `read` understands; null is the same as not there.
struct Text<T> {
    field: &'static str,
    read: fn(&str) -> Result<T, String>,
}

impl<'de, T> DeserializeSeed<'de> for Text<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T> Visitor<'_> for Text<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string for `{}`", self.field)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        let field = self.field;
        (self.read)(text).map(Some).map_err(|why| E::custom(format!("`{field}` {why}")))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

/// A list of strings; null is the empty one.
struct Texts {
    field: &'static str,
}

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of strings for `{}`", self.field)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(element) = seq.next_element_seed(Text { field: self.field, read: text })? {
            texts.push(element.ok_or_else(|| A::Error::invalid_type(Unexpected::Other("null"), &self))?);
        }
        Ok(texts)
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<String>, E> {
        Ok(Vec::new())
    }
}

/// A whole number; null is the same as not there.
struct Integer {
    field: &'static str,
}

impl<'de> DeserializeSeed<'de> for Integer {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<i64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Integer {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer for `{}`", self.field)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<i64>, E> {
        Ok(Some(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<i64>, E> {
        i64::try_from(number).map(Some).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<i64>, E> {
        Ok(None)
    }
}

/// A time: an RFC 3339 string, or TOML's own kind of value; null is the same as not there.
struct Time {
    field: &'static str,
}

impl<'de> DeserializeSeed<'de> for Time {
    type Value = Option<Timestamp>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Time {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a time such as 2026-01-31T12:00:00Z for `{}`", self.field)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Text { field: self.field, read: time }.visit_str(text)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    /// How TOML's reader hands over a time: as a map that only `Datetime` understands.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match toml::value::Datetime::deserialize(MapAccessDeserializer::new(map)) {
            Ok(datetime) => self.visit_str(&datetime.to_string()),
            Err(_) => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> WorkItem {
        RawItem::from_json(json).unwrap().into_item("AR-1", "AR-1.json").unwrap()
    }

    fn wrong(json: &str) -> String {
        match RawItem::from_json(json).and_then(|raw| raw.into_item("AR-1", "AR-1.json")) {
            Ok(item) => panic!("{json} is {item:?}"),
            Err(Problem { at: Some((line, column)), what }) => format!("{line}:{column}: {what}"),
            Err(Problem { at: None, what }) => what,
        }
    }

    // covers: S03 S11 S15
    #[test]
    fn what_is_not_said_has_its_default_and_null_says_nothing() {
        let nulls: Vec<String> = FIELDS.iter().map(|field| format!("{field:?}: null")).collect();
        let bare = item("{}");
        assert_eq!(item(&format!("{{{}}}", nulls.join(","))), bare);
        assert_eq!(bare.id, ItemId("dir:AR-1".to_owned()));
        assert_eq!((bare.key.as_str(), bare.title.as_str(), bare.body.as_str()), ("AR-1", "AR-1", ""));
        assert_eq!((bare.labels.len(), bare.priority, bare.state), (0, None, ItemState::Open));
        assert_eq!((bare.blocked_by.len(), bare.created_at, bare.updated_at), (0, None, None));
        assert_eq!(item(r#"{"id": "X", "key": "K"}"#).title, "K");
        assert_eq!(item(r#"{"id": " X "}"#).key, "X");
    }

    // covers: S03 S13 S14
    #[test]
    fn what_is_wrong_is_told_with_field_and_place() {
        for (json, told) in [
            ("", "1:1: EOF while parsing a value"),
            ("[]", "1:1: invalid type: sequence, expected an object with some"),
            ("3", "1:1: invalid type: integer `3`, expected an object with some of the fields id, key,"),
            ("{\n  \"title\": \"x\"\n  \"body\": \"y\"\n}", "3:3: expected `,` or `}`"),
            ("{} {}", "1:4: trailing characters"),
            (r#"{"title": "x", "title": "y"}"#, "1:22: `title` is there twice"),
            ("{\n \"lables\": [\"x\"]\n}", "2:9: unknown field `lables`; did you mean `labels`?"),
            (r#"{"blockedBy": []}"#, "1:12: unknown field `blockedBy`; did you mean `blocked_by`?"),
            (r#"{"Title": "x"}"#, "1:8: unknown field `Title`; did you mean `title`?"),
            (r#"{"assignee": "x"}"#, "1:11: unknown field `assignee`; remove it: an item has id, key,"),
            (r#"{"id": ""}"#, "`id` is empty"),
            (r#"{"id": " \t "}"#, "`id` is empty"),
            (r#"{"id": 7}"#, "invalid type: integer `7`, expected a string for `id`"),
            (r#"{"id": "a\nb"}"#, "`id` holds the control character \\n"),
            (r#"{"key": "a\u0000b"}"#, "`key` holds the control character \\u{0}"),
            (r#"{"title": "a\nb"}"#, "`title` holds the control character \\n"),
            (r#"{"title": "a\u0000b"}"#, "`title` holds the control character \\u{0}"),
            (r#"{"body": "a\u0000b"}"#, "`body` holds a NUL character"),
            (r#"{"labels": ["a\u0000b"]}"#, "`labels` holds a NUL character"),
            (
                r#"{"labels": "backend"}"#,
                "invalid type: string \"backend\", expected a list of strings for `labels`",
            ),
            (r#"{"labels": [null]}"#, "invalid type: null, expected a list of strings for `labels`"),
            (r#"{"labels": [["a"]]}"#, "expected a string for `labels`"),
            (r#"{"priority": "high"}"#, "invalid type: string \"high\", expected an integer for `priority`"),
            (
                r#"{"priority": 1.5}"#,
                "invalid type: floating point `1.5`, expected an integer for `priority`",
            ),
            (r#"{"priority": 9223372036854775808}"#, "invalid value: integer `9223372036854775808`"),
            (r#"{"priority": true}"#, "invalid type: boolean `true`"),
            (r#"{"state": "Open"}"#, r#"`state` is "Open"; it is "open" or "closed""#),
            (r#"{"state": {}}"#, "expected a string for `state`"),
            (
                r#"{"created_at": "yesterday"}"#,
                "`created_at` is \"yesterday\", which is not an RFC 3339 time",
            ),
            (r#"{"created_at": "2026-02-30T00:00:00Z"}"#, "is not an RFC 3339 time"),
            (r#"{"created_at": "2026-01-31T12:00:00"}"#, "is not an RFC 3339 time"),
            (r#"{"created_at": "2026-01-31T12:00Z"}"#, "is not an RFC 3339 time"),
            (r#"{"created_at": "2026-01-31T12:00:00+01:00[Europe/Berlin]"}"#, "is not an RFC 3339 time"),
            (
                r#"{"updated_at": 1769860800}"#,
                "expected a time such as 2026-01-31T12:00:00Z for `updated_at`",
            ),
            (r#"{"updated_at": {}}"#, "invalid type: map, expected a time"),
        ] {
            let found = wrong(json);
            assert!(found.contains(told), "{json}\n  wanted {told}\n  found  {found}");
        }
        assert!(wrong(&format!("{{\"id\": {:?}}}", "x".repeat(513))).contains("`id` has 513 bytes"));
        // Neither does a deep nest get anywhere near the end of the stack.
        assert!(
            wrong(&format!(r#"{{"labels": {}"#, "[".repeat(100_000)))
                .contains("expected a string for `labels`")
        );
    }

    #[test]
    fn the_files_name_must_do_as_an_id_where_it_is_to_be_one() {
        for (stem, told) in
            [("a\nb", "control character \\n"), ("  ", "is empty"), (&"x".repeat(513) as &str, "513 bytes")]
        {
            let problem = RawItem::default().into_item(stem, "x.json").unwrap_err();
            assert!(problem.what.contains(told) && problem.what.contains("rename it"), "{}", problem.what);
            assert_eq!(id_of_stem(stem), None);
        }
        let named = RawItem { id: Some("AR-1".to_owned()), ..RawItem::default() };
        assert_eq!(named.into_item("a\nb", "a\nb.json").unwrap().id.0, "dir:AR-1");
    }

    // covers: S14
    #[test]
    fn times_are_told_in_both_formats() {
        let toml = |text: &str| RawItem::from_toml(text, 0..text.len());
        let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00z",
            "2026-01-31 13:00:00+01:00",
            "2026-01-31T06:30:00.000-05:30",
        ] {
            assert_eq!(item(&format!(r#"{{"created_at": "{text}"}}"#)).created_at, Some(noon), "{text}");
            assert_eq!(toml(&format!("created_at = {text}")).unwrap().created_at, Some(noon), "{text}");
            assert_eq!(toml(&format!("created_at = '{text}'")).unwrap().created_at, Some(noon), "{text}");
        }
        for local in ["2026-01-31T12:00:00", "2026-01-31", "12:00:00"] {
            let problem = toml(&format!("\ncreated_at = {local}")).unwrap_err();
            assert_eq!(problem.at, Some((2, 14)));
            assert!(problem.what.contains("is not an RFC 3339 time"), "{}", problem.what);
        }
        assert!(toml("title = 2026-01-31").is_err());
    }
}
