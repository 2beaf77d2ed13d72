//! A [`smoltcp::phy::Device`] on a Linux TAP or TUN interface.
//!
//! With offloads on (the default) each frame has a virtio-net header in front, and the device and the kernel leave to each other
//! what needs no doing within one host: TCP checksums are not computed, and up to 64 KiB of a stream cross in one frame, which the
//! kernel cuts where it leaves the host. Frames that came from elsewhere without a verified checksum are verified here.
//!
//! Nothing is allocated after [`Tap::open`]. No I/O error panics: it is counted in [`Stats`], kept in [`Tap::last_error`], and TCP
//! sends again.

mod alone;
mod error;
mod interface;
mod sys;
mod vnet;

pub use error::Error;
pub(crate) use interface::Interface;
pub(crate) use sys::{unshare_network, unshare_user};

use alone::Alone;
use core::net::IpAddr;
use core::num::{NonZeroU16, NonZeroUsize};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use vnet::{HEADER_LEN, Header};

/// The longest frame that offloads make: the kernel's limit, and what an IP length can say.
const MAX_FRAME: usize = 65_535;
/// A header, the longest IP packet, and below it an Ethernet header with a VLAN tag.
const BUFFER_LEN: usize = HEADER_LEN + MAX_FRAME + 18;
/// Frames with a wrong checksum that one `receive` skips; the next call goes on.
const MAX_SKIP: usize = 64;

/// What is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Ethernet frames.
    Tap,
    /// IP packets.
    Tun,
}

/// Which interface to open, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The interface's name, of 1 to 15 bytes. It is made if it does not exist, and goes with its last [`Tap`] then.
    pub name: String,
    /// Ethernet or IP.
    pub mode: Mode,
    /// Sets the longest IP packet, in bytes; `None` takes what the interface has.
    pub mtu: Option<u16>,
    /// Whether to use offloads. Those that the kernel refuses are left out, with a warning in the log.
    pub offload: bool,
    /// Whether several [`Tap`]s may be open on the same name at once, each with the flows that the kernel gives it.
    ///
    /// The kernel sends a flow to the queue that last sent for it; a new one, or one that was silent for 3 s, by a hash over the number of
    /// queues. So with a stack on each queue, open all before the first listens and close none before the last has ended: then no flow
    /// ever moves. One that did would be reset by the stack that does not know it.
    pub multi_queue: bool,
}

impl Options {
    /// A TAP with offloads and one queue.
    pub fn tap(name: impl Into<String>) -> Self {
        Self { name: name.into(), mode: Mode::Tap, mtu: None, offload: true, multi_queue: false }
    }

    /// A TUN with offloads and one queue.
    pub fn tun(name: impl Into<String>) -> Self {
        Self { mode: Mode::Tun, ..Self::tap(name) }
    }
}

/// What a [`Tap`] has carried and lost since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Those of them that were longer than the MTU: several segments in one.
    pub rx_super: u64,
    /// Frames dropped for a wrong TCP checksum.
    pub rx_bad_checksum: u64,
    /// Frames dropped because they were empty.
    pub rx_short: u64,
    /// Reads that failed.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Those of them that the kernel cuts into segments.
    pub tx_super: u64,
    /// Frames that the kernel did not take because its buffers are full.
    pub tx_no_buffers: u64,
    /// Frames that the kernel did not take because the interface is down or gone.
    pub tx_link_down: u64,
    /// Frames that the kernel did not take for another reason.
    pub tx_errors: u64,
}

/// A queue of a TAP or TUN interface.
///
/// It takes about 128 KiB. Wait on its descriptor for frames to come; it never blocks.
#[derive(Debug)]
pub struct Tap {
    rx: Box<[u8]>,
    tx: Box<[u8]>,
    port: Port,
    made: bool,
}

/// What both tokens need beside a buffer.
#[derive(Debug)]
struct Port {
    fd: OwnedFd,
    medium: Medium,
    /// The longest frame on the wire, with its Ethernet header.
    mtu: usize,
    /// Whether each frame has a virtio-net header in front.
    vnet: bool,
    stats: Stats,
    last_error: Option<Errno>,
    alone: Alone,
}

impl Tap {
    /// Opens the interface, and makes it if it does not exist. A new one is down and has no address.
    ///
    /// # Errors
    /// Each names the thing and the remedy.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let request = sys::IfReq::new(&options.name).ok_or_else(|| Error::Name(options.name.clone()))?;
        let attach = |flags| -> Result<OwnedFd, Error> {
            let fd = sys::open_tun().map_err(|errno| Error::Device(errno.into()))?;
            sys::set_iff(&fd, request, flags)
                .map_err(|errno| Error::Attach { name: options.name.clone(), source: errno.into() })?;
            Ok(fd)
        };
        let (fd, vnet) = negotiate(options, attach, sys::set_offload)?;

        let interface = Interface::new(&options.name)?;
        if let Some(mtu) = options.mtu.filter(|&mtu| interface.mtu().is_ok_and(|now| now != mtu.into())) {
            interface.set_mtu(mtu)?;
        }
        let (medium, below_ip) = match options.mode {
            Mode::Tap => (Medium::Ethernet, 14),
            Mode::Tun => (Medium::Ip, 0),
        };
        let mtu = (interface.mtu()? + below_ip).min(MAX_FRAME);
        Ok(Self::over(fd, medium, mtu, vnet))
    }

    /// Over a descriptor that gives and takes a frame at a time, and does not block.
    fn over(fd: OwnedFd, medium: Medium, mtu: usize, vnet: bool) -> Self {
        let port = Port {
            fd,
            medium,
            mtu,
            vnet,
            stats: Stats::default(),
            last_error: None,
            alone: Alone::default(),
        };
        let buffer = || vec![0; BUFFER_LEN].into_boxed_slice();
        Self { rx: buffer(), tx: buffer(), port, made: false }
    }

    /// The longest frame on the wire, in bytes, with its Ethernet header. The device takes longer ones from smoltcp, and cuts them.
    pub fn mtu(&self) -> usize {
        self.port.mtu
    }

    /// What it has carried and lost.
    pub fn stats(&self) -> Stats {
        self.port.stats
    }

    /// The last I/O error, if there was one.
    pub fn last_error(&self) -> Option<io::Error> {
        self.port.last_error.map(Into::into)
    }

    /// Opens the interface for use in the caller's own network: one that does not exist is made, brought up, and Linux's end gets
    /// `address` with its prefix length. One that exists is used as it is; it must be up.
    ///
    /// # Errors
    /// Each names the thing and the remedy.
    pub fn open_or_make(options: &Options, address: Option<(IpAddr, u8)>) -> Result<Self, Error> {
        let interface = Interface::new(&options.name)?;
        let exists = interface.exists();
        let mut tap = Self::open(options)?;
        tap.made = !exists;
        if !exists {
            interface.up()?;
            if let Some((ip, prefix_len)) = address {
                interface.add_address(ip, prefix_len)?;
            }
        } else if !interface.is_up()? {
            return Err(Error::Down(options.name.clone()));
        }
        Ok(tap)
    }

    /// Whether [`open_or_make`](Self::open_or_make) has made the interface.
    pub fn made(&self) -> bool {
        self.made
    }

    /// Whether checksums and segmentation are left to the kernel.
    pub fn offload(&self) -> bool {
        self.port.vnet
    }

    /// The descriptor, for a loop that waits for its level (`poll`, not an edge): such a loop saves the reads that most probably find nothing.
    pub(crate) fn level(&self) -> BorrowedFd<'_> {
        self.port.alone.allow();
        self.as_fd()
    }

    /// Reads the next good frame: its place in the buffer.
    fn read(&mut self) -> Option<core::ops::Range<usize>> {
        let Self { rx, port, .. } = self;
        if port.alone.expects_none() {
            return None;
        }
        for _ in 0..MAX_SKIP {
            let len = match rustix::io::read(&port.fd, &mut rx[..]) {
                Ok(len) => len,
                Err(Errno::AGAIN | Errno::INTR) => {
                    port.alone.none();
                    return None;
                }
                Err(errno) => {
                    port.stats.rx_errors += 1;
                    port.last_error = Some(errno);
                    return None;
                }
            };
            port.alone.frame();
            if let Some(start) = port.check(&mut rx[..len]) {
                return Some(start..len);
            }
        }
        None
    }
}

impl Port {
    /// Where the frame starts in what was read; `None` to drop it.
    fn check(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let start = if self.vnet { HEADER_LEN } else { 0 };
        // smoltcp panics on an empty packet.
        if bytes.len() <= start {
            self.stats.rx_short += 1;
            return None;
        }
        if let Some((header, frame)) = bytes.split_first_chunk_mut().filter(|_| self.vnet)
            && !vnet::accept(frame, self.medium, Header::parse(header))
        {
            self.stats.rx_bad_checksum += 1;
            return None;
        }
        let len = bytes.len() - start;
        self.stats.rx_frames += 1;
        self.stats.rx_bytes += len as u64;
        self.stats.rx_super += u64::from(len > self.mtu);
        Some(start)
    }

    fn write(&mut self, bytes: &[u8], segmented: bool) {
        self.alone.sent();
        match rustix::io::write(&self.fd, bytes) {
            Ok(_) => {
                self.stats.tx_frames += 1;
                self.stats.tx_bytes += bytes.len() as u64;
                self.stats.tx_super += u64::from(segmented);
            }
            Err(errno) => self.refused(errno),
        }
    }

    /// The frame is lost, as on a wire: TCP sends it again.
    fn refused(&mut self, errno: Errno) {
        match errno {
            Errno::NOBUFS | Errno::AGAIN | Errno::NOMEM => self.stats.tx_no_buffers += 1,
            Errno::IO | Errno::BADFD | Errno::NODEV => self.stats.tx_link_down += 1,
            _ => self.stats.tx_errors += 1,
        }
        self.last_error = Some(errno);
    }
}

/// Opens with what `options` ask for, or with as much of it as the kernel grants.
///
/// Returns the descriptor, and whether frames have a virtio-net header. The header alone is enough to send: what the kernel does
/// not promise for the frames that it delivers only means that they come in single segments, with their checksums.
fn negotiate<F>(
    options: &Options,
    attach: impl Fn(u16) -> Result<F, Error>,
    set_offload: impl Fn(&F, u32) -> Result<(), Errno>,
) -> Result<(F, bool), Error> {
    let mut flags = sys::IFF_NO_PI;
    flags |= match options.mode {
        Mode::Tap => sys::IFF_TAP,
        Mode::Tun => sys::IFF_TUN,
    };
    if options.multi_queue {
        flags |= sys::IFF_MULTI_QUEUE;
    }
    if options.offload {
        match attach(flags | sys::IFF_VNET_HDR) {
            Ok(fd) => {
                grant_offloads(&options.name, |flags| set_offload(&fd, flags));
                return Ok((fd, true));
            }
            // So says a kernel without these headers; or the interface is of another kind, and is refused again.
            Err(Error::Attach { source, .. }) if Errno::from_io_error(&source) == Some(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let fd = attach(flags)?;
    if options.offload {
        log::warn!("{}: the kernel refuses virtio-net headers; going without offloads", options.name);
    }
    // An interface that outlives its programs keeps what the last one granted. A kernel without headers need not know offloads.
    if let Err(errno) = set_offload(&fd, 0)
        && !options.offload
    {
        log::warn!("{}: the kernel does not reset its offloads ({errno})", options.name);
    }
    Ok((fd, false))
}

/// Asks for the most, then for less.
fn grant_offloads(name: &str, set_offload: impl Fn(u32) -> Result<(), Errno>) {
    const WANTED: u32 = sys::TUN_F_CSUM | sys::TUN_F_TSO4 | sys::TUN_F_TSO6;
    let Err(errno) = set_offload(WANTED) else { return };
    let fallback = [
        (sys::TUN_F_CSUM | sys::TUN_F_TSO4, "IPv6 comes in single segments"),
        (sys::TUN_F_CSUM, "data comes in single segments"),
        (0, "data comes in single segments, with checksums"),
    ];
    let granted = fallback.into_iter().find(|&(flags, _)| set_offload(flags).is_ok());
    let consequence = granted.map_or("nothing can be changed", |(_, consequence)| consequence);
    log::warn!("{name}: the kernel refuses receive offloads ({errno}); {consequence}");
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.fd.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.port.fd.as_raw_fd()
    }
}

impl Device for Tap {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.port.medium;
        capabilities.max_transmission_unit = self.port.mtu;
        if self.port.vnet {
            // smoltcp 0.14 drops an IPv6 super-segment that is longer than this. What the wire carries is what the interface allows:
            // the MSS that a SYN offers is lowered on its way out, and what is longer is cut.
            capabilities.max_transmission_unit = MAX_FRAME;
            capabilities.checksum.tcp = Checksum::None;
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(MAX_FRAME);
            capabilities.segmentation.tcpv6 = NonZeroUsize::new(MAX_FRAME);
        }
        capabilities
    }

    fn receive(&mut self, _timestamp: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let range = self.read()?;
        let Self { rx, tx, port, .. } = self;
        Some((RxToken { frame: rx.get(range)? }, TxToken { buffer: tx, port, segment_size: None }))
    }

    fn transmit(&mut self, _timestamp: Instant) -> Option<TxToken<'_>> {
        Some(TxToken { buffer: &mut self.tx, port: &mut self.port, segment_size: None })
    }
}

/// A frame that came.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: &'a [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// Room for a frame to send.
#[derive(Debug)]
pub struct TxToken<'a> {
    buffer: &'a mut [u8],
    port: &'a mut Port,
    segment_size: Option<NonZeroU16>,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self { buffer, port, segment_size } = self;
        let start = if port.vnet { HEADER_LEN } else { 0 };
        let end = start + len;
        let frame = &mut buffer[start..end];
        let result = f(frame);
        let mut header = Header::default();
        if port.vnet {
            header = vnet::offload(frame, port.medium, port.mtu, segment_size);
            buffer[..HEADER_LEN].copy_from_slice(&header.emit());
        }
        port.write(&buffer[..end], header.is_segmented());
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment_size = meta.segmentation_offload_size;
    }
}

#[cfg(test)]
mod tests;
