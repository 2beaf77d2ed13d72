//! `socklet demo`.

use crate::command::{LIMIT, assert_fails, finish, limited, run, text};
use std::time::Instant;

#[test]
fn the_demo_checks_every_byte_on_tap_and_in_memory() {
    for place in [
        &["demo", "--clients", "8", "--bytes", "256k"][..],
        &["--clients", "4", "--bytes", "100k", "--in-memory"],
    ] {
        let output = run(place);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(printed.ends_with("every byte was right\n"), "{printed}");
        assert!(printed.contains("memory per connection"), "{printed}");
    }
}

#[test]
fn too_few_descriptors_for_the_demo_are_named_at_once() {
    let start = Instant::now();
    let output = finish(limited(64, &["demo", "--clients", "64", "--bytes", "10k"]).spawn().unwrap());
    assert_fails(&output, 1, &["Too many open files", "--clients", "raise `ulimit -n`"]);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}
