//! Whether a state belongs to a configuration: it is in its place, it was moved, it is another configuration's, or it is a
//! copy. Two states of one lineage would take each other's agents for their own, and end them.

use std::path::{Path, PathBuf};

use crate::state::bound::{Binding, Bound, Directory};

/// What a command does to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads. Nothing is refused.
    Read,
    /// It ends work, or keeps work from starting. Refused in a copy alone.
    End,
    /// It may start work.
    Act,
    /// It gives the state to this configuration.
    Relocate,
}

/// What a state is to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in its place, or belongs to no configuration yet.
    Ours,
    /// The state, its configuration or both were moved, or put back from a backup. It goes on.
    Moved,
    /// It belongs to a configuration that is still there.
    Foreign,
    /// It is a copy, as far as anybody can tell.
    Copy,
}

/// What is at a path that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing.
    Gone,
    /// The very file or directory that this command uses.
    Same,
    /// Another one.
    Other,
}

/// What a command finds, to be compared with what is recorded.
pub(crate) struct Found<'a> {
    /// What the state would be bound to.
    pub(crate) binding: &'a Binding,
    /// What is at the recorded path of the configuration.
    pub(crate) config: There,
    /// What is at the recorded path of the state directory.
    pub(crate) directory: There,
    /// Whether the last tick was one of this boot.
    pub(crate) is_this_boot: bool,
    /// Whether a process of the lineage may live on this machine. Asked last: it looks at all processes.
    pub(crate) may_live: &'a dyn Fn() -> bool,
}

/// What a state is, by what is recorded in it and what is found.
///
/// The same inode is the same directory. Its device may have another number after a boot or in a container: it is a copy
/// only where the recorded path leads to another directory. Another inode is a copy, or was put back from a backup. It
/// is taken for the latter where nothing of the lineage may live, the configuration is the recorded one, and either the
/// recorded path leads to it, or nothing is there and the machine was booted since. Within one boot a copy could be
/// ticked after the original was moved away.
pub(crate) fn standing(bound: &Bound, found: &Found<'_>) -> Standing {
    let is_same_config = found.config == There::Same || is_same_repository(bound, found.binding);
    let Some(recorded) = &bound.binding else {
        return of_config(bound, is_same_config, found.config, true);
    };
    let (before, now) = (&recorded.directory, &found.binding.directory);
    if !is_same_directory(before, now, found.directory) {
        let is_put_back = match found.directory {
            There::Same => true,
            There::Gone => !found.is_this_boot,
            There::Other => false,
        };
        let goes_on = is_same_config && is_put_back && !(found.may_live)();
        return if goes_on { Standing::Moved } else { Standing::Copy };
    }
    // The latest clone is recorded: by its path it is known again when its repository is renamed.
    let is_new = recorded != found.binding || found.config != There::Same;
    of_config(bound, is_same_config, found.config, is_new)
}

fn of_config(bound: &Bound, is_same: bool, there: There, is_new: bool) -> Standing {
    match (is_same || bound.config.is_none(), there) {
        (true, _) if is_new => Standing::Moved,
        (true, _) => Standing::Ours,
        // Nobody ticks it with a configuration that is not there any more.
        (false, There::Gone) => Standing::Moved,
        (false, _) => Standing::Foreign,
    }
}

fn is_same_repository(bound: &Bound, binding: &Binding) -> bool {
    let recorded = bound.binding.as_ref().and_then(|recorded| recorded.repository.as_ref());
    recorded.is_some() && recorded == binding.repository.as_ref()
}

fn is_same_directory(before: &Directory, now: &Directory, there: There) -> bool {
    before.inode == now.inode && (before.device == now.device || there != There::Other)
}

/// What a path leads to, compared with the file or directory that has this identity.
pub(crate) fn there(path: &Path, identity: (u64, u64)) -> There {
    match rustix::fs::stat(path) {
        Ok(stat) if (stat.st_dev, stat.st_ino) == identity => There::Same,
        Ok(_) => There::Other,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => There::Gone,
        // What can't be looked at may be there.
        Err(_) => There::Other,
    }
}

/// Why a command may not use a state; `None` where it may.
pub(crate) fn refusal(
    standing: &Standing,
    access: Access,
    bound: &Bound,
    dir: &Path,
    config: &Path,
) -> Option<String> {
    let (dir, config) = (dir.display(), config.display());
    let owner = bound.config.clone().unwrap_or_else(|| PathBuf::from("?"));
    let owner = owner.display();
    match (standing, access) {
        (Standing::Ours | Standing::Moved, _) | (_, Access::Read | Access::Relocate) => None,
        (Standing::Foreign, Access::End) => None,
        (Standing::Foreign, Access::Act) => Some(format!(
            "the state in {dir} belongs to {owner}; pass --state-dir to give {config} a state of its own. \
             `factory-tick relocate` gives it this one"
        )),
        (Standing::Copy, _) => {
            let original = bound.binding.as_ref().map_or("?", |binding| binding.directory.path.as_str());
            Some(format!(
                "the state in {dir} is a copy of the one that was in {original}: its agents may be that one's, so \
                 nothing is started and nothing is ended. `factory-tick relocate` makes it a state of its own; \
                 `status`, `logs` and `explain` read it as it is"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::bound::Repository;

    fn binding(origin: Option<&str>, directory: (&str, u64, u64)) -> Binding {
        let (path, device, inode) = directory;
        Binding {
            repository: origin
                .map(|origin| Repository { origin: origin.into(), path: "factory.toml".into() }),
            directory: Directory { path: path.into(), device, inode },
        }
    }

    /// A state that was bound with the origin `host/a`, at `/s`, device 1, inode 2.
    struct Scene {
        bound: Bound,
        found: Binding,
        config: There,
        directory: There,
        is_this_boot: bool,
        may_live: bool,
    }

    impl Scene {
        fn new() -> Scene {
            let bound = Bound {
                config: Some("/f/factory.toml".into()),
                binding: Some(binding(Some("host/a"), ("/s", 1, 2))),
            };
            let found = binding(Some("host/a"), ("/s", 1, 2));
            let (config, directory) = (There::Same, There::Same);
            Scene { bound, found, config, directory, is_this_boot: true, may_live: false }
        }

        fn standing(&self) -> Standing {
            let found = Found {
                binding: &self.found,
                config: self.config,
                directory: self.directory,
                is_this_boot: self.is_this_boot,
                may_live: &|| self.may_live,
            };
            standing(&self.bound, &found)
        }
    }

    fn with(change: impl Fn(&mut Scene)) -> Standing {
        let mut scene = Scene::new();
        change(&mut scene);
        scene.standing()
    }

    // covers: P12
    #[test]
    fn state_in_its_place_is_ours_and_unbound_one_becomes_so() {
        assert_eq!(with(|_| {}), Standing::Ours);
        assert_eq!(with(|scene| scene.bound = Bound::default()), Standing::Moved);
        assert_eq!(with(|scene| scene.bound.binding = None), Standing::Moved);
    }

    // covers: P12
    #[test]
    fn same_inode_was_moved_and_goes_on() {
        // `mv` of the directory, agents or not.
        let moved = |scene: &mut Scene| {
            scene.found.directory.path = "/t".into();
            (scene.directory, scene.config, scene.may_live) = (There::Gone, There::Gone, true);
        };
        assert_eq!(with(moved), Standing::Moved);
        // Seen through another mount, beside the old path.
        assert_eq!(with(|scene| scene.found.directory.path = "/mnt/s".into()), Standing::Moved);
        // The repository was renamed; or cloned elsewhere, in a CI job.
        let renamed =
            |scene: &mut Scene| scene.found.repository = binding(Some("host/b"), ("", 0, 0)).repository;
        assert_eq!(with(renamed), Standing::Moved);
        assert_eq!(with(|scene| scene.config = There::Other), Standing::Moved);
        // A configuration in no repository was moved within its folder.
        let without = |config: There| {
            with(|scene| {
                scene.bound.binding.as_mut().unwrap().repository = None;
                scene.found.repository = None;
                scene.config = config;
            })
        };
        assert_eq!(without(There::Same), Standing::Ours);
        assert_eq!(without(There::Gone), Standing::Moved);
        assert_eq!(without(There::Other), Standing::Foreign);
    }

    // covers: P12
    #[test]
    fn new_device_number_is_a_copy_only_beside_another_directory() {
        let on_device_9 = |there: There| {
            with(|scene| {
                scene.found.directory.device = 9;
                scene.directory = there;
                scene.may_live = true;
            })
        };
        assert_eq!(on_device_9(There::Same), Standing::Moved);
        assert_eq!(on_device_9(There::Gone), Standing::Moved);
        assert_eq!(on_device_9(There::Other), Standing::Copy);
    }

    // covers: P12
    #[test]
    fn other_inode_is_a_copy_unless_it_was_put_back() {
        let copied = |there: There, change: fn(&mut Scene)| {
            with(|scene| {
                scene.found.directory.inode = 3;
                scene.directory = there;
                change(scene);
            })
        };
        let nothing = |_: &mut Scene| {};
        let rebooted = |scene: &mut Scene| scene.is_this_boot = false;
        assert_eq!(copied(There::Other, nothing), Standing::Copy);
        assert_eq!(copied(There::Other, rebooted), Standing::Copy);
        assert_eq!(copied(There::Same, nothing), Standing::Moved);
        assert_eq!(copied(There::Gone, nothing), Standing::Copy, "the original may have been moved");
        assert_eq!(copied(There::Gone, rebooted), Standing::Moved);
        // Not while anything of the lineage may live, and not for another configuration.
        assert_eq!(copied(There::Same, |scene| scene.may_live = true), Standing::Copy);
        let foreign = |scene: &mut Scene| {
            scene.found.repository = None;
            scene.config = There::Other;
        };
        assert_eq!(copied(There::Same, foreign), Standing::Copy);
        assert_eq!(copied(There::Other, foreign), Standing::Copy);
    }

    // covers: P12
    #[test]
    fn reading_is_never_refused_and_ending_in_a_copy_alone() {
        let bound = Scene::new().bound;
        let refused = |standing: &Standing| {
            let all = [Access::Read, Access::End, Access::Act, Access::Relocate];
            let is_refused =
                |access| refusal(standing, access, &bound, Path::new("/s"), Path::new("/c")).is_some();
            all.map(is_refused)
        };
        assert_eq!(refused(&Standing::Ours), [false; 4]);
        assert_eq!(refused(&Standing::Moved), [false; 4]);
        assert_eq!(refused(&Standing::Foreign), [false, false, true, false]);
        assert_eq!(refused(&Standing::Copy), [false, true, true, false]);
    }
}
