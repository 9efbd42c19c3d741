//! The builder of [`SocketIo`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use socketioxide::adapter::{Adapter, LocalAdapter};
use socketioxide::{ParserConfig, SocketIoConfig, TransportType};

use crate::io::SocketIo;
use crate::layer::SocketIoLayer;
use crate::service::{Identify, NotFoundService, PassBody, SocketIoService};

/// Configures a Socket.IO server, as [`socketioxide::SocketIoBuilder`] does.
#[must_use]
pub struct SocketIoBuilder<A: Adapter = LocalAdapter> {
    upstream: socketioxide::SocketIoBuilder<A>,
    identify: Option<Arc<dyn Identify>>,
}

impl SocketIoBuilder<LocalAdapter> {
    /// Starts from the defaults.
    pub fn new() -> Self {
        Self { upstream: socketioxide::SocketIoBuilder::new(), identify: None }
    }
}

impl Default for SocketIoBuilder<LocalAdapter> {
    fn default() -> Self {
        Self::new()
    }
}

/// Passes setters on to socketioxide's builder.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(self, $name: $type) -> Self {
            Self { upstream: self.upstream.$name($name), ..self }
        })*
    };
}

impl<A: Adapter> SocketIoBuilder<A> {
    setters! {
        /// The path that the engine answers on. Default `/socket.io`.
        req_path: impl Into<Cow<'static, str>>,
        /// How often the server pings. Default 25 s.
        ping_interval: Duration,
        /// How long a client may take to answer. Default 20 s.
        ping_timeout: Duration,
        /// How long an upgrade from polling to WebSocket may take. Default 10 s.
        upgrade_timeout: Duration,
        /// How many packets may wait to be sent to one client. Default 128.
        max_buffer_size: usize,
        /// The largest polling payload, in bytes. Default 100 kB.
        max_payload: u64,
        /// The size of the WebSocket read buffer, in bytes. Default 4 KiB.
        ws_read_buffer_size: usize,
        /// The largest WebSocket message, in bytes. Default 64 MiB.
        ws_max_message_size: usize,
        /// The largest WebSocket frame, in bytes. Default 16 MiB.
        ws_max_frame_size: usize,
        /// How long to wait for a client's acknowledgement. Default 5 s.
        ack_timeout: Duration,
        /// How long a client may take to join a namespace. Default 45 s.
        connect_timeout: Duration,
        /// Replaces the whole configuration.
        with_config: SocketIoConfig,
    }

    /// The transports that clients may use. Default: both.
    pub fn transports<const N: usize>(self, transports: [TransportType; N]) -> Self {
        Self { upstream: self.upstream.transports(transports), ..self }
    }

    /// The parser of packets. Default [`ParserConfig::common`].
    pub fn with_parser<P>(self, parser: ParserConfig<P>) -> Self
    where
        ParserConfig<P>: ParserChoice,
    {
        parser.choose(self)
    }

    /// The adapter that keeps rooms and reaches other nodes. Default [`LocalAdapter`].
    pub fn with_adapter<B: Adapter>(self, adapter_state: B::State) -> SocketIoBuilder<B> {
        SocketIoBuilder { upstream: self.upstream.with_adapter(adapter_state), identify: self.identify }
    }

    /// Adds a state for the [`State`](crate::extract::State) extractor.
    #[cfg(feature = "state")]
    pub fn with_state<S: Clone + Send + Sync + 'static>(self, state: S) -> Self {
        Self { upstream: self.upstream.with_state(state), ..self }
    }

    /// Who says whose session it is, from the request that opens it. Default: nobody, a client is known by its address
    /// until the application calls [`SocketRef::identify`](crate::extract::SocketRef::identify).
    pub fn identify(mut self, identify: impl Identify) -> Self {
        self.identify = Some(Arc::new(identify));
        self
    }

    /// Builds a layer, for axum and other tower servers.
    pub fn build_layer(self) -> (SocketIoLayer<A>, SocketIo<A>) {
        watertight::ensure_installed();
        let (layer, io) = self.upstream.build_layer();
        (SocketIoLayer::new(layer, path_of(&io), self.identify), SocketIo::from(io))
    }

    /// Builds a service that stands alone, for hyper.
    pub fn build_svc(self) -> (SocketIoService<NotFoundService, A>, SocketIo<A>) {
        self.build_with_inner_svc(NotFoundService)
    }

    /// Builds a service that passes other requests on to `svc`.
    pub fn build_with_inner_svc<S: Clone>(self, svc: S) -> (SocketIoService<S, A>, SocketIo<A>) {
        watertight::ensure_installed();
        let (service, io) = self.upstream.build_with_inner_svc(PassBody(svc));
        (SocketIoService::new(service, path_of(&io), self.identify), SocketIo::from(io))
    }
}

fn path_of<A: Adapter>(io: &socketioxide::SocketIo<A>) -> Arc<str> {
    io.config().engine_config.req_path.as_ref().into()
}

/// The parsers that socketioxide has.
pub trait ParserChoice: sealed::Sealed {
    #[doc(hidden)]
    fn choose<A: Adapter>(self, builder: SocketIoBuilder<A>) -> SocketIoBuilder<A>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! impl_parser_choice {
    ($($(#[$cfg:meta])* $parser:ty),*) => {
        $($(#[$cfg])*
        impl sealed::Sealed for ParserConfig<$parser> {}
        $(#[$cfg])*
        impl ParserChoice for ParserConfig<$parser> {
            fn choose<A: Adapter>(self, builder: SocketIoBuilder<A>) -> SocketIoBuilder<A> {
                SocketIoBuilder { upstream: builder.upstream.with_parser(self), identify: builder.identify }
            }
        })*
    };
}

impl_parser_choice!(
    socketioxide_parser_common::CommonParser,
    #[cfg(feature = "msgpack")]
    socketioxide_parser_msgpack::MsgPackParser
);

impl<A: Adapter> fmt::Debug for SocketIoBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoBuilder").finish_non_exhaustive()
    }
}
