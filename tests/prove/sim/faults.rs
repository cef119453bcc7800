//! What can go wrong, how often in this seed, and how often it did.

use std::collections::BTreeMap;

use super::dice::Dice;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $often:literal,)*) => {
        /// One kind of mishap. The number is its highest chance, in percent per opportunity.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Fault { $($(#[$doc])* $name,)* }

        const ALL: &[(Fault, u64)] = &[$((Fault::$name, $often),)*];
    };
}

faults! {
    /// The program of a role is missing.
    NoProgram 15,
    /// The machine can't make a directory, a file or a process.
    NoProcess 20,
    /// The launcher is started and dies before it does anything.
    StartLost 20,
    /// The launcher claims late, perhaps long after its grace.
    SlowClaim 40,
    /// `kill -9` on a launcher, between any two of its steps.
    LauncherKilled 8,
    /// A launcher that is stopped (SIGSTOP) while its agent hangs.
    LauncherStuck 15,
    /// A sweep that takes longer than any patience.
    SlowSweep 15,
    /// The exit receipt is lost.
    ExitLost 10,
    /// Processes that can't be ended for a while.
    Unkillable 15,
    /// An agent's launcher is told to stop by somebody else.
    SomebodyStops 8,
    /// The fleet can't be seen.
    FleetUnknown 25,
    /// There is time to look at one unrecorded run only.
    LookCut 30,
    /// One run of it can't be told.
    RunUnknown 20,
    /// The source can't be read.
    SourceUnknown 25,
    /// A commit fails, and nobody knows whether it landed.
    CommitFails 10,
    /// The tick is killed between two of its steps.
    TickKilled 35,
    /// The tick's time is up, or a signal comes, in the middle of its effects.
    TickStopped 20,
    /// The registry is damaged: its predecessor is read.
    RegistryLost 10,
    /// A note to the tracker fails.
    NoteFails 40,
    /// A note is taken, and its answer lost.
    NoteLost 20,
    /// Nobody may be signalled, or a receipt can't be written.
    ReapFails 20,
    /// A fence fails, before or after its link.
    FenceFails 20,
    /// The wall clock is set.
    ClockSet 5,
    /// The machine is restarted.
    Reboot 6,
    /// The container is replaced: another pid namespace, and every process of the old one is gone.
    ContainerReplaced 5,
    /// Another container takes over while the old one still lives.
    ContainerBeside 5,
    /// Somebody removes the claim of a run.
    ClaimRemoved 8,
    /// Somebody edits, closes, deletes, restores or spoils an item.
    Edit 20,
    /// An agent edits the item that it works on.
    AgentEditsItem 20,
    /// Credentials that are refused are refreshed while agents run, and refused again.
    CredentialsRefreshed 20,
    /// A person stops an item.
    PersonStops 4,
    /// A person parks an item.
    PersonParks 4,
    /// A person pauses all starts for a while.
    PersonPauses 4,
    /// A person wants an item tried again.
    PersonRetries 15,
    /// A tick for one item alone.
    OneItem 10,
    /// A reap instead of a tick.
    ReapOnly 10,
    /// The judgement before a person's order instead of a tick.
    JudgeOnly 10,
    /// A variable that a role names is not set.
    NoVariable 10,
    /// The program of a role is found missing before anything starts.
    ProgramMissing 10,
    /// The disk is nearly full.
    DiskLow 10,
    /// A role leaves the configuration for a while, or its resume command does.
    Reconfigured 8,
    /// What makes an item done is configured anew for a while, whatever runs.
    DoneChanged 8,
    /// The suffix of a role is renamed, or two roles swap theirs.
    SuffixRenamed 10,
    /// Somebody else has an agent of that name in the fleet, for a while.
    NameTaken 15,
    /// The file of an item is away for less than 30 s.
    Blink 30,
    /// The folder of items is empty for a while.
    FolderAway 10,
    /// The disk of the workspaces is full when an agent ends.
    DiskFull 8,
    /// Another factory has the workspace of an item.
    WorkspaceTaken 15,
}

/// Faults that are drawn from dice of their own, so that seeds without them live as they did before.
const DRAWN_ASIDE: [Fault; 2] = [Fault::Blink, Fault::FolderAway];

/// How likely each mishap is in this seed, in millionths.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    chances: BTreeMap<Fault, u64>,
    /// How often each happened.
    pub(super) happened: BTreeMap<Fault, u64>,
}

impl Faults {
    /// One seed in eight has none; in the others each kind is absent more often than not, so that the kinds
    /// which hide each other also come alone.
    pub(super) fn draw(dice: &mut Dice) -> Faults {
        let mut faults = Faults::default();
        if dice.percent(12) {
            return faults;
        }
        let share = dice.range(10, 80);
        let mut aside = dice.aside();
        for (fault, often) in ALL {
            let dice = if DRAWN_ASIDE.contains(fault) { &mut aside } else { &mut *dice };
            if dice.percent(share) {
                faults.chances.insert(*fault, dice.range(0, often * 10_000));
            }
        }
        faults
    }

    /// Whether it happens now.
    pub(super) fn strike(&mut self, fault: Fault, dice: &mut Dice) -> bool {
        let strikes = self.chances.get(&fault).is_some_and(|chance| dice.chance(*chance));
        if strikes {
            *self.happened.entry(fault).or_default() += 1;
        }
        strikes
    }

    /// From now on nothing goes wrong.
    pub(super) fn end(&mut self) {
        self.chances.clear();
    }
}
