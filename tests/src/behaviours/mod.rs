//! What a TCP stack does, one function for each behaviour. Each panics where the stack does something else.

pub mod addresses;
pub mod data;
pub mod ending;
pub mod handles;
pub mod listening;
