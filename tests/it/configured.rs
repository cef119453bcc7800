//! The configuration as the whole program goes by it: what the command line sets of it.

use crate::support::Factory;

/// An agent that works until it is ended.
const WORKS: &str = "exec sleep 600";

// The parser of the command line keeps only what stands behind the command's name, where some stands before it.
#[test]
fn what_the_command_line_sets_holds_for_this_once_wherever_it_stands() {
    let mut factory = Factory::with_agent(WORKS);
    ["AR-1", "AR-2", "AR-3"].iter().for_each(|key| factory.item(key));
    let held = |arguments: &[&str]| {
        let ran = factory.run(&[&["-n", "--format", "json"], arguments].concat()).expect(0);
        ran.held()
    };
    assert_eq!(held(&[]), [""; 0]);
    assert_eq!(held(&["--set", "limits.items_max=2"]), ["no_slot dir:AR-3"]);
    let sets = ["--set=limits.items_max=2", "tick", "--set", "source.scope.title_prefix=Title of AR-1"];
    let told = held(&sets);
    assert_eq!(told, ["not_in_scope dir:AR-2", "not_in_scope dir:AR-3"], "both count");
    let more = held(&["--set", "limits.items_max=1", "tick", "--set", "tick.starts_max=1"]);
    assert_eq!(more, ["no_slot dir:AR-2", "no_slot dir:AR-3"]);

    let explained = factory.run(&["explain", "AR-1", "--set", "role.impl.command=[\"other\"]"]).expect(0);
    assert!(explained.stdout.contains("other"), "{}", explained.stdout);
    let wrong = factory.run(&["--set", "limits.itms_max=2", "-q"]).expect(78);
    assert!(wrong.stderr.starts_with("--set limits.itms_max: "), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("did you mean `items_max`?"), "{}", wrong.stderr);
    assert!(!factory.state("").exists());

    factory.var("FACTORY_TICK_SET", "limits.items_max = 1\ntick.starts_max = 1\n");
    assert_eq!(factory.tick().expect(0).decided()[0], "start ar-1-impl.1");
    let status = factory.run(&["status", "--format", "json"]).expect(0).json();
    assert_eq!(status["in_flight"].as_array().unwrap().len(), 1);
    // As with every option, what is typed wins.
    let typed = factory.run(&["--format", "json", "--set", "limits.items_max=2"]).expect(0);
    assert!(typed.decided().contains(&"start ar-2-impl.1".to_owned()), "{}", typed.stdout);
}
