use super::super::setup::{PORT, Service, Setup, tune};
use super::announce;
use core::convert::Infallible;
use core::error::Error;
use core::pin::pin;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_net_tuntap::TunTapDevice;
use futures_util::future::Either;
use futures_util::stream::{FuturesUnordered, StreamExt};
use socklet_hosted::sandbox::Sandbox;
use socklet_hosted::tap::Mode;

pub(super) fn run(setup: Setup) -> Result<Infallible, Box<dyn Error>> {
    // smoltcp looks at every place of the set, taken or not.
    match setup.connections {
        ..=16 => run_with::<18>(setup),
        17..=1_100 => run_with::<1_102>(setup),
        _ => run_with::<10_102>(setup),
    }
}

fn run_with<const SOCKETS: usize>(setup: Setup) -> Result<Infallible, Box<dyn Error>> {
    let sandbox = Sandbox::new()?;
    tune(&sandbox);
    let device = sandbox.run(|| TunTapDevice::new("bench0"))?;
    sandbox.configure("bench0", Mode::Tap)?;
    let network = *sandbox.network();
    let address = Ipv4Cidr::new(network.stack_v4, network.prefix_v4);
    let config =
        Config::ipv4_static(StaticConfigV4 { address, gateway: None, dns_servers: Default::default() });
    let resources = Box::leak(Box::new(StackResources::<SOCKETS>::new()));
    let (stack, mut runner) = embassy_net::new(device, config, resources, 7);
    announce(&sandbox);
    let connections: FuturesUnordered<_> = (0..setup.connections).map(|_| serve(stack, setup)).collect();
    let all = connections.collect::<Vec<()>>();
    match async_io::block_on(futures_util::future::select(pin!(runner.run()), pin!(all))) {
        Either::Left((never, _)) => match never {},
        Either::Right(_) => Err("a connection's task has ended".into()),
    }
}

async fn serve(stack: Stack<'static>, setup: Setup) {
    let (mut rx, mut tx) = (vec![0; setup.buffer], vec![0; setup.buffer]);
    let mut chunk = vec![0; setup.buffer.min(64 << 10)];
    loop {
        let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
        socket.set_nagle_enabled(false);
        if socket.accept(PORT).await.is_ok() {
            // How it ends is the client's affair.
            let _ = transfer(&mut socket, setup.service, &mut chunk).await;
            socket.close();
            let _ = socket.flush().await;
        }
    }
}

async fn transfer(
    socket: &mut TcpSocket<'_>,
    service: Service,
    chunk: &mut [u8],
) -> Result<(), embassy_net::tcp::Error> {
    let (mut reader, mut writer) = socket.split();
    match service {
        Service::Echo => loop {
            let count = reader.read(chunk).await?;
            if count == 0 {
                return Ok(());
            }
            let mut sent = 0;
            while sent < count {
                sent += writer.write(&chunk[sent..count]).await?;
            }
        },
        Service::Discard => while reader.read_with(|bytes| (bytes.len(), bytes.len())).await? > 0 {},
        Service::Flood => loop {
            let whole = |room: &mut [u8]| {
                super::make_real(room);
                (room.len(), ())
            };
            writer.write_with(whole).await?;
        },
    }
    Ok(())
}
