//! All proofs, one after the other, each in a process of its own with a log of its own.

use std::fs::{self, File};
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::{COMMAND, cargo, say, target};

/// The arguments of `cargo prove all`.
#[derive(Args)]
pub(crate) struct Order {
    /// How much of each proof to run. 50 without the night took 21 minutes on 2 cores
    #[arg(value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    percent: u64,
    /// Run only these proofs
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    Sweep,
    Errno,
    Corrupt,
    Power,
    Reaper,
    Pids,
    Hostile,
    Kill,
    Race,
    Fleets,
    Sim,
    Night,
    Fuzz,
}

impl Step {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Its arguments at that size.
    fn arguments(self, percent: u64) -> String {
        let part = |whole: u64| (whole * percent / 100).max(1);
        // The less is wanted, the wider the steps.
        let stride = |whole: u64| (whole * 100).div_ceil(percent);
        match self {
            Step::Sweep => format!("sweep all --every {}", stride(1)),
            Step::Errno => format!("sweep all --errno all --every {}", stride(3)),
            Step::Corrupt => format!("corrupt all --every {}", stride(97)),
            Step::Power => format!("power {}", part(200)),
            Step::Reaper => "reaper 1".to_owned(),
            Step::Pids => format!("pids {}", part(1000)),
            Step::Hostile => format!("hostile {percent}"),
            Step::Kill => format!("kill {}", part(200)),
            Step::Race => format!("race {}", part(200)),
            Step::Fleets => "fleets".to_owned(),
            Step::Sim => format!("sim {} 100", part(5000)),
            // A shorter night than this has no room for its outages.
            Step::Night => format!("night {} --seed 7", part(200).clamp(20, 400)),
            Step::Fuzz => format!("fuzz {}", part(10)),
        }
    }

    /// The simulator needs speed and all checks; a night measures what users have.
    fn profile(self) -> &'static str {
        match self {
            Step::Sim => "sim",
            Step::Night => "release",
            _ => "test",
        }
    }
}

pub(crate) fn prove(order: &Order) {
    let folder = target().join("prove");
    fs::create_dir_all(&folder).unwrap();
    say(&format!("{:<9} {:<44} {:>7}  result", "proof", "cargo prove", "s"));
    let begun = Instant::now();
    let mut failed = Vec::new();
    let wanted =
        Step::value_variants().iter().filter(|step| order.steps.is_empty() || order.steps.contains(step));
    for step in wanted {
        let (name, arguments) = (step.name(), step.arguments(order.percent));
        let from = Instant::now();
        let path = folder.join(format!("{name}.log"));
        let log = File::create(&path).unwrap();
        let mut command = cargo();
        command.args(["test", "--locked", "--test", "prove", "--profile", step.profile(), "--", COMMAND]);
        command.args(arguments.split(' ')).stdout(log.try_clone().unwrap()).stderr(log);
        let passed = command.status().unwrap().success();
        let result = if passed { "passed".to_owned() } else { format!("FAILED: {}", path.display()) };
        say(&format!("{name:<9} {arguments:<44} {:>7}  {result}", from.elapsed().as_secs()));
        failed.extend((!passed).then_some(name));
    }
    say(&format!("{:<54} {:>7}", "all", begun.elapsed().as_secs()));
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
