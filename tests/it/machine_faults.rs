//! Faults of the machine: nothing can be started, so nothing is parked, and cron sends one mail.

use crate::support::{Factory, NOTE_START, Ran, is_root, skipped, system};

/// Enough items for a backlog, and more ticks than the uncharged streak allows.
const ITEMS: usize = 30;
const TICKS: usize = 52;

/// A factory with a backlog that belongs to a user without a process; `None` where this test is not root.
///
/// Root is subject neither to a limit on processes nor to the rights of a folder.
fn of_another_user() -> Option<(Factory, String)> {
    if !is_root() {
        skipped("only root can become another user");
        return None;
    }
    let mut factory = Factory::with_agent(&format!("{NOTE_START}exit 0"));
    factory.set("limits", "items_max", "30");
    (0..ITEMS).for_each(|n| factory.item(&format!("OK-{n:02}")));
    let uid = 1_100_000_000 + std::process::id();
    let owned = system("chown").arg("-R").arg(uid.to_string()).arg(factory.path("")).status().unwrap();
    assert!(owned.success());
    Some((factory, format!("setpriv --reuid={uid} --regid={uid} --clear-groups")))
}

fn parked(factory: &Factory) -> usize {
    let items = factory.registry()["items"].as_object().unwrap().clone();
    items.values().filter(|item| item["state"] == "parked").count()
}

/// Ticks as cron runs them: the codes, and what was mailed.
fn ticks(factory: &Factory, around: &str) -> (Vec<i32>, Vec<String>) {
    let ran = (0..TICKS).map(|_| Ran::of(&mut factory.shell(&format!("exec {around} \"$TICK\" -q"))));
    let ran: Vec<_> = ran.collect();
    let codes = ran.iter().map(|ran| ran.code.unwrap()).collect();
    (codes, ran.into_iter().map(|ran| ran.stdout + &ran.stderr).filter(|text| !text.is_empty()).collect())
}

#[track_caller]
fn expect_one_alarm(factory: &Factory, user: &str, limit: &str) {
    let (codes, mails) = ticks(factory, &format!("{limit} {user}"));
    assert_eq!(parked(factory), 0, "{}", mails.concat());
    assert_eq!((codes[0], &codes[1..]), (4, &[3; TICKS - 1][..]), "{}", mails.concat());
    // The alarm, and that it lasts: the second tick ends with another code.
    assert_eq!(mails.len(), 2, "{}", mails.concat());
    let status = Ran::of(&mut factory.shell(&format!("exec {user} \"$TICK\" status"))).stdout;
    assert!(status.contains("the machine starts nothing"), "{status}");
}

// Origin: an audit - with a process limit reached, 30 of 30 items were parked in 52 ticks, with 52 mails.
// covers: P05
#[test]
fn process_limit_parks_nothing_and_mails_once() {
    let Some((factory, user)) = of_another_user() else { return };
    expect_one_alarm(&factory, &user, "prlimit --nproc=1");
    assert_eq!(factory.starts(), [""; 0]);
}

// Origin: an audit - the same where `runs/` was not writable.
// covers: P05
#[test]
fn unwritable_runs_folder_parks_nothing_and_mails_once() {
    let Some((factory, user)) = of_another_user() else { return };
    Ran::of(&mut factory.shell(&format!("exec {user} \"$TICK\" pause"))).expect(0);
    Ran::of(&mut factory.shell(&format!("exec {user} \"$TICK\" unpause"))).expect(0);
    let made =
        Ran::of(&mut factory.shell(&format!(
            "exec {user} mkdir -p -m 0500 .factory-tick/runs; chmod 0500 .factory-tick/runs"
        )));
    made.expect(0);
    let closed = system("chmod").arg("0500").arg(factory.state("runs")).status().unwrap();
    assert!(closed.success());
    expect_one_alarm(&factory, &user, "");
}
