//! What a client sends before its connect handler has registered anything is delivered, once and in order.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;
use watertight_socketioxide::extract::{AckSender, Data, SocketRef};

use crate::client::{Client, DEADLINE, Packet};
use crate::server::{echo, serve};

/// socketioxide alone loses 2 to 3 of 1,000 of these: the connect packet is out before the handler has run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn none_of_two_thousand_is_lost() {
    let (server, _io) = serve(|io| io.ns("/early", async |socket: SocketRef| echo(&socket))).await;
    let clients: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..100 {
                    let mut client = Client::join(server, "/early").await;
                    assert_eq!(client.ask("/early", "echo", Value::from(1)).await, Value::from(1));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("every early event was answered");
    }
}

/// The handler is held up before, between and after it registers; events of two kinds come all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_come_in_order_whenever_the_handler_registers() {
    let (go, log) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::<(char, u64)>::new())));
    let (step, seen) = (Arc::clone(&go), Arc::clone(&log));
    let (server, _io) = serve(|io| {
        io.ns("/slow", async move |socket: SocketRef| {
            let record = |kind: char| {
                let log = Arc::clone(&log);
                async move |Data::<u64>(number): Data<u64>| log.lock().push((kind, number))
            };
            go.acquire().await.unwrap().forget();
            socket.on("a", record('a'));
            go.acquire().await.unwrap().forget();
            socket.on("b", record('b'));
            socket.on("done", async |ack: AckSender| ack.send("done").unwrap());
        });
    })
    .await;
    let mut client = Client::join(server, "/slow").await;
    for number in 0..40 {
        client.emit("/slow", if number % 2 == 0 { "a" } else { "b" }, number.into()).await;
        if number == 10 || number == 20 {
            step.add_permits(1);
        }
    }
    assert_eq!(client.ask("/slow", "done", Value::Null).await, Value::from("done"));
    let all = || seen.lock().len() == 40;
    tokio::time::timeout(DEADLINE, async {
        while !all() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all of them arrive");
    // Handlers run as tasks of their own, as socketioxide's do: what is promised is that each is called, once.
    let mut numbers: Vec<_> = seen.lock().iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
}

/// A connect handler that goes on for long registers a fallback late: what has waited goes there, and not only when
/// the handler ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_fallback_gets_what_has_waited() {
    let go = Arc::new(Semaphore::new(0));
    let step = Arc::clone(&go);
    let (server, _io) = serve(|io| {
        io.ns("/late", async move |socket: SocketRef| {
            socket.on("known", async |ack: AckSender| ack.send("known").unwrap());
            go.acquire().await.unwrap().forget();
            socket.on_fallback(async |ack: AckSender| ack.send("fallback").unwrap());
            std::future::pending::<()>().await;
        });
    })
    .await;
    let mut client = Client::join(server, "/late").await;
    let early = client.emit_with_ack("/late", "unknown", Value::Null).await;
    // Events are read in order, so the early one waits by now.
    assert_eq!(client.ask("/late", "known", Value::Null).await, Value::from("known"));
    step.add_permits(1);
    let answer = client.until(|packet| matches!(packet, Packet::Ack { id, .. } if *id == early)).await;
    assert_eq!(answer.data(), &Value::from("fallback"));
}

/// A client that fills the hold cannot make it grow: what is over the bound is dropped, the socket works on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hold_is_bounded() {
    let go = Arc::new(Semaphore::new(0));
    let step = Arc::clone(&go);
    let (server, _io) = serve(|io| {
        io.ns("/flood", async move |socket: SocketRef| {
            go.acquire().await.unwrap().forget();
            echo(&socket);
        });
    })
    .await;
    let mut client = Client::join(server, "/flood").await;
    for number in 0..1000 {
        client.emit("/flood", "echo", number.into()).await;
    }
    step.add_permits(1);
    client.until(|packet| packet.is_event("echo")).await;
    // What the handlers answer in one burst may exceed the send buffer, so an answer may be lost: the socket works on.
    let mut answered = 1;
    let works_on = async {
        loop {
            client.emit_with_ack("/flood", "echo", Value::from("last")).await;
            let answer = async {
                loop {
                    match client.next().await {
                        // Of this one or, when others have the processors, of one before.
                        Packet::Ack { .. } => return,
                        packet => answered += usize::from(packet.is_event("echo")),
                    }
                }
            };
            if tokio::time::timeout(Duration::from_millis(200), answer).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, works_on).await.expect("the socket works on");
    assert!(answered < 1000, "{answered} echoes: the hold has no bound");
}
