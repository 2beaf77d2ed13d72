//! The host, as the user names it.

use crate::args::ConnectArgs;
use crate::failure::Failure;
use core::net::SocketAddr;
use std::net::ToSocketAddrs;

/// A name for what is connected to, as in a URL.
pub(super) fn name(args: &ConnectArgs) -> String {
    let (host, port) = (bare(&args.host), args.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A host without the brackets that an IPv6 address has in a URL.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The addresses of the host, in the order of the system's resolver.
pub(super) fn resolve(args: &ConnectArgs) -> Result<Vec<SocketAddr>, Failure> {
    let host = &args.host;
    match (bare(host), args.port).to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses.collect()),
        Ok(_) => Err(Failure::failed(format_args!("the host {host} has no address: check its name"))),
        Err(error) => {
            Err(Failure::failed(format_args!("the host {host} is unknown ({error}): check its name")))
        }
    }
}
