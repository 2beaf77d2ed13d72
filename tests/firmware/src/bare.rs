//! The same echo by hand on smoltcp alone: what the figures compare with.

use smoltcp::socket::tcp;

/// Listens if it is not open, sends back what came, closes when the peer did. Whether anything moved.
pub fn echo(socket: &mut tcp::Socket<'_>) -> bool {
    if !socket.is_open() {
        let _ = socket.listen(7);
    }
    if !socket.may_recv() && socket.may_send() && socket.recv_queue() == 0 {
        socket.close();
    }
    let (mut data, mut length) = ([0; 1024], 0);
    if socket.can_send() && socket.can_recv() {
        let room = (socket.send_capacity() - socket.send_queue()).min(data.len());
        length = socket.recv_slice(&mut data[..room]).unwrap_or(0);
        let _ = socket.send_slice(&data[..length]);
    }
    length > 0
}
