use serde_json::{Value, json};

use crate::{
    client::{Client, TestServer},
    program::lab,
};

async fn join(client: &mut Client, room: &str, name: &str) -> Value {
    client.ask("join", &json!({"room": room, "name": name})).await
}

#[tokio::test]
async fn players_meet_talk_and_part() {
    let server = TestServer::start(&[]).await;
    let (mut ada, mut bob) = (server.client("/").await, server.client("/").await);

    let joined = join(&mut ada, "lobby", "Ada").await;
    let ada_player = joined["player"].clone();
    assert_eq!(ada_player["name"], "Ada");
    assert_eq!(
        joined,
        json!({"ok": true, "room": "lobby", "player": ada_player, "players": 1, "members": [ada_player]})
    );

    let joined = join(&mut bob, "lobby", "Bob").await;
    let bob_player = joined["player"].clone();
    assert_eq!(joined["members"], json!([ada_player, bob_player]));
    let presence = json!({"room": "lobby", "joined": bob_player, "players": 2});
    assert_eq!(ada.event().await, ("presence".to_owned(), presence));

    assert_eq!(
        bob.ask("chat", &json!({"room": "lobby", "text": "hi"})).await,
        json!({"ok": true, "room": "lobby"})
    );
    let said = json!({"room": "lobby", "player": bob_player, "text": "hi"});
    assert_eq!(ada.event().await, ("chat".to_owned(), said));

    bob.emit("move", &json!({"room": "lobby", "x": 1.5, "y": -2})).await;
    let moved = json!({"room": "lobby", "player": bob_player, "x": 1.5, "y": -2.0});
    assert_eq!(ada.event().await, ("move".to_owned(), moved));

    // Joining again changes the name and tells nobody.
    let again = join(&mut bob, "lobby", "Rob").await;
    let rob_player = json!({"id": bob_player["id"], "name": "Rob"});
    assert_eq!(again["player"], rob_player);
    let present = ada.ask("presence", &json!({"room": "lobby"})).await;
    assert_eq!(
        present,
        json!({"ok": true, "room": "lobby", "players": 2, "members": [ada_player, rob_player]})
    );

    assert_eq!(bob.ask("leave", &json!({"room": "lobby"})).await["ok"], true);
    let presence = json!({"room": "lobby", "left": rob_player, "players": 1});
    assert_eq!(ada.event().await, ("presence".to_owned(), presence));
    let of_bob = server.shared.connections.list().into_iter().find(|info| info.id == bob.id);
    assert_eq!(of_bob.expect("Bob is connected").rooms, [""; 0]);
    server.stop().await;
}

#[tokio::test]
async fn a_player_who_disconnects_leaves_all_rooms() {
    let server = TestServer::start(&[]).await;
    let (mut ada, mut bob) = (server.client("/").await, server.client("/").await);
    for room in ["one", "two"] {
        join(&mut ada, room, "Ada").await;
        join(&mut bob, room, "Bob").await;
        assert_eq!(ada.event().await.0, "presence");
    }
    bob.close().await;
    for room in ["one", "two"] {
        let (event, presence) = ada.event().await;
        assert_eq!(
            (event.as_str(), &presence["room"], &presence["left"]["name"]),
            ("presence", &json!(room), &json!("Bob"))
        );
        assert_eq!(presence["players"], 1);
    }
    server.wait_for_connections(1).await;
    let list = server.shared.connections.list();
    assert_eq!(list[0].id, ada.id);
    assert_eq!(list[0].rooms, ["one", "two"]);
    server.stop().await;
}

#[tokio::test]
async fn other_players_do_not_learn_a_sockets_id() {
    let server = TestServer::start(&[]).await;
    let (mut ada, mut bob) = (server.client("/").await, server.client("/").await);
    join(&mut ada, "lobby", "Ada").await;
    let joined = join(&mut bob, "lobby", "Bob").await;
    assert!(!joined.to_string().contains(&ada.id));
    assert!(!ada.event().await.1.to_string().contains(&bob.id));
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_answered_with_why() {
    let server = TestServer::start(&[]).await;
    let mut ada = server.client("/").await;
    let mut error = async |event: &str, arguments: &str| {
        let reply = ada.ask_raw(event, arguments).await;
        assert_eq!(reply["ok"], false, "{event} {arguments}");
        let error = &reply["error"];
        (
            error["code"].as_str().unwrap_or_default().to_owned(),
            error["field"].as_str().unwrap_or_default().to_owned(),
        )
    };
    for (event, arguments, code, field) in [
        ("join", r#"["join"]"#, "malformed", ""),
        ("join", r#"["join",null]"#, "malformed", ""),
        ("join", r#"["join","lobby"]"#, "malformed", ""),
        ("join", r#"["join",{}]"#, "malformed", "room"),
        ("join", r#"["join",{"room":5}]"#, "malformed", "room"),
        ("join", r#"["join",{"room":"a b"}]"#, "invalid", "room"),
        ("join", r#"["join",{"room":"a","name":""}]"#, "invalid", "name"),
        ("chat", r#"["chat",{"room":"a","text":"x"}]"#, "not_in_room", "room"),
        ("move", r#"["move",{"room":"a","x":1,"y":1e999}]"#, "malformed", ""),
        ("leave", r#"["leave",{"room":"a"}]"#, "not_in_room", "room"),
        ("presence", r#"["presence",{"room":""}]"#, "invalid", "room"),
        ("dance", r#"["dance",{}]"#, "unknown_event", ""),
    ] {
        assert_eq!(error(event, arguments).await, (code.to_owned(), field.to_owned()), "{arguments}");
    }

    for room in 0..32 {
        assert_eq!(join(&mut ada, &room.to_string(), "Ada").await["ok"], true);
    }
    assert_eq!(join(&mut ada, "32", "Ada").await["error"]["code"], "too_many_rooms");
    server.stop().await;
}

/// A player's typing mistakes are forgiven; a client that sends nothing else is not one.
#[tokio::test]
async fn nonsense_is_refused_then_warned_about_and_then_ends() {
    let (_running, address) = lab(&[]);
    let mut ada = Client::open(address, &[]).await;
    ada.enter("/", &json!({})).await.expect("the namespace is open");
    for _ in 0..15 {
        assert_eq!(ada.ask("chat", &json!({"room": "never joined", "text": ""})).await["ok"], false);
    }
    for _ in 0..20 {
        ada.emit("dance", &json!({})).await;
    }
    let told: Vec<_> = ada
        .events_to_the_end()
        .await
        .into_iter()
        .map(|(event, told)| (event, told["code"].clone()))
        .collect();
    let [(warning, _), (incident, code)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((warning.as_str(), incident.as_str(), code), ("warning", "incident", &json!("protocol")));
}

/// Handlers run in tasks of their own: without [`ordered`](game_admin_backend::namespaces::ordered) some of these
/// arrive out of order, and the first are refused because the join is not done yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_are_handled_in_the_order_they_were_sent() {
    const ROUNDS: usize = 50;
    // Fewer than the send buffer of a connection holds: what finds no place in it is lost.
    const MESSAGES: usize = 100;

    let server = TestServer::start(&[]).await;
    let mut ada = server.client("/").await;
    for round in 0..ROUNDS {
        let room = format!("room-{round}");
        let mut bob = server.client("/").await;
        join(&mut ada, &room, "Ada").await;
        bob.emit("join", &json!({"room": room})).await;
        for number in 0..MESSAGES {
            bob.emit("chat", &json!({"room": room, "text": number.to_string()})).await;
        }
        assert_eq!(ada.event().await.1["players"], 2);
        for number in 0..MESSAGES {
            assert_eq!(ada.event().await.1["text"], json!(number.to_string()), "round {round}");
        }
        bob.close().await;
        assert_eq!(ada.event().await.1["players"], 1);
        ada.ask("leave", &json!({"room": room})).await;
    }
    server.stop().await;
}
