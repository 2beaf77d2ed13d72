//! Standard input and output, each on a thread of its own.

use socklet_hosted::driver::Waker;
use socklet_hosted::text::{Decoder, Encoding};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

/// Pieces on the way between the loop and standard input or output.
const PIECES: usize = 4;
const PIECE: usize = 16 << 10;

/// Why standard input cannot be read to its end, or standard output not be written: the first one counts, and nothing goes on.
pub(super) type Broken = Arc<OnceLock<String>>;

/// Reads standard input on a thread of its own, which is left behind at the end.
pub(super) fn read_input(encoding: Option<Encoding>, waker: Waker, broken: Broken) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(PIECES);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut recoder = encoding.filter(|encoding| *encoding != Encoding::Utf8).map(Recoder::new);
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => &buffer[..len],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let text = format!("standard input cannot be read ({error}): give it a file or a pipe");
                    let _ = broken.set(text);
                    waker.wake();
                    // A sender that is gone would be an end, and the peer be told of it.
                    core::mem::forget(sender);
                    return;
                }
            };
            let piece = match &mut recoder {
                None => piece.to_vec(),
                Some(recoder) => recoder.piece(piece),
            };
            if sender.send(piece).is_err() {
                break;
            }
            waker.wake();
        }
        if let Some(recoder) = recoder {
            // Nobody takes it when the connection has ended.
            let _ = sender.send(recoder.rest());
        }
        drop(sender);
        waker.wake();
    });
    receiver
}

/// Text in UTF-8, on its way to another encoding.
struct Recoder {
    decoder: Decoder,
    encoding: Encoding,
}

impl Recoder {
    fn new(encoding: Encoding) -> Self {
        Self { decoder: Decoder::new(Encoding::Utf8), encoding }
    }

    fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = String::new();
        self.decoder.decode(bytes, &mut text);
        encode(self.encoding, text)
    }

    /// What a character that was broken off has become.
    fn rest(self) -> Vec<u8> {
        let mut text = String::new();
        let malformed = self.decoder.finish(&mut text);
        warn_of(malformed, "of standard input", Encoding::Utf8);
        encode(self.encoding, text)
    }
}

/// What `encoding` does not have becomes a question mark.
fn encode(encoding: Encoding, mut text: String) -> Vec<u8> {
    loop {
        match encoding.encode(&text) {
            Ok(bytes) => return bytes.into_owned(),
            Err(unmappable) => {
                // It stands for what was no character: that is said at the end.
                if unmappable.character != char::REPLACEMENT_CHARACTER {
                    log::warn!("{unmappable}; it is sent as a question mark");
                }
                text = text.replace(unmappable.character, "?");
            }
        }
    }
}

/// Says that there was something in a text that is none.
fn warn_of(malformed: u64, whence: &str, encoding: Encoding) {
    match malformed {
        0 => {}
        1 => log::warn!("1 sequence {whence} that is not {encoding} was replaced"),
        _ => log::warn!("{malformed} sequences {whence} that are not {encoding} were replaced"),
    }
}

/// Writes what it is given to standard output on a thread of its own, until nothing comes or it cannot be written.
pub(super) fn write_output(
    encoding: Option<Encoding>,
    waker: Waker,
    broken: Broken,
) -> (SyncSender<Vec<u8>>, JoinHandle<()>) {
    let (sender, receiver) = sync_channel::<Vec<u8>>(PIECES);
    let body = move || {
        let mut out = io::stdout().lock();
        let mut write = |bytes: &[u8]| {
            let written = out.write_all(bytes).and_then(|()| out.flush());
            written.inspect_err(|error| {
                // That the reader went away is a quiet end.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    let _ = broken.set(format!(
                        "standard output cannot be written ({error}): free the disk or redirect it elsewhere"
                    ));
                }
            })
        };
        let mut decoder = encoding.map(Decoder::new);
        let mut text = String::new();
        for piece in receiver.iter() {
            let bytes = match &mut decoder {
                None => &piece[..],
                Some(decoder) => {
                    text.clear();
                    decoder.decode(&piece, &mut text);
                    text.as_bytes()
                }
            };
            if write(bytes).is_err() {
                break;
            }
            waker.wake();
        }
        drop(receiver);
        waker.wake();
        if let (Some(decoder), Some(encoding)) = (decoder, encoding) {
            text.clear();
            let malformed = decoder.finish(&mut text);
            let _ = write(text.as_bytes());
            warn_of(malformed, "from the peer", encoding);
        }
    };
    (sender, thread::spawn(body))
}
