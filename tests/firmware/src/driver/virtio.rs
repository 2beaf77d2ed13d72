//! virtio-net over MMIO: the crate `virtio-drivers` without its allocator, on static buffers.

use super::{Errors, FRAME, Fifo};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use static_cell::ConstStaticCell;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// The machine's virtio slots: slot n is at `FIRST_SLOT + n * SLOT`, on line n + 1.
const FIRST_SLOT: usize = 0x1000_1000;
const SLOT: usize = 0x1000;
const SLOTS: usize = 8;

/// Frames that may wait each way.
const DEPTH: usize = 4;
const QUEUE: usize = 8;
/// The header in front of a frame is 10 or 12 bytes; the crate asks for 1,526.
const BUFFER: usize = FRAME + 12;

type Buffers = [[u8; BUFFER]; DEPTH];
static RECEIVE: ConstStaticCell<Buffers> = ConstStaticCell::new([[0; BUFFER]; DEPTH]);
static SEND: ConstStaticCell<Buffers> = ConstStaticCell::new([[0; BUFFER]; DEPTH]);

/// The device.
pub struct Virtio {
    device: VirtIONetRaw<Identity, MmioTransport<'static>, QUEUE>,
    receive: &'static mut Buffers,
    /// Which buffer each request of the receive queue has.
    receiving: [Option<u8>; QUEUE],
    send: &'static mut Buffers,
    /// The request that has each buffer for sending.
    sending: [Option<u16>; DEPTH],
    errors: Errors,
}

impl Virtio {
    /// Finds and starts the device; the number of its interrupt line stands beside it.
    pub(crate) fn start() -> (Self, usize) {
        let found = (0..SLOTS).find_map(|slot| {
            let header = NonNull::new(ptr::with_exposed_provenance_mut(FIRST_SLOT + slot * SLOT))?;
            // SAFETY: the registers of a slot, which the machine always has.
            let transport = unsafe { MmioTransport::new(header, SLOT) }.ok()?;
            (transport.device_type() == DeviceType::Network).then_some((transport, slot + 1))
        });
        let (transport, line) = found.expect("a virtio-net device: -device virtio-net-device");
        let device = VirtIONetRaw::new(transport).expect("the device starts");
        let mut this = Self {
            device,
            receive: RECEIVE.take(),
            receiving: [None; QUEUE],
            send: SEND.take(),
            sending: [None; DEPTH],
            errors: Errors::default(),
        };
        for buffer in 0..DEPTH as u8 {
            this.offer(buffer);
        }
        (this, line)
    }

    /// Gives a buffer to the device to receive into.
    fn offer(&mut self, buffer: u8) {
        let Some(memory) = self.receive.get_mut(usize::from(buffer)) else { return };
        // SAFETY: static, and not touched again before `receive_complete`: `receiving` says so.
        let Ok(token) = (unsafe { self.device.receive_begin(memory) }) else {
            self.errors.received = self.errors.received.wrapping_add(1);
            return;
        };
        if let Some(entry) = self.receiving.get_mut(usize::from(token)) {
            *entry = Some(buffer);
        }
    }

    /// Takes the oldest received frame out of its buffer, which is `buffer` afterwards free.
    fn complete(&mut self, token: u16, frame: &mut [u8; FRAME]) -> Option<(u8, Option<usize>)> {
        let buffer = self.receiving.get_mut(usize::from(token))?.take()?;
        let memory = self.receive.get_mut(usize::from(buffer))?;
        // SAFETY: the buffer that `receive_begin` had for this token.
        let done = unsafe { self.device.receive_complete(token, memory) };
        let length = done.ok().and_then(|(header, length)| {
            frame.get_mut(..length)?.copy_from_slice(memory.get(header..header + length)?);
            Some(length)
        });
        Some((buffer, length))
    }

    /// Takes back the buffers of frames that were sent.
    fn take_sent(&mut self) {
        while let Some(token) = self.device.poll_transmit() {
            let Some(buffer) = self.sending.iter().position(|&request| request == Some(token)) else {
                return;
            };
            self.sending[buffer] = None;
            // SAFETY: the buffer that `transmit_begin` had for this token. A request's length does not change.
            let done = unsafe { self.device.transmit_complete(token, &self.send[buffer]) };
            self.errors.sent = self.errors.sent.wrapping_add(u32::from(done.is_err()));
        }
    }
}

impl Fifo for Virtio {
    fn hardware_address(&self) -> [u8; 6] {
        self.device.mac_address()
    }

    fn take(&mut self, frame: &mut [u8; FRAME]) -> Option<usize> {
        let _ = self.device.ack_interrupt();
        for _ in 0..DEPTH {
            let token = self.device.poll_receive()?;
            let (buffer, length) = self.complete(token, frame)?;
            self.offer(buffer);
            if length.is_some() {
                return length;
            }
            self.errors.received = self.errors.received.wrapping_add(1);
        }
        None
    }

    fn has_room(&mut self) -> bool {
        self.take_sent();
        self.sending.contains(&None)
    }

    fn put(&mut self, frame: &[u8]) {
        let sent = (|| {
            let free = self.sending.iter().position(Option::is_none)?;
            let memory = self.send.get_mut(free)?;
            let header = self.device.fill_buffer_header(memory).ok()?;
            let end = header + frame.len();
            memory.get_mut(header..end)?.copy_from_slice(frame);
            // SAFETY: static, and not touched again before `transmit_complete`: `sending` says so.
            let token = unsafe { self.device.transmit_begin(memory.get(..end)?) }.ok()?;
            self.sending[free] = Some(token);
            Some(())
        })();
        self.errors.sent = self.errors.sent.wrapping_add(u32::from(sent.is_none()));
    }

    fn errors(&self) -> Errors {
        self.errors
    }
}

/// Physical addresses are the program's, and the queues' memory comes from [`POOL`].
struct Identity;

/// Two queues, two pages each.
const PAGES: usize = 4;

#[repr(align(4096))]
struct Pool(UnsafeCell<[[u8; PAGE_SIZE]; PAGES]>);
// SAFETY: only `dma_alloc` reaches in, and each page once.
unsafe impl Sync for Pool {}
static POOL: Pool = Pool(UnsafeCell::new([[0; PAGE_SIZE]; PAGES]));
static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: pages of `POOL` are aligned, zeroed, given out once and never taken back; addresses are physical.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = TAKEN.fetch_add(pages, Ordering::Relaxed);
        if first + pages > PAGES {
            return (0, NonNull::dangling()); // 0 says that there is none
        }
        // SAFETY: inside the pool.
        let page = unsafe { POOL.0.get().cast::<u8>().add(first * PAGE_SIZE) };
        (page.expose_provenance() as PhysAddr, NonNull::new(page).unwrap_or(NonNull::dangling()))
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(ptr::with_exposed_provenance_mut(address as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
