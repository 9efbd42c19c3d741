//! The TCP connections of clients.

use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Error, Result};
use tokio::net::{TcpSocket, TcpStream};

/// Connects, from `source` where it is given: an address has some 28,000 ports, and many clients need more.
pub(super) async fn dial(server: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream> {
    let tcp = match source {
        None => TcpStream::connect(server).await,
        Some(source) => connect_from(source, server).await,
    };
    let tcp = tcp.context("cannot connect")?;
    // Otherwise a small frame can wait for the server's delayed acknowledgement of the one before.
    tcp.set_nodelay(true).context("cannot connect")?;
    Ok(tcp)
}

async fn connect_from(source: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(server).await
}

/// Whether nobody listened: a connection that only waits is none.
pub(crate) fn is_refusal(error: &Error) -> bool {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_told_from_another_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let source = Some(address.ip());
        assert!(dial(address, source).await.is_ok(), "it waits to be accepted");
        drop(listener);
        let error = dial(address, source).await.unwrap_err().context("a client");
        assert!(is_refusal(&error), "{error:#}");
        let error = Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(!is_refusal(&error), "{error:#}");
    }
}
