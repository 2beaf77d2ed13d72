//! The worlds that the project's own stacks are tried in.

mod cable;
mod ideal;
mod nal;
#[cfg(unix)]
mod nal_std;
#[cfg(unix)]
mod os;
#[cfg(unix)]
mod real;
#[cfg(target_os = "linux")]
mod tap;

pub use cable::CableWorld;
pub use ideal::IdealWorld;
pub use nal::NalWorld;
#[cfg(unix)]
pub use nal_std::NalStdWorld;
#[cfg(unix)]
pub use os::OsWorld;
#[cfg(target_os = "linux")]
pub use tap::TapWorld;

use crate::testbed::IpVersion;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connections of a server: enough for many at once, and few enough to try what happens without a free one.
const SERVER_SLOTS: usize = 64;

/// Connections of a client, which needs two more.
const CLIENT_SLOTS: usize = SERVER_SLOTS + 2;

/// Host number `number` of a private network.
fn private_ip(version: IpVersion, number: u8) -> IpAddr {
    match version {
        IpVersion::V4 => Ipv4Addr::new(10, 0, 0, number).into(),
        IpVersion::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}
