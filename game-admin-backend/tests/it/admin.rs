use serde_json::{Value, json};

use crate::client::{Client, TestServer, soon};

async fn operator(
    server: &TestServer,
    auth: &Value,
    headers: &[(&'static str, &str)],
) -> Result<Client, String> {
    let mut client = Client::open(server.address, headers).await;
    client.enter("/admin", auth).await.map(|()| client)
}

#[tokio::test]
async fn only_the_token_opens_if_there_is_one() {
    let server = TestServer::start(&["admin.token=open sesame"]).await;
    assert!(operator(&server, &json!({"token": "open sesame"}), &[]).await.is_ok());
    let refusal = operator(&server, &json!({"token": "open barley"}), &[]).await.err();
    assert_eq!(refusal.as_deref(), Some("unauthorized: the token is wrong"));
    let refusal = operator(&server, &json!({}), &[]).await.err();
    assert_eq!(refusal.as_deref(), Some("unauthorized: a token is required"));
    server.stop().await;
}

#[tokio::test]
async fn without_a_token_a_local_program_enters_and_a_foreign_page_does_not() {
    let server = TestServer::start(&[]).await;
    assert!(operator(&server, &json!({}), &[]).await.is_ok());
    assert!(operator(&server, &json!({}), &[("origin", "http://localhost:8080")]).await.is_ok());
    let refusal = operator(&server, &json!({}), &[("origin", "https://evil.example")]).await.err();
    assert!(refusal.is_some_and(|refusal| refusal.contains("web pages from elsewhere")));
    server.stop().await;
}

#[tokio::test]
async fn operators_see_every_connection() {
    let server = TestServer::start(&[]).await;
    let mut ada = server.client("/").await;
    ada.ask("join", &json!({"room": "lobby"})).await;
    let mut operator = server.client("/admin").await;

    let reply = operator.ask_raw("list", r#"["list"]"#).await;
    assert_eq!(reply["total"], 2, "{reply}");
    let sockets = reply["sockets"].as_array().expect("a list");
    let of_ada = sockets.iter().find(|socket| socket["id"] == ada.id.as_str()).expect("Ada is listed");
    assert_eq!(of_ada["namespaces"], json!(["/"]));
    assert_eq!(of_ada["rooms"], json!(["lobby"]));
    assert_eq!(of_ada["problematic"], json!(null));
    assert!(of_ada["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{of_ada}");

    let first = operator.ask("list", &json!({"limit": 1})).await;
    let rest = operator.ask("list", &json!({"after": first["sockets"][0]["id"]})).await;
    assert_eq!(json!([first["sockets"][0], rest["sockets"][0]]), reply["sockets"]);
    assert_eq!(operator.ask("list", &json!({"limit": 0})).await["error"]["field"], "limit");
    operator.close().await;
    server.wait_for_connections(1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_kick_and_a_mark_disconnect_only_their_socket_and_say_why() {
    let server = TestServer::start(&[]).await;
    let mut operator = server.client("/admin").await;
    for (event, code, retry, retry_after_ms) in
        [("kick", "kicked", false, 0), ("mark", "problematic", true, 1000)]
    {
        let (mut ada, mut bob) = (server.client("/").await, server.client("/").await);
        ada.ask("join", &json!({"room": "lobby"})).await;
        bob.ask("join", &json!({"room": "lobby"})).await;
        assert_eq!(ada.event().await.0, "presence");

        let reply = operator.ask(event, &json!({"id": bob.id, "reason": "spam"})).await;
        assert_eq!(reply, json!({"ok": true, "id": bob.id}));
        let mut told = bob.events_to_the_end().await;
        assert_eq!(told[0].1["id"].take().as_str().map(str::len), Some(26), "{told:?}");
        let incident = json!({
            "id": null, "code": code, "message": "spam", "retry": retry, "retryAfterMs": retry_after_ms
        });
        assert_eq!(told, [("incident".to_owned(), incident)]);
        assert_eq!(ada.event().await.1["players"], 1);
        server.wait_for_connections(2).await;
        assert!(!server.shared.connections.should_disconnect_socket(&bob.id));
        assert_eq!(operator.ask(event, &json!({"id": bob.id})).await["error"]["code"], "not_found");
        ada.close().await;
        server.wait_for_connections(1).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_announcement_reaches_players_and_not_operators() {
    let server = TestServer::start(&[]).await;
    let (mut ada, mut bob) = (server.client("/").await, server.client("/").await);
    let mut operator = server.client("/admin").await;
    ada.ask("join", &json!({"room": "lobby"})).await;

    let to_room = json!({"text": "the lobby closes", "room": "lobby"});
    let to_all = json!({"text": "restart at noon"});
    assert_eq!(operator.ask("announce", &to_room).await, json!({"ok": true}));
    assert_eq!(operator.ask("announce", &to_all).await, json!({"ok": true}));
    assert_eq!(ada.event().await, ("announcement".to_owned(), to_room));
    assert_eq!(ada.event().await, ("announcement".to_owned(), to_all.clone()));
    assert_eq!(bob.event().await, ("announcement".to_owned(), to_all));
    server.stop().await;
}

async fn guest(server: &TestServer) -> Client {
    let mut client = Client::open(server.address, &[]).await;
    client.enter("/lab", &json!({})).await.expect("the lab is open");
    client
}

/// A client of the lab, which believes whatever name it is given.
async fn named(server: &TestServer, name: &str) -> (Client, Value) {
    let mut client = guest(server).await;
    let told = client.ask("identify", &json!(name)).await;
    (client, told)
}

#[tokio::test]
async fn operators_refuse_an_identity_and_let_it_in_again() {
    let server = TestServer::start(&["server.lab=true"]).await;
    let mut operator = server.client("/admin").await;
    let ((mut eve, told), (mut bob, _)) =
        (named(&server, "user:eve").await, named(&server, "user:bob").await);
    assert_eq!(told, Value::Null);

    let sentence = json!({"identity": "user:eve", "ms": 60_000, "reason": "spam"});
    let reply = operator.ask("quarantine", &sentence).await;
    assert_eq!((&reply["ok"], &reply["identity"]), (&json!(true), &json!("user:eve")), "{reply}");
    assert!(reply["retryAfterMs"].as_u64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{reply}");
    let told = eve.events_to_the_end().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0].1["code"], &told[0].1["id"]),
        (&json!("quarantined"), &reply["incident"]),
        "{told:?}"
    );

    let listed = operator.ask_raw("quarantined", r#"["quarantined"]"#).await;
    let entries = listed["quarantined"].as_array().expect("a list");
    let entry = entries.iter().find(|entry| entry["identity"] == "user:eve").expect("it is listed");
    assert_eq!((&entry["reason"], &entry["incident"]), (&json!("spam"), &reply["incident"]));
    let mut again = guest(&server).await;
    // Without asking for an answer, which may come or not: the connection is being closed.
    again.emit("identify", &json!("user:eve")).await;
    let told = again.events_to_the_end().await;
    assert_eq!(told[0].1["code"], "quarantined", "{told:?}");

    let pardon = json!({"identity": "user:eve"});
    assert_eq!(operator.ask("lift", &pardon).await, json!({"ok": true, "identity": "user:eve"}));
    assert_eq!(named(&server, "user:eve").await.1, Value::Null);
    let error = operator.ask("lift", &pardon).await["error"].take();
    assert_eq!((&error["code"], &error["field"]), (&json!("not_found"), &json!("identity")));
    assert_eq!(bob.ask("echo", &json!("here")).await, "here");
    server.stop().await;
}

#[tokio::test]
async fn operators_cannot_lock_themselves_out_and_are_told_what_is_wrong() {
    let server = TestServer::start(&[]).await;
    let mut operator = server.client("/admin").await;
    for (event, payload, code, field) in [
        ("quarantine", json!({"identity": "127.0.0.1", "ms": 1_000}), "refused", "identity"),
        ("quarantine", json!({"identity": "127.0.0.1:80", "ms": 1_000}), "invalid", "identity"),
        ("quarantine", json!({"identity": "user:eve", "ms": 0}), "invalid", "ms"),
        ("quarantine", json!({"identity": "user:eve", "ms": "long"}), "malformed", "ms"),
        ("lift", json!({}), "malformed", "identity"),
        ("reset_breaker", json!({"namespace": "/"}), "malformed", "event"),
        ("reset_breaker", json!({"namespace": "/", "event": "chat"}), "not_found", "event"),
    ] {
        let error = operator.ask(event, &payload).await["error"].take();
        assert_eq!((&error["code"], &error["field"]), (&json!(code), &json!(field)), "{event} {payload}");
    }
    server.stop().await;
}

#[tokio::test]
async fn operators_switch_an_event_on_again() {
    let server = TestServer::start(&["server.lab=true"]).await;
    let mut operator = server.client("/admin").await;
    for name in ["user:one", "user:two", "user:three"] {
        let (mut client, _) = named(&server, name).await;
        client.emit("panic_drop", &json!({})).await;
        client.events_to_the_end().await;
    }
    let activity = json!({"kind": "event", "namespace": "/lab", "name": "panic_drop"});
    let breaker = soon("the breaker", async {
        loop {
            let reply = operator.ask_raw("breakers", r#"["breakers"]"#).await;
            let breakers = reply["breakers"].as_array().expect("a list").clone();
            if let Some(breaker) = breakers.into_iter().find(|breaker| breaker["activity"] == activity) {
                break breaker;
            }
        }
    })
    .await;
    assert_eq!(breaker["phase"], "open");
    let (mut client, _) = named(&server, "user:four").await;
    let refused = client.ask("panic_drop", &json!({})).await;
    assert_eq!(refused["code"], "breaker_open", "{refused}");

    let reset = json!({"namespace": "/lab", "event": "panic_drop"});
    let done = json!({"ok": true, "namespace": "/lab", "event": "panic_drop"});
    assert_eq!(operator.ask("reset_breaker", &reset).await, done);
    assert_eq!(operator.ask("reset_breaker", &reset).await["error"]["code"], "not_found");
    client.emit("panic_drop", &json!({})).await;
    assert_eq!(client.events_to_the_end().await[0].1["code"], "panic", "it runs again");
    server.stop().await;
}
