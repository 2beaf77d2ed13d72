//! Runs what the project claims, and writes the tables in `tests/README.md`: `cargo run --release -p socklet-tests --bin figures [NAME]...`

use std::fs;
use std::process::ExitCode;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// A table, and where it stands: between `<!-- NAME -->` and `<!-- /NAME -->`.
type Table = (&'static str, fn() -> String);

const TABLES: &[Table] = &[("sim", socklet_tests::sim::table), ("hostile", socklet_tests::hostile::table)];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, table) in TABLES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let table = table();
            println!("{table}");
            if let Err(why) = put(name, &table) {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Replaces one table, and leaves the rest of the page as it is now.
fn put(name: &str, table: &str) -> Result<(), String> {
    let page = fs::read_to_string(README).map_err(|error| format!("{README}: {error}"))?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) =
        parts.ok_or_else(|| format!("{README} has no place for the table: {begin}{end}"))?;
    fs::write(README, format!("{before}{begin}{table}{end}{after}"))
        .map_err(|error| format!("{README}: {error}"))
}
