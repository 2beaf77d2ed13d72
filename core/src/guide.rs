//! Into your firmware: from a [`phy::Device`](::smoltcp::phy::Device) to a server.
//!
//! # Thirty lines
//!
//! You have a driver that is a smoltcp `Device`, a clock that counts microseconds, and a way to sleep. This is the rest; it compiles as it
//! stands, and the images in `tests/firmware` do the same on four boards.
//!
//! ```
//! use core::net::{IpAddr, Ipv4Addr};
//! use smoltcp::{phy::Device, wire::EthernetAddress};
//! use socklet::server::{Server, ServerConfig, ServerSlot};
//! use socklet::service::{Echo, Serve, Service};
//! use socklet::smoltcp::{Config, SmoltcpStack, Storage};
//! use socklet::stack::{ErrorKind, TcpStack};
//! use socklet::time::{Instant, earliest};
//!
//! const CLIENTS: usize = 4;
//! type Memory = Storage<'static, CLIENTS, 2048, 2048, 1>; // 2 KiB each way, one listener
//!
//! fn run<D: Device + 'static>(
//!     nic: D,
//!     mac: [u8; 6],
//!     seed: u64,
//!     memory: &'static mut Memory, // a static: `StaticCell`, or RTIC's `init(local = [...])`
//!     slots: &'static mut [ServerSlot<SmoltcpStack<'static, D>>],
//!     micros: impl Fn() -> u64,
//!     sleep_until: impl Fn(Option<Instant>), // WFI; see below
//! ) -> Result<(), ErrorKind> {
//!     let config = Config::new(EthernetAddress(mac).into(), seed);
//!     let mut stack = SmoltcpStack::new(nic, config, memory)?;
//!     stack.add_address(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10)), 24)?;
//!     stack.set_gateway(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)))?;
//!     let mut server = Server::new(slots, ServerConfig::DEFAULT);
//!     server.listen(&mut stack, (Ipv4Addr::UNSPECIFIED, 7).into()).map_err(|_| ErrorKind::AddressInUse)?;
//!     let mut service = Serve::new(server, Echo);
//!     let mut service_due = Some(Instant::ZERO);
//!     loop {
//!         let now = Instant::from_micros(micros());
//!         let due = earliest(stack.poll(now), service_due);
//!         if due.is_some_and(|due| due <= now) {
//!             service_due = service.poll(&mut stack, now); // and then the stack again, which sends
//!         } else {
//!             sleep_until(due);
//!         }
//!     }
//! }
//! ```
//!
//! The address is static here. With the feature `dhcp` a [`Dhcp`](crate::smoltcp) takes it from a DHCP server: a line after `stack.poll`.
//!
//! # DHCP, DNS, UDP
//!
//! Sockets of other protocols, as smoltcp has them, go beside the connections and share the NIC with them:
//! [`with_sockets`](crate::smoltcp::SmoltcpStack::with_sockets). `stack.poll` serves them too, and its deadline is also theirs. Turn them on with
//! smoltcp's own features.
//!
//! ```ignore
//! let mut sockets = SocketSet::new(&mut storage[..]);            // a static, with room for what is added
//! let clock = sockets.add(udp::Socket::new(receive, send));      // NTP, say
//! let mut stack = SmoltcpStack::new(nic, config, memory)?.with_sockets(sockets);
//! // in the main loop, before `stack.poll`, which sends:
//! let (sockets, _) = stack.sockets();
//! if let Ok((answer, from)) = sockets.get_mut::<udp::Socket>(clock).recv() { /* ... */ }
//! ```
//!
//! # Memory
//!
//! `.bss` is, in bytes, on a 32-bit machine with IPv4 only:
//!
//! ```text
//! connections x (receive buffer + send buffer + 428) + listeners x 48 + server slots x 96 + 1 KiB for the stack object
//! ```
//!
//! 428 is what [`Storage`](crate::smoltcp::Storage) keeps for a connection beside its buffers: smoltcp's socket, and the backend's slot of at
//! most 200. A [`ServerSlot`](crate::server::ServerSlot) is kept for each client that is served at once, and the stack needs one slot more for
//! each client that may wait in the backlog. `tests/firmware/run --figures` prints what the images take, by part.
//!
//! | connections | buffers each way | RAM |
//! |---|---|---|
//! | 1 | 536 | 2.6 KiB |
//! | 4 | 1,460 | 14.5 KiB |
//! | 4 | 4,096 | 35.1 KiB |
//! | 8 | 2,048 | 37.1 KiB |
//!
//! A receive buffer below the MSS (1,460 on Ethernet) makes the peer send small segments; two MSS let it send while the last ones are
//! acknowledged. A static [`Storage::NEW`](crate::smoltcp::Storage::NEW) takes no flash. The program's stack needs 5 to 9 KiB.
//!
//! # Sleeping
//!
//! `poll` says until when nothing is due; only an interrupt of the NIC can bring something sooner. So: interrupts off, look whether the NIC
//! has something, start a timer for the deadline, WFI, interrupts on. WFI returns at a *pending* interrupt although they are off (on Arm and
//! RISC-V both), so nothing that comes between the look and the WFI is slept through.
//!
//! ```ignore
//! cortex_m::interrupt::free(|_| {
//!     if !nic_has_frame() {
//!         alarm.set(deadline);
//!         cortex_m::asm::wfi();
//!     }
//! });
//! ```
//!
//! The handler of the NIC need do nothing but clear its cause. Frames are taken by `stack.poll`, in the main loop, never in the handler:
//! nothing here is shared with an interrupt, and nothing needs a critical section. `poll` takes
//! [`frames_per_poll`](crate::smoltcp::Config::frames_per_poll) frames at most, so a flood cannot keep the main loop from other work.
//!
//! # RTIC and embassy
//!
//! The loop is the same; what sleeps differs.
//!
//! | | RTIC 2 | embassy |
//! |---|---|---|
//! | where it runs | a task of the lowest priority | a task |
//! | memory | `#[init(local = [memory: Memory = Memory::NEW])]` | `StaticCell`, or `static` in `main` |
//! | clock | `Mono::now().ticks()` | `embassy_time::Instant::now().as_micros()` |
//! | the NIC's interrupt | a hardware task that clears the cause and `signal.send(())` | the handler wakes a `Signal` |
//! | sleep | `select(Mono::delay_until(at), signal.wait()).await` | `select(Timer::at(at), signal.wait()).await` |
//!
//! ```ignore
//! loop {
//!     let now = Instant::from_micros(embassy_time::Instant::now().as_micros());
//!     match earliest(stack.poll(now), service_due) {
//!         Some(at) if at <= now => { service_due = service.poll(&mut stack, now); yield_now().await; }
//!         Some(at) => { select(Timer::at(embassy_time::Instant::from_micros(at.as_micros())), FRAME.wait()).await; }
//!         None => FRAME.wait().await,
//!     }
//! }
//! ```
//!
//! # The link
//!
//! TCP bridges an interruption by itself: do nothing when the cable is out for a moment. When it has been out for as long as the service can
//! wait, say, ten seconds, call [`link_lost`](crate::smoltcp::SmoltcpStack::link_lost): every connection ends with
//! [`Reason::LinkDown`](crate::connection::Reason::LinkDown), and a [`Client`](crate::client::Client) begins to try again. Without the call the
//! deadlines end them: nothing waits for ever.
//!
//! # The seed
//!
//! Sequence numbers and ports come from it; one that an attacker can guess gives both away, so it must differ at every start. In this order:
//! a hardware random number generator; the noise of an ADC's lowest bit on an open input, 256 samples hashed; a counter in flash or in a
//! battery-backed register, mixed with the device's serial number and a secret from its production.
//!
//! # Logging
//!
//! With the feature `defmt` (or `log`) the backend and the server tell what happens at the level `debug`: who connects, who is challenged, rejected or
//! left to try again, which deadline passed, and how each connection ended. What users print (errors, reasons, events, statistics)
//! implements `defmt::Format` then, beside `Debug` and `Display`. `defmt` needs its linker script and a logger in the program, as everywhere.
//!
//! An [`Observer`](crate::service::Observer) is told of every connection, when it is opened and when and why it ends, for what the firmware itself
//! wants to say. Formatting on the device costs flash, some 10 KiB with `core::fmt`; `defmt` formats on the host.
//!
//! # Statistics
//!
//! [`stats`](crate::smoltcp::SmoltcpStack::stats) has what the backend has counted: segments, octets, newcomers, and drops by their reason.
//! [`queue_lengths`](crate::smoltcp::SmoltcpStack::queue_lengths) says how many connections wait for what,
//! [`connection_stats`](crate::smoltcp::SmoltcpStack::connection_stats) how one of them is doing. None stops anything.
//!
//! # Testing on the host
//!
//! Write the application in a file that names no board, generic over [`TcpStack`](crate::stack::TcpStack), and run it from a test over
//! `socklet_hosted::os::OsStack` (the system's sockets) and over smoltcp on a TAP interface. `tests/firmware/src/app.rs` is such a file:
//! `tests/tests/linux/app.rs` runs it on both, `tests/firmware/run` on the boards, and one conversation with it must have one transcript.
//!
//! ```
//! use socklet::service::Service;
//! use socklet::stack::TcpStack;
//! use socklet::time::{Duration, Instant};
//!
//! /// On the host: rounds at invented times, as fast as the machine can.
//! fn rounds<S: TcpStack>(app: &mut impl Service<S>, stack: &mut S, count: u32) {
//!     let mut now = Instant::ZERO;
//!     for _ in 0..count {
//!         let _ = app.poll(stack, now);
//!         let _ = stack.poll(now);
//!         now = now + Duration::from_millis(10);
//!     }
//! }
//! ```
