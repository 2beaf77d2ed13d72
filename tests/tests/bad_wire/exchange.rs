//! What goes over a connection: the client says how much it wants and from which stream, then both send that much at once.

use socklet_tests::Pattern;

/// The client's first bytes: the amount and the stream's number, big endian.
const HEADER: usize = 16;

/// What has been received is told each time it has grown by this.
const STEP: u64 = 64 * 1024;

/// One party's part in an exchange.
pub(crate) struct Exchange {
    /// What is still to be sent before the stream: the header.
    first: Vec<u8>,
    /// What has come of the header.
    header: Vec<u8>,
    streams: Option<Streams>,
}

struct Streams {
    amount: u64,
    out: Pattern,
    into: Pattern,
    told: u64,
}

impl Streams {
    fn new(amount: u64, out: u64, into: u64) -> Self {
        Self { amount, out: Pattern::new(out), into: Pattern::new(into), told: 0 }
    }
}

impl Exchange {
    pub(crate) fn as_client(amount: u64, seed: u64) -> Self {
        let first = [amount.to_be_bytes(), seed.to_be_bytes()].concat();
        Self { first, header: Vec::new(), streams: Some(Streams::new(amount, seed, seed + 1)) }
    }

    pub(crate) fn as_server() -> Self {
        Self { first: Vec::new(), header: Vec::new(), streams: None }
    }

    /// Takes in what was received.
    ///
    /// # Panics
    /// If it is not what was to come.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        if self.streams.is_none() {
            let count = bytes.len().min(HEADER - self.header.len());
            self.header.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            let Some((amount, seed)) =
                self.header.split_at_checked(8).filter(|_| self.header.len() == HEADER)
            else {
                return;
            };
            let word = |half: &[u8]| u64::from_be_bytes(half.try_into().expect("eight bytes"));
            let seed = word(seed);
            self.streams = Some(Streams::new(word(amount), seed + 1, seed));
        }
        let Some(streams) = &mut self.streams else { return };
        streams.into.check(bytes);
        let received = streams.into.position();
        assert!(received <= streams.amount, "more came than there is");
        if received - streams.told >= STEP && received < streams.amount {
            streams.told = received;
            println!("some {received}");
        }
    }

    /// What to send next; empty if nothing for now.
    pub(crate) fn next(&self) -> &[u8] {
        if !self.first.is_empty() {
            return &self.first;
        }
        let Some(streams) = &self.streams else { return &[] };
        let left = streams.amount - streams.out.position();
        streams.out.next(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// So much of it was sent.
    pub(crate) fn sent(&mut self, count: usize) {
        if !self.first.is_empty() {
            self.first.drain(..count);
        } else if let Some(streams) = &mut self.streams {
            streams.out.advance(count);
        }
    }

    /// Whether all is sent: time to close the write side.
    pub(crate) fn all_sent(&self) -> bool {
        self.streams.as_ref().is_some_and(|streams| streams.out.position() == streams.amount)
    }

    /// The peer's stream has ended: says whether that was all of it.
    pub(crate) fn ended(&self) {
        match &self.streams {
            Some(streams) if streams.into.position() == streams.amount => println!("done {}", streams.amount),
            Some(streams) => {
                println!("cut short: {} of {} bytes", streams.into.position(), streams.amount);
            }
            None => println!("cut short: {} bytes of the header", self.header.len()),
        }
    }
}
