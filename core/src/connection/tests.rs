use super::*;

const STATES: [State; 7] = [
    State::Opening,
    State::Open,
    State::PeerClosed,
    State::WriteClosed,
    State::Closing(First::Peer),
    State::Closing(First::Here),
    State::Closed(Reason::Reset),
];

const INPUTS: [Input; 10] = [
    Input::Opened,
    Input::Rejected,
    Input::EndOfStream,
    Input::Shutdown,
    Input::Close,
    Input::Abort,
    Input::Finished,
    Input::Released,
    Input::Failed(ErrorKind::TimedOut),
    Input::Expired(Deadline::Idle),
];

#[track_caller]
fn trace(inputs: &[Input], end: State) {
    assert_eq!(inputs.iter().fold(State::Opening, |state, input| step(state, *input)), end);
}

#[test]
fn the_lists_of_kinds_are_complete() {
    assert!(INPUTS.iter().map(|input| input.kind()).eq(InputKind::ALL));
    assert!(StateKind::ALL.iter().all(|kind| STATES.iter().any(|state| state.kind() == *kind)));
}

#[test]
fn a_closed_connection_stays_closed() {
    for input in INPUTS {
        assert_eq!(step(State::Closed(Reason::Reset), input), State::Closed(Reason::Reset));
    }
}

#[test]
fn abort_failure_and_deadlines_end_every_state() {
    let last =
        [Input::Abort, Input::Failed(ErrorKind::Reset), Input::Expired(Deadline::Idle), Input::Rejected];
    for (state, input) in STATES.into_iter().flat_map(|state| last.map(|input| (state, input))) {
        assert_eq!(step(state, input).kind(), StateKind::Closed, "{state:?} {input:?}");
    }
}

#[test]
fn a_life_never_goes_back() {
    for (state, input) in STATES.into_iter().flat_map(|state| INPUTS.map(|input| (state, input))) {
        assert!(step(state, input).kind() >= state.kind(), "{state:?} {input:?}");
    }
}

#[test]
fn who_closes_first_is_in_the_reason() {
    use Input::{Close, EndOfStream, Finished, Opened, Shutdown};
    let (peer, here) = (State::Closed(Reason::PeerClosed), State::Closed(Reason::Finished));
    trace(&[Opened, EndOfStream, Close, Finished], peer);
    trace(&[Opened, EndOfStream, Shutdown, Finished], peer);
    trace(&[Opened, Shutdown, EndOfStream, Finished], here);
    trace(&[Opened, Close, Finished], here);
}

#[test]
fn the_stack_s_own_timeout_is_the_connect_deadline_only_while_connecting() {
    let timeout = Input::Failed(ErrorKind::TimedOut);
    trace(&[timeout], State::Closed(Reason::TimedOut(Deadline::Connect)));
    trace(&[Input::Opened, timeout], State::Closed(Reason::Failed(ErrorKind::TimedOut)));
}

#[test]
fn transitions_are_a_set_of_pairs() {
    let mut cx = Context::NEW;
    let mut connection = Connection::new(0u64, Instant::ZERO);
    connection.apply(Input::Opened, &mut cx);
    connection.apply(Input::Close, &mut cx);
    let mut merged = Transitions::NONE;
    merged.merge(&cx.seen);
    let pairs =
        StateKind::ALL.iter().flat_map(|state| InputKind::ALL.iter().map(move |input| (*state, *input)));
    let seen: Vec<_> = pairs.filter(|(state, input)| merged.contains(*state, *input)).collect();
    assert_eq!(seen, [(StateKind::Opening, InputKind::Opened), (StateKind::Open, InputKind::Close)]);
}

#[test]
fn reasons_are_sentences_for_people() {
    assert_eq!(
        std::format!("{}", Reason::TimedOut(Deadline::Idle)),
        "timed out: nothing moved in either direction"
    );
    assert_eq!(std::format!("{}", Reason::Failed(ErrorKind::NoAddress)), "failed: no usable local address");
}
