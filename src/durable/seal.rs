//! A digest in small files of JSON, so that damage is never taken for another truth.
//!
//! A flipped bit leaves most numbers numbers: the pid of a live launcher becomes that of nobody, an exit code of 1
//! becomes 0. What is written here ends with the digest of all before it, as one more field of its object. An object
//! without a digest is damaged too.

use crate::fingerprint;

/// What stands between the object and its digest, in place of the brace that closes it.
const OPENING: &[u8] = br#","sha256":""#;

/// What comes after the digest.
const CLOSING: &[u8] = br#""}"#;

/// Digits of a digest.
const DIGITS: usize = 64;

/// Why a sealed file is not to be believed.
pub const BROKEN: &str = "its content does not match its sha256";

/// The bytes of a JSON object that has at least one field, sealed. Anything else is left as it is.
pub fn seal(object: &[u8]) -> Vec<u8> {
    match object.strip_suffix(b"}") {
        Some(open) if open.len() > 1 => [open, OPENING, digest(object).as_bytes(), CLOSING].concat(),
        _ => object.to_vec(),
    }
}

/// The object that was sealed.
///
/// # Errors
///
/// [`BROKEN`]; also for bytes without a digest.
pub fn unseal(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (open, sealed) = parts(bytes).ok_or(BROKEN)?;
    let object = [open, b"}"].concat();
    if digest(&object).as_bytes() == sealed { Ok(object) } else { Err(BROKEN) }
}

/// The object without its brace, and the digest.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_suffix(CLOSING)?;
    let (rest, digest) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    Some((rest.strip_suffix(OPENING)?, digest))
}

fn digest(object: &[u8]) -> String {
    fingerprint::plain_sha256_hex(&[object])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const OBJECT: &[u8] = br#"{"pid":4711,"since":[{"a":"}\"}"}]}"#;

    #[test]
    fn what_was_sealed_is_json_still_and_comes_back_byte_for_byte() {
        let sealed = seal(OBJECT);
        let value: Value = serde_json::from_slice(&sealed).unwrap();
        assert_eq!(value["pid"], 4711);
        assert_eq!(
            value["sha256"], "cc05fae827652f5a86ac49ac3c8995fd512b08b41425f0fcf3e083ef6f7ea29e",
            "sha256sum of the object alone tells the same"
        );
        assert_eq!(*unseal(&sealed).unwrap(), *OBJECT);
    }

    #[test]
    fn bytes_without_a_digest_are_damage() {
        for bytes in [OBJECT, b"{}", b"", b"}", br#"{"sha256":"ab"}"#, b"\"}", b"[1]"] {
            assert_eq!(unseal(bytes), Err(BROKEN));
        }
        for bytes in [&b"{}"[..], b"", b"[1]", b"7"] {
            assert_eq!(seal(bytes), bytes, "nothing that could be sealed");
        }
    }

    // Origin: found by flipping bits - the claim of a live launcher with another pid, or another boot, made it dead: its
    // agent was ended, or left to itself. A failure with one bit less was a success.
    #[test]
    fn no_flipped_bit_and_no_missing_end_makes_another_truth() {
        let sealed = seal(OBJECT);
        let truth: Value = serde_json::from_slice(OBJECT).unwrap();
        let read = |bytes: &[u8]| {
            let object: Value = serde_json::from_slice(&unseal(bytes).ok()?).ok()?;
            Some(object)
        };
        assert_eq!(read(&sealed), Some(truth.clone()));
        for length in 0..sealed.len() {
            assert_eq!(read(&sealed[..length]), None, "cut at {length}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // In the seal itself it may leave a field that nobody knows beside the whole truth.
            let is_truth = |mut object: Value| {
                let fields = object.as_object_mut().unwrap();
                fields.retain(|name, _| truth.get(name).is_some());
                object == truth
            };
            assert!(read(&flipped).is_none_or(is_truth), "bit {bit}: {}", String::from_utf8_lossy(&flipped));
        }
    }
}
