//! Text for a terminal: its layout, its style, and the escaping of untrusted text.

pub mod escape;
pub mod layout;
pub mod style;
