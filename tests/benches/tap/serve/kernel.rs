use super::super::setup::{PORT, Service, Setup, tune};
use super::announce;
use core::error::Error;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socklet_hosted::sandbox::Sandbox;
use std::io::{self, ErrorKind, Read, Write};
use std::process::Command;

const LISTENER: Token = Token(usize::MAX - 1);

/// Two private networks with a veth between them; the server waits with epoll.
pub(super) fn run(setup: Setup) -> Result<(), Box<dyn Error>> {
    let (servers, clients) = (Sandbox::new()?, Sandbox::new()?);
    tune(&servers);
    tune(&clients);
    let network = *servers.network();
    let thread = clients.run(rustix::thread::gettid).as_raw_nonzero();
    let (server, client) = (network.stack_v4, network.host_v4);
    let prefix = network.prefix_v4;
    ip(&servers, format!("link add near type veth peer name far netns {thread}"))?;
    ip(&servers, format!("addr add {server}/{prefix} dev near"))?;
    ip(&servers, "link set near up".into())?;
    ip(&clients, format!("addr add {client}/{prefix} dev far"))?;
    ip(&clients, "link set far up".into())?;
    let listener = servers.run(move || std::net::TcpListener::bind((server, PORT)))?;
    listener.set_nonblocking(true)?;
    announce(&clients);
    serve(TcpListener::from_std(listener), setup.service)?;
    Ok(())
}

fn ip(sandbox: &Sandbox, command: String) -> Result<(), Box<dyn Error>> {
    let words = command.clone();
    let status = sandbox.run(move || Command::new("ip").args(words.split(' ')).status())?;
    if status.success() { Ok(()) } else { Err(format!("`ip {command}` failed: install iproute2").into()) }
}

/// A client, and what of the last chunk is still to be sent back.
struct Client {
    stream: TcpStream,
    unsent: Vec<u8>,
}

fn serve(mut listener: TcpListener, service: Service) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free = Vec::new();
    let mut chunk = vec![b'x'; 64 << 10];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let place = free.pop().unwrap_or_else(|| {
                        clients.push(None);
                        clients.len() - 1
                    });
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(place), interest)?;
                    clients[place] = Some(Client { stream, unsent: Vec::new() });
                }
                continue;
            }
            let place = event.token().0;
            let Some(client) = clients.get_mut(place).and_then(Option::as_mut) else { continue };
            match client.advance(service, &mut chunk) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(()) | Err(_) => {
                    clients[place] = None;
                    free.push(place);
                }
            }
        }
    }
}

impl Client {
    /// Goes on until the socket would block or the client has closed.
    fn advance(&mut self, service: Service, chunk: &mut [u8]) -> io::Result<()> {
        loop {
            match service {
                Service::Flood => drop(self.stream.write(chunk)?),
                Service::Discard => {
                    if self.stream.read(chunk)? == 0 {
                        return Ok(());
                    }
                }
                Service::Echo => {
                    while !self.unsent.is_empty() {
                        let count = self.stream.write(&self.unsent)?;
                        self.unsent.drain(..count);
                    }
                    let count = self.stream.read(chunk)?;
                    if count == 0 {
                        return Ok(());
                    }
                    let sent = match self.stream.write(&chunk[..count]) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                        result => result?,
                    };
                    self.unsent.extend_from_slice(&chunk[sent..count]);
                }
            }
        }
    }
}
