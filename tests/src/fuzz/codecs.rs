use super::Input;
use socklet::codec::{Decode, DecodeError, Encode, LineEnd, Lines, Prefix, Prefixed, Raw};

type Frames = Vec<Result<Vec<u8>, DecodeError>>;

/// The same frames come out wherever the stream is cut, and what is encoded is decoded.
pub fn codecs(data: &[u8]) {
    let mut input = Input(data);
    let (kind, size) = (input.below(5), input.below(64));
    let cuts = input.bytes();
    let stream = input.0;
    let buffer = || vec![0; size];
    let prefixed = |prefix| check(&|| Prefixed::new(prefix, buffer()), &prefix, true, stream, cuts);
    match kind {
        0 => check(&|| Lines::new(buffer()), &LineEnd::CrLf, false, stream, cuts),
        1 => prefixed(Prefix::U8),
        2 => prefixed(Prefix::U16),
        3 => prefixed(Prefix::U32),
        _ => check(&|| Raw, &Raw, false, stream, &[]),
    }
}

/// `stops`: whether a frame that is too long is the end.
fn check<C: Decode>(codec: &dyn Fn() -> C, encoder: &impl Encode, stops: bool, stream: &[u8], cuts: &[u8]) {
    let whole = decode(&mut codec(), stops, stream, &[]);
    assert_eq!(whole, decode(&mut codec(), stops, stream, cuts), "cut at {cuts:?}");
    for frame in whole.iter().flatten() {
        let mut output = vec![0; encoder.room(frame.len())];
        // A line that ends with CR cannot be sent.
        if let Ok(len) = encoder.encode(frame, &mut output) {
            assert_eq!(decode(&mut codec(), stops, &output[..len], &[]), [Ok(frame.clone())]);
        }
    }
}

/// Feeds pieces as long as `cuts` says, over and over, then the rest of them.
fn decode(codec: &mut impl Decode, stops: bool, stream: &[u8], cuts: &[u8]) -> Frames {
    let mut frames = Vec::new();
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    let mut rest = stream;
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        while !piece.is_empty() {
            let decoded = codec.decode(piece);
            assert!((1..=piece.len()).contains(&decoded.used), "{} of {} used", decoded.used, piece.len());
            assert!(decoded.frame.is_some() || decoded.used == piece.len());
            frames.extend(decoded.frame.map(|frame| frame.map(<[u8]>::to_vec)));
            if stops && frames.last().is_some_and(Result::is_err) {
                return frames;
            }
            piece = &piece[decoded.used..];
        }
    }
    frames.extend(codec.finish().map(|frame| frame.map(<[u8]>::to_vec)).transpose());
    frames
}
