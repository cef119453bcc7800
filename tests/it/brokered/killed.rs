//! Ticks that are killed while they ask for a start.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::proxy::{Asked, Proxy, passes_on};
use super::{Case, WORKS};
use crate::support::{Factory, Running, kill_9, pause};

/// When a tick is killed, of the first start that it asks for.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// Its request is lost with it.
    BeforeAnybodyHears,
    /// The broker carries it out, and nobody hands an environment over.
    BeforeItIsCarriedOut,
    /// It has not heard of it yet.
    AfterItWasCarriedOut,
}

#[track_caller]
fn a_killed_tick(when: When) {
    let mut factory = Factory::with_agent(WORKS);
    factory.set("fleet", "start_grace", "\"1s\"");
    let Some(mut case) = Case::new(factory) else { return };
    let (tick, is_over) = (Arc::new(AtomicU32::new(0)), AtomicBool::new(false));
    let pid = tick.clone();
    let answers = Box::new(move |request: &Asked, client: &mut TcpStream, broker: &dyn Fn() -> Vec<u8>| {
        if request.line != "POST /api/spawn" || is_over.swap(true, Ordering::SeqCst) {
            return passes_on(request, client, broker);
        }
        let kill = || {
            while pid.load(Ordering::SeqCst) == 0 {
                pause(std::time::Duration::from_millis(1));
            }
            kill_9(pid.load(Ordering::SeqCst));
        };
        match when {
            When::BeforeAnybodyHears => kill(),
            When::BeforeItIsCarriedOut => {
                kill();
                broker();
            }
            When::AfterItWasCarriedOut => {
                broker();
                kill();
            }
        }
    });
    let proxy = Proxy::start(&case.url(), answers);
    case.at(&proxy.url);
    case.factory.item("AR-1");
    let running = Running::start(&mut case.factory.program(&[]));
    tick.store(running.pid(), Ordering::SeqCst);
    assert_eq!(running.end().code, None, "it was killed");

    case.factory.wait_for("an agent runs", || {
        case.factory.tick();
        case.factory.starts().len() == 1
    });
    case.go();
    case.tick_until_done("AR-1");
    assert_eq!((case.factory.starts().len(), case.factory.told("doubles").as_str()), (1, ""));
    assert_eq!(case.factory.recorded("AR-1")["attempts"], 0, "that was nobody's failure");
    case.factory.wait_for("nothing is left", || case.marked().is_empty());
}

// covers: B09
#[test]
fn a_start_that_was_lost_with_its_tick_is_made_again() {
    a_killed_tick(When::BeforeAnybodyHears);
}

// covers: B09
#[test]
fn a_start_that_is_carried_out_for_a_dead_tick_has_no_agent_and_is_made_again() {
    a_killed_tick(When::BeforeItIsCarriedOut);
}

// covers: B09
#[test]
fn a_start_that_was_carried_out_is_found_by_the_next_tick() {
    a_killed_tick(When::AfterItWasCarriedOut);
}
