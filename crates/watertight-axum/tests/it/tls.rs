//! TLS in between, as a listener of its own below the guarded one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use watertight::Attribution;

use crate::client::Client;
use crate::server::{Left, Server, turn};

/// Accepts TLS connections. A real one would not wait for one handshake before it accepts the next connection.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (tcp, address) = axum::serve::Listener::accept(&mut self.tcp).await;
            let _ = tcp.set_nodelay(true);
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A listener with a certificate of its own, and a connector that trusts it.
async fn listener() -> (TlsListener, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.clone()], key).expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("it is well-formed");
    let trusting = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    (
        TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) },
        TlsConnector::from(Arc::new(trusting)),
    )
}

async fn connect(server: SocketAddr, connector: &TlsConnector) -> Client<client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(server).await.expect("the server listens");
    let address = tcp.local_addr().expect("it is connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = connector.connect(name, tcp).await.expect("a handshake");
    Client::upgrade(tls, address, "wss://localhost/echo").await
}

/// Would reveal a guard that needs a TCP stream, loses the client's address, or cuts TLS before its last record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_told_over_tls_too() {
    let turn = turn().await;
    let (listener, connector) = listener().await;
    let server = Server::start_on(listener, Duration::from_secs(5));
    let mut bystander = connect(server.address, &connector).await;
    bystander.echoes("before").await;
    let left = Left::now();
    let mut client = connect(server.address, &connector).await;
    client.echoes("hello").await;
    client.send("panic").await;
    let frame = client.close_frame().await;
    let incident = turn.incident_of(&client);
    assert_eq!(incident.attribution, Attribution::Exact);
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1011, &*incident.id.to_string()));
    left.is_back(Duration::from_secs(1)).await;

    // One that does not read is cut below TLS.
    let mut deaf = connect(server.address, &connector).await;
    deaf.send("fill and panic").await;
    let incident = turn.incident_of(&deaf);
    assert!(incident.sealed_after.is_some_and(|after| after < Duration::from_millis(1500)), "{incident:#?}");
    left.is_back(Duration::from_secs(1)).await;
    bystander.echoes("after").await;
}
