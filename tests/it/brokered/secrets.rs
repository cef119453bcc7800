//! What nobody but the agent may know, and what the agent may not.

use std::fs;
use std::path::Path;

use super::{Case, WORKS};
use crate::broker::{Broker, soon};
use crate::support::Factory;

const SECRET: &str = "the-role's-own-secret";

/// Every file below a folder that holds a text.
fn holds(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            found.extend(holds(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

fn environ(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap()).replace('\0', "\n")
}

// covers: B08
#[test]
fn a_secret_of_a_role_is_its_agents_alone_and_the_brokers_key_is_not() {
    const KEY: &str = "br_0123456789abcdef0123456789abcdef";
    let Some(broker) = Broker::start_with(&[("RELAY_BROKER_API_KEY", KEY)]) else { return };
    let mut factory = Factory::new();
    let script = format!(r#"env > "$LAB/env"; {WORKS}"#);
    factory.role("impl", &["sh", "-c", &script], "env = [\"SECRET\"]");
    factory.var("SECRET", SECRET);
    let mut case = Case::under(factory, broker);
    // By its URL, so that the tick has the key among its own variables too.
    let url = case.url();
    case.at(&url);
    assert_eq!(case.broker.find().unwrap().key.reveal(), KEY, "the broker took the key that it was given");
    case.factory.item("AR-1");
    case.factory.tick().expect(0);
    case.wait_started(1);

    let look = || {
        for folder in [case.factory.state(""), case.broker.cwd().to_owned()] {
            assert_eq!(holds(&folder, SECRET), [""; 0]);
        }
        assert_eq!(holds(&case.factory.state(""), KEY), [""; 0]);
    };
    look();
    let (client, _) = case.broker.meet();
    let mut ours = Vec::new();
    case.factory.wait_for("it is listed with its pids", || {
        ours = client.list(soon()).unwrap().iter().flat_map(|agent| [agent.worker_pid, agent.pid]).collect();
        ours.iter().all(Option::is_some) && ours.len() == 2
    });
    for pid in ours.into_iter().flatten().chain([case.factory.launcher("ar-1-impl.1")]) {
        let vars = environ(pid);
        assert!(!vars.contains(SECRET) && !vars.contains(KEY), "{pid}: {vars}");
    }
    let agent = case.factory.told("env");
    assert!(agent.contains(&format!("SECRET={SECRET}\n")) && !agent.contains(KEY), "{agent}");
    let name = |line: &str| line.split_once('=').map(|(name, _)| name.to_owned());
    assert!(!agent.lines().filter_map(name).any(|name| name == "RELAY_BROKER_API_KEY"), "{agent}");
    case.go();
    case.factory.wait_swept("ar-1-impl.1");
    case.tick_until_done("AR-1");
    look();
}
