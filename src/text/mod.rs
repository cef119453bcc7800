//! Words for people, as text alone: cut to a length, quoted, and made harmless. Every room may use it.

pub mod cut;
pub mod escape;
