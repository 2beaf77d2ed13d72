//! A capture of what crosses a device, for Wireshark and tcpdump.
//!
//! Frames are written as they cross: with offloads a frame of up to 64 KiB is one record, and the TCP checksums of what leaves are
//! not yet computed.

use smoltcp::phy::{Device, PcapMode, PcapSink, PcapWriter};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A device whose frames are written to a file.
pub type Pcap<D> = PcapWriter<D, Sink<BufWriter<File>>>;

/// Captures what crosses `device` in the file `path`, which is overwritten. Tells also, once the device is dropped, whether all is written.
///
/// # Errors
/// The file cannot be created.
pub fn capture<D: Device>(device: D, path: &Path) -> io::Result<(Pcap<D>, Loss)> {
    let sink = Sink::new(BufWriter::new(File::create(path)?));
    let loss = sink.loss.clone();
    Ok((PcapWriter::new(device, sink, PcapMode::Both), loss))
}

/// Why a capture lacks its end, if it does.
#[derive(Debug, Clone, Default)]
pub struct Loss(Arc<OnceLock<io::Error>>);

impl Loss {
    /// `None` as long as all could be written.
    pub fn reason(&self) -> Option<&io::Error> {
        self.0.get()
    }
}

/// Where a capture goes. An error is logged once and ends the capture, not the program.
#[derive(Debug)]
pub struct Sink<W: Write> {
    writer: Option<W>,
    loss: Loss,
}

impl<W: Write> Sink<W> {
    /// A capture to `writer`, which should be buffered.
    pub fn new(writer: W) -> Self {
        Self { writer: Some(writer), loss: Loss::default() }
    }

    fn fail(&mut self, error: io::Error) {
        log::warn!("the capture ends here: it cannot be written ({error})");
        self.writer = None;
        // The first one is why.
        let _ = self.loss.0.set(error);
    }
}

/// Writes what is still in a buffer.
impl<W: Write> Drop for Sink<W> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.writer.as_mut().map(Write::flush) {
            self.fail(error);
        }
    }
}

impl<W: Write> PcapSink for Sink<W> {
    fn write(&mut self, data: &[u8]) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.write_all(data)
        {
            self.fail(error);
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
        let (mut device, loss) = capture(Loopback::new(Medium::Ip), &path).unwrap();
        send(&mut device, 65_535);
        drop(device);
        assert!(loss.reason().is_none());
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written.len(), 24 + 16 + 65_535);
        assert_eq!(written[20..24], 101_u32.to_ne_bytes());
    }

    #[test]
    fn a_full_disk_ends_the_capture_alone() {
        let sink = Sink::new(Disk(24 + 16 + 50, Vec::new()));
        let loss = sink.loss.clone();
        let mut device = PcapWriter::new(Loopback::new(Medium::Ip), sink, PcapMode::Both);
        send(&mut device, 40);
        assert!(loss.reason().is_none());
        send(&mut device, 40);
        send(&mut device, 40);
        assert_eq!(loss.reason().unwrap().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn what_the_end_loses_is_told_too() {
        let sink = Sink::new(BufWriter::new(Disk(24, Vec::new())));
        let loss = sink.loss.clone();
        let mut device = PcapWriter::new(Loopback::new(Medium::Ip), sink, PcapMode::Both);
        send(&mut device, 40);
        assert!(loss.reason().is_none(), "it is in the buffer");
        drop(device);
        assert_eq!(loss.reason().unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
