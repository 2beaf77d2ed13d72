//! A service of one's own in the simulator: an echo that shouts.
//!
//! ```text
//! cargo run --release -p socklet-tests --example simulate -- --seeds 10000
//! cargo run --release -p socklet-tests --example simulate -- --seed 7 --trace
//! ```

use socklet::{connection::Error, server::*, service::*, stack::*, storage::Id};
use socklet_tests::sim::{self, CountingAllocator, HostOptions, SimStack, World};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The service: it answers in capitals.
struct Shout;

impl<S: TcpStack> Protocol<S> for Shout {
    fn advance(
        &mut self,
        server: &mut Server<'_, S>,
        stack: &mut S,
        id: Id,
        _: &mut impl Observer,
    ) -> Result<Next, Error<S::Error>> {
        loop {
            let received = server.recv_with(stack, id, |data| (0, data[0].to_ascii_uppercase()))?;
            match received {
                Received::WouldBlock => return Ok(Next::Wait),
                Received::EndOfStream => return Ok(Next::Close),
                Received::Data(byte) => match server.send(stack, id, &[byte])? {
                    Sent::WouldBlock => return Ok(Next::Wait),
                    Sent::Queued(count) => drop(server.recv_with(stack, id, |_| (count, ()))?),
                },
            }
        }
    }
}

/// The world: the service on one host, ten clients on another.
fn shouting(world: &mut World) {
    let [near, far] = [(); 2].map(|()| world.host(HostOptions { connections: 12, rx: 512, tx: 512 }));
    let slots: Vec<_> = (0..12).map(|_| ServerSlot::<SimStack>::EMPTY).collect();
    let mut server = Server::new(slots, ServerConfig::default());
    let addr = (world.ip(near), 7).into();
    server.listen(world.stack(near), addr).expect("a free port");
    world.run_service(near, Serve::new(server, Shout));
    for client in 0..10 {
        let text = format!("client {client} says hello. ").repeat(100);
        world.exchange(far, addr, text.clone().into(), text.to_uppercase().into());
    }
}

fn main() -> ExitCode {
    sim::main(&shouting)
}
