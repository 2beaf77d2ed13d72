//! The console and the end, through the debugger (semihosting).

use core::panic::PanicInfo;
use semihosting::io::Write as _;
pub use semihosting::{print, println};

/// Writes a line without the formatting machinery, which costs flash.
pub fn say(text: &str) {
    if let Ok(mut out) = semihosting::io::stdout() {
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
    }
}

/// The number that the argument `name=N` gives the image, or `otherwise`.
pub fn number(name: &str, otherwise: u32) -> u32 {
    let Ok(arguments) = semihosting::experimental::env::args::<64>() else { return otherwise };
    let value = |argument: &str| argument.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    (&arguments).filter_map(Result::ok).find_map(value).unwrap_or(otherwise)
}

/// Ends the emulator. A board without a debugger resets instead.
pub fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // Formatting `info` links some 10 KiB, so only an image that prints anyway does it.
    #[cfg(feature = "console")]
    println!("{info}");
    #[cfg(not(feature = "console"))]
    let _ = info;
    exit(101)
}
