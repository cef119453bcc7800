//! Limits and outages of providers: how long their harnesses wait.

use super::*;

// Origin: the-ozolith#58, a usage limit that ate the retry budget; egg#3212, a respawn loop at the limit.
// covers: V16 F64 F65
#[test]
fn a_limit_costs_no_attempt_and_nothing_starts_before_its_reset() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.item("B").labels.push("later".into());
    factory.tick_told();
    factory.claimed("b-impl.1");
    let plan = factory.runs("a-impl.1", 1, recorded!("claude-limit"));
    assert_eq!(told(&plan), ["fail a-impl.1 rate_limited", "cool_off "]);
    assert_eq!(factory.record("A").attempts, 0);
    // The recording says 2100: nobody believes more than 8 days.
    let reset = factory.now.after(LONGEST_TOLD);
    let held = plan.held.iter().find(|held| held.item == id("A")).expect("A waits");
    assert_eq!((held.code, held.until), (HoldReason::CoolingOff, Some(reset)));
    // Another run that had begun before ends well: it proves nothing about now.
    factory.printed("b-impl.1", 0, recorded!("claude-fresh"));
    assert_eq!(told(&factory.tick_told()), ["done b-impl.1", "done B", "writeback B done"]);
    for _ in 0..10 {
        factory.later(6 * 3600);
        assert!(factory.tick_told().is_empty());
    }
    let until_reset = reset.duration_since(factory.now.at).as_secs().unsigned_abs();
    factory.later(until_reset - 1);
    assert!(factory.tick_told().is_empty());
    factory.later(1);
    assert_eq!(told(&factory.tick_told()), ["resume a-impl.2"]);
    // It was right all the same: the one that tried has cost nothing, and everybody waits again.
    let plan = factory.runs("a-impl.2", 1, recorded!("claude-limit"));
    assert_eq!(told(&plan), ["fail a-impl.2 rate_limited", "cool_off "]);
    assert_eq!(factory.cools_off_until("harness:claude"), Some(8 * 24 * 3600));
    assert_eq!(factory.record("A").attempts, 0);
}

// Origin: Kilo-Org/cloud#1932, an outage that exhausted everybody's attempts at once.
// covers: V17 V35 F74
#[test]
fn an_unreachable_provider_is_asked_more_and_more_seldom_and_once_at_a_time() {
    let mut factory = with("[limits]\nitems_max = 9\n[attempts]\nmax = 1", "codex", &["A", "B", "C"]);
    factory.tick_told();
    for run in ["a-impl.1", "b-impl.1", "c-impl.1"] {
        factory.claimed(run);
    }
    for run in ["a-impl.1", "b-impl.1", "c-impl.1"] {
        factory.ends(run, 143, ExitReason::Stalled, recorded!("codex-down"));
    }
    let plan = factory.tick_told();
    let failed: Vec<_> = ["a", "b", "c"].map(|slug| format!("fail {slug}-impl.1 unreachable")).into();
    assert_eq!(told(&plan), [&failed[0], "cool_off ", &failed[1], &failed[2]], "one outage is one failure");
    assert_eq!(factory.cools_off_until("harness:codex"), Some(60));
    for (tries, wait) in [60, 120, 240, 480, 960, 1920, 3600, 3600].into_iter().enumerate() {
        assert_eq!(factory.cools_off_until("harness:codex"), Some(wait), "try {tries}");
        factory.later(wait - 1);
        assert!(factory.tick_told().is_empty(), "not before its time");
        factory.later(1);
        let plan = factory.tick_told();
        let run = launched(&plan).spec.id.to_string();
        assert_eq!(told(&plan).iter().filter(|line| line.contains("-impl.")).count(), 1, "{:?}", told(&plan));
        assert_eq!(held(&plan).iter().filter(|(_, code)| *code == HoldReason::CoolingOff).count(), 2);
        factory.claimed(&run);
        factory.ends(&run, 143, ExitReason::Stalled, recorded!("codex-down"));
        factory.tick_told();
    }
    assert!(["A", "B", "C"].iter().all(|key| factory.record(key).attempts == 0));
    // It answers: everybody goes on.
    factory.later(3600);
    let plan = factory.tick_told();
    let run = launched(&plan).spec.id.to_string();
    let plan = factory.runs(&run, 0, recorded!("codex-fresh"));
    assert!(factory.registry.cool_offs.is_empty(), "{:?}", told(&plan));
    assert_eq!(started(&plan), 2, "{:?}", told(&plan));
}

// covers: V16 V35
#[test]
fn a_trial_that_goes_on_holds_up_nobody() {
    let mut factory = factory("codex", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.printed("b-impl.1", 1, recorded!("codex-429"));
    factory.tick_told();
    factory.later(60);
    let first = launched(&factory.tick_told()).spec.id.to_string();
    factory.claimed(&first);
    factory.later(299);
    assert_eq!(started(&factory.tick_told()), 0);
    factory.later(1);
    assert_eq!(started(&factory.tick_told()), 1);
}

// Five failures in a row that are nobody's fault park an item; a provider that is away for a night has more of them.
// covers: V33
#[test]
fn a_provider_that_fails_one_item_again_and_again_never_parks_it() {
    let mut factory = factory("codex", &["A"]);
    let mut run = launched(&factory.tick_told()).spec.id.to_string();
    for _ in 0..10 {
        factory.runs(&run, 1, recorded!("codex-429"));
        factory.later(3600);
        run = launched(&factory.tick_told()).spec.id.to_string();
    }
    let record = factory.record("A");
    assert_eq!((record.state, record.attempts, record.uncharged_streak), (ItemPhase::Active, 0, 0));
}

// covers: V36
// A run of the outage that was heard of late made the wait longer, and its trial seem to have begun before it: that it was
// answered ended nothing.
#[test]
fn what_an_outage_fails_later_neither_prolongs_its_wait_nor_hides_that_it_is_over() {
    let mut factory = factory("codex", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.later(60);
    let trial = launched(&factory.tick_told()).spec.id.to_string();
    factory.claimed(&trial);
    factory.printed("b-impl.1", 1, recorded!("codex-429"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 rate_limited"]);
    let plan = factory.runs(&trial, 0, recorded!("codex-fresh"));
    assert!(factory.registry.cool_offs.is_empty(), "{:?}", told(&plan));
}

#[test]
fn a_later_reset_is_heard_from_whoever_tells_it() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("claude-429"));
    let begun = factory.registry.cool_offs["harness:claude"].begun.clone();
    factory.printed("b-impl.1", 1, recorded!("claude-limit"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 rate_limited", "cool_off "]);
    let cool_off = &factory.registry.cool_offs["harness:claude"];
    assert_eq!(cool_off.until, Some(factory.now.after(LONGEST_TOLD)));
    assert_eq!((cool_off.streak, &cool_off.begun), (1, &begun), "the same outage");
}

// A launcher that is slow to claim its run begins it in the middle of a wait: that it was not told the reset which an
// earlier one was told let everybody start before it.
#[test]
fn a_run_that_knows_less_does_not_shorten_a_wait() {
    let mut factory = factory("claude", &["A", "B"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("claude-limit"));
    let told = factory.now.after(LONGEST_TOLD);
    factory.later(1);
    factory.claimed("b-impl.1");
    factory.printed("b-impl.1", 1, recorded!("claude-429"));
    factory.tick_told();
    let cool_off = &factory.registry.cool_offs["harness:claude"];
    assert_eq!((cool_off.until, cool_off.streak), (Some(told), 2));
}

// A clock that had been a year ahead for a moment kept a harness from starting anything for a year.
#[test]
fn a_clock_that_is_set_back_makes_no_wait_longer() {
    let mut factory = factory("codex", &["A", "B"]);
    factory.tick_told();
    factory.claimed("b-impl.1");
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.later(30);
    factory.now.at = factory.now.at.checked_sub(Duration::from_secs(365 * 24 * 3600)).unwrap();
    assert_eq!(told(&factory.tick_told()), ["cool_off "]);
    assert_eq!(factory.cools_off_until("harness:codex"), Some(60), "as long as it was to be");
    // Nor does it make one of the same outage a further failure, or what began before an answer.
    factory.printed("b-impl.1", 1, recorded!("codex-429"));
    assert_eq!(told(&factory.tick_told()), ["fail b-impl.1 rate_limited"]);
    factory.later(59);
    assert_eq!(launched(&factory.tick_told()).spec.id.to_string(), "a-impl.2");
}

// The time that a provider named in seconds was counted from the wall clock as it had been, which was set meanwhile.
#[test]
fn a_wait_that_is_told_in_seconds_is_not_moved_by_the_clock() {
    let mut factory = factory("codex", &["A"]);
    let mut output = recorded!("codex-429");
    let words = "exceeded retry limit, last status: 429 Too Many Requests";
    output.stdout_tail = output.stdout_tail.replace(words, "Rate limit reached. Please try again in 500s.");
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.printed("a-impl.1", 1, output);
    factory.later(100);
    factory.now.at = factory.now.at.checked_sub(Duration::from_secs(365 * 24 * 3600)).unwrap();
    factory.tick_told();
    assert_eq!(factory.cools_off_until("harness:codex"), Some(400));
}

#[test]
fn a_wait_that_nobody_asks_about_is_forgotten() {
    let mut factory = factory("codex", &["A"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("codex-429"));
    factory.remove("A");
    factory.tick_told();
    factory.tick_gone();
    assert_eq!(factory.registry.cool_offs.len(), 1);
    factory.later(3660);
    assert_eq!(told(&factory.tick_told()), ["cool_off "]);
    assert!(factory.registry.cool_offs.is_empty() && factory.tick_told().is_empty());
}

// Origin: codex without a network prints "Reconnecting" for ever; it was charged as stalled.
// covers: V17
#[test]
fn what_ends_a_run_that_waits_for_its_provider_is_not_its_agents_fault() {
    let mut factory = factory("codex", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.ends("a-impl.1", 143, ExitReason::Deadline, recorded!("codex-down"));
    assert_eq!(told(&factory.tick_told()), ["fail a-impl.1 unreachable", "cool_off "]);
    let mut factory = super::providers::factory("codex", &["A"]);
    factory.tick_told();
    factory.claimed("a-impl.1");
    factory.ends("a-impl.1", 143, ExitReason::Stalled, recorded!("codex-killed"));
    let plan = factory.tick_told();
    assert_eq!(told(&plan), ["fail a-impl.1 stalled", "resume a-impl.2"], "a model that hangs is a stall");
    assert_eq!((launched(&plan).spec.session.as_deref(), factory.record("A").attempts), (Some(ID), 1));
}

/// A run that began before a wait did says nothing of what came after; where that can't be told, it did.
#[test]
fn whether_a_run_began_after_a_wait_is_told_by_the_clock_of_their_boot() {
    let at = |seconds, boot: &str| ClockReading { boot_id: boot.into(), ..moment(seconds) };
    let mut factory = factory("claude", &["A"]).running("a-impl.1");
    let agent = factory.registry.agents.values_mut().next().unwrap();
    let mut began = |begun: Option<ClockReading>, wait: ClockReading| {
        agent.since = begun;
        cool_off(wait).precedes(agent.since.as_ref(), &at(1000, "boot-2"))
    };
    let wait = || at(100, "boot-1");
    assert_eq!([99, 100, 101].map(|seconds| began(Some(at(seconds, "boot-1")), wait())), [false, true, true]);
    assert!(began(Some(at(1, "boot-2")), wait()), "the machine was restarted between them");
    assert!(!began(Some(at(500, "boot-0")), wait()), "of a boot that is over, and not that of the wait");
    assert!(!began(None, wait()));
}

// A wait that begins in the very millisecond of the tick that looks at it has begun.
#[test]
fn a_wait_that_has_just_begun_was_not_begun_by_a_wrong_clock() {
    let mut factory = factory("claude", &["A"]);
    factory.tick_told();
    factory.runs("a-impl.1", 1, recorded!("claude-limit"));
    assert!(factory.registry.cool_offs.contains_key("harness:claude"), "{:?}", factory.registry.cool_offs);
    let plan = factory.tick_told();
    assert!(plan.is_empty(), "{:?}", told(&plan));
}

// Origin: an audit - a limit that always said "in 1.2 s" was asked each minute.
// covers: P06
#[test]
fn short_reset_is_not_believed_for_ever() {
    let mut factory = factory("codex", &["A"]);
    let mut output = recorded!("codex-429");
    let words = "exceeded retry limit, last status: 429 Too Many Requests";
    output.stdout_tail = output.stdout_tail.replace(words, "Rate limit reached. Please try again in 1.2s.");
    let mut run = launched(&factory.tick_told()).spec.id.to_string();
    for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        factory.runs(&run, 1, output.clone());
        assert_eq!(factory.cools_off_until("harness:codex"), Some(wait));
        factory.later(wait);
        run = launched(&factory.tick_told()).spec.id.to_string();
    }
}
