//! Text for a terminal: its layout and its style.

pub mod layout;
pub mod style;
