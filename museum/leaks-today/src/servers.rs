//! The same servers twice: with socketioxide, and with the drop-in in its place.

/// Servers on the Socket.IO of a crate.
macro_rules! servers {
    ($module:ident, $socketioxide:ident) => {
        pub(crate) mod $module {
            use watertight_museum::{Router, Value, on_echo, sockets_route};
            use $socketioxide::SocketIo;
            use $socketioxide::extract::{Extension, SocketRef, TryData};
            use $socketioxide::handler::ConnectHandler as _;

            /// Who a player is; nobody here has ever logged in.
            #[derive(Clone)]
            struct Account;

            pub(crate) fn disconnect_handler_panics() -> Router {
                let (layer, io) = SocketIo::new_layer();
                io.ns("/", async |socket: SocketRef| {
                    socket.on_disconnect(async || watertight_faults::panic_now("a disconnect handler"));
                    on_echo!($socketioxide, socket);
                });
                sockets_route(move || io.sockets().len()).layer(layer)
            }

            pub(crate) fn disconnect_extractor_refuses() -> Router {
                let (layer, io) = SocketIo::new_layer();
                io.ns("/", async |socket: SocketRef| {
                    socket.on_disconnect(async |_: SocketRef, Extension(_account): Extension<Account>| {});
                    on_echo!($socketioxide, socket);
                });
                sockets_route(move || io.sockets().len()).layer(layer)
            }

            pub(crate) fn middleware_panics() -> Router {
                async fn login(TryData(login): TryData<Value>) -> Result<(), String> {
                    let login = login.map_err(|error| error.to_string())?;
                    if let Some(token) = login.get("token") {
                        token.as_str().expect("a token is text");
                    }
                    Ok(())
                }
                async fn connected(socket: SocketRef) {
                    on_echo!($socketioxide, socket);
                }
                let (layer, io) = SocketIo::new_layer();
                io.ns("/", connected.with(login));
                sockets_route(move || io.sockets().len()).layer(layer)
            }
        }
    };
}

servers!(plain, socketioxide);
servers!(drop_in, watertight_socketioxide);
