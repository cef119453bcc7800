//! Names that are given once and stored: slugs, agents and the folders of workspaces.
//!
//! Two items never share one. What cannot be said in the small alphabet of a name, or belongs to
//! another item already, is told apart by a hash of the canonical id.

use crate::fingerprint::sha256_hex;
use crate::model::{AgentName, ItemId};

/// The longest slug, in bytes: with `-` and a role's suffix of up to 16 an agent stays within 120.
pub const SLUG_BYTES_MAX: usize = 100;

/// The longest workspace name, in bytes: well below the 255 of a file name, so that a hook may
/// put `.lock` or `.old` behind it.
pub const WORKSPACE_BYTES_MAX: usize = 100;

/// Hex digits of the id's hash in a name: 64 bits, and more where even those are taken.
const HASH_DIGITS: [usize; 3] = [16, 32, 64];

/// The slug of an item: its key in `[a-z0-9-]`, not beginning or ending with `-`, at most
/// [`SLUG_BYTES_MAX`] bytes.
///
/// `taken` says whether a slug belongs to another item. The slug carries a hash of the id when
/// the key alone would not do: more than case was lost, it is too long, or it is taken.
pub fn slug(key: &str, id: &ItemId, taken: impl Fn(&str) -> bool) -> String {
    // Only ASCII is folded: a Kelvin sign is no "k" to whoever typed it.
    let folded = key.to_ascii_lowercase();
    let mut base = String::with_capacity(folded.len());
    for c in folded.chars() {
        match c {
            'a'..='z' | '0'..='9' => base.push(c),
            _ if base.is_empty() || base.ends_with('-') => {}
            _ => base.push('-'),
        }
    }
    base.truncate(base.trim_end_matches('-').len());
    let whole = base == folded;
    disambiguate(&base, whole, SLUG_BYTES_MAX, id, taken)
}

/// The name of the agent that has the role with this suffix (`[a-z0-9]+`): as a suffix holds no
/// `-`, different slugs never make the same agent.
pub fn agent(slug: &str, suffix: &str) -> AgentName {
    AgentName(format!("{slug}-{suffix}"))
}

/// The longest part of an agent's name that its role gives: with the longest slug it stays within 120 bytes.
const ROLE_PART_BYTES_MAX: usize = 19;

/// The name of an agent whose role's suffix may name another role's agent already: `taken` says so. Then the part of the
/// role ends with a hash of item and role. It holds no `-` either.
pub fn agent_apart(
    slug: &str,
    suffix: &str,
    id: &ItemId,
    role: &str,
    taken: impl Fn(&AgentName) -> bool,
) -> AgentName {
    let hash = sha256_hex(&[id.0.as_bytes(), role.as_bytes()]);
    let mut name = agent(slug, suffix);
    for digits in [8, 16] {
        if !taken(&name) {
            break;
        }
        let kept = &suffix[..suffix.len().min(ROLE_PART_BYTES_MAX - digits)];
        name = agent(slug, &format!("{kept}{}", &hash[..digits]));
    }
    name
}

/// The name of an item's folder below the workspace root: its key in `[A-Za-z0-9._-]`, at most
/// [`WORKSPACE_BYTES_MAX`] bytes, never hidden and never a way out of the root.
///
/// `taken` says whether a name, exactly as written, belongs to another item. A hash of the id is
/// appended when the key alone would not do.
pub fn workspace(key: &str, id: &ItemId, taken: impl Fn(&str) -> bool) -> String {
    let mut base: String = key
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '_',
        })
        .collect();
    if base.starts_with('.') {
        // `.`, `..`, and folders that `ls`, globs and cleaners overlook.
        base.replace_range(..1, "_");
    }
    let whole = base == key;
    disambiguate(&base, whole, WORKSPACE_BYTES_MAX, id, taken)
}

/// `base` itself where it will do, else `base` and a hash of `id`. Both are ASCII.
fn disambiguate(
    base: &str,
    whole: bool,
    bytes_max: usize,
    id: &ItemId,
    taken: impl Fn(&str) -> bool,
) -> String {
    if whole && !base.is_empty() && base.len() <= bytes_max && !taken(base) {
        return base.to_owned();
    }
    let hash = sha256_hex(&[id.0.as_bytes()]);
    let mut name = String::new();
    for digits in HASH_DIGITS {
        let room = bytes_max - digits - "-".len();
        let kept = base[..base.len().min(room)].trim_end_matches('-');
        let dash = if kept.is_empty() { "" } else { "-" };
        name = format!("{kept}{dash}{}", &hash[..digits]);
        if !taken(&name) {
            break;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> ItemId {
        ItemId(text.to_owned())
    }

    fn free(_: &str) -> bool {
        false
    }

    #[test]
    fn an_ordinary_key_is_its_own_name() {
        assert_eq!(slug("AR-255", &id("dir:AR-255"), free), "ar-255");
        assert_eq!(workspace("AR-255", &id("dir:AR-255"), free), "AR-255");
        assert_eq!(agent("ar-255", "impl"), AgentName("ar-255-impl".to_owned()));
    }

    // covers: P01
    #[test]
    fn taken_agent_name_ends_with_a_hash_and_stays_short() {
        let name = |suffix: &str, taken: &[AgentName]| {
            agent_apart(&"s".repeat(100), suffix, &id("dir:x"), "role", |name| taken.contains(name))
        };
        for suffix in ["impl", "sixteen0letters1"] {
            let plain = name(suffix, &[]);
            assert_eq!(plain, agent(&"s".repeat(100), suffix));
            let apart = name(suffix, std::slice::from_ref(&plain));
            let further = name(suffix, &[plain.clone(), apart.clone()]);
            assert!(apart != plain && further != apart && further != plain);
            for name in [&plain, &apart, &further] {
                assert!(name.0.len() <= 120 && name.slug().len() == 100, "{name}");
            }
        }
    }

    // covers: S29
    #[test]
    fn what_a_name_cannot_say_is_told_by_a_hash() {
        let hash = sha256_hex(&[b"dir:x"]);
        let hash = &hash[..16];
        for (key, wanted) in [
            ("web#244", "web-244-"),
            ("fix: the  thing!", "fix-the-thing-"),
            ("-AR-1-", "ar-1-"),
            ("AR--1", "ar-1-"),
            ("../x", "x-"),
            ("\u{212a}1", "1-"),
            ("é", ""),
            ("", ""),
            ("-", ""),
        ] {
            assert_eq!(slug(key, &id("dir:x"), free), format!("{wanted}{hash}"), "{key:?}");
        }
        for (key, wanted) in [
            ("web#244", "web_244-"),
            ("a b", "a_b-"),
            ("../x", "_._x-"),
            (".", "_-"),
            ("..", "_.-"),
            (".git", "_git-"),
            ("a/../../b", "a_.._.._b-"),
            ("a\nb", "a_b-"),
            ("é", "_-"),
            ("", ""),
        ] {
            assert_eq!(workspace(key, &id("dir:x"), free), format!("{wanted}{hash}"), "{key:?}");
        }
    }

    #[test]
    fn the_longest_key_that_fits_stays_and_the_next_is_cut() {
        let fits = "a".repeat(100);
        assert_eq!(slug(&fits, &id("dir:x"), free), fits);
        assert_eq!(workspace(&fits, &id("dir:x"), free), fits);
        let long = "a".repeat(101);
        assert_eq!(slug(&long, &id("dir:x"), free).len(), 100);
        assert_eq!(workspace(&long, &id("dir:x"), free).len(), 100);
        assert_ne!(slug(&long, &id("dir:x"), free), slug(&long, &id("dir:y"), free));
    }

    // Origin: factory#244 - equal numbers in two repositories share one agent.
    // covers: F11
    #[test]
    fn equal_numbers_in_two_repositories_get_two_agents() {
        let first = slug("web#244", &id("github:a/web#244"), free);
        let second = slug("web#244", &id("github:b/web#244"), |name| name == first);
        assert_ne!(agent(&first, "impl"), agent(&second, "impl"));

        let first = slug("244", &id("command:a/244"), free);
        let second = slug("244", &id("command:b/244"), |name| name == first);
        assert_eq!(first, "244");
        assert!(second.starts_with("244-"), "{second}");
    }

    #[test]
    fn a_taken_hash_grows() {
        let hash = sha256_hex(&[b"dir:x"]);
        let short = format!("a-{}", &hash[..16]);
        let taken = |name: &str| name == "a" || name == short;
        assert_eq!(slug("a", &id("dir:x"), taken), format!("a-{}", &hash[..32]));
        assert_eq!(workspace("a", &id("dir:x"), taken), format!("a-{}", &hash[..32]));
    }

    #[test]
    fn workspaces_that_differ_in_case_alone_are_two() {
        assert_eq!(workspace("ar-1", &id("dir:ar-1"), |name| name == "AR-1"), "ar-1");
        assert_ne!(slug("ar-1", &id("dir:ar-1"), |name| name == "ar-1"), "ar-1");
    }

    /// Keys that collide often: few characters, and keys that look like another one's hashed name.
    fn keys() -> impl Strategy<Value = Vec<String>> {
        let key = prop_oneof![
            "[aA#. -]{0,4}",
            "[a-b]{98,103}",
            any::<String>(),
            (0_usize..8, "[aA]").prop_map(|(n, base)| {
                format!("{base}-{}", &sha256_hex(&[format!("dir:{n}").as_bytes()])[..16])
            }),
        ];
        prop::collection::vec(key, 1..24)
    }

    proptest! {
        /// Names given one after the other, as a registry gives them, never meet.
        // covers: S29 F11
        #[test]
        fn distinct_items_never_share_a_name(keys in keys()) {
            let (mut slugs, mut folders) = (BTreeMap::new(), BTreeMap::new());
            for (n, key) in keys.iter().enumerate() {
                let id = id(&format!("dir:{n}"));
                let slug_of = || slug(key, &id, |name| slugs.contains_key(name));
                let name = slug_of();
                prop_assert_eq!(&name, &slug_of());
                prop_assert!(!name.is_empty() && name.len() <= SLUG_BYTES_MAX, "{}", name);
                prop_assert!(name.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-')), "{}", name);
                prop_assert!(!name.starts_with('-') && !name.ends_with('-'), "{}", name);
                prop_assert!(agent(&name, &"x".repeat(16)).0.len() <= 120);
                prop_assert_eq!(slugs.insert(name, n), None);

                let folder = workspace(key, &id, |name| folders.contains_key(name));
                prop_assert!(!folder.is_empty() && folder.len() <= WORKSPACE_BYTES_MAX, "{}", folder);
                prop_assert!(
                    folder.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-')),
                    "{}", folder
                );
                prop_assert!(!folder.starts_with('.'), "{}", folder);
                prop_assert_eq!(folders.insert(folder, n), None);
            }
        }
    }
}
