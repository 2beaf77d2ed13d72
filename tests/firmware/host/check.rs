//! What must not be in the image of a Cortex-M3: seen in its disassembly.

use crate::machine::Board;
use crate::size::owner;
use addr2line::Loader;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Functions that end in a panic.
const PANICS: [&str; 6] =
    ["panicking::", "_fail", "unwrap_failed", "expect_failed", "panic_", "already_borrowed"];
/// Division of 64-bit integers, which a Cortex-M3 does in software.
const DIVISIONS: [&str; 3] = ["__aeabi_uldivmod", "__aeabi_ldivmod", "__udivmoddi4"];
/// Floating point in software (Run-time ABI for the Arm architecture, section 4.1).
const FLOATS: [&str; 5] = ["__aeabi_f", "__aeabi_d", "__aeabi_i2", "__aeabi_ui2", "__aeabi_l2"];

/// Looks through the M3 image of the echo server; whether socklet keeps what it promises.
pub(crate) fn print(images: &Path) -> Result<bool, Box<dyn Error>> {
    let image = images.join(Board::An385.to_string()).join("echo");
    let output = Command::new("arm-none-eabi-objdump")
        .args(["-d", "-C", "--no-show-raw-insn"])
        .arg(&image)
        .output()?;
    let lines = Loader::new(&image)?;
    let mut found: BTreeMap<(&str, &'static str), Vec<u64>> = BTreeMap::new();
    for (address, instruction) in String::from_utf8_lossy(&output.stdout).lines().filter_map(split) {
        let target = instruction.split_once('<').map_or("", |(_, target)| target);
        let calls =
            |names: &[&str]| instruction.starts_with('b') && names.iter().any(|name| target.contains(name));
        let kind = if instruction.starts_with('v') || calls(&FLOATS) {
            "floating point"
        } else if calls(&DIVISIONS) {
            "64-bit division"
        } else if calls(&PANICS) && target.contains("core::") {
            "a way to panic"
        } else {
            continue;
        };
        found.entry((kind, owner(&lines, address)?)).or_default().push(address);
    }
    println!("\nin the image of the echo server for the Cortex-M3:");
    for kind in ["a way to panic", "64-bit division", "floating point"] {
        let by: Vec<_> = found.iter().filter(|((is, _), _)| *is == kind).collect();
        let by: Vec<_> = by.iter().map(|((_, part), at)| format!("{part} {}", at.len())).collect();
        println!("{kind:16} {}", if by.is_empty() { "none".to_string() } else { by.join(", ") });
    }
    let bad: Vec<_> =
        found.iter().filter(|((kind, part), _)| *part == "socklet" || *kind == "floating point").collect();
    for ((kind, part), addresses) in &bad {
        println!("ABOVE THE LIMIT: {kind} in {part}, at {addresses:x?}");
    }
    Ok(bad.is_empty() && !found.is_empty())
}

/// A line of the disassembly: `address: instruction`.
fn split(line: &str) -> Option<(u64, &str)> {
    let (address, instruction) = line.split_once(":\t")?;
    Some((u64::from_str_radix(address.trim(), 16).ok()?, instruction))
}
