//! One generation of the registry as bytes.
//!
//! A file is good exactly when writing again what was read from it gives the same bytes. Its digest
//! covers the whole file, the header too: a flipped digit in the lineage would make strangers of
//! all living agents, and nothing else would notice.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fingerprint;
use crate::state::bound::Binding;

/// The layout that this version reads and writes.
pub(crate) const SCHEMA: u64 = 1;

/// How every registry begins, of this and of any later schema: what makes "newer" certain even
/// where the rest of the file means nothing to us.
const OPENING: &str = r#"{"schema":"#;

/// Enough of a file to see its schema.
pub(crate) const OPENING_BYTES: u64 = 64;

/// One generation, as far as this room knows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) lineage: String,
    pub(crate) serial: u64,
    pub(crate) config: Option<String>,
    pub(crate) binding: Option<Binding>,
    /// JSON, byte for byte as it stands in the file.
    pub(crate) body: String,
}

/// The file's layout. What is not exactly this is damage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    schema: u64,
    lineage: String,
    serial: u64,
    sha256: String,
    config: Option<String>,
    /// `None` until a tick has bound the registry to its directory.
    binding: Option<Binding>,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Generation {
    /// Reads a file that must be whole; otherwise says, for people, what is wrong with it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Generation, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if envelope.schema != SCHEMA {
            return Err(format!("its schema is {}, which never was", envelope.schema));
        }
        let generation = Generation {
            lineage: envelope.lineage,
            serial: envelope.serial,
            config: envelope.config,
            binding: envelope.binding,
            body: envelope.body.get().to_owned(),
        };
        if generation.to_bytes() != bytes {
            return Err(format!("its content does not match its sha256 {:?}", envelope.sha256));
        }
        Ok(generation)
    }

    /// The exact bytes of the file. `sha256` is over all of them but its own 64 digits.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let lineage = serde_json::Value::from(&*self.lineage);
        let config = serde_json::Value::from(self.config.as_deref());
        let serial = self.serial;
        let before = format!(r#"{OPENING}{SCHEMA},"lineage":{lineage},"serial":{serial},"sha256":""#);
        let binding = self.binding.as_ref().map_or_else(String::new, Binding::to_field);
        let between = format!(r#"","config":{config},{binding}"body":"#);
        let after = "}\n";
        let parts = [&*before, &*between, &*self.body, after].map(str::as_bytes);
        let sha256 = fingerprint::plain_sha256_hex(&parts);
        [&*before, &*sha256, &*between, &*self.body, after].concat().into_bytes()
    }
}

/// The schema of a file that a newer version wrote. One of our own in which nothing but that number is damaged is none
/// of a later schema: our digest fits what it was.
pub(crate) fn newer(bytes: &[u8]) -> Option<u64> {
    let schema = schema_of(bytes).filter(|schema| *schema > SCHEMA)?;
    let rest = bytes.get(OPENING.len() + schema.to_string().len()..)?;
    let ours = [OPENING.as_bytes(), SCHEMA.to_string().as_bytes(), rest].concat();
    Generation::from_bytes(&ours).is_err().then_some(schema)
}

/// The schema that a file says it has, if it opens as a registry does.
pub(crate) fn schema_of(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(OPENING.as_bytes())?;
    let end = rest.iter().position(|&byte| byte == b',')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout is public, and a file written by this version must be read for ever.
    #[test]
    fn a_file_written_by_the_first_version_is_read_and_would_be_written_the_same() {
        const FIRST: &str = concat!(
            r#"{"schema":1,"lineage":"00112233445566778899aabbccddeeff","serial":7,"#,
            r#""sha256":"74c1b335e36bebac077b6225d4f37e89797b6a9f24aceb7e7c9065ee5ae90b3e","#,
            r#""config":"/srv/factory.toml","body":{"agent":3}}"#,
            "\n"
        );
        let generation = Generation {
            lineage: "00112233445566778899aabbccddeeff".to_owned(),
            serial: 7,
            config: Some("/srv/factory.toml".to_owned()),
            binding: None,
            body: r#"{"agent":3}"#.to_owned(),
        };
        assert_eq!(Generation::from_bytes(FIRST.as_bytes()).as_ref(), Ok(&generation));
        assert_eq!(generation.to_bytes(), FIRST.as_bytes());
    }

    // Origin: found by flipping bits - a 1 that had become a 3 was refused as a newer version's, beside a good backup.
    #[test]
    fn a_damaged_schema_is_damage_and_a_later_one_is_later() {
        let generation = Generation {
            lineage: String::new(),
            serial: 7,
            config: None,
            binding: None,
            body: "{}".to_owned(),
        };
        let ours = String::from_utf8(generation.to_bytes()).unwrap();
        assert_eq!(newer(ours.as_bytes()), None);
        let other = |schema: &str| ours.replacen("\"schema\":1", &format!("\"schema\":{schema}"), 1);
        for schema in ["3", "5", "9", "11", "17"] {
            assert_eq!(newer(other(schema).as_bytes()), None, "{schema}");
            assert!(Generation::from_bytes(other(schema).as_bytes()).is_err(), "{schema}");
        }
        let written_so = other("3").replace("\"serial\":7", "\"serial\":8");
        assert_eq!(newer(written_so.as_bytes()), Some(3));
        assert_eq!(newer(b"{\"schema\":2,"), Some(2), "whatever follows");
    }

    #[test]
    fn the_schema_is_seen_even_in_the_start_of_a_file() {
        assert_eq!(schema_of(br#"{"schema":2,"wh"#), Some(2));
        assert_eq!(schema_of(br#"{"schema":2"#), None, "it may go on: 23");
        assert_eq!(schema_of(br#"{"schema":two,"#), None);
        assert_eq!(schema_of(br#"{ "schema":2,"#), None);
        assert_eq!(schema_of(b""), None);
    }
}
