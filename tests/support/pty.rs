//! A terminal of the tests' own.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::Factory;

/// What a terminal gets to see of a status, in an environment with these variables.
pub(crate) fn seen_on_a_terminal(factory: &Factory, arguments: &[&str], vars: &[(&str, &str)]) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let noctty = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    let slave = OpenOptions::new().read(true).write(true).custom_flags(noctty).open(name).unwrap();
    let mut child =
        factory.program(arguments).envs(vars.iter().copied()).stdout(slave).spawn().expect("it starts");
    assert!(child.wait().unwrap().success());
    let mut text = Vec::new();
    // It ends with an error once nobody has the other side any more.
    let _ = File::from(master).read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}
