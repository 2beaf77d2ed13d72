//! The command `socklet` as its user sees it: what it prints, and how it ends.
#![cfg(target_os = "linux")]

mod arguments;
mod command;
mod connect;
mod demo;
mod output;
mod serve;
