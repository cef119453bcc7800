//! Changes of what is right, small enough that most of it stays so: noise alone does not get past the first check.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// One change of a JSON document: where, among all its values, and what takes its place.
#[derive(Clone, Debug)]
pub(super) struct Change {
    at: Index,
    put: Put,
}

#[derive(Clone, Debug)]
enum Put {
    /// The value of another place.
    From(Index),
    /// One of the values that are hard to bear, of the kind that is there.
    Hard(Index),
    Anything(Value),
    Nothing,
    /// Under another name, where it has one.
    Renamed(String),
}

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let put = prop_oneof![
        2 => any::<Index>().prop_map(Put::From),
        6 => any::<Index>().prop_map(Put::Hard),
        1 => value().prop_map(Put::Anything),
        1 => Just(Put::Nothing),
        1 => "[a-z0-9.:-]{0,12}".prop_map(Put::Renamed),
    ];
    prop::collection::vec((any::<Index>(), put).prop_map(|(at, put)| Change { at, put }), 1..4)
}

/// Any JSON that is not deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// What a value of this kind may be at worst.
fn hard(there: &Value) -> Vec<Value> {
    match there {
        Value::Number(_) => vec![
            json!(0),
            json!(1),
            json!(-1),
            json!(u32::MAX),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(u64::MAX - 1),
            json!(u32::MAX - 1),
            json!(1_u64 << 53),
            json!(1.5),
            json!(f64::MAX),
            Value::Null,
        ],
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => {
            [jiff::Timestamp::MIN, jiff::Timestamp::MAX, jiff::Timestamp::UNIX_EPOCH]
                .map(|at| json!(at))
                .to_vec()
        }
        Value::String(_) => vec![
            json!(""),
            json!("\u{0}"),
            json!("-"),
            json!("../../x"),
            json!("ar-1-impl"),
            json!("ar-1-impl.9007199254740992"),
            json!("dir:AR-1"),
            json!("x".repeat(5000)),
            Value::Null,
        ],
        Value::Bool(bool) => vec![json!(!bool)],
        Value::Null => {
            vec![json!(0), json!(u64::MAX), json!(""), json!(jiff::Timestamp::MAX), json!([]), json!({})]
        }
        Value::Array(_) => vec![json!([]), Value::Null],
        Value::Object(_) => vec![json!({}), Value::Null],
    }
}

pub(super) fn apply(document: &mut Value, changes: &[Change]) {
    for change in changes {
        let places = places(document);
        let at = &places[change.at.index(places.len())];
        let there = document.pointer(at).unwrap().clone();
        let put = match &change.put {
            Put::From(other) => document.pointer(&places[other.index(places.len())]).unwrap().clone(),
            Put::Hard(which) => {
                let hard = hard(&there);
                hard[which.index(hard.len())].clone()
            }
            Put::Anything(value) => value.clone(),
            Put::Nothing | Put::Renamed(_) => {
                let Some((above, name)) = at.rsplit_once('/') else { continue };
                let Some(Value::Object(above)) = document.pointer_mut(above) else { continue };
                above.remove(&name.replace("~1", "/").replace("~0", "~"));
                if let Put::Renamed(name) = &change.put {
                    above.insert(name.clone(), there);
                }
                continue;
            }
        };
        *document.pointer_mut(at).unwrap() = put;
    }
}

/// Pointers to every value of a document, itself first.
fn places(document: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let mut next = 0;
    while let Some(at) = places.get(next).cloned() {
        next += 1;
        match document.pointer(&at) {
            Some(Value::Object(map)) => {
                let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
                places.extend(map.keys().map(|name| format!("{at}/{}", escaped(name))));
            }
            Some(Value::Array(list)) => places.extend((0..list.len()).map(|index| format!("{at}/{index}"))),
            _ => {}
        }
    }
    places
}

/// A change of bytes: some of them, and what takes their place.
#[derive(Clone, Debug)]
pub(super) struct Splice {
    at: Index,
    cut: usize,
    put: Vec<u8>,
}

pub(super) fn splices() -> impl Strategy<Value = Vec<Splice>> {
    let words: Vec<&[u8]> = vec![
        b"",
        b"\0",
        b"\n",
        b"{",
        b"}",
        b"[",
        b"\"",
        b":",
        b",",
        b"null",
        b"0",
        b"-1",
        b"1e999",
        b"18446744073709551616",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"+++\n",
        b"---\n",
        b"# ",
        b"\r",
        b"\\u0000",
        b"\\ud800",
    ];
    let put = prop_oneof![select(words).prop_map(<[u8]>::to_vec), prop::collection::vec(any::<u8>(), 0..6),];
    let splice = (any::<Index>(), 0..12_usize, put).prop_map(|(at, cut, put)| Splice { at, cut, put });
    prop::collection::vec(splice, 1..4)
}

pub(super) fn spliced(whole: &[u8], splices: &[Splice]) -> Vec<u8> {
    splices.iter().fold(whole.to_vec(), |mut bytes, splice| {
        let at = splice.at.index(bytes.len() + 1);
        let end = (at + splice.cut).min(bytes.len());
        bytes.splice(at..end, splice.put.iter().copied());
        bytes
    })
}

/// Bytes of any kind: noise, or one of these texts with splices.
pub(super) fn bytes_like(texts: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        6 => (select(texts), splices()).prop_map(|(text, splices)| spliced(&text, &splices)),
    ]
}
