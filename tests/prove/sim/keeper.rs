//! What becomes of old runs and workspaces: the last step of a tick, and the processes that it leaves to the rest.
//! They come late, or never.

use factory_tick::config::{Config, Retention};
use factory_tick::model::{ItemId, RunId};
use factory_tick::registry::{AgentPhase, ItemPhase};
use factory_tick::workspace::retention;

use super::check::Broken;
use super::dice::Dice;
use super::world::World;

pub(super) struct Keeper {
    rules: Retention,
    /// Names and suffixes.
    roles: Vec<(String, String)>,
    dice: Dice,
    /// When each remover that was started comes to work, on the monotonic clock of its boot.
    removers: Vec<(u32, u64)>,
    /// Directories of runs, and workspaces.
    pub(super) removed: (u64, u64),
}

impl Keeper {
    pub(super) fn new(dice: Dice, config: &Config) -> Keeper {
        let roles = config.roles.iter().map(|role| (role.name.clone(), role.suffix.clone())).collect();
        Keeper { rules: config.retention.clone(), roles, dice, removers: Vec::new(), removed: (0, 0) }
    }
}

impl World {
    /// The end of a tick that could see its agents. It may be killed between any two renames.
    pub(super) fn retain(&mut self) {
        if self.dead || self.today.fleet_unknown {
            return;
        }
        let (registry, clock) = (self.disk.standing.clone(), self.machine.clock());
        for removal in retention::runs(&registry, &self.machine.traces(), &self.keeper.rules, &clock) {
            if !self.step() {
                return;
            }
            self.may_lose_its_directory(&removal.what);
            self.keeper.removed.0 += u64::from(self.machine.discard(&removal.what));
        }
        let due = retention::workspaces(&registry, &self.machine.workspaces, &self.keeper.rules, &clock);
        if !due.is_empty() && self.step() {
            let late = self.keeper.dice.pick(&[0, 100, 5_000, 100_000, 1_000_000]);
            self.keeper.removers.push((self.machine.boots, self.machine.mono_ms + late));
        }
    }

    /// Removers whose time has come, in the middle of whatever a tick is doing.
    pub(super) fn removers_work(&mut self) {
        let (boot, now) = (self.machine.boots, self.machine.mono_ms);
        let is_due = |(of_boot, at): &(u32, u64)| *of_boot == boot && *at <= now;
        if !self.keeper.removers.iter().any(is_due) {
            return;
        }
        self.keeper.removers.retain(|one| !is_due(one) && one.0 == boot);
        if !self.disk.is_whole() {
            return;
        }
        let (registry, clock) = (self.disk.standing.clone(), self.machine.clock());
        let roles: Vec<_> = self.keeper.roles.iter().map(|(name, suffix)| (&**name, &**suffix)).collect();
        let mut clear = Vec::new();
        for removal in retention::workspaces(&registry, &self.machine.workspaces, &self.keeper.rules, &clock)
        {
            let Some(id) = removal.item else { continue };
            let agents = retention::agents(&registry, &id, &roles);
            if agents.iter().all(|agent| !self.machine.is_locked(agent)) {
                clear.push((id, removal.what));
            }
        }
        for (id, workspace) in clear {
            self.may_lose_its_workspace(&id);
            self.machine.workspaces.remove(&workspace);
            self.keeper.removed.1 += 1;
        }
    }

    /// What is current, must end, is not on record, or lives keeps the only trace of it.
    fn may_lose_its_directory(&mut self, run: &RunId) {
        let registry = &self.disk.standing;
        let current = registry.agents.get(&run.agent).is_some_and(|agent| agent.run.as_ref() == Some(run));
        let mut indexed = registry.done.iter().filter(|(_, done)| done.gone.is_none());
        let latest = registry.agents.get(&run.agent).is_some_and(|agent| agent.spec.id.n == run.n)
            || indexed.any(|(id, _)| registry.latest_runs_of(id).any(|latest| latest == *run));
        let last = registry.names.last_n.get(&run.agent).copied().unwrap_or(0);
        let live = self.machine.runs.get(run).is_some_and(|one| one.is_live());
        let needed = [
            (current, "it is its agent's"),
            (latest, "its log is the one that is asked for"),
            (registry.handoffs.contains_key(run), "it must end"),
            (run.n > last, "it is not on record"),
            (live, "it lives"),
        ];
        if let Some((_, why)) = needed.into_iter().find(|(needed, _)| *needed) {
            self.breaks("what_is_needed_is_not_removed", format!("{run} is removed, and {why}"));
        }
    }

    /// So does what an unfinished item may go on with.
    fn may_lose_its_workspace(&mut self, id: &ItemId) {
        let registry = &self.disk.standing;
        let unfinished = registry.items.get(id).is_some_and(|item| item.state != ItemPhase::Done);
        let starts = registry.agents_of(id).any(|(_, agent)| agent.state != AgentPhase::Idle);
        let live = self.machine.busy.iter().find(|run| {
            let one = &self.machine.runs[*run];
            one.is_live() && one.spec.as_ref().is_some_and(|spec| spec.spec.item == *id)
        });
        let what = match live {
            Some(run) => format!("{run} lives in the workspace of {id}, and it is removed"),
            None if unfinished || starts => format!("{id} is not finished, and its workspace is removed"),
            None => return,
        };
        // Whatever became of the tick meanwhile.
        self.broken.get_or_insert(Broken { rule: "what_is_needed_is_not_removed", what });
    }
}
