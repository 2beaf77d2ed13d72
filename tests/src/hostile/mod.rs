//! Peers that mean harm, or know no better: raw segments from the far end of a memory cable, and what becomes of the server, or of a client.
//!
//! Each scenario asserts what it promises and returns the [`Figure`]s that it measured. `cargo test -p socklet-tests --test hostile`
//! runs them one by one; `cargo run --release -p socklet-tests --bin figures` runs all and writes the table in `tests/README.md`.

mod blind;
mod caller;
mod client;
mod clock;
mod disorder;
mod exhaustion;
mod flood;
mod lan;
pub mod leaks;
mod neighbor;
mod odd;
mod outgoing;
mod prediction;
mod rig;
mod segment;
mod server;
mod slow;

pub use lan::{Guest, Lan};
pub use neighbor::neighbor;
pub use rig::{Answer, Journal, Peer, Rig, Stack};
pub use segment::{GATEWAY_MAC, PEER, PEER_V6, SERVER, SERVER_MAC, SERVER_V6, Segment, flag};

/// What a scenario measured, and the bound that it asserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What was tried.
    pub scenario: &'static str,
    /// What came of it.
    pub measured: String,
    /// What was asserted.
    pub bound: &'static str,
}

/// A scenario: its name is a sentence.
pub type Scenario = (&'static str, fn() -> Vec<Figure>);

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    ("a_flood_of_syns_costs_little_and_keeps_nobody_out", flood::flood),
    ("a_flood_from_its_own_network_keeps_nobody_out", flood::flood_on_link),
    ("a_flood_over_ipv6_keeps_nobody_out", flood::flood_v6),
    ("a_slowloris_loses_its_slots_at_the_progress_deadline", slow::slowloris),
    ("a_window_that_stays_shut_ends_at_the_write_stall_deadline", slow::zero_window),
    ("silly_windows_and_the_smallest_mss_deliver_every_byte", slow::silly),
    ("a_million_spoofed_resets_end_nothing", blind::resets),
    ("a_million_spoofed_resets_over_ipv6_end_nothing", blind::resets_v6),
    ("spoofed_syns_and_data_end_and_change_nothing", blind::syns_and_data),
    ("spoofed_syns_and_data_over_ipv6_end_and_change_nothing", blind::syns_and_data_v6),
    ("a_client_withstands_blind_attacks_and_its_stream_is_whole", client::blind),
    ("hostile_servers_end_with_their_reason_and_are_tried_again_but_not_too_often", server::all),
    ("initial_sequence_numbers_repeat_by_chance_only", prediction::sequence_numbers),
    ("ports_repeat_by_chance_only", prediction::ports),
    ("odd_segments_get_the_reply_of_rfc_9293_and_no_slot", odd::replies),
    ("odd_segments_over_ipv6_get_the_same_replies_and_no_slot", odd::replies_v6),
    ("overlaps_and_disorder_are_put_together_again", disorder::disorder),
    ("exhausted_slots_and_ports_are_typed_errors_and_recover", exhaustion::connects),
    ("a_clock_that_stops_jumps_or_goes_back_loses_no_connection", clock::steps),
    ("every_way_to_end_gives_everything_back", leaks::in_memory),
];

/// Runs every scenario, and gives a Markdown table of what they measured.
pub fn table() -> String {
    let mut table = String::from("| scenario | measured | asserted |\n|---|---|---|\n");
    for (_, run) in SCENARIOS {
        for Figure { scenario, measured, bound } in run() {
            table += &format!("| {scenario} | {measured} | {bound} |\n");
        }
    }
    table
}

/// Numbers that repeat from their seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
