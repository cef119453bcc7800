//! Reading TOML so that every problem of a file is reported at once, with its place.

pub(in crate::config) mod overrides;
pub(in crate::config) mod problems;
pub(in crate::config) mod section;
pub(in crate::config) mod units;
pub(in crate::config) mod value;
