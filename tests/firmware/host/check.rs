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
    let text = String::from_utf8_lossy(&output.stdout);
    let branches: Vec<(u64, u64)> = text.lines().filter_map(split).filter_map(branch).collect();
    for (address, instruction) in text.lines().filter_map(split) {
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
        for cause in causes(&lines, &branches, address)? {
            found.entry((kind, owner(&lines, cause)?)).or_default().push(cause);
        }
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

/// Where a call comes from: itself, or, where several were merged into one that has no line any more, the branches to it.
fn causes(lines: &Loader, branches: &[(u64, u64)], call: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    if lines.find_location(call)?.is_some_and(|location| location.line.is_some_and(|line| line > 0)) {
        return Ok(vec![call]);
    }
    // The branch may be to the instruction before, which sets the argument.
    let leads = |to: u64| to <= call && call - to <= 4;
    let from: Vec<u64> = branches.iter().filter(|(_, to)| leads(*to)).map(|(from, _)| *from).collect();
    Ok(if from.is_empty() { vec![call] } else { from })
}

/// From where to where a branch goes.
fn branch((address, instruction): (u64, &str)) -> Option<(u64, u64)> {
    let to = instruction.split_once('<')?.0.split_whitespace().last()?;
    instruction.starts_with(['b', 'c']).then_some((address, u64::from_str_radix(to, 16).ok()?))
}

/// A line of the disassembly: `address: instruction`.
fn split(line: &str) -> Option<(u64, &str)> {
    let (address, instruction) = line.split_once(":\t")?;
    Some((u64::from_str_radix(address.trim(), 16).ok()?, instruction))
}
