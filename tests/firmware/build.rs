//! Puts the board's memory map where the runtime's linker script looks for it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let board = ["an385", "an386", "lm3s6965", "virt"]
        .into_iter()
        .find(|board| env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some())
        .expect("choose a board: --features an385, an386, lm3s6965 or virt");
    let memory = format!("memory/{board}.x");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy(&memory, out.join("memory.x")).expect("the board has a memory map");
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=-Map={}", out.join("image.map").display());
}
