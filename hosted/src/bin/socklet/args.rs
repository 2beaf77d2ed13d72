use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use core::net::IpAddr;
use core::str::FromStr;
use core::time::Duration;
use socklet_hosted::text::Encoding;
use std::path::PathBuf;

/// TCP clients and servers for firmware, tried out on this machine.
///
/// Without a command it runs the demo.
#[derive(Debug, Parser)]
#[command(name = "socklet", version, args_conflicts_with_subcommands = true, allow_negative_numbers = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Many clients at once against smoltcp on a TAP interface, both ways, every byte checked
    #[command(allow_negative_numbers = true)]
    Demo(DemoArgs),
    /// Serve clients until Ctrl-C
    #[command(allow_negative_numbers = true)]
    Serve(Box<ServeArgs>),
    /// Connect to a server: standard input to the peer, the peer to standard output
    #[command(allow_negative_numbers = true)]
    Connect(ConnectArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub(crate) clients: u16,
    /// Bytes that each connection carries there and back, as in 500k, 4M or 1G
    #[arg(long, value_parser = size, default_value = "16M")]
    pub(crate) bytes: usize,
    /// What the bytes are made of; random unless given
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Use no TAP interface, but a simulated cable
    #[arg(long)]
    pub(crate) in_memory: bool,
}

/// What the TCP segments are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StackKind {
    /// smoltcp on a TAP interface in a private network
    #[cfg(target_os = "linux")]
    Tap,
    /// The operating system
    Os,
    /// The operating system, behind embedded-nal
    Nal,
}

impl StackKind {
    #[cfg(target_os = "linux")]
    const DEFAULT: Self = Self::Tap;
    #[cfg(not(target_os = "linux"))]
    const DEFAULT: Self = Self::Os;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceKind {
    /// Send back what comes (RFC 862)
    Echo,
    /// Answer each chunk with the text of --reply, and print it
    Reply,
    /// Throw away what comes (RFC 863)
    Discard,
    /// Send a pattern for ever (RFC 864)
    Chargen,
    /// Send each line to all other clients
    Chat,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// What makes the TCP segments
    #[arg(long, value_enum, default_value_t = StackKind::DEFAULT)]
    pub(crate) stack: StackKind,
    /// The port that clients connect to; 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// The address that clients connect to [default: 127.0.0.1; every one with --stack nal or --tap]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// What clients get
    #[arg(long, value_enum, default_value = "echo")]
    pub(crate) service: ServiceKind,
    /// What `reply` answers [default: ok, and the end of the line]
    #[arg(long, value_name = "TEXT")]
    pub(crate) reply: Option<String>,
    /// How text is written in bytes: utf-8 or gbk
    #[arg(long, default_value_t)]
    pub(crate) encoding: Encoding,
    /// Connections that may wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) backlog: usize,
    /// Clients at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=16384))]
    pub(crate) connections: u16,
    /// Receive buffer of each connection, as in 2048 or 64k [default: 64k; with --stack os, the system's]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(crate) rx_buffer: Option<usize>,
    /// Send buffer of each connection, likewise
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(crate) tx_buffer: Option<usize>,
    /// Reset newcomers for whom there is no room, instead of letting them try again; with --stack tap alone
    #[arg(long)]
    pub(crate) refuse: bool,
    /// End a connection on which nothing moved for so long; 0 for never
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "300")]
    pub(crate) idle: Duration,
    /// Use this TAP interface of the machine's own network, no private one; made if it does not exist
    #[arg(long, value_name = "NAME", requires = "address")]
    pub(crate) tap: Option<String>,
    /// The server's address on --tap, as in 192.168.69.2/24
    #[arg(long, value_name = "CIDR", requires = "tap")]
    pub(crate) address: Option<Cidr>,
    /// This machine's address on --tap: the server's default route
    #[arg(long, value_name = "ADDR", requires = "tap")]
    pub(crate) gateway: Option<IpAddr>,
    /// Threads, each with a queue of the interface (a TUN then, not a TAP) and a part of the connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// Do not sleep before nothing has happened for so long: quicker answers for a busy processor
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub(crate) spin: u64,
    /// Print what was counted, every so often and at the end; 0 for the end alone
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) stats: Option<Duration>,
    /// Write all frames of the TAP interface to this file, for Wireshark
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConnectArgs {
    /// A name or an address
    pub(crate) host: String,
    /// The port
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// What makes the TCP segments. With nal the peer is not told that standard input has ended: it must close, or --timeout end it
    #[arg(long, value_enum, default_value_t = StackKind::DEFAULT)]
    pub(crate) stack: StackKind,
    /// Send this instead of standard input
    #[arg(long, value_name = "TEXT")]
    pub(crate) send: Option<String>,
    /// How text is written in bytes: utf-8 or gbk. Without it, bytes pass as they are
    #[arg(long)]
    pub(crate) encoding: Option<Encoding>,
    /// Give up when connecting takes so long, or nothing moves for so long; 0 for never [default: 30 to connect]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Connect again after a failure, after a wait of up to 1 s, then up to 2, 4, 8 and 15 s; not once standard input was begun
    #[arg(long)]
    pub(crate) retry: bool,
}

impl ServeArgs {
    /// The service's name, as it was given.
    pub(crate) fn service_name(&self) -> String {
        self.service.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (ip, prefix) = text.split_once('/')?;
            let (ip, prefix) = (ip.parse::<IpAddr>().ok()?, prefix.parse().ok()?);
            (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some(Self { ip, prefix })
        };
        parse().ok_or_else(|| "write an address and a prefix length, as in 192.168.69.2/24".into())
    }
}

/// A number of bytes: 4096, 64k, 4M, 1G.
fn size(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some(_) | None => (text, 0),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    let bytes = bytes.filter(|bytes| (1..=MOST_BYTES).contains(bytes));
    bytes.ok_or_else(|| "write a number of bytes from 1 to 1G, as in 4096, 64k or 4M".into())
}

/// The longest window (RFC 7323, section 2.3).
const MOST_BYTES: usize = 1 << 30;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "write a number of seconds, as in 30 or 0.5".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("4M"), Ok(4 << 20));
        assert_eq!(size("1G"), Ok(1 << 30));
        for wrong in ["", "k", "0", "2G", "-1", "1T", "99999999999999999999"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_needs_its_prefix() {
        let cidr = "192.168.69.2/24".parse();
        assert_eq!(cidr, Ok(Cidr { ip: [192, 168, 69, 2].into(), prefix: 24 }));
        for wrong in ["192.168.69.2", "192.168.69.2/33", "x/24", "fd00::1/129"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_may_be_fractions() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "-1", "nan", "inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
