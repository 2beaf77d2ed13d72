//! Needs TAP interfaces, so it is for Linux only; elsewhere it builds, and says so.

#[cfg(target_os = "linux")]
#[path = "linux/conformance_tap.rs"]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
    #[cfg(not(target_os = "linux"))]
    println!("nothing was tested: this needs TAP interfaces, which Linux has");
}
