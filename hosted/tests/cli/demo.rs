//! `socklet demo`.

use crate::command::{run, text};

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
