//! An agent fills the disk of the state, or takes its last inode: a person ends it all the same.

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
#[test]
fn agent_that_fills_the_disk_is_stopped() {
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
#[test]
fn item_is_parked_on_a_full_disk() {
    let order = r#""$TICK" --state-dir st park OK-1"#;
    let Some(told) = Told::order(FILLS, "size=8m", order) else { return };
    told.expect("0", true);
    assert_ne!(told.factory.told("alive"), "", "only parked");
}

// covers: P24b
#[test]
fn agent_is_ended_where_even_the_reserve_is_gone() {
    let order = r#"rm -r st/reserve; head -c 99m /dev/zero >st/workspaces/more 2>/dev/null
        "$TICK" --state-dir st stop OK-1"#;
    let Some(told) = Told::order(FILLS, "size=8m", order) else { return };
    told.expect("74", false);
    assert!(told.stderr.contains("ended, not parked: ok-1-impl.1"), "{}", told.stderr);
    assert_eq!(told.factory.told("asleep"), "", "its launcher alone waits for room, to tell how it ended");
    assert!(told.factory.told("files").lines().any(|name| name == "stop"), "{}", told.factory.told("files"));
}
