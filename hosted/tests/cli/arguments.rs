//! Arguments that do not fit together.

use crate::command::{assert_fails, run};

fn on_tap(address: &str) -> [&str; 5] {
    ["serve", "--tap", "no-such-tap", "--address", address]
}

fn on_tap_by<'a>(address: &'a str, gateway: &'a str) -> Vec<&'a str> {
    [&on_tap(address)[..], &["--gateway", gateway]].concat()
}

#[test]
fn wrong_arguments_are_named() {
    for (args, words) in [
        (&["serve", "--port", "70000"][..], &["--port", "70000"][..]),
        (&["serve", "--encoding", "latin1"], &["latin1", "utf-8", "gbk"]),
        (&["serve", "--tap", "tap0"], &["--address"]),
        (&["serve", "--tap", "tap0", "--address", "10.0.0.1"], &["10.0.0.1", "192.168.69.2/24"]),
        (&["serve", "--stack", "os", "--pcap", "x"], &["--pcap", "--stack tap"]),
        (&["serve", "--stack", "os", "--refuse"], &["--refuse needs --stack tap"]),
        (&["serve", "--stack", "nal", "--refuse"], &["--refuse needs --stack tap"]),
        (&["serve", "--stack", "nal", "--tx-buffer", "4k"], &["no buffer sizes: leave out --tx-buffer"]),
        (&["serve", "--stack", "nal", "--bind", "127.0.0.1"], &["every address: leave out --bind"]),
        (&["serve", "--stack", "nal", "--port", "0"], &["cannot choose a port", "--port"]),
        (&[&on_tap("10.9.0.2/24")[..], &["--port", "0"]].concat(), &["cannot choose a port", "--port"]),
        (&["serve", "--stack", "os", "--reply", "x"], &["--reply needs --service reply"]),
        (&["serve", "--stack", "os", "--bind", "224.0.0.1"], &["--bind 224.0.0.1", "one host"]),
        (&on_tap("10.9.0.0/24"), &["--address 10.9.0.0/24", "one host"]),
        (&on_tap("10.9.0.255/24"), &["--address 10.9.0.255/24", "one host"]),
        (&on_tap("127.0.0.1/8"), &["--address 127.0.0.1/8", "one host"]),
        (
            &[&on_tap("10.9.0.2/24")[..], &["--bind", "::1"]].concat(),
            &["--bind ::1", "which is 10.9.0.2", "leave out --bind"],
        ),
        (&on_tap("224.0.0.1/4"), &["--address 224.0.0.1", "one host"]),
        (&on_tap_by("10.9.0.2/24", "fd00::1"), &["--gateway fd00::1", "one family"]),
        (&on_tap_by("10.9.0.2/24", "10.9.0.2"), &["--gateway 10.9.0.2", "own address"]),
        (
            &on_tap_by("10.9.0.2/24", "10.9.0.255"),
            &["--gateway 10.9.0.255", "one host in --address 10.9.0.2/24"],
        ),
        (&on_tap_by("10.9.0.2/24", "10.9.1.1"), &["--gateway 10.9.1.1", "outside of", "10.9.0.2/24"]),
        (
            &["serve", "--service", "reply", "--reply", "\u{1f600}", "--encoding", "gbk", "--stack", "os"],
            &["--reply", "gbk", "U+1F600"],
        ),
        (&["connect", "localhost"], &["PORT"]),
        (&["connect", "localhost", "0"], &["0"]),
        (&["connect", "localhost", "7", "--timeout", "soon"], &["soon", "seconds"]),
        (&["dance"], &["dance"]),
    ] {
        assert_fails(&run(args), 2, words);
    }
}
