//! Files of one JSON object per line, to which is only appended.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;

/// No line is near this long. What is longer is none: a part of a disk that was never written, say.
pub(super) const LINE_BYTES_MAX: u64 = 1 << 20;

/// Whether a writer was killed, or ran out of disk, within the last line.
pub(super) fn ends_in_the_middle(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}

/// The next line, empty where it is too long to be one; `None` at the end.
pub(super) fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        line.clear();
        reader.skip_until(b'\n')?;
    }
    Ok(Some(line))
}
