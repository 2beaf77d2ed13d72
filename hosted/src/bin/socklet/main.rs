//! The command `socklet`: see `socklet --help`.

mod args;
mod connect;
mod demo;
mod failure;
mod output;
mod serve;
mod signals;
mod stacks;

use args::{Args, Command};
use clap::Parser;
use std::io::{Write, stderr};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let result = match args.command.unwrap_or(Command::Demo(args.demo)) {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Connect(args) => connect::run(&args),
    };
    match result.and_then(|()| output::check()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody reads it if standard error is closed.
            let _ = writeln!(stderr(), "socklet: {failure}");
            failure.code()
        }
    }
}
