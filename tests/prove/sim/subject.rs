//! The simulator's tracker, for the suite that holds for every source.

use std::cell::RefCell;
use std::path::Path;

use factory_tick::config::{self, Config};
use factory_tick::model::ItemId;
use factory_tick::source::Source;

use super::dice::Dice;
use super::faults::Faults;
use super::tracker::{self, Tracker};
use super::world::{Hands, World};
use crate::source_suite::Subject;

/// A world without faults, whose tracker holds nothing.
pub(super) struct Simulated(RefCell<World>);

impl Simulated {
    pub(super) fn new() -> Simulated {
        Simulated(RefCell::new(calm_world()))
    }
}

/// A world without faults and without items.
pub(super) fn calm_world() -> World {
    let mut world = World::new(Dice::new(1), &config());
    world.faults = Faults::default();
    world.tracker = Tracker::default();
    world
}

fn config() -> Config {
    let text = "[[role]]\nname = \"implementer\"\nsuffix = \"impl\"\ncommand = [\"agent\"]\n";
    config::parse(text, Path::new("/simulated/factory.toml"), &|_| Ok(String::new())).unwrap()
}

impl Subject for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn source(&self) -> Box<dyn Source + '_> {
        Box::new(Hands(&self.0))
    }

    fn id(&self, n: u32) -> ItemId {
        tracker::id(n.into())
    }

    fn file(&self, n: u32, title: &str) {
        self.0.borrow_mut().tracker.file(n.into(), title);
    }

    fn spoil(&self, n: u32) {
        self.0.borrow_mut().tracker.items.get_mut(&self.id(n)).unwrap().malformed = true;
    }

    fn remove(&self, n: u32) {
        self.0.borrow_mut().tracker.items.get_mut(&self.id(n)).unwrap().present = false;
    }

    fn set_broken(&self, broken: bool) {
        self.0.borrow_mut().today.source_unknown = broken;
    }

    fn notes(&self) -> Vec<String> {
        self.0
            .borrow()
            .tracker
            .announced
            .iter()
            .map(|(item, dispatch)| format!("{item} {dispatch}"))
            .collect()
    }
}
