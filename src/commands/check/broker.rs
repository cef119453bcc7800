//! Whether the broker that agents run under is there, and takes orders.

use std::time::{Duration, Instant};

use super::subject::Subject;
use crate::config::FleetKind;
use crate::exit::ExitStatus;
use crate::fleet::broker::discover::{Found, NotFound};
use crate::fleet::broker::{Failure, find};
use crate::process::identity::Host;
use crate::views::check::Finding;

/// As long as a tick waits for it to say who it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asked who it is, and for nothing else.
pub(super) fn broker(subject: &Subject<'_>) -> Vec<Finding> {
    let FleetKind::Broker(config) = &subject.config.fleet.kind else { return Vec::new() };
    let host = match Host::read() {
        Ok(host) => host,
        Err(error) => {
            return vec![Finding::problem(ExitStatus::IoError, "agent-relay", format!("{error:#}"))];
        }
    };
    vec![match find(subject.config, config, &subject.vars, &host) {
        Ok(found) => meet(&found),
        Err(why) => not_found(subject, &why),
    }]
}

fn meet(found: &Found) -> Finding {
    let shown = found.origin.to_string();
    let said = |what: String| format!("{what} (its address is from {})", found.by);
    match found.meet(Instant::now() + PATIENCE) {
        Ok((_, session)) => {
            let service = if session.is_local_only { ", without a service behind it" } else { "" };
            let version = &session.version;
            Finding::ok(shown, said(format!("agent-relay {version} answers and accepts the key{service}")))
        }
        Err(failure @ Failure::Denied(_)) => {
            Finding::problem(ExitStatus::Denied, shown, said(failure.to_string())).hint(
                "set RELAY_BROKER_API_KEY to the key of that broker, or remove the address of another one",
            )
        }
        Err(failure) => Finding::problem(ExitStatus::Unavailable, shown, said(failure.to_string()))
            .hint("start the broker, or correct its address"),
    }
}

fn not_found(subject: &Subject<'_>, why: &NotFound) -> Finding {
    let problem = |status| Finding::problem(status, "agent-relay", why.to_string());
    match why {
        NotFound::Keyless(_) if subject.as_cron => problem(ExitStatus::Denied)
            .hint("add a line RELAY_BROKER_API_KEY=… to the crontab, above the tick"),
        NotFound::Keyless(_) => {
            problem(ExitStatus::Denied).hint("set RELAY_BROKER_API_KEY where the tick runs")
        }
        NotFound::Wrong(_) => problem(ExitStatus::Unavailable).hint("correct it"),
        NotFound::Nowhere(_) | NotFound::Stale(_) | NotFound::Unreadable(_) => {
            problem(ExitStatus::Unavailable)
                .hint("start the broker, or say where it is: [fleet] broker_state_dir or broker_url")
        }
    }
}
