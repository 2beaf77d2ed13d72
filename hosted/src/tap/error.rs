use core::fmt;
use rustix::io::Errno;
use std::io;

/// Why an interface cannot be used, and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No interface can have this name.
    Name(String),
    /// `/dev/net/tun` cannot be opened.
    Device(io::Error),
    /// The interface cannot be opened.
    Attach {
        /// The interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface is down.
    Down(String),
    /// The interface cannot be set up.
    Configure {
        /// The interface.
        name: String,
        /// What was tried, as in "bring up".
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

const MORE_DESCRIPTORS: &str = "raise `ulimit -n`";

fn no_descriptor(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(f, "an interface cannot be named `{name}`: use 1 to 15 letters, digits, `-` or `_`")
            }
            Self::Device(source) => {
                let remedy = match source.kind() {
                    io::ErrorKind::PermissionDenied => "ask for read and write access to it, or run as root",
                    io::ErrorKind::NotFound => {
                        "load the kernel module `tun`, or pass the device into the container"
                    }
                    _ if no_descriptor(source) => MORE_DESCRIPTORS,
                    _ => "the kernel must support TUN/TAP",
                };
                write!(f, "/dev/net/tun cannot be opened ({source}): {remedy}")
            }
            Self::Down(name) => {
                write!(f, "the interface {name} is down: bring it up with `ip link set {name} up`")
            }
            Self::Attach { name, source } => {
                write!(f, "the interface {name} cannot be opened ({source}): ")?;
                match Errno::from_io_error(source) {
                    Some(Errno::PERM) => write!(
                        f,
                        "make it for your user with `ip tuntap add dev {name} mode tap user NAME`, or run as root"
                    ),
                    Some(Errno::BUSY) => {
                        f.write_str("end the program that has it open, or choose another name")
                    }
                    Some(Errno::INVAL) => f.write_str(
                        "one of another kind has this name (TAP, TUN, multi-queue); choose another",
                    ),
                    _ if no_descriptor(source) => f.write_str(MORE_DESCRIPTORS),
                    _ => f.write_str("choose another name"),
                }
            }
            Self::Configure { name, what, source } => {
                let remedy = match Errno::from_io_error(source) {
                    Some(Errno::PERM | Errno::ACCESS) => "let its owner do it, or run as root",
                    Some(Errno::NODEV) => "make the interface first",
                    Some(Errno::AFNOSUPPORT | Errno::NOPROTOOPT) => "this kernel has no IPv6; use IPv4",
                    _ if no_descriptor(source) => MORE_DESCRIPTORS,
                    _ => "check the address and the MTU",
                };
                write!(f, "cannot {what} the interface {name} ({source}): {remedy}")
            }
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Name(_) | Self::Down(_) => None,
            Self::Device(source) | Self::Attach { source, .. } | Self::Configure { source, .. } => {
                Some(source)
            }
        }
    }
}
