use super::super::setup::{Setup, tune};
use super::announce;
use core::error::Error;
use core::net::Ipv4Addr;
use socklet_hosted::sandbox::Sandbox;
use socklet_hosted::tap::Mode;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn program() -> Result<PathBuf, std::io::Error> {
    Ok(std::env::current_exe()?.with_file_name("bench-lwip"))
}

/// Compiles the C program; what is missing is said in a sentence.
pub(crate) fn build() -> Result<(), String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/tap/lwip.c");
    let left_out =
        |why: &str| format!("lwIP is left out: {why}; to have it: apt-get install gcc liblwip-dev");
    let program = program().map_err(|error| left_out(&error.to_string()))?;
    let output = Command::new("cc")
        .args(["-O2", "-I", "/usr/include/lwip", "-o"])
        .arg(program)
        .args([source, "-llwip"])
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(_) => Err(left_out("its program does not compile")),
        Err(error) => Err(left_out(&format!("cc does not start ({error})"))),
    }
}

/// The program makes the interface; buffers and limits are those of Debian's build (windows of 64 KiB).
pub(super) fn run(setup: Setup) -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::new()?;
    tune(&sandbox);
    let network = *sandbox.network();
    let mask = Ipv4Addr::from_bits(u32::MAX << (32 - network.prefix_v4));
    let mut command = Command::new(program()?);
    command
        .arg(setup.service.to_string().to_lowercase())
        .args([network.stack_v4.to_string(), mask.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = sandbox.run(move || command.spawn())?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    BufReader::new(stdout).read_line(&mut String::new())?;
    sandbox.configure("bench0", Mode::Tap)?;
    announce(&sandbox);
    child.wait()?;
    Err("lwIP's program has ended".into())
}
