//! Who listens on a port of this machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::scan::unless_gone;

/// The kernel's number for a socket that listens, in its tables of sockets.
const LISTENS: &str = "0A";

/// The processes that listen for TCP connections on this port: with workers, or while one starts another, several. One
/// whose files may not be looked at is not found; it is another user's.
///
/// # Errors
///
/// That `/proc` can't be read.
pub fn on_port(port: u16) -> io::Result<Vec<u32>> {
    let mut sockets = BTreeSet::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A machine without IPv6 has one of them only.
        let text = unless_gone(fs::read_to_string(table))?.unwrap_or_default();
        sockets.extend(text.lines().skip(1).filter_map(|line| socket(line, port)));
    }
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|pid| holds(*pid, &sockets)).collect())
}

/// The number of the socket in a line of such a table, if it listens on that port.
fn socket(line: &str, port: u16) -> Option<String> {
    // proc(5): sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, on) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(on, 16) == Ok(port) && *fields.get(3)? == LISTENS;
    is_it.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
}

/// Whether a process has one of these sockets open.
fn holds(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path());
        target.is_ok_and(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn whoever_listens_is_found_and_nobody_who_only_talks() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // There may be no IPv6 here.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            // Not alone: whatever another test starts has all files for an instant.
            assert!(on_port(port).unwrap().contains(&std::process::id()), "{address}");
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let talks = client.local_addr().unwrap().port();
            assert!(!on_port(talks).unwrap().contains(&std::process::id()), "{address}");
        }
    }
}
