//! The protocol between a tick and a launcher: the files of one run, and how both find its processes.

pub mod credentials;
pub mod directory;
pub mod env;
pub mod env_file;
pub mod env_pipe;
pub mod hooks;
pub mod lives;
pub mod log;
pub mod log_reader;
pub(crate) mod machine;
pub mod notes;
pub mod program;
pub mod spec;
pub mod tags;
pub(crate) mod tmp;
