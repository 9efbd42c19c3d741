//! The listening sockets: handed over by the service manager, or bound.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{SuperviseError, SupervisorSettings};

#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) inherited: bool,
}

impl Listeners {
    pub(super) fn take(settings: &SupervisorSettings) -> Result<Self, SuperviseError> {
        let sockets = inherited()?;
        if !sockets.is_empty() {
            return Self::new(sockets, true);
        }
        let bind = |address: &SocketAddr| {
            bind(*address, settings.backlog)
                .map_err(|source| SuperviseError::Bind { address: *address, source })
        };
        Self::new(settings.listen.iter().map(bind).collect::<Result<_, _>>()?, false)
    }

    fn new(sockets: Vec<TcpListener>, inherited: bool) -> Result<Self, SuperviseError> {
        let address =
            |(index, socket): (usize, &TcpListener)| socket.local_addr().map_err(|source| (index, source));
        let addresses = sockets.iter().enumerate().map(address).collect::<Result<_, _>>();
        let addresses = addresses.map_err(|(index, source)| SuperviseError::Inherited { index, source })?;
        Ok(Self { sockets, addresses, inherited })
    }
}

fn inherited() -> Result<Vec<TcpListener>, SuperviseError> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let with_index = |source| SuperviseError::Inherited { index, source };
        // `listenfd` makes it close-on-exec, too.
        let Some(socket) = given.take_tcp_listener(index).map_err(with_index)? else { continue };
        if !is_listener(&socket).map_err(with_index)? {
            return Err(with_index(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen")));
        }
        socket.set_nonblocking(true).map_err(with_index)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

#[cfg(any(target_os = "android", target_os = "freebsd", target_os = "linux"))]
fn is_listener(socket: &TcpListener) -> io::Result<bool> {
    socket2::SockRef::from(socket).is_listener()
}

/// Nobody can tell here; the worker will.
#[cfg(not(any(target_os = "android", target_os = "freebsd", target_os = "linux")))]
fn is_listener(_socket: &TcpListener) -> io::Result<bool> {
    Ok(true)
}

/// Non-blocking, because this is a property of the socket that all workers share, not of anyone's descriptor of it.
fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
