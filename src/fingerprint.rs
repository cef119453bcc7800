//! Hashes: what tells one text from another, and dice that always fall the same way.
//!
//! Their results are stored and compared across runs and versions of the program: a changed hash
//! reads as "every item was edited". The tests pin them.

use sha2::{Digest, Sha256};

use crate::model::ItemState;

/// sha256 of all parts, as 64 hex digits.
///
/// Each part goes in behind its length, so that no two lists of parts run into the same bytes:
/// `("ab", "c")` is not `("a", "bc")`.
pub fn sha256_hex(parts: &[&[u8]]) -> String {
    hex(&sha256(parts))
}

/// sha256 of all parts as one text, as 64 hex digits: what `sha256sum` tells.
pub fn plain_sha256_hex(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hex(&hasher.finalize())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Everything in an item that can bring a waiting one back: times are left out, for our own note
/// about an item may well count as an edit of it.
pub fn item(
    title: &str,
    body: &str,
    labels: &[String],
    state: ItemState,
    blocked_by: &[String],
    priority: Option<i64>,
) -> String {
    let state = match state {
        ItemState::Open => "open",
        ItemState::Closed => "closed",
    };
    let priority = priority.map(|priority| priority.to_string()).unwrap_or_default();
    sha256_hex(&[
        b"item",
        title.as_bytes(),
        body.as_bytes(),
        list(labels).as_bytes(),
        state.as_bytes(),
        list(blocked_by).as_bytes(),
        priority.as_bytes(),
    ])
}

/// What the work itself is: the only edit that makes finished work worth doing again.
pub fn content(title: &str, body: &str) -> String {
    sha256_hex(&[b"content", title.as_bytes(), body.as_bytes()])
}

/// A number in `[0, 1)` that depends on `parts` alone: jitter that can be predicted and replayed.
pub fn unit_interval(parts: &[&[u8]]) -> f64 {
    /// As many bits as an f64 holds exactly; one more could round up to 1.
    const BITS: u32 = f64::MANTISSA_DIGITS;
    let mut first = [0; 8];
    first.copy_from_slice(&sha256(parts)[..8]);
    (u64::from_be_bytes(first) >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
}

/// A list as one part: hashed by itself, so that where it ends is never in doubt.
fn list(texts: &[String]) -> String {
    sha256_hex(&texts.iter().map(String::as_bytes).collect::<Vec<_>>())
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn nothing_at_all_is_plain_sha256() {
        assert_eq!(sha256_hex(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn where_a_part_ends_matters() {
        let lists: [&[&[u8]]; 6] =
            [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[b"", b"abc"], &[]];
        let hashes: std::collections::BTreeSet<_> = lists.iter().map(|parts| sha256_hex(parts)).collect();
        assert_eq!(hashes.len(), lists.len());
    }

    /// Registries hold these: another value means that every item of every user was "edited".
    #[test]
    fn stored_hashes_never_change() {
        assert_eq!(
            content("Title", "Body"),
            "a487be1223d1df247df2862bbbad27d440e36cda87c9b6485ff44590ed95dd43"
        );
        assert_eq!(
            item("Title", "Body", &texts(&["a", "b"]), ItemState::Open, &texts(&["AR-2"]), Some(1)),
            "491d2382be73662b860089d6d1c6a4a774c2fc524b4784e5a78bc1dc8baa7dd4"
        );
    }

    // covers: I07 I08
    #[test]
    fn every_hashed_field_of_an_item_counts() {
        let base = || ("t", "b", vec!["x"], ItemState::Open, vec!["y"], Some(1));
        let hash = |(title, body, labels, state, blocked_by, priority): (
            &str,
            &str,
            Vec<&str>,
            ItemState,
            Vec<&str>,
            Option<i64>,
        )| { item(title, body, &texts(&labels), state, &texts(&blocked_by), priority) };
        let mut variants = vec![base(); 10];
        variants[1].0 = "T";
        variants[2].1 = "B";
        variants[3].2 = vec![];
        variants[4].2 = vec!["x", ""];
        variants[5].3 = ItemState::Closed;
        variants[6].4 = vec![];
        variants[7].5 = None;
        variants[8].5 = Some(0);
        variants[9].2 = vec!["y"];
        variants[9].4 = vec!["x"];
        let hashes: std::collections::BTreeSet<_> = variants.iter().cloned().map(hash).collect();
        assert_eq!(hashes.len(), variants.len());
        assert_ne!(content("t", "b"), content("b", "t"));
    }

    #[test]
    fn the_dice_are_fair_enough_and_always_the_same() {
        let throws: Vec<f64> =
            (0_u32..1000).map(|n| unit_interval(&[b"dir:AR-1", &n.to_le_bytes()])).collect();
        assert!(throws.iter().all(|throw| (0.0..1.0).contains(throw)));
        let mean = throws.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "mean {mean}");
        assert_eq!(unit_interval(&[b"a", b"b"]), unit_interval(&[b"a", b"b"]));
        assert_ne!(unit_interval(&[b"a", b"b"]), unit_interval(&[b"ab"]));
    }
}
