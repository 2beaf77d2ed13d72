//! Where flash and RAM go: code by the crate that its source line belongs to, whatever it was inlined into.

use crate::machine::Board;
use addr2line::Loader;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

const PARTS: [&str; 6] = ["smoltcp", "socklet", "driver", "application", "core", "runtime"];
const IMAGES: [&str; 3] = ["bare", "echo", "app"];

/// Bytes of one image.
#[derive(Default)]
struct Sizes {
    text: BTreeMap<&'static str, u64>,
    /// Socklet's part of it, by module.
    modules: BTreeMap<String, u64>,
    rodata: u64,
    data: u64,
    bss: u64,
}

/// Flash that the echo server may take beyond bare smoltcp's, on the AN385.
const FLASH_LIMIT: u64 = 6 * 1024;

/// It is known to be missed; more than this is an error.
const FLASH_REACHED: u64 = 22 * 1024 + 256;

/// RAM of the echo server for 4 connections by the guide's formula, without the 1 KiB of the stack object.
const RAM_LIMIT: u64 = 4 * (4096 + 4096 + 428 + 96) + 48;

/// Prints the tables; whether flash and RAM keep to their limits.
pub(crate) fn print_table(boards: &[Board], images: &Path) -> Result<bool, Box<dyn Error>> {
    let mut kept = true;
    print!("\n{:9} {:7}", "board", "image");
    PARTS.iter().for_each(|part| print!(" {part:>11}"));
    println!(" {:>8} {:>8} {:>8} {:>8} {:>8}", ".text", ".rodata", "flash", ".data", ".bss");
    for board in boards {
        let mut bare = 0;
        for image in IMAGES {
            let sizes = measure(&images.join(board.to_string()).join(image))?;
            let text: u64 = sizes.text.values().sum();
            print!("{board:9} {image:7}");
            PARTS
                .iter()
                .for_each(|part| print!(" {:>11}", sizes.text.get(part).copied().unwrap_or_default()));
            let flash = text + sizes.rodata + sizes.data;
            println!(" {text:>8} {:>8} {flash:>8} {:>8} {:>8}", sizes.rodata, sizes.data, sizes.bss);
            match image {
                "bare" => bare = flash,
                "echo" if *board == Board::An385 => {
                    let more = flash - bare;
                    kept = more <= FLASH_REACHED;
                    let verdict = if more <= FLASH_LIMIT { "ok" } else { "MISSED" };
                    println!("{board:9} {image:7} {more} B above bare, {FLASH_LIMIT} allowed: {verdict}");
                    print_modules(&sizes.modules);
                }
                _ => {}
            }
        }
    }
    println!("\n{:9} {:7} {:>11} {:>13} {:>9}", "board", "image", "connections", "server slots", "driver");
    for board in boards {
        for image in ["echo", "app"] {
            let bytes = fs::read(images.join(board.to_string()).join(image))?;
            let file = object::File::parse(&*bytes)?;
            let of = |part: &str| {
                let data = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Data);
                let symbols = data.filter(|symbol| symbol.name().is_ok_and(|name| name.contains(part)));
                symbols.map(|symbol| symbol.size()).sum::<u64>()
            };
            let (storage, slots) = (of("7STORAGE"), of("5SLOTS"));
            let driver = of("6driver");
            kept &= image != "echo" || (1..=RAM_LIMIT).contains(&(storage + slots));
            println!("{board:9} {image:7} {storage:>11} {slots:>13} {driver:>9}");
        }
    }
    println!("RAM of the echo server: at most {RAM_LIMIT} B of connections and server slots");
    Ok(kept)
}

/// What socklet's part is made of, the largest first.
fn print_modules(modules: &BTreeMap<String, u64>) {
    let mut rows: Vec<_> = modules.iter().collect();
    rows.sort_by_key(|(_, bytes)| core::cmp::Reverse(**bytes));
    let rows: Vec<_> = rows.iter().map(|(module, bytes)| format!("{module} {bytes}")).collect();
    for row in rows.chunks(6) {
        println!("                  {}", row.join(", "));
    }
}

fn measure(image: &Path) -> Result<Sizes, Box<dyn Error>> {
    let bytes = fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let file = object::File::parse(&*bytes)?;
    let lines = Loader::new(image)?;
    let mut sizes = Sizes::default();
    for section in file.sections() {
        match section.name()? {
            // What the linker script calls the room for the stack.
            ".stack" | ".heap" | ".vector_table" => {}
            ".text" => count_text(&lines, section.address(), section.size(), &mut sizes)?,
            _ => match section.kind() {
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => sizes.rodata += section.size(),
                SectionKind::Data => sizes.data += section.size(),
                SectionKind::UninitializedData => sizes.bss += section.size(),
                _ => {}
            },
        }
    }
    Ok(sizes)
}

fn count_text(lines: &Loader, start: u64, size: u64, sizes: &mut Sizes) -> Result<(), Box<dyn Error>> {
    let mut counted = 0;
    for (address, length, _) in lines.find_location_range(start, start + size)? {
        let (part, module) = place(lines, address)?;
        *sizes.text.entry(part).or_default() += length;
        if part == "socklet" {
            *sizes.modules.entry(module).or_default() += length;
        }
        counted += length;
    }
    // Assembly, and what the linker puts between functions.
    *sizes.text.entry("runtime").or_default() += size.saturating_sub(counted);
    Ok(())
}

/// The part whose code is at `address`.
pub(crate) fn owner(lines: &Loader, address: u64) -> Result<&'static str, Box<dyn Error>> {
    Ok(place(lines, address)?.0)
}

/// The part whose code is at `address`, and its module: of the functions inlined there, the innermost that is not `core`'s.
fn place(lines: &Loader, address: u64) -> Result<(&'static str, String), Box<dyn Error>> {
    let mut frames = lines.find_frames(address)?;
    while let Some(frame) = frames.next()? {
        let file = frame.location.and_then(|location| location.file).unwrap_or_default();
        let part = part(file);
        if part != "core" {
            let module = file.rsplit_once("/src/").map_or(file, |(_, module)| module);
            return Ok((part, module.trim_end_matches(".rs").trim_end_matches("/mod").to_owned()));
        }
    }
    Ok(("core", String::new()))
}

/// The part that a source file belongs to.
fn part(file: &str) -> &'static str {
    match file {
        _ if file.contains("/smoltcp-0") || file.contains("/managed-") || file.contains("/heapless-") => {
            "smoltcp"
        }
        _ if file.contains("/core/src/") && !file.contains("/library/") => "socklet",
        _ if file.contains("src/driver/") || file.contains("virtio-drivers") => "driver",
        _ if file.contains("src/bin/") || file.contains("src/app") => "application",
        _ if file.contains("/library/") || file.contains("/rustc/") || file.contains("compiler-builtins") => {
            "core"
        }
        _ => "runtime",
    }
}
