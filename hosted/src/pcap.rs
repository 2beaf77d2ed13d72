//! A capture of what crosses a device, for Wireshark and tcpdump.
//!
//! Frames are written as they cross: with offloads a frame of up to 64 KiB is one record, and the TCP checksums of what leaves are
//! not yet computed.

use smoltcp::phy::{Device, PcapMode, PcapSink, PcapWriter};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A device whose frames are written to a file.
pub type Pcap<D> = PcapWriter<D, Sink<BufWriter<File>>>;

/// Captures what crosses `device` in the file `path`, which is overwritten.
///
/// # Errors
/// The file cannot be created.
pub fn capture<D: Device>(device: D, path: &Path) -> io::Result<Pcap<D>> {
    let file = File::create(path)?;
    Ok(PcapWriter::new(device, Sink::new(BufWriter::new(file)), PcapMode::Both))
}

/// Where a capture goes. An error is logged once and ends the capture, not the program.
#[derive(Debug)]
pub struct Sink<W> {
    writer: Option<W>,
}

impl<W: Write> Sink<W> {
    /// A capture to `writer`, which should be buffered.
    pub fn new(writer: W) -> Self {
        Self { writer: Some(writer) }
    }
}

impl<W: Write> PcapSink for Sink<W> {
    fn write(&mut self, data: &[u8]) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.write_all(data)
        {
            log::warn!("the capture ends here: it cannot be written ({error})");
            self.writer = None;
        }
    }

    /// After each frame, which keeps its bytes in the buffer: they are written when it is full, and at the end.
    fn flush(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::{Loopback, Medium, TxToken};
    use smoltcp::time::Instant;

    /// Has room for so many bytes.
    struct Disk(usize, Vec<u8>);

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(data.len()).ok_or(io::ErrorKind::StorageFull)?;
            self.1.extend(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn send(device: &mut impl Device, len: usize) {
        device.transmit(Instant::ZERO).unwrap().consume(len, |frame| frame.fill(0x5a));
    }

    #[test]
    fn a_super_segment_is_one_record() {
        let path = std::env::temp_dir().join(format!("socklet-{}.pcap", std::process::id()));
        let mut device = capture(Loopback::new(Medium::Ip), &path).unwrap();
        send(&mut device, 65_535);
        drop(device);
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written.len(), 24 + 16 + 65_535);
        assert_eq!(written[20..24], 101_u32.to_ne_bytes());
    }

    #[test]
    fn a_full_disk_ends_the_capture_alone() {
        let disk = Disk(24 + 16 + 50, Vec::new());
        let mut device = PcapWriter::new(Loopback::new(Medium::Ip), Sink::new(disk), PcapMode::Both);
        send(&mut device, 40);
        send(&mut device, 40);
        send(&mut device, 40);
    }
}
