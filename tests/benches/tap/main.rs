//! Needs TAP interfaces, so it is for Linux only; elsewhere it builds, and says so.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("this bench needs TAP interfaces, which Linux has");
    ExitCode::FAILURE
}
