//! Who opens a session: its address as trusted proxies tell it, and its name as the application does.

use std::net::IpAddr;
use std::sync::{Arc, Once};

use http::{HeaderMap, Request, Uri};
use watertight::{Activity, ActivityKind, Lease, NoResponder, Scope};

/// The header in which proxies say whose request they pass on.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The request that opens a session.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Visit<'a> {
    /// Its address and query.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The client's address, as trusted proxies tell it.
    pub client: Option<IpAddr>,
}

/// Says who opens a session, before any of its namespaces is joined. Runs on a thread that does I/O: it must be quick,
/// and should only believe what it can verify, such as a signed cookie. Who is quarantined under that name is refused
/// without any other code of the application having run.
pub trait Identify: Send + Sync + 'static {
    /// Its name, such as `user:42`; `None` leaves it to be known by its address.
    fn identify(&self, visit: &Visit<'_>) -> Option<String>;
}

impl<F> Identify for F
where
    F: Fn(&Visit<'_>) -> Option<String> + Send + Sync + 'static,
{
    fn identify(&self, visit: &Visit<'_>) -> Option<String> {
        self(visit)
    }
}

/// Notes in the compartment who it is.
pub(super) fn introduce<B>(lease: &Lease, request: &Request<B>, identify: Option<&dyn Identify>) {
    if let Some(peer) = lease.peer() {
        let proxies = watertight::ensure_installed().trusted_proxies();
        let forwarded = request.headers().get_all(FORWARDED_FOR);
        let forwarded = forwarded.iter().filter_map(|value| value.to_str().ok());
        let client = proxies.client_address(peer.ip(), forwarded);
        let says_so = request.headers().contains_key(FORWARDED_FOR);
        if client != peer.ip() {
            lease.set_client(client);
        } else if says_so && is_near(client) && !proxies.contains(client) {
            // Somebody passes on what others ask, and nobody has said that it is to be believed: its own address says
            // nothing of them, and refusing it would refuse everyone.
            lease.set_anonymous();
            warn_of_proxy(client);
        }
    }
    let Some(identify) = identify else { return };
    let visit = Visit { uri: request.uri(), headers: request.headers(), client: lease.client() };
    let scope = Scope::new(Arc::clone(lease), Activity::new(ActivityKind::Middleware, "", "identify"));
    let named = watertight::run(scope, None::<NoResponder>, || identify.identify(&visit));
    if let Ok(Some(name)) = named {
        lease.identify(name);
    }
}

/// Whether an address is of this machine or of a network of its owner's.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn warn_of_proxy(address: IpAddr) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        trace::warn!(
            target: "watertight",
            "{address} passes on requests of others (X-Forwarded-For) and is no trusted proxy: clients behind it are \
             not told apart and never quarantined by address. Name it with `trusted_proxies`."
        );
    });
}
