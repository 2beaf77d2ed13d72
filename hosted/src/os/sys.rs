//! The system call that no crate wraps safely: what a socket holds until its peer has acknowledged it.
//!
//! All `unsafe` of [`os`](super) is here.
#![allow(unsafe_code)]

use rustix::fd::AsFd;
use rustix::io::Result;

/// Whether [`queued`] can tell.
pub(super) const TELLS: bool = system::TELLS;

/// How many bytes are queued, sent or not, that the peer has not acknowledged. `shut`: a FIN was queued behind them.
pub(super) fn queued(socket: impl AsFd, shut: bool) -> Result<usize> {
    let count = usize::try_from(system::queued(socket)?).unwrap_or(0);
    // The FIN is acknowledged after all bytes.
    Ok(if shut && system::COUNTS_FIN { count.saturating_sub(1) } else { count })
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::fd::AsFd;
    use rustix::io::Result;
    use rustix::ioctl::{Getter, Opcode, ioctl};

    pub(super) const TELLS: bool = true;
    /// The kernel answers from sequence numbers, of which a FIN takes one (`tcp_ioctl`).
    pub(super) const COUNTS_FIN: bool = true;

    /// As `TIOCOUTQ`, which is older than the common numbering.
    const SIOCOUTQ: Opcode = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        0x7472
    } else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64", target_arch = "sparc64")) {
        0x4004_7473
    } else {
        0x5411
    };

    pub(super) fn queued(socket: impl AsFd) -> Result<i32> {
        // SAFETY: SIOCOUTQ writes one `int` and nothing else.
        unsafe { ioctl(socket, Getter::<SIOCOUTQ, i32>::new()) }
    }
}

#[cfg(target_os = "freebsd")]
mod system {
    use rustix::fd::AsFd;
    use rustix::io::Result;
    use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

    pub(super) const TELLS: bool = true;
    pub(super) const COUNTS_FIN: bool = false;

    const FIONWRITE: Opcode = opcode::read::<i32>(b'f', 119);

    pub(super) fn queued(socket: impl AsFd) -> Result<i32> {
        // SAFETY: FIONWRITE writes one `int` and nothing else.
        unsafe { ioctl(socket, Getter::<FIONWRITE, i32>::new()) }
    }
}

#[cfg(target_vendor = "apple")]
mod system {
    use core::ffi::c_int;
    use rustix::fd::{AsFd, AsRawFd};
    use rustix::io::{Errno, Result};

    pub(super) const TELLS: bool = true;
    pub(super) const COUNTS_FIN: bool = false;

    pub(super) fn queued(socket: impl AsFd) -> Result<i32> {
        let mut count: c_int = 0;
        let mut length = size_of::<c_int>() as libc::socklen_t;
        let descriptor = socket.as_fd().as_raw_fd();
        // SAFETY: the descriptor is borrowed, and SO_NWRITE writes one `int`, for which there is as much room as `length` says.
        let done = unsafe {
            let value = (&raw mut count).cast();
            libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_NWRITE, value, &raw mut length)
        };
        if done == 0 {
            Ok(count)
        } else {
            Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
mod system {
    use rustix::fd::AsFd;
    use rustix::io::{Errno, Result};

    pub(super) const TELLS: bool = false;
    pub(super) const COUNTS_FIN: bool = false;

    pub(super) fn queued(_: impl AsFd) -> Result<i32> {
        Err(Errno::NOSYS)
    }
}
