//! A disk that writes down what it is told: every write and every flush, in the order in which they came.
//!
//! It is one file of a tiny file system in user space, and a loop device makes a block device of it: what the file
//! system on that device writes arrives as writes, what it flushes (a barrier, an `fsync` of the device) as `fsync`. A
//! write of which the answer was given before a flush came is on the disk when that flush is answered; one after it may
//! be in the disk's cache, which a power cut empties. A second file, `mark`, takes lines from whoever wants to say
//! something at a certain point of that order.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::support::system;

/// The unit that a disk writes whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;

/// The most that one request carries, in bytes.
const WRITE_MAX: u32 = 128 << 10;

/// One thing that the disk was told.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    /// What was written before it is on the disk from here on.
    Flush,
    /// What somebody said.
    Mark(String),
}

struct Told {
    content: Vec<u8>,
    records: Vec<Record>,
}

/// A mounted recorder.
pub(super) struct Disk {
    folder: PathBuf,
    told: Arc<Mutex<Told>>,
    server: Option<JoinHandle<()>>,
}

impl Disk {
    /// Serves `content` as `<folder>/disk`.
    pub(super) fn mount(folder: &Path, content: Vec<u8>) -> io::Result<Disk> {
        let wire = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let mounted = system("mount")
            .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "recorder"])
            .arg(folder)
            .stdin(Stdio::from(wire.try_clone()?))
            .output()?;
        if !mounted.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&mounted.stderr).into_owned()));
        }
        let told = Arc::new(Mutex::new(Told { content, records: Vec::new() }));
        let server = Server { wire, told: Arc::clone(&told) };
        let server = std::thread::spawn(move || server.serve());
        Ok(Disk { folder: folder.to_owned(), told, server: Some(server) })
    }

    /// The file that is the disk.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The file that takes lines.
    pub(super) fn marks(&self) -> PathBuf {
        self.folder.join("mark")
    }

    /// Says something at this point.
    pub(super) fn mark(&self, line: String) {
        self.told().records.push(Record::Mark(line));
    }

    /// Everything that it was told so far.
    pub(super) fn records(&self) -> Vec<Record> {
        self.told().records.clone()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Disk {
    /// Lazily: whatever still has a file of it open must not keep the test from ending.
    fn drop(&mut self) {
        let _ = system("umount").arg("-l").arg(&self.folder).status();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

const ROOT: u64 = 1;
const DISK: u64 = 2;
const MARK: u64 = 3;

/// The other end of the kernel's wire: the protocol of `<linux/fuse.h>`, as much of it as two files take.
struct Server {
    wire: File,
    told: Arc<Mutex<Told>>,
}

/// A request, as it was read.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl Request<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.body[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.body[at..at + 8].try_into().unwrap())
    }

    fn offset(&self) -> usize {
        usize::try_from(self.u64(8)).unwrap()
    }

    fn size(&self) -> usize {
        self.u32(16) as usize
    }
}

const NO_SUCH_ENTRY: i32 = -2;
const NOT_BUILT: i32 = -38;
const NOT_SUPPORTED: i32 = -95;

impl Server {
    fn serve(mut self) {
        let mut buffer = vec![0; WRITE_MAX as usize + 4096];
        loop {
            let length = match self.wire.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // What was asked was taken back.
                Err(error) if error.raw_os_error() == Some(2) => continue,
                // Nobody has it mounted any more.
                Err(_) => return,
            };
            let head = &buffer[..40];
            let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
            let opcode = u32::from_le_bytes(head[4..8].try_into().unwrap());
            let (unique, node) = (number(8), number(16));
            let request = Request { opcode, unique, node, body: &buffer[40..length] };
            let Some(answer) = self.answer(&request) else { continue };
            let (error, body) = match answer {
                Ok(body) => (0, body),
                Err(error) => (error, Vec::new()),
            };
            let mut reply = Vec::with_capacity(16 + body.len());
            reply.extend((16 + body.len() as u32).to_le_bytes());
            reply.extend(i32::to_le_bytes(error));
            reply.extend(request.unique.to_le_bytes());
            reply.extend(body);
            // One that was taken back needs no answer.
            let _ = self.wire.write(&reply);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: the kernel expects none.
    fn answer(&self, request: &Request<'_>) -> Option<Result<Vec<u8>, i32>> {
        Some(match request.opcode {
            // Forget, interrupt, batch forget.
            2 | 36 | 42 => return None,
            1 => self.lookup(request.body),
            // Get and set attributes.
            3 | 4 => Ok([&[0; 16][..], &self.attributes(request.node)].concat()),
            14 | 27 => Ok(opened(request.node)),
            15 => Ok(self.read(request)),
            16 => Ok(self.write(request)),
            17 => Ok(vec![0; 80]),
            20 => {
                if request.node == DISK {
                    self.told().records.push(Record::Flush);
                }
                Ok(Vec::new())
            }
            // Close, release, of a file and of the folder; destroy.
            18 | 25 | 29 | 38 => Ok(Vec::new()),
            26 => Ok(hello(request)),
            // A hole, as for a discard: there is none.
            43 => Err(NOT_SUPPORTED),
            _ => Err(NOT_BUILT),
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Vec<u8>, i32> {
        let node = match name.strip_suffix(b"\0") {
            Some(b"disk") => DISK,
            Some(b"mark") => MARK,
            _ => return Err(NO_SUCH_ENTRY),
        };
        let mut entry = node.to_le_bytes().to_vec();
        entry.extend([0; 32]);
        entry.extend(self.attributes(node));
        Ok(entry)
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let size = if node == DISK { self.told().content.len() as u64 } else { 0 };
        let mode: u32 = if node == ROOT { 0o40755 } else { 0o100_666 };
        let mut attributes = Vec::new();
        for number in [node, size, size / SECTOR as u64, 0, 0, 0] {
            attributes.extend(number.to_le_bytes());
        }
        for number in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
            attributes.extend(number.to_le_bytes());
        }
        attributes
    }

    fn read(&self, request: &Request<'_>) -> Vec<u8> {
        if request.node != DISK {
            return Vec::new();
        }
        let told = self.told();
        let from = request.offset().min(told.content.len());
        let to = (from + request.size()).min(told.content.len());
        told.content[from..to].to_vec()
    }

    fn write(&self, request: &Request<'_>) -> Vec<u8> {
        let (at, bytes) = (request.offset(), &request.body[40..40 + request.size()]);
        let mut told = self.told();
        if request.node == DISK {
            told.content[at..at + bytes.len()].copy_from_slice(bytes);
            told.records.push(Record::Write { at, bytes: bytes.to_vec() });
        } else {
            let lines = String::from_utf8_lossy(bytes);
            told.records.extend(lines.lines().map(|line| Record::Mark(line.to_owned())));
        }
        [(bytes.len() as u32).to_le_bytes(), [0; 4]].concat()
    }
}

/// What is written to `mark` is passed on at once, and never kept by the kernel.
fn opened(node: u64) -> Vec<u8> {
    const DIRECT: u32 = 1;
    let flags = if node == MARK { DIRECT } else { 0 };
    [&[0; 8][..], &flags.to_le_bytes(), &[0; 4]].concat()
}

/// What kernel and server agree on: writes of more than a page.
fn hello(request: &Request<'_>) -> Vec<u8> {
    const BIG_WRITES: u32 = 1 << 5;
    let mut answer = Vec::new();
    for number in [7, 31, request.u32(8), request.u32(12) & BIG_WRITES, 0, WRITE_MAX] {
        answer.extend(number.to_le_bytes());
    }
    answer.resize(64, 0);
    answer
}
