//! Instructions of the echo: socklet beside bare smoltcp, each in an image with both ends of the connection in memory.

use crate::machine::{Board, instructions};
use std::collections::HashMap;
use std::path::Path;

/// Most that socklet may cost over bare smoltcp with one socket.
const LIMIT: f64 = 1.15;

/// What is known to miss the limit, and what it may cost until it does not: 64-bit time is long in RV32's instructions.
const MISSED: [(Board, &str, f64); 1] = [(Board::Virt, "connection", 1.3)];

/// What is counted, and how an image names it.
const COUNTED: [(&str, &str); 3] = [
    ("byte", "per byte, bulk"),
    ("ping", "per round trip, 1 byte"),
    ("connection", "per connection, 1 byte echoed"),
];

/// Prints the table; whether socklet keeps to its limits.
pub(crate) fn print_table(boards: &[Board], images: &Path) -> bool {
    println!(
        "\ninstructions (-icount) {:38} {:>9} {:>9} {:>9} {:>9}",
        "", "bare, 1", "bare, 8", "socklet 1", "socklet 8"
    );
    let mut kept = true;
    // The LM3S6965 runs the AN385's code, and has no memory for two stacks.
    for &board in boards.iter().filter(|board| **board != Board::Lm3s6965) {
        let columns = [("count_bare", 1), ("count_bare", 8), ("count_socklet", 1), ("count_socklet", 8)]
            .map(|(image, open)| parse(&instructions(board, images, image, open)));
        for (key, what) in COUNTED {
            let [bare, bare8, one, eight] = columns.each_ref().map(|column| column[key]);
            let holds = one <= bare * LIMIT && eight <= bare * LIMIT && eight < bare8;
            let ratio = eight / bare;
            let known = MISSED.iter().any(|(on, of, to)| *on == board && *of == key && ratio <= *to);
            kept &= holds || known;
            let verdict = match (holds, known) {
                (true, _) => "ok",
                (false, true) => "MISSED, 1.15 allowed",
                (false, false) => "ABOVE THE LIMIT",
            };
            println!(
                "{board:22} {what:38} {bare:9} {bare8:9} {one:9} {eight:9}  {ratio:.2} of bare, 1: {verdict}"
            );
        }
    }
    kept
}

/// `count NAME open N KEY VALUE ...`
fn parse(line: &str) -> HashMap<String, f64> {
    let words: Vec<&str> = line.split_whitespace().skip(2).collect();
    words.chunks_exact(2).map(|pair| (pair[0].to_string(), pair[1].parse().expect("a number"))).collect()
}
