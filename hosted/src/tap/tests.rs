use super::*;
use core::cell::RefCell;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use smoltcp::wire::HardwareAddress;
use socklet::smoltcp::{Config, Memory, SmoltcpStack};
use socklet::stack::{ConnectOptions, ListenOptions, Received, Sent, TcpStack};
use std::sync::Once;

thread_local! {
    /// What the calling thread has logged: each test has a thread of its own.
    static LOGGED: RefCell<Vec<(log::Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// A logger that keeps what is logged.
struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|logged| logged.push((record.level(), record.args().to_string())));
    }

    fn flush(&self) {}
}

/// What `body` logs on this thread.
fn logged(body: impl FnOnce()) -> Vec<(log::Level, String)> {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    LOGGED.take();
    body();
    LOGGED.take()
}

/// A kernel that refuses some flags of TUNSETIFF and of TUNSETOFFLOAD.
#[derive(Default)]
struct Kernel {
    refused_iff: u16,
    refused_offloads: u32,
    /// Does not know TUNSETOFFLOAD at all.
    without_offloads: bool,
    offloads_asked: RefCell<Vec<u32>>,
}

impl Kernel {
    /// The TUNSETIFF flags that were granted, and whether frames have a header.
    fn negotiate(&self, options: &Options) -> Result<(u16, bool), Error> {
        let attach = |flags: u16| {
            if flags & self.refused_iff != 0 {
                return Err(Error::Attach { name: options.name.clone(), source: Errno::INVAL.into() });
            }
            Ok(flags)
        };
        negotiate(options, attach, |_, flags| {
            self.offloads_asked.borrow_mut().push(flags);
            let refused = self.without_offloads || flags & self.refused_offloads != 0;
            if refused { Err(Errno::INVAL) } else { Ok(()) }
        })
    }
}

#[test]
fn offloads_are_asked_for_at_once() {
    let kernel = Kernel::default();
    let (flags, vnet) = kernel.negotiate(&Options::tap("t")).unwrap();
    assert_eq!(flags, sys::IFF_TAP | sys::IFF_NO_PI | sys::IFF_VNET_HDR);
    assert!(vnet);
    assert_eq!(kernel.offloads_asked.take(), [7]);
}

#[test]
fn refused_receive_offloads_leave_the_header_and_what_is_granted() {
    let kernel = Kernel { refused_offloads: sys::TUN_F_TSO6, ..Kernel::default() };
    let (_, vnet) = kernel.negotiate(&Options::tun("t")).unwrap();
    assert!(vnet);
    assert_eq!(kernel.offloads_asked.take(), [7, 3]);
}

#[test]
fn a_refused_header_means_no_offloads() {
    let kernel = Kernel { refused_iff: sys::IFF_VNET_HDR, ..Kernel::default() };
    let options = Options { multi_queue: true, ..Options::tun("t") };
    let (flags, vnet) = kernel.negotiate(&options).unwrap();
    assert_eq!(flags, sys::IFF_TUN | sys::IFF_NO_PI | sys::IFF_MULTI_QUEUE);
    assert!(!vnet);
    assert_eq!(kernel.offloads_asked.take(), [0]);
}

#[test]
fn an_interface_of_another_kind_is_an_error() {
    let kernel = Kernel { refused_iff: sys::IFF_TAP, ..Kernel::default() };
    let error = kernel.negotiate(&Options::tap("t")).unwrap_err();
    assert!(error.to_string().contains("the interface t cannot be opened"), "{error}");
}

#[test]
fn a_name_that_no_interface_can_have_is_refused() {
    for name in ["", "a name", "a/b", "sixteen-bytes-ab", ".."] {
        assert!(matches!(Tap::open(&Options::tap(name)), Err(Error::Name(_))), "{name:?}");
    }
}

/// What is logged when a kernel refuses this, in one warning or in none.
#[track_caller]
fn said(kernel: &Kernel, options: &Options) -> Option<String> {
    let mut logged = logged(|| assert!(kernel.negotiate(options).is_ok()));
    assert!(logged.len() <= 1, "{logged:?}");
    let (level, text) = logged.pop()?;
    assert_eq!(level, log::Level::Warn);
    Some(text)
}

#[test]
fn each_refusal_is_said_once_and_what_is_granted_is_not_spoken_of() {
    let options = Options::tap("t");
    assert_eq!(said(&Kernel::default(), &options), None);
    assert_eq!(said(&Kernel::default(), &Options { offload: false, ..options.clone() }), None);
    for (refused_offloads, consequence) in [
        (sys::TUN_F_TSO6, "IPv6 comes in single segments"),
        (sys::TUN_F_TSO4 | sys::TUN_F_TSO6, "data comes in single segments"),
        (sys::TUN_F_CSUM, "data comes in single segments, with checksums"),
    ] {
        let text = said(&Kernel { refused_offloads, ..Kernel::default() }, &options).unwrap();
        assert!(text.starts_with("t: the kernel refuses receive offloads (Invalid argument"), "{text}");
        assert!(text.ends_with(&format!("; {consequence}")), "{text}");
    }
    let text = said(&Kernel { refused_iff: sys::IFF_VNET_HDR, ..Kernel::default() }, &options).unwrap();
    assert_eq!(text, "t: the kernel refuses virtio-net headers; going without offloads");
}

#[test]
fn a_kernel_that_knows_nothing_of_it_is_spoken_of_once() {
    let kernel = Kernel { without_offloads: true, ..Kernel::default() };
    let text = said(&kernel, &Options::tap("t")).unwrap();
    assert!(text.ends_with("; nothing can be changed"), "{text}");
    let older = Kernel { refused_iff: sys::IFF_VNET_HDR, ..kernel };
    let text = said(&older, &Options::tap("t")).unwrap();
    assert_eq!(text, "t: the kernel refuses virtio-net headers; going without offloads");
}

/// Two devices on the two ends of a pair of sockets, which queues a few frames and refuses the next with EAGAIN.
fn wire() -> (Tap, Tap) {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
    // The kernel doubles it, and takes more than 2,000 bytes of it for a long frame.
    for end in [&a, &b] {
        rustix::net::sockopt::set_socket_send_buffer_size(end, 8192).unwrap();
    }
    let tap = |fd| Tap::over(fd, Medium::Ip, 1500, false);
    (tap(a), tap(b))
}

#[test]
fn each_refusal_of_a_frame_is_counted_as_what_it_is() {
    use phy::TxToken;
    let refusals = [
        (Errno::NOBUFS, (1, 0, 0)),
        (Errno::AGAIN, (1, 0, 0)),
        (Errno::NOMEM, (1, 0, 0)),
        (Errno::IO, (0, 1, 0)),
        (Errno::BADFD, (0, 1, 0)),
        (Errno::NODEV, (0, 1, 0)),
        (Errno::INVAL, (0, 0, 1)),
    ];
    for (errno, counts) in refusals {
        let (mut tap, _) = wire();
        tap.port.refused(errno);
        let stats = tap.stats();
        assert_eq!((stats.tx_no_buffers, stats.tx_link_down, stats.tx_errors), counts, "{errno}");
        assert_eq!(tap.last_error().unwrap().raw_os_error(), Some(errno.raw_os_error()));
    }
    // And by the kernel: there is nobody at the other end.
    let (mut tap, other) = wire();
    drop(other);
    tap.transmit(Instant::ZERO).unwrap().consume(40, |frame| frame.fill(0x45));
    assert_eq!((tap.stats().tx_frames, tap.stats().tx_errors), (0, 1));
}

/// The queue of the pair of sockets is shorter than a burst, so each burst loses its end.
#[test]
fn a_stream_is_whole_although_the_kernel_has_no_room_for_frames() {
    const LEN: usize = 1 << 18;
    let pattern = |at: usize| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    let (near, far) = wire();
    let stack = |tap, number| {
        let config = Config::new(HardwareAddress::Ip, number);
        let mut stack = SmoltcpStack::new(tap, config, Memory::allocate(1, 1 << 14, 1 << 14, 1)).unwrap();
        stack.add_address([10, 0, 0, number as u8].into(), 24).unwrap();
        stack
    };
    let (mut sender, mut receiver) = (stack(near, 1), stack(far, 2));
    let listener = receiver.listen(([0, 0, 0, 0], 7).into(), &ListenOptions::default()).unwrap();
    let out = sender.connect(([10, 0, 0, 2], 7).into(), &ConnectOptions::default()).unwrap();
    let (mut into, mut sent, mut received, mut millis) = (None, 0, 0, 0);
    while received < LEN {
        millis += 1;
        assert!(millis < 600_000, "{received} of {LEN} after ten minutes: {:?}", sender.device().stats());
        let now = socklet::time::Instant::from_millis(millis);
        // Both are asked again in any case.
        let _ = (sender.poll(now), receiver.poll(now));
        let fill = |room: &mut [u8]| {
            let count = room.len().min(LEN - sent);
            room.iter_mut().zip(sent..).take(count).for_each(|(byte, at)| *byte = pattern(at));
            count
        };
        if let Sent::Queued(count) = sender.send_with(out, fill).unwrap() {
            sent += count;
        }
        into = into.or_else(|| receiver.accept(listener).unwrap());
        let Some((connection, _)) = into else { continue };
        let check = |bytes: &[u8]| {
            let wrong = bytes.iter().zip(received..).find(|&(&byte, at)| byte != pattern(at));
            assert_eq!(wrong, None);
            (bytes.len(), bytes.len())
        };
        if let Received::Data(count) = receiver.recv_with(connection, check).unwrap() {
            received += count;
        }
    }
    let (tap, stats) = (sender.device().stats(), sender.stats());
    assert!(tap.tx_no_buffers > 0 && tap.tx_frames > 0, "{tap:?}");
    assert_eq!((tap.tx_link_down, tap.tx_errors), (0, 0));
    assert!(stats.retransmitted > 0, "{stats:?}");
    assert_eq!(sender.device().last_error().unwrap().raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
    assert_eq!(sent, LEN);
}
