//! Text in UTF-8 and GBK, as it comes in segments.
//!
//! ```
//! use socklet_hosted::text::{Decoder, Encoding};
//!
//! let sent = Encoding::Gbk.encode("你好").unwrap();
//! let (first, second) = sent.split_at(3);
//! let (mut decoder, mut text) = (Decoder::new(Encoding::Gbk), String::new());
//! decoder.decode(first, &mut text);
//! assert_eq!(text, "你", "the other character is not complete");
//! decoder.decode(second, &mut text);
//! assert_eq!(decoder.finish(&mut text), 0);
//! assert_eq!(text, "你好");
//! ```

use core::fmt;
use core::str::FromStr;
use encoding_rs::{DecoderResult, EncoderResult};
use std::borrow::Cow;

/// How characters are written in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8 (RFC 3629).
    #[default]
    Utf8,
    /// GBK, as the Encoding Standard has it: what can be decoded is GB 18030, what is encoded has one or two bytes.
    Gbk,
}

impl Encoding {
    fn table(self) -> &'static encoding_rs::Encoding {
        match self {
            Self::Utf8 => encoding_rs::UTF_8,
            Self::Gbk => encoding_rs::GBK,
        }
    }

    /// The bytes of `text`.
    ///
    /// # Errors
    /// The first character that the encoding does not have.
    pub fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, Unmappable> {
        if self == Self::Utf8 {
            return Ok(text.as_bytes().into());
        }
        let mut encoder = self.table().new_encoder();
        let most = encoder.max_buffer_length_from_utf8_without_replacement(text.len());
        let mut bytes = Vec::with_capacity(most.unwrap_or(usize::MAX));
        let (result, _) = encoder.encode_from_utf8_to_vec_without_replacement(text, &mut bytes, true);
        match result {
            EncoderResult::Unmappable(character) => Err(Unmappable { character, encoding: self }),
            EncoderResult::InputEmpty | EncoderResult::OutputFull => Ok(bytes.into()),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "utf-8",
            Self::Gbk => "gbk",
        })
    }
}

/// From `utf-8` or `gbk`, in letters of either case.
impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        let all = [Self::Utf8, Self::Gbk];
        let found = all.into_iter().find(|encoding| encoding.to_string().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownEncoding(name.into()))
    }
}

/// A name that no [`Encoding`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownEncoding(String);

impl fmt::Display for UnknownEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown encoding {:?}: use utf-8 or gbk", self.0)
    }
}

impl core::error::Error for UnknownEncoding {}

/// A character that an encoding does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmappable {
    /// The character.
    pub character: char,
    /// The encoding.
    pub encoding: Encoding,
}

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { character, encoding } = self;
        write!(f, "{encoding} has no character {character:?} (U+{:04X}): use utf-8", u32::from(*character))
    }
}

impl core::error::Error for Unmappable {}

/// Makes text of bytes that come in pieces, cut anywhere.
#[derive(Debug)]
pub struct Decoder {
    inner: Inner,
    malformed: u64,
}

/// The tables' own decoder has no `Debug`.
struct Inner(encoding_rs::Decoder);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.encoding().name())
    }
}

impl Decoder {
    /// At the start of a stream. A byte order mark is a character like any other.
    pub fn new(encoding: Encoding) -> Self {
        Self { inner: Inner(encoding.table().new_decoder_without_bom_handling()), malformed: 0 }
    }

    /// Appends the characters that `bytes` completes. Each malformed sequence becomes one U+FFFD, and is counted.
    pub fn decode(&mut self, bytes: &[u8], text: &mut String) {
        self.append(bytes, text, false);
    }

    /// Ends the stream: an incomplete character is malformed. Returns how many sequences were.
    pub fn finish(mut self, text: &mut String) -> u64 {
        self.append(&[], text, true);
        self.malformed
    }

    /// Malformed sequences so far.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    fn append(&mut self, mut bytes: &[u8], text: &mut String, last: bool) {
        let Inner(decoder) = &mut self.inner;
        loop {
            text.reserve(
                decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(bytes.len()),
            );
            let (result, read) = decoder.decode_to_string_without_replacement(bytes, text, last);
            bytes = &bytes[read..];
            match result {
                DecoderResult::InputEmpty => return,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    self.malformed += 1;
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Encoding; 2] = [Encoding::Utf8, Encoding::Gbk];

    /// The text of `pieces`, and how many sequences were malformed.
    fn decoded<'p>(encoding: Encoding, pieces: impl IntoIterator<Item = &'p [u8]>) -> (String, u64) {
        let (mut decoder, mut text) = (Decoder::new(encoding), String::new());
        pieces.into_iter().for_each(|piece| decoder.decode(piece, &mut text));
        let malformed = decoder.finish(&mut text);
        (text, malformed)
    }

    #[test]
    fn a_character_cut_in_two_is_whole_again() {
        for encoding in BOTH {
            let bytes = encoding.encode("a啊, 你好").unwrap();
            for at in 0..=bytes.len() {
                let (left, right) = bytes.split_at(at);
                assert_eq!(decoded(encoding, [left, right]), ("a啊, 你好".into(), 0));
            }
        }
    }

    #[test]
    fn malformed_input_is_replaced_and_counted() {
        assert_eq!(decoded(Encoding::Utf8, [&b"a\xffb\xe4\xbd"[..]]), ("a\u{fffd}b\u{fffd}".into(), 2));
        assert_eq!(decoded(Encoding::Gbk, [&b"a\xffb\xc4"[..]]), ("a\u{fffd}b\u{fffd}".into(), 2));
    }

    #[test]
    fn a_character_that_the_encoding_lacks_is_named() {
        let error = Encoding::Gbk.encode("fine 好, not 🦀").unwrap_err();
        assert_eq!(error.to_string(), "gbk has no character '🦀' (U+1F980): use utf-8");
    }

    #[test]
    fn names_are_read_and_written() {
        for encoding in BOTH {
            assert_eq!(encoding.to_string().parse(), Ok(encoding));
        }
        assert_eq!("UTF-8".parse(), Ok(Encoding::Utf8));
        let error = "latin1".parse::<Encoding>().unwrap_err();
        assert_eq!(error.to_string(), "unknown encoding \"latin1\": use utf-8 or gbk");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_text(bytes: Vec<u8>, cuts: Vec<prop::sample::Index>, gbk: bool) {
            let encoding = BOTH[usize::from(gbk)];
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.extend([0, bytes.len()]);
            ends.sort_unstable();
            let pieces = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
            prop_assert_eq!(decoded(encoding, pieces), decoded(encoding, [&bytes[..]]));
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(text: String) {
            for encoding in BOTH {
                if let Ok(bytes) = encoding.encode(&text) {
                    prop_assert_eq!(decoded(encoding, [&bytes[..]]), (text.clone(), 0));
                }
            }
        }
    }
}
