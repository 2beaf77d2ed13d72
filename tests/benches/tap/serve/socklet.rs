use super::super::setup::{PORT, Service as Job, Setup, tune};
use super::announce;
use core::error::Error as StdError;
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::connection::Error;
use socklet::server::{Server, ServerConfig, ServerSlot};
use socklet::service::{Discard, Echo, Next, Observer, Protocol, Serve};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ErrorKind, ListenOptions, Sent};
use socklet::storage::Id;
use socklet_hosted::driver::Driver;
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::{Options, Tap};

type Stack = SmoltcpStack<'static, Tap>;

pub(super) fn run(setup: Setup) -> Result<(), Box<dyn StdError>> {
    let sandbox = Sandbox::new()?;
    tune(&sandbox);
    let tap = sandbox.open_tap(&Options::tap("bench0"))?;
    let memory = Memory::allocate(setup.connections, setup.buffer, setup.buffer, 1);
    let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(STACK_MAC)), 7);
    let mut stack = SmoltcpStack::new(tap, config, memory)?;
    stack.add_address(sandbox.network().stack_v4.into(), sandbox.network().prefix_v4)?;
    let slots: Vec<_> = (0..setup.connections).map(|_| ServerSlot::<Stack>::EMPTY).collect();
    let config = ServerConfig::default().with_listen(ListenOptions::backlog(128));
    let mut server = Server::new(slots, config);
    server.listen(&mut stack, ([0, 0, 0, 0], PORT).into())?;
    announce(&sandbox);
    let mut driver = Driver::new()?;
    match setup.service {
        Job::Echo => driver.run(&mut stack, &mut Serve::new(server, Echo))?,
        Job::Discard => driver.run(&mut stack, &mut Serve::new(server, Discard))?,
        Job::Flood => driver.run(&mut stack, &mut Serve::new(server, Flood))?,
    };
    Ok(())
}

/// Sends as much as there is room for, and does not care what.
struct Flood;

impl Protocol<Stack> for Flood {
    fn advance(
        &mut self,
        server: &mut Server<'_, Stack>,
        stack: &mut Stack,
        id: Id,
        _: &mut impl Observer,
    ) -> Result<Next, Error<ErrorKind>> {
        let whole = |room: &mut [u8]| {
            super::make_real(room);
            room.len()
        };
        while let Sent::Queued(_) = server.send_with(stack, id, whole)? {}
        Ok(Next::Wait)
    }
}
