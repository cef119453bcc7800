//! Whether a launcher lives.

/// What is known of a launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LauncherLife {
    Alive,
    Dead,
    /// Dead, and it ran in another pid namespace: what it left behind can't be seen from here.
    DeadElsewhere,
    OtherBoot,
    Unknown(String),
}
