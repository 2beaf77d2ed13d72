//! The system calls that no crate wraps safely: ioctls on `/dev/net/tun` and on sockets, and `unshare`.
//!
//! All `unsafe` of this package is here, but for the ioctls of `os` and one borrowed descriptor in `nal_std`.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

pub(super) const IFF_TUN: u16 = 0x0001;
pub(super) const IFF_TAP: u16 = 0x0002;
pub(super) const IFF_MULTI_QUEUE: u16 = 0x0100;
pub(super) const IFF_NO_PI: u16 = 0x1000;
pub(super) const IFF_VNET_HDR: u16 = 0x4000;

pub(super) const TUN_F_CSUM: u32 = 0x01;
pub(super) const TUN_F_TSO4: u32 = 0x02;
pub(super) const TUN_F_TSO6: u32 = 0x04;

pub(super) const SIOCGIFFLAGS: Opcode = 0x8913;
pub(super) const SIOCSIFFLAGS: Opcode = 0x8914;
pub(super) const SIOCSIFADDR: Opcode = 0x8916;
pub(super) const SIOCSIFNETMASK: Opcode = 0x891c;
pub(super) const SIOCGIFMTU: Opcode = 0x8921;
pub(super) const SIOCSIFMTU: Opcode = 0x8922;
pub(super) const SIOCSIFHWADDR: Opcode = 0x8924;

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);

/// `struct ifreq`: the interface's name, and an argument that depends on the call.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct IfReq {
    name: [u8; 16],
    /// The kernel's union is 24 bytes long at most; smaller arguments stand at its start.
    pub(super) value: [u8; 24],
}

impl IfReq {
    /// For the interface `name`; `None` if no interface can have that name.
    pub(super) fn new(name: &str) -> Option<Self> {
        let mut request = Self { name: [0; 16], value: [0; 24] };
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':' && byte != b'%';
        if name.is_empty() || name.len() > 15 || name.starts_with('.') || !name.bytes().all(allowed) {
            return None;
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Some(request)
    }

    /// The same with `value` at the start of the argument.
    pub(super) fn with(mut self, value: &[u8]) -> Self {
        self.value[..value.len()].copy_from_slice(value);
        self
    }
}

/// `struct in6_ifreq`.
#[repr(C)]
pub(super) struct In6IfReq {
    pub(super) addr: [u8; 16],
    pub(super) prefix_len: u32,
    pub(super) index: u32,
}

/// Opens `/dev/net/tun`, non-blocking.
pub(super) fn open_tun() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/net/tun", flags, Mode::empty())
}

/// Attaches a descriptor of `/dev/net/tun` to an interface, which is made if it does not exist.
pub(super) fn set_iff(tun: &OwnedFd, mut request: IfReq, flags: u16) -> Result<()> {
    request = request.with(&flags.to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which `IfReq` lays out.
    unsafe { ioctl(tun, Updater::<TUNSETIFF, IfReq>::new(&mut request)) }
}

/// Tells the kernel which frames it may hand over unfinished.
pub(super) fn set_offload(tun: &OwnedFd, flags: u32) -> Result<()> {
    let flags = usize::try_from(flags).map_err(|_| Errno::INVAL)?;
    // SAFETY: TUNSETOFFLOAD takes its flags as an integer in place of a pointer.
    unsafe { ioctl(tun, IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags)) }
}

/// An interface call (one of `SIOC*` above) on any socket.
pub(super) fn interface_call<const OP: Opcode>(socket: impl AsFd, request: &mut IfReq) -> Result<()> {
    // SAFETY: the constants above that reach this function read and write one `struct ifreq`, which `IfReq` lays out.
    unsafe { ioctl(socket, Updater::<OP, IfReq>::new(request)) }
}

/// Gives an interface an IPv6 address, on an IPv6 socket.
pub(super) fn add_ipv6(socket: impl AsFd, mut request: In6IfReq) -> Result<()> {
    // SAFETY: on an IPv6 socket SIOCSIFADDR reads one `struct in6_ifreq`, which `In6IfReq` lays out.
    unsafe { ioctl(socket, Updater::<SIOCSIFADDR, In6IfReq>::new(&mut request)) }
}

/// Gives the process a user namespace of its own (`EINVAL` if it has more than one thread).
pub(crate) fn unshare_user() -> Result<()> {
    // SAFETY: the file descriptor table stays shared, which is what `unshare_unsafe` asks for.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }
}

/// Gives the calling thread, and those that it will start, a network namespace of its own.
pub(crate) fn unshare_network() -> Result<()> {
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}
