//! Tests of the whole program and of what it promises to the world outside.

mod compat;
mod readme;
