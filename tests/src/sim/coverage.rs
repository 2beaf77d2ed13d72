//! Which (state, input) pairs of the connection machine were reached, and why others cannot be.

use core::fmt::{self, Display};
use socklet::connection::{InputKind, StateKind, Transitions};

/// Why a pair cannot be reached over a stack that can do everything, as the smoltcp backend.
#[rustfmt::skip]
const UNREACHABLE: [(&[StateKind], &[InputKind], &str); 6] = {
    use InputKind::{EndOfStream, Failed, Finished, Opened, Rejected, Released};
    use StateKind::{Closed, Closing, Open, Opening, PeerClosed, WriteClosed};
    [
        (&[Open, PeerClosed, WriteClosed, Closing, Closed], &[Opened, Rejected],
            "a connection is opened or turned away once, when it is Opening"),
        (&[Opening], &[Finished],
            "one that was opened and ended between two looks is Opened first"),
        (&[Opening], &[Released],
            "a server's connection is Opened in the call that accepts it, and a client has no drain"),
        (&[Open, WriteClosed], &[Finished],
            "the peer's end of stream is received first"),
        (&[Closing, Closed], &[EndOfStream],
            "a call to receive is answered with Closed and does not reach the stack"),
        (&[Closed], &[Finished, Failed],
            "the stack is not asked any more"),
    ]
};

/// What holds of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    Reached,
    Missed,
    /// With the number of its reason.
    Unreachable(usize),
    /// It has a reason, and was reached nevertheless.
    Surprise(usize),
}

/// The pairs that were reached, as a table.
#[derive(Debug, Clone, Copy)]
pub struct Coverage(pub Transitions);

impl Coverage {
    fn pair(&self, state: StateKind, input: InputKind) -> Pair {
        let applies = |(states, inputs, _): &(&[StateKind], &[InputKind], &str)| {
            states.contains(&state) && inputs.contains(&input)
        };
        match (self.0.contains(state, input), UNREACHABLE.iter().position(applies)) {
            (true, None) => Pair::Reached,
            (false, None) => Pair::Missed,
            (false, Some(reason)) => Pair::Unreachable(reason + 1),
            (true, Some(reason)) => Pair::Surprise(reason + 1),
        }
    }

    /// The pairs that were not reached and could be, and those that were reached against all reason.
    pub fn gaps(&self) -> Vec<(StateKind, InputKind)> {
        let pairs = StateKind::ALL.into_iter().flat_map(|state| InputKind::ALL.map(|input| (state, input)));
        pairs
            .filter(|(state, input)| matches!(self.pair(*state, *input), Pair::Missed | Pair::Surprise(_)))
            .collect()
    }
}

impl Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12}", "")?;
        for input in InputKind::ALL {
            write!(f, "{:>12}", format!("{input:?}"))?;
        }
        writeln!(f)?;
        for state in StateKind::ALL {
            write!(f, "{:12}", format!("{state:?}"))?;
            for input in InputKind::ALL {
                let cell = match self.pair(state, input) {
                    Pair::Reached => "x".into(),
                    Pair::Missed => "MISSED".into(),
                    Pair::Unreachable(reason) => format!("({reason})"),
                    Pair::Surprise(reason) => format!("x NOT ({reason})"),
                };
                write!(f, "{cell:>12}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "x reached; the others cannot be:")?;
        for (number, (_, _, reason)) in UNREACHABLE.iter().enumerate() {
            writeln!(f, "({}) {reason}", number + 1)?;
        }
        Ok(())
    }
}
