//! The configuration that the last good tick went by, kept in the state directory: when somebody breaks the file at
//! night, what runs is still watched, judged and cleaned up after.

use serde::{Deserialize, Serialize};

use crate::config::Original;
use crate::durable::atomic;
use crate::durable::seal::{seal, unseal};
use crate::state::HostDir;

const FILE: &str = "last-good.json";

/// The layout that this version reads and writes.
const SCHEMA: u32 = 1;

/// Larger ones are not kept, in bytes.
const BYTES_MAX: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: u32,
    configuration: Original,
}

/// Keeps what a tick goes by; writes nothing where it is kept already. That it can't be kept fails no tick.
pub fn keep(dir: &HostDir, original: &Original) {
    if let Err(why) = write(dir, original) {
        log::warn!("cannot keep a copy of the configuration in {}: {why}", dir.path().join(FILE).display());
    }
}

fn write(dir: &HostDir, original: &Original) -> Result<(), String> {
    let kept = Kept { schema: SCHEMA, configuration: original.clone() };
    let mut bytes = seal(&serde_json::to_vec(&kept).map_err(|error| error.to_string())?);
    bytes.push(b'\n');
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("with its prompts it is larger than {} MiB", BYTES_MAX >> 20));
    }
    if atomic::read_bounded(dir, FILE, BYTES_MAX).is_ok_and(|there| there.as_ref() == Some(&bytes)) {
        return Ok(());
    }
    atomic::replace(dir, FILE, &bytes, true).map_err(|error| error.to_string())
}

/// The configuration that was kept last, of whatever path. One that is damaged or of another version is none.
pub fn find(dir: &HostDir) -> Option<Original> {
    let bytes = atomic::read_bounded(dir, FILE, BYTES_MAX).ok()??;
    let kept: Kept = serde_json::from_slice(&unseal(bytes.trim_ascii_end()).ok()?).ok()?;
    Some(kept.configuration).filter(|_| kept.schema == SCHEMA)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn original(text: &str) -> Original {
        let prompts = BTreeMap::from([("/f/p.md".into(), "Do {{ item.key }}".to_owned())]);
        Original { path: "/f/factory.toml".into(), text: text.to_owned(), prompts }
    }

    fn state() -> (tempfile::TempDir, HostDir) {
        let holder = tempfile::tempdir().unwrap();
        let dir = HostDir::create_or_open(&holder.path().join("state"), true).unwrap();
        (holder, dir)
    }

    // covers: K11
    #[test]
    fn it_is_private_and_written_only_when_it_differs() {
        let (_holder, dir) = state();
        let path = dir.path().join(FILE);
        assert_eq!(find(&dir), None);
        keep(&dir, &original("one"));
        let file = || std::fs::metadata(&path).unwrap();
        let before = file();
        assert_eq!(before.permissions().mode() & 0o777, 0o600);
        keep(&dir, &original("one"));
        assert_eq!(file().ino(), before.ino(), "it was not written again");
        keep(&dir, &original("two"));
        assert_eq!(find(&dir), Some(original("two")));
    }

    // covers: K11
    #[test]
    #[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
    fn a_damaged_one_is_none_and_the_next_takes_its_place() {
        let (_holder, dir) = state();
        keep(&dir, &original("one"));
        let path = dir.path().join(FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        let newer = whole.replace("\"schema\":1", "\"schema\":2");
        for damaged in [&whole[..whole.len() / 2], "", "[]", newer.as_str()] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(find(&dir), None, "{damaged:?}");
        }
        keep(&dir, &original("one"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        // Nothing can be kept there, which is nobody's failure.
        keep(&dir, &original("one"));
        assert_eq!(find(&dir), None);
    }
}
