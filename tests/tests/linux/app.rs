//! The firmware's application, unchanged, on this host: over the system's sockets and over smoltcp on a TAP interface.
//!
//! The same conversation has the same transcript here and on every board ([`transcript`], which `firmware/run` uses too).

#[path = "../../firmware/src/app.rs"]
#[allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "a module of the firmware")]
mod app;
#[path = "../../firmware/host/transcript.rs"]
mod transcript;

use app::{App, CONNECTIONS, ECHO_PORT, HOST_PORT, REPLY_PORT, Slots};
use core::fmt::Arguments;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use libtest_mimic::Trial;
use smoltcp::wire::{EthernetAddress, HardwareAddress};
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::TcpStack;
use socklet_hosted::driver::{Driver, Wait};
use socklet_hosted::os::{OsOptions, OsStack};
use socklet_hosted::sandbox::{STACK_MAC, Sandbox};
use socklet_hosted::tap::Options;
use std::cell::RefCell;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;
use transcript::{Application, EXPECTED, converse};

pub(crate) fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    if let Err(error) = socklet_hosted::sandbox::enter() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let trial = |name, body: fn()| {
        Trial::test(name, move || {
            body();
            Ok(())
        })
    };
    let trials = vec![
        trial("the_firmwares_application_says_the_same_over_the_systems_sockets", os),
        trial("the_firmwares_application_says_the_same_over_smoltcp_on_tap", tap),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn os() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let host = listener.local_addr().expect("it is bound");
    // Both servers' ports are this one's neighbours; whoever has one of them makes the start fail, and the text says so.
    let first_port = 10_000 + host.port() % 20_000;
    let stack = || OsStack::new(OsOptions::default()).expect("a stack");
    let transcript = with_application(stack, first_port, host, move |said| {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + port));
        talk(at(ECHO_PORT), at(REPLY_PORT), &listener, said)
    });
    assert_eq!(transcript, EXPECTED);
}

fn tap() {
    let sandbox = Sandbox::new().unwrap_or_else(|error| panic!("{error}"));
    let tap = sandbox.open_tap(&Options::tap("socklet0")).unwrap_or_else(|error| panic!("{error}"));
    let network = *sandbox.network();
    let host = SocketAddr::from((network.host_v4, HOST_PORT));
    let stack = move || {
        let mac = HardwareAddress::Ethernet(EthernetAddress(STACK_MAC));
        let memory = Memory::allocate(CONNECTIONS, 2048, 2048, 2);
        let mut stack = SmoltcpStack::new(tap, Config::new(mac, 7), memory).expect("a stack");
        stack.add_address(IpAddr::V4(network.stack_v4), network.prefix_v4).expect("an address");
        stack
    };
    let listener = sandbox.run(move || TcpListener::bind(host)).expect("the sandbox's port is free");
    let transcript = with_application(stack, 0, host, |said| {
        sandbox.run(move || {
            let at = |port| SocketAddr::from((network.stack_v4, port));
            talk(at(ECHO_PORT), at(REPLY_PORT), &listener, said)
        })
    });
    assert_eq!(transcript, EXPECTED);
}

thread_local! {
    /// Where what the application of this thread says goes to.
    static SAID: RefCell<Option<Sender<String>>> = const { RefCell::new(None) };
}

fn say(line: Arguments<'_>) {
    SAID.with_borrow(|sender| {
        // Nobody listens any more when the conversation is over.
        let _ = sender.as_ref().map(|sender| sender.send(line.to_string()));
    });
}

/// 1 KiB for each connection of the echo server; smoltcp does without.
const HOLDBACK: usize = 4 * 1024;

/// Runs the application on a stack, in a thread of its own, for as long as `client` takes.
fn with_application<S: TcpStack + Wait>(
    stack: impl FnOnce() -> S + Send,
    first_port: u16,
    host: SocketAddr,
    client: impl FnOnce(Receiver<String>) -> String,
) -> String {
    let (sender, receiver) = channel();
    let mut driver = Driver::new().expect("a driver").with_grace(Duration::ZERO);
    let stopper = driver.stopper().expect("a stopper");
    thread::scope(|scope| {
        scope.spawn(move || {
            SAID.set(Some(sender));
            let (mut stack, mut slots) = (stack(), Slots::<S, HOLDBACK>::NEW);
            let mut app = App::start(&mut stack, &mut slots, first_port, host, 1, say).expect("it starts");
            driver.run(&mut stack, &mut app).expect("it runs");
        });
        // Stops the driver also when the conversation fails.
        let stop = defer(move || stopper.stop());
        let transcript = client(receiver);
        drop(stop);
        transcript
    })
}

fn talk(echo: SocketAddr, reply: SocketAddr, host: &TcpListener, said: Receiver<String>) -> String {
    let mut said = || said.recv_timeout(Duration::from_secs(200)).expect("the application says something");
    converse(Application { echo, reply, host, said: &mut said })
}

/// Calls `last` when it is dropped.
fn defer(last: impl FnOnce()) -> impl Drop {
    struct Deferred<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Deferred<F> {
        fn drop(&mut self) {
            if let Some(last) = self.0.take() {
                last();
            }
        }
    }
    Deferred(Some(last))
}
