use super::*;

/// Everything arrives in order at a target that takes `step` bytes at a time.
#[track_caller]
fn relays_without_loss(mut world: World, step: usize) {
    let (source, from) = world.open();
    let (target, to) = world.open();
    let data: Vec<u8> = (0..3 * ROOM).map(|n| (n * 7 % 251) as u8).collect();
    world.stack.peer_sends(source, &data);
    world.stack.peer_closes(source);
    let mut moved = 0;
    for _ in 0..100_000 {
        world.events();
        let (bytes, stopped) = world.relay(from, to);
        moved += bytes;
        match stopped {
            Stopped::Full => {}
            Stopped::Empty => {}
            Stopped::Budget => {}
            Stopped::EndOfStream => break,
        }
        world.stack.peer_acknowledges(target, step);
    }
    world.stack.peer_acknowledges(target, ROOM);
    assert_eq!(moved, data.len());
    assert_eq!(world.stack[target].delivered, data);
    assert_eq!(world.server.traffic(from).unwrap().received, data.len() as u64);
    assert_eq!(world.server.traffic(to).unwrap().sent, data.len() as u64);
}

#[test]
fn a_relay_loses_nothing_when_the_target_is_full() {
    for step in [1, 100, 1024, ROOM] {
        relays_without_loss(World::default(), step);
    }
}

#[test]
fn without_zero_copy_the_holdback_keeps_what_had_no_room() {
    for (step, holdback) in [(1, 4 * 100), (1000, 4 * 64), (1024, 4 * 2048), (ROOM, 7)] {
        let mut world = World::default();
        world.stack.capabilities.zero_copy = false;
        world.server = world.server.with_holdback(std::vec![0; holdback].leak());
        relays_without_loss(world, step);
    }
}

#[test]
fn without_zero_copy_and_holdback_a_relay_is_unsupported() {
    let mut world = World::default();
    world.stack.capabilities.zero_copy = false;
    let (peer, id) = world.open();
    world.stack.peer_sends(peer, b"x");
    assert_eq!(world.server.relay(&mut world.stack, id, id), Err(Error::Stack(ErrorKind::Unsupported)));
    assert_eq!(world.recv(id), b"x");
}

#[test]
fn what_is_held_back_is_received_first() {
    let mut world = World::default();
    world.stack.capabilities.zero_copy = false;
    world.server = world.server.with_holdback(std::vec![0; 64].leak());
    let (peer, id) = world.open();
    world.stack.peer_sends(peer, b"one two");
    let first = world.server.recv_with(&mut world.stack, id, |data| (4, data.to_vec()));
    assert_eq!(first, Ok(Received::Data(b"one two".to_vec())));
    assert_eq!(world.recv(id), b"two");
    assert_eq!(world.server.traffic(id).unwrap().received, 7);
}
