//! An emulated board: started with an image, ended with the value.

use clap::ValueEnum;
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Board {
    An385,
    An386,
    Lm3s6965,
    Virt,
}

impl Board {
    pub(crate) const ALL: [Self; 4] = [Self::An385, Self::An386, Self::Lm3s6965, Self::Virt];

    const fn emulator(self) -> &'static [&'static str] {
        match self {
            Self::An385 => &["qemu-system-arm", "-machine", "mps2-an385"],
            Self::An386 => &["qemu-system-arm", "-machine", "mps2-an386"],
            Self::Lm3s6965 => &["qemu-system-arm", "-machine", "lm3s6965evb"],
            Self::Virt => &["qemu-system-riscv32", "-machine", "virt", "-bios", "none", "-m", "16M"],
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::An385 => "an385",
            Self::An386 => "an386",
            Self::Lm3s6965 => "lm3s6965",
            Self::Virt => "virt",
        })
    }
}

/// How the board is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// QEMU's user networking: TCP is carried over, and the board sees one neighbour.
    User,
    /// The same, reached at the address that its DHCP server gives.
    Dhcp,
    /// The interface tap0 of this namespace: frames.
    Tap,
}

/// The board's address on either network.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// The address that is given by DHCP.
pub(crate) const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// The board's ports that the host may reach.
const PORTS: [u16; 2] = [7, 8080];

/// A running board.
pub(crate) struct Machine {
    emulator: Child,
    console: Receiver<String>,
    network: Network,
    forwarded: [u16; PORTS.len()],
}

impl Machine {
    /// Starts `image` with `arguments` and waits until it says that it listens.
    pub(crate) fn boot(
        board: Board,
        network: Network,
        images: &Path,
        image: &str,
        arguments: &[&str],
    ) -> Self {
        let forwarded = PORTS.map(|_| free_port());
        let user = |address: Ipv4Addr| {
            let backend = format!("user,id=net,dhcpstart={LEASED}");
            PORTS.iter().zip(forwarded).fold(backend, |text, (guest, host)| {
                format!("{text},hostfwd=tcp:127.0.0.1:{host}-{address}:{guest}")
            })
        };
        let backend = match network {
            Network::User => user(ADDRESS),
            Network::Dhcp => user(LEASED),
            Network::Tap => "tap,id=net,ifname=tap0,script=no,downscript=no".to_string(),
        };
        let semihosting =
            arguments.iter().fold(format!("enable=on,target=native,arg={image}"), |text, argument| {
                format!("{text},arg={argument}")
            });
        let mut command = emulator(board, images, image);
        command.args(["-semihosting-config", &semihosting, "-netdev", &backend]);
        match board {
            Board::Virt => command.args(["-device", "virtio-net-device,netdev=net"]),
            Board::An385 | Board::An386 | Board::Lm3s6965 => command.args(["-net", "nic,netdev=net"]),
        };
        let mut emulator = command.spawn().expect("setpriv and QEMU start");
        let console = lines(emulator.stdout.take().expect("it is piped"));
        let machine = Self { emulator, console, network, forwarded };
        machine.expect("listening", Duration::from_secs(120));
        machine
    }

    /// Where the host finds the board's `port`.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        match self.network {
            Network::Tap => (ADDRESS, port).into(),
            Network::User | Network::Dhcp => {
                let index = PORTS.iter().position(|known| *known == port).expect("a port that is forwarded");
                (Ipv4Addr::LOCALHOST, self.forwarded[index]).into()
            }
        }
    }

    /// Waits for a line of the console that starts with `start`; returns it.
    #[track_caller]
    pub(crate) fn expect(&self, start: &str, within: Duration) -> String {
        self.expect_that(start, within, |line| line.starts_with(start))
    }

    /// Waits for a line of the console that is `wanted`, and returns it; those before it are passed over.
    #[track_caller]
    pub(crate) fn expect_that(&self, what: &str, within: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + within;
        let mut seen = Vec::new();
        loop {
            match self.console.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {what:?} within {within:?}, but {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the emulator ended, after {seen:?}"),
            }
        }
    }

    /// The processor time that the emulator has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.emulator.id())).expect("it runs");
        // proc(5): after the name, fields 14 and 15 are user and system time, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
        Duration::from_millis(10 * (ticks(14) + ticks(15)))
    }
}

/// What an image that counts instructions says, with so many connections open. Time is that of the instructions: every run is the same.
pub(crate) fn instructions(board: Board, images: &Path, image: &str, open: usize) -> String {
    let mut command = emulator(board, images, image);
    command.args(["-nic", "none", "-icount", "shift=7,sleep=off"]);
    command.args(["-semihosting-config", &format!("enable=on,target=native,arg={image},arg=open={open}")]);
    let mut emulator = command.spawn().expect("setpriv and QEMU start");
    let console = lines(emulator.stdout.take().expect("it is piped"));
    let line = console.recv_timeout(Duration::from_secs(300));
    let _ = emulator.kill();
    let _ = emulator.wait();
    line.expect("it counts within five minutes")
}

/// QEMU with an image and nothing else. With the runner it ends too, however the runner ends.
fn emulator(board: Board, images: &Path, image: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(board.emulator());
    command.arg("-kernel").arg(images.join(board.to_string()).join(image));
    command.args(["-display", "none", "-serial", "none", "-monitor", "none"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// The lines that come out of `source`, read by a thread that ends with it.
fn lines(source: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    probe.local_addr().expect("it is bound").port()
}
