//! The fuzz targets as plain tests: on the committed corpus, and on random bytes that proptest makes shorter when one fails.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};
use socklet_tests::fuzz::{adapter, calls, codecs, frames};
use std::fs;

/// Every file of `tests/fuzz/corpus/NAME`.
fn replay(name: &str, target: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        target(&fs::read(&path).expect("a file"));
        files += 1;
    }
    assert!(files > 0, "no corpus in {folder}");
}

fn random(target: fn(&[u8]), cases: u32, len: usize) {
    let config = Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    let run = |bytes: Vec<u8>| {
        target(&bytes);
        Ok(())
    };
    TestRunner::new(config).run(&vec(any::<u8>(), 0..len), run).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_corpus_of_frames_does_no_harm() {
    replay("frames", frames);
}

#[test]
fn the_corpus_of_calls_keeps_to_the_model() {
    replay("calls", calls);
}

#[test]
fn the_corpus_of_the_codecs_is_decoded_the_same_wherever_it_is_cut() {
    replay("codecs", codecs);
}

#[test]
fn the_corpus_of_the_adapters_loses_no_socket() {
    replay("adapter", adapter);
}

#[test]
fn random_frames_do_no_harm() {
    random(frames, 500, 2000);
}

#[test]
fn random_calls_and_segments_keep_to_the_model() {
    random(calls, 500, 1000);
}

#[test]
fn random_streams_are_decoded_the_same_wherever_they_are_cut() {
    random(codecs, 2000, 300);
}

#[test]
fn random_answers_lose_no_socket() {
    random(adapter, 2000, 1000);
}
