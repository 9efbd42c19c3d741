//! Who asks to be let in while their connection is being closed. An official client gives up a namespace that refuses it, and
//! comes back to one whose connection closes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use watertight::{CloseMode, Compartment, Notice, Registry, Seal, SealMode, Told};
use watertight_socketioxide::extract::SocketRef;
use watertight_socketioxide::handler::ConnectHandler;

use crate::client::{Bystander, Client, DEADLINE, Packet};
use crate::server::{echo, is_gone, serve};

const SOON: Duration = Duration::from_secs(1);

/// Closes a connection through no fault of its client, as a server does that shuts down.
fn close(compartment: &Arc<Compartment>, retry: bool) {
    let notice = Notice::new("shutdown", "The server is shutting down.").retry(retry, SOON);
    // Whether it is done is seen at the client.
    drop(watertight::ensure_installed().seal(compartment, notice, SealMode::Disconnect));
}

fn compartment_of(client: &Client) -> Arc<Compartment> {
    Registry::global().by_session(&client.sid).expect("its session is known")
}

/// A part that has something to say and never gets it out: its connection stays open for as long as a client that does not
/// read is waited for.
struct Slow(AtomicBool);

impl Seal for Slow {
    fn tell(&self, _: &Notice) -> Told {
        Told::Sent
    }

    fn delivered(&self, _: &Notice, _: usize) -> Option<bool> {
        Some(false)
    }

    fn close(&self, _: CloseMode) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Would reveal a client that is refused by a connection that closes, and so lost to its namespace for ever: a takeover lost
/// one of some thousand so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_it_is_closed_is_not_answered() {
    let (server, io) = serve(|io| {
        io.ns("/good", async |socket: SocketRef| echo(&socket));
        io.ns("/late", async || ());
    })
    .await;
    let bystander = Bystander::start(server, "/good").await;
    let mut client = Client::join(server, "/good").await;
    let (compartment, slow) = (compartment_of(&client), Arc::new(Slow(AtomicBool::new(false))));
    compartment.attach(&slow);
    close(&compartment, true);
    let sealing = async {
        while compartment.is_live() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, sealing).await.expect("the seal begins");
    client.send("40/late,".to_owned()).await;
    assert_eq!(client.next().await.data()["code"], "shutdown", "where it is let in it is told");
    assert_eq!(client.next().await, Packet::Closed);
    is_gone(&io, &client.sid, SOON).await;
    bystander.finish().await;
}

/// As above, for one whose middleware is at work: it is cancelled. Who is asked to stay away is told by a refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_just_being_let_in_is_not_refused_unless_it_is_to_stay_away() {
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let (server, io) = serve(move |io| {
        let waits = async move |_: SocketRef| -> Result<(), Infallible> {
            begins.notify_one();
            std::future::pending().await
        };
        io.ns("/slow", (async |_: SocketRef| ()).with(waits));
        io.ns("/good", async |socket: SocketRef| echo(&socket));
    })
    .await;
    let bystander = Bystander::start(server, "/good").await;
    for retry in [true, false] {
        let mut client = Client::open(server).await;
        client.send("40/slow,".to_owned()).await;
        tokio::time::timeout(DEADLINE, begun.notified()).await.expect("the middleware is called");
        close(&compartment_of(&client), retry);
        if !retry {
            let Packet::ConnectError { message, .. } = client.next().await else { panic!("a refusal") };
            assert!(message.starts_with("shutdown (incident "), "{message}");
        }
        assert_eq!(client.next().await, Packet::Closed, "retry: {retry}");
        is_gone(&io, &client.sid, SOON).await;
    }
    bystander.finish().await;
}
