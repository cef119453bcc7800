//! An agent fills the disk of the state, or takes its last inode: a person ends it all the same.

use serde_json::Value;

use super::machine::with_own_mounts;
use crate::support::{Factory, NOTE_START};

/// Fills the disk of its workspace, and stays.
const FILLS: &str = r#"head -c 99m /dev/zero >fill 2>/dev/null; echo full >"$LAB/full"; exec sleep $SLEEP"#;

/// Takes every inode, and stays.
const TAKES_INODES: &str =
    r#"n=0; while true >"f$n"; do n=$((n + 1)); done 2>/dev/null; echo full >"$LAB/full"; exec sleep $SLEEP"#;

/// What each agent does first: the tick that starts it is to end before there is no room.
const WAITS: &str = r#"until [ -e "$LAB/go" ]; do sleep 0.02; done; "#;

/// The words of a script: a disk for the state, and a tick whose agent fills it.
const FULL: &str = r#"mkdir st && mount -t tmpfs -o mode=700,$DISK tmpfs st || exit 99
    "$TICK" -q --state-dir st || exit 98
    touch lab/go
    n=0; until [ -e lab/full ] || [ $n = 600 ]; do n=$((n + 1)); sleep 0.1; done
    pgrep -f "$PWD/st/runs/ok-1-impl.1" >lab/before
    "#;

/// What follows the order: who lives, what the state holds, and whether there is a reserve once there is room.
const AFTER: &str = r#"
    echo $? >lab/code; cp st/registry.json lab/registry; ls st st/runs/ok-1-impl.1 >lab/files; df st >lab/df
    pgrep -f "$PWD/st/runs/ok-1-impl.1" >lab/alive; pgrep -f "sleep $SLEEP" >lab/asleep
    mount -o remount,size=50m,nr_inodes=10000 st; "$TICK" -q --state-dir st; ls st/reserve >lab/reserve
    "$TICK" -q --state-dir st stop --all; exit 0"#;

/// How an order on a full disk ended.
struct Told {
    code: String,
    stderr: String,
    stdout: String,
    factory: Factory,
}

impl Told {
    /// `None` where this machine allows no mounts.
    fn order(agent: &str, disk: &str, order: &str) -> Option<Told> {
        // A number that no other sleep of this machine has tells the agent.
        let sleep = format!("600.{}{}", std::process::id(), order.len());
        let factory = Factory::with_agent(&format!("{NOTE_START}SLEEP={sleep}; {WAITS}{agent}"));
        factory.item("OK-1");
        let script = format!("DISK={disk}; SLEEP={sleep}; {FULL} {order} {AFTER}");
        let ran = with_own_mounts(&factory, &script)?;
        let ran = ran.expect(0);
        let code = factory.told("code").trim().to_owned();
        Some(Told { code, stderr: ran.stderr, stdout: ran.stdout, factory })
    }

    fn is_parked(&self) -> bool {
        self.factory.told("registry").contains("\"state\":\"parked\"")
    }

    #[track_caller]
    fn expect(&self, code: &str, is_parked: bool) {
        let words = format!("{}{}\n{}", self.stdout, self.stderr, self.factory.told("df"));
        assert_ne!(self.factory.told("before"), "", "the agent runs when the order comes");
        assert_eq!((self.code.as_str(), self.is_parked()), (code, is_parked), "{words}");
        assert_ne!(self.factory.told("reserve"), "", "a tick with room makes the reserve again");
    }
}

// `stop` could not end the agent that had filled the disk: nothing could be written down, so nothing was done.
// covers: P24
pub(super) fn agent_that_fills_the_disk_is_stopped() {
    for (agent, disk) in [(FILLS, "size=8m"), (TAKES_INODES, "nr_inodes=600")] {
        let Some(told) = Told::order(agent, disk, r#""$TICK" --state-dir st stop OK-1"#) else { return };
        told.expect("0", true);
        assert_eq!(told.factory.told("alive"), "", "{disk}");
        assert!(
            !told.factory.told("files").lines().any(|name| name == "reserve"),
            "{disk}: the reserve is spent"
        );
    }
}

// covers: P24
pub(super) fn item_is_parked_on_a_full_disk() {
    let order = r#""$TICK" --state-dir st park OK-1"#;
    let Some(told) = Told::order(FILLS, "size=8m", order) else { return };
    told.expect("0", true);
    assert_ne!(told.factory.told("alive"), "", "only parked");
}

// covers: P24b
pub(super) fn agent_is_ended_where_even_the_reserve_is_gone() {
    let order = r#"rm -r st/reserve; head -c 99m /dev/zero >st/workspaces/more 2>/dev/null
        "$TICK" --state-dir st stop OK-1"#;
    let Some(told) = Told::order(FILLS, "size=8m", order) else { return };
    told.expect("74", false);
    assert!(told.stderr.contains("ended, not parked: ok-1-impl.1"), "{}", told.stderr);
    assert_eq!(told.factory.told("asleep"), "", "its launcher alone waits for room, to tell how it ended");
    assert!(told.factory.told("files").lines().any(|name| name == "stop"), "{}", told.factory.told("files"));
}

/// An agent on a disk of 8 MiB for the workspaces, which fails: what its item has become, and its receipt.
fn fails_on(agent: &str) -> Option<(Value, Value)> {
    let mut factory = Factory::with_agent(&format!("{NOTE_START}{agent}"));
    factory.set("workspace", "root", "\"work\"");
    factory.item("OK-1");
    let script = r#"mkdir work && mount -t tmpfs -o mode=700,size=8m tmpfs work || exit 99
        "$TICK" -q || exit 98
        n=0; until [ -e .factory-tick/runs/ok-1-impl.1/swept ] || [ $n = 600 ]; do n=$((n + 1)); sleep 0.1; done
        "$TICK" -q; exit 0"#;
    with_own_mounts(&factory, script)?.expect(0);
    Some((factory.recorded("OK-1"), factory.receipt("ok-1-impl.1", "exit").unwrap()))
}

// An agent whose workspace had no room failed, and its item was charged and parked. The state lay on another disk.
// covers: P21
pub(super) fn agent_that_fails_on_a_full_disk_is_not_charged() {
    let Some((item, exit)) = fails_on("head -c 99m /dev/zero >fill; exit 1") else { return };
    assert_eq!((&item["last"]["class"], &item["attempts"]), (&"machine".into(), &0.into()), "{item} {exit}");
    assert_eq!(exit["room"]["workspaces"]["bytes"], 0, "{exit}");
    let words = "echo 'write: No space left on device (os error 28)' >&2; exit 1";
    let Some((item, exit)) = fails_on(words) else { return };
    assert_eq!((&item["last"]["class"], &item["attempts"]), (&"agent".into(), &1.into()), "{item} {exit}");
    assert!(exit["room"]["workspaces"]["bytes"].as_u64() > Some(7 << 20), "{exit}");
}

// covers: P21b
pub(super) fn nothing_starts_without_room_for_workspaces() {
    let mut factory = Factory::with_agent(&format!("{NOTE_START}exit 0"));
    factory.set("workspace", "root", "\"work\"");
    factory.set("limits", "disk_free_min", "\"16MiB\"");
    factory.item("OK-1");
    let script = r#"mkdir work && mount -t tmpfs -o mode=700,size=8m tmpfs work || exit 99
        "$TICK" --format json; "$TICK" check >lab/check; exit 0"#;
    let Some(ran) = with_own_mounts(&factory, script) else { return };
    let report = ran.expect(0).json();
    assert_eq!(report["held"][0]["code"], "disk_floor", "{report}");
    assert_eq!(factory.starts(), [""; 0]);
    let check = factory.told("check");
    assert!(check.contains("lower [limits] disk_free_min"), "{check}");
}
