//! `[env] file`: variables for agents in a file that nobody else can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Factory, NOTE_START, Ran, everything, put, toml_text};

fn with_env_file() -> Factory {
    let mut factory = Factory::new();
    let agent = r#"echo "$TOKEN $MODE $PASSED" > "$LAB/got""#;
    factory.role("impl", &["sh", "-c", &[NOTE_START, agent].concat()], "env = [\"TOKEN\", \"PASSED\"]");
    let set = format!("{{ LAB = {}, MODE = \"set\" }}", toml_text(&factory.lab("").display().to_string()));
    factory.set("env", "set", &set);
    factory.set("env", "file", "\"agents.env\"");
    factory.var("PASSED", "passed");
    factory.item("AR-1");
    factory
}

fn write_env_file(factory: &Factory, text: &str, mode: u32) {
    let path = factory.path("agents.env");
    put(&path, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

// covers: H12
#[test]
fn the_file_of_variables_reaches_agents_and_nothing_else() {
    let factory = with_env_file();
    write_env_file(&factory, "# of the night\nTOKEN='hunter2 hunter2'\nMODE=file\nPASSED=file\n", 0o600);
    let explained = factory.run(&["explain", "AR-1", "--format", "json"]).expect(0);
    assert!(explained.json()["next_runs"][0]["env"].as_array().unwrap().contains(&json!("TOKEN")));
    let ticked = factory.tick().expect(0);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.told("got"), "hunter2 hunter2 set file\n");
    let spec = factory.receipt("ar-1-impl.1", "spec.json").unwrap();
    assert!(spec["env"].as_array().unwrap().contains(&json!("TOKEN")), "{spec}");
    for told in [explained, ticked, factory.tick(), factory.run(&["status", "-vv"])] {
        assert!(!told.stdout.contains("hunter2") && !told.stderr.contains("hunter2"), "{told:?}");
    }
    for path in everything(&factory.state("")).keys().filter(|path| path.is_file()) {
        assert!(!String::from_utf8_lossy(&fs::read(path).unwrap()).contains("hunter2"), "{}", path.display());
    }
}

// A file that others can read is a secret no more, and one that is half edited starts an agent without its key:
// nothing is started with either, a person hears of it once, and starts go on when it is in order.
// covers: H12
#[test]
fn a_file_of_variables_that_cannot_be_used_keeps_the_role_from_starting() {
    let factory = with_env_file();
    let told = |ran: &Ran| ran.json()["decisions"][0]["because"].as_str().unwrap_or_default().to_owned();
    let absent = factory.tick().expect(77);
    assert!(told(&absent).contains("agents.env: there is no such file"), "{}", absent.stdout);
    factory.tick().expect(3);
    write_env_file(&factory, "TOKEN=hunter2\n", 0o644);
    let readable = factory.tick().expect(77);
    assert!(told(&readable).contains("its mode is 644, so others may use it"), "{}", readable.stdout);
    write_env_file(&factory, "TOKEN=hunter2 # old\n", 0o600);
    let ambiguous = factory.tick().expect(77);
    assert!(told(&ambiguous).contains("agents.env:1: the value of TOKEN has a #"), "{}", ambiguous.stdout);
    assert!(!ambiguous.stdout.contains("hunter2"));
    assert_eq!(factory.tick().expect(3).held(), ["cooling_off dir:AR-1"]);
    write_env_file(&factory, "MODE=file\n", 0o600);
    assert!(told(&factory.tick().expect(77)).contains("needs TOKEN, which is not set"));
    write_env_file(&factory, "TOKEN=hunter2\n", 0o400);
    let started = factory.tick().expect(0);
    assert_eq!(started.decided(), ["cool_off -", "start ar-1-impl.1", "writeback dir:AR-1"]);
    factory.wait_swept("ar-1-impl.1");
    assert_eq!(factory.told("got"), "hunter2 set passed\n");
}
