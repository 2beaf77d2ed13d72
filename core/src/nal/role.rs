use core::net::SocketAddr;
use embedded_nal::{TcpClientStack, TcpFullStack, nb};

/// Whether a [`FromNal`](super::FromNal) can listen: [`ClientOnly`] or [`FullStack`].
pub trait Role<N: TcpClientStack>: sealed::Sealed {
    /// It can.
    const LISTENS: bool;

    /// Binds a port and listens on it; `None` where that cannot be done.
    fn listen(stack: &mut N, socket: &mut N::TcpSocket, port: u16) -> Option<Result<(), N::Error>>;

    /// Takes a connection.
    fn accept(stack: &mut N, listener: &mut N::TcpSocket)
    -> nb::Result<(N::TcpSocket, SocketAddr), N::Error>;
}

/// For a stack that is a `TcpClientStack`: `listen` is `Unsupported`.
#[derive(Debug, Clone, Copy)]
pub struct ClientOnly;

/// For a stack that is a `TcpFullStack`.
#[derive(Debug, Clone, Copy)]
pub struct FullStack;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ClientOnly {}
    impl Sealed for super::FullStack {}
}

impl<N: TcpClientStack> Role<N> for ClientOnly {
    const LISTENS: bool = false;

    fn listen(_: &mut N, _: &mut N::TcpSocket, _: u16) -> Option<Result<(), N::Error>> {
        None
    }

    fn accept(_: &mut N, _: &mut N::TcpSocket) -> nb::Result<(N::TcpSocket, SocketAddr), N::Error> {
        Err(nb::Error::WouldBlock)
    }
}

impl<N: TcpFullStack> Role<N> for FullStack {
    const LISTENS: bool = true;

    fn listen(stack: &mut N, socket: &mut N::TcpSocket, port: u16) -> Option<Result<(), N::Error>> {
        Some(stack.bind(socket, port).and_then(|()| stack.listen(socket)))
    }

    fn accept(
        stack: &mut N,
        listener: &mut N::TcpSocket,
    ) -> nb::Result<(N::TcpSocket, SocketAddr), N::Error> {
        stack.accept(listener)
    }
}
