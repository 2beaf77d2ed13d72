use super::*;
use proptest::prelude::*;
use std::vec::Vec;

type Frames = Vec<Result<Vec<u8>, DecodeError>>;

/// All frames of a stream that arrives in these pieces.
fn decode<'c>(decoder: &mut impl Decode, chunks: impl IntoIterator<Item = &'c [u8]>) -> Frames {
    let mut frames = Vec::new();
    for mut chunk in chunks {
        while !chunk.is_empty() {
            let Decoded { used, frame } = decoder.decode(chunk);
            assert!(used > 0, "no progress");
            assert!(frame.is_some() || used == chunk.len(), "input left without a frame");
            let broken =
                frame == Some(Err(DecodeError::TooLong)) && frames.last() == Some(&Err(DecodeError::TooLong));
            frames.extend(frame.filter(|_| !broken).map(|frame| frame.map(<[u8]>::to_vec)));
            chunk = &chunk[used..];
        }
    }
    frames.extend(decoder.finish().transpose().map(|frame| frame.map(<[u8]>::to_vec)));
    frames
}

fn lines(limit: usize, chunks: &[&[u8]]) -> Frames {
    decode(&mut Lines::new(std::vec![0; limit].leak()), chunks.iter().copied())
}

fn ok(frame: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(frame.to_vec())
}

const TOO_LONG: Result<Vec<u8>, DecodeError> = Err(DecodeError::TooLong);

#[test]
fn lf_and_cr_lf_end_a_line() {
    assert_eq!(lines(8, &[b"a\nb\r\n\n\r\nc"]), [ok(b"a"), ok(b"b"), ok(b""), ok(b""), ok(b"c")]);
    assert_eq!(lines(8, &[b"a", b"\r", b"\nb\r", b"c\r", b"\r\n"]), [ok(b"a"), ok(b"b\rc\r")]);
}

#[test]
fn the_line_end_does_not_count() {
    assert_eq!(lines(2, &[b"ab\r\n", b"ab", b"\r", b"\n"]), [ok(b"ab"), ok(b"ab")]);
}

#[test]
fn behind_a_line_that_is_too_long_decoding_goes_on() {
    assert_eq!(lines(2, &[b"abc\nd\n"]), [TOO_LONG, ok(b"d")]);
    assert_eq!(lines(2, &[b"ab", b"c", b"def", b"g\nd\n"]), [TOO_LONG, ok(b"d")]);
    assert_eq!(lines(0, &[b"\n", b"\r\n"]), [ok(b""), ok(b"")]);
}

#[test]
fn a_prefix_is_big_endian() {
    let mut out = [0; 8];
    assert_eq!(Prefix::U16.encode(b"abc", &mut out), Ok(5));
    assert_eq!(out[..5], *b"\0\x03abc");
    assert_eq!(Prefix::U32.encode(b"", &mut out), Ok(4));
    assert_eq!(out[..4], [0; 4]);
}

#[test]
fn a_length_above_the_buffer_is_fatal() {
    let mut buffer = [0; 3];
    let mut frames = Prefixed::new(Prefix::U8, &mut buffer[..]);
    assert_eq!(frames.decode(b"\x03abc\x04"), Decoded { used: 4, frame: Some(Ok(b"abc")) });
    for _ in 0..2 {
        assert_eq!(frames.decode(b"\x04abcd"), Decoded { used: 5, frame: Some(Err(DecodeError::TooLong)) });
    }
    assert_eq!(frames.finish(), Err(DecodeError::TooLong));
}

#[test]
fn the_end_inside_a_frame_is_an_error() {
    let mut buffer = [0; 3];
    let mut frames = Prefixed::new(Prefix::U16, &mut buffer[..]);
    for (input, end) in [
        (&b"\0"[..], Err(DecodeError::Truncated)),
        (b"\0\x02a", Err(DecodeError::Truncated)),
        (b"\0\x01a", Ok(None)),
    ] {
        let _ = frames.decode(input);
        assert_eq!(frames.finish(), end, "{input:?}");
    }
}

#[test]
fn encoders_say_how_much_room_they_need() {
    assert_eq!(LineEnd::CrLf.encode(b"abc", &mut [0; 4]), Err(EncodeError::NoRoom(5)));
    assert_eq!((LineEnd::CrLf.room(3), Prefix::U32.room(3), Raw.room(3)), (5, 7, 3));
    assert_eq!(LineEnd::Lf.encode(b"a\nb", &mut [0; 8]), Err(EncodeError::Delimiter));
    assert_eq!(Prefix::U8.encode(&[0; 256], &mut [0; 300]), Err(EncodeError::TooLong));
}

/// Cuts a stream at these places.
fn cut<'s>(stream: &'s [u8], sizes: &'s [usize]) -> impl Iterator<Item = &'s [u8]> {
    let mut rest = stream;
    sizes.iter().chain([&usize::MAX]).map(move |size| {
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        chunk
    })
}

proptest! {
    #[test]
    fn lines_are_the_same_however_they_are_cut(
        stream in prop::collection::vec(prop::sample::select(&b"abc\r\n"[..]), 0..64),
        sizes in prop::collection::vec(0usize..5, 0..64),
        limit in 0usize..6,
    ) {
        prop_assert_eq!(
            decode(&mut Lines::new(std::vec![0; limit].leak()), cut(&stream, &sizes)),
            decode(&mut Lines::new(std::vec![0; limit].leak()), [&stream[..]])
        );
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut(
        stream in prop::collection::vec(0u8..4, 0..64),
        sizes in prop::collection::vec(0usize..5, 0..64),
        limit in 0usize..5,
        prefix in prop::sample::select(&[Prefix::U8, Prefix::U16, Prefix::U32][..]),
    ) {
        prop_assert_eq!(
            decode(&mut Prefixed::new(prefix, std::vec![0; limit].leak()), cut(&stream, &sizes)),
            decode(&mut Prefixed::new(prefix, std::vec![0; limit].leak()), [&stream[..]])
        );
    }

    #[test]
    fn what_was_encoded_is_decoded(
        payloads in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"ab\r\0"[..]), 0..8), 0..8),
        sizes in prop::collection::vec(0usize..5, 0..32),
    ) {
        for prefix in [Prefix::U8, Prefix::U16, Prefix::U32] {
            let stream = encode_all(&prefix, &payloads);
            let frames = decode(&mut Prefixed::new(prefix, std::vec![0; 8].leak()), cut(&stream, &sizes));
            prop_assert_eq!(frames.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), payloads.clone());
        }
        let lines: Vec<_> = payloads.into_iter().filter(|line| !line.ends_with(b"\r")).collect();
        for end in [LineEnd::CrLf, LineEnd::Lf] {
            let stream = encode_all(&end, &lines);
            let frames = decode(&mut Lines::new(std::vec![0; 8].leak()), cut(&stream, &sizes));
            prop_assert_eq!(frames.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), lines.clone());
        }
    }
}

fn encode_all(encoder: &impl Encode, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for payload in payloads {
        let mut out = std::vec![0; encoder.room(payload.len())];
        assert_eq!(encoder.encode(payload, &mut out), Ok(out.len()));
        stream.extend(out);
    }
    stream
}
