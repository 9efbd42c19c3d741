use super::*;
use crate::{settings::LogFormat, test_log::capture};

/// Writes down what it is asked to end.
#[derive(Default)]
struct Witness {
    asked: Mutex<Vec<(String, Cause, String)>>,
    stuck: bool,
}

impl Disconnector for Witness {
    fn disconnect(&self, socket_id: &str, cause: Cause, reason: &str) -> Result<(), DisconnectError> {
        self.asked.lock().push((socket_id.to_owned(), cause, reason.to_owned()));
        if self.stuck {
            return Err(DisconnectError::Stuck {
                socket_id: socket_id.to_owned(),
                detail: "full".to_owned(),
            });
        }
        Ok(())
    }
}

fn manager() -> (Arc<Witness>, ConnectionManager) {
    let witness = Arc::new(Witness::default());
    (witness.clone(), ConnectionManager::with_capacity(2, witness))
}

#[test]
fn a_connection_is_listed_with_its_namespaces_and_rooms() {
    let (_, manager) = manager();
    let peer = "10.0.0.1:5000".parse().ok();
    manager.connected("b", "/", peer).expect("there is room");
    manager.connected("b", "/admin", peer).expect("it is the same connection");
    manager.connected("a", "/", None).expect("there is room");
    assert_eq!(manager.joins("b", "/", "lobby"), Ok(true));
    assert_eq!(manager.joins("b", "/", "arena"), Ok(true));
    assert_eq!(manager.joins("b", "/", "arena"), Ok(false));
    manager.left("b", "/", "lobby");

    let list = manager.list();
    assert_eq!(list.iter().map(|info| info.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(list[1].namespaces, ["/", "/admin"]);
    assert_eq!(list[1].rooms, ["arena"]);
    assert_eq!(list[1].peer, peer);
    assert!(list[1].connected_since_ms > 1_700_000_000_000);
    assert_eq!(list[1].problematic, None);
    assert_eq!(manager.page(Some("a"), 10), list[1..]);
    assert_eq!(manager.page(None, 1), list[..1]);
}

#[test]
fn a_connection_is_forgotten_with_its_last_namespace() {
    let (_, manager) = manager();
    manager.connected("a", "/", None).expect("there is room");
    manager.connected("a", "/admin", None).expect("there is room");
    assert_eq!(manager.joins("a", "/", "lobby"), Ok(true));

    assert_eq!(manager.disconnected("a", "/"), ["lobby"]);
    assert_eq!(manager.count(), 1);
    assert_eq!(manager.disconnected("a", "/"), [""; 0]);
    assert_eq!(manager.disconnected("a", "/admin"), [""; 0]);
    assert_eq!(manager.count(), 0);
    assert_eq!(manager.joins("a", "/", "lobby"), Err(JoinRefusal::NotConnected));
    assert_eq!(manager.count(), 0);
}

#[test]
fn a_socket_is_in_a_bounded_number_of_rooms() {
    let (_, manager) = manager();
    manager.connected("a", "/", None).expect("there is room");
    for room in 0..ConnectionManager::MAX_ROOMS {
        assert_eq!(manager.joins("a", "/", &room.to_string()), Ok(true));
    }
    assert_eq!(manager.joins("a", "/", "one more"), Err(JoinRefusal::TooManyRooms));
    assert_eq!(manager.joins("a", "/", "0"), Ok(false));
    manager.left("a", "/", "0");
    assert_eq!(manager.joins("a", "/", "one more"), Ok(true));
}

#[test]
fn a_full_manager_takes_no_new_connection() {
    let (_, manager) = manager();
    manager.connected("a", "/", None).expect("there is room");
    manager.connected("b", "/", None).expect("there is room");
    assert_eq!(manager.connected("c", "/", None), Err(Full { capacity: 2 }));
    assert_eq!(manager.connected("b", "/admin", None), Ok(()));
    assert_eq!(manager.count(), 2);
    manager.disconnected("a", "/");
    assert_eq!(manager.connected("c", "/", None), Ok(()));
}

#[test]
fn only_a_marked_socket_should_be_disconnected_and_is() {
    let (witness, manager) = manager();
    manager.connected("a", "/", None).expect("there is room");
    manager.connected("b", "/", None).expect("there is room");
    assert!(!manager.should_disconnect_socket("a"));

    manager.mark_problematic_socket("a", "floods").expect("it is connected");
    assert!(manager.should_disconnect_socket("a"));
    assert!(!manager.should_disconnect_socket("b"));
    assert_eq!(manager.list()[0].problematic.as_deref(), Some("floods"));
    assert_eq!(*witness.asked.lock(), [("a".to_owned(), Cause::Problematic, "floods".to_owned())]);

    manager.disconnected("a", "/");
    assert!(!manager.should_disconnect_socket("a"));
}

#[test]
fn a_mark_logs_two_lines_once_and_retries_the_disconnection() {
    let witness = Arc::new(Witness { stuck: true, ..Witness::default() });
    let manager = ConnectionManager::new(witness.clone());
    manager.connected("a", "/", None).expect("there is room");
    let log = capture(LogFormat::Human, || {
        for _ in 0..2 {
            let error = manager.mark_problematic_socket("a", "floods").expect_err("it is stuck");
            assert_eq!(error.to_string(), "socket a cannot be disconnected: full");
        }
    });

    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        lines[0].contains("WARN")
            && lines[0].contains("⚠️ Marking socket a as problematic for disconnection")
    );
    assert!(lines[1].contains("🔌 Socket a marked for disconnection due to problematic behavior"));
    assert!(lines[1].contains("reason=\"floods\""));
    assert_eq!(witness.asked.lock().len(), 2);
    assert!(manager.should_disconnect_socket("a"));
}

#[test]
fn an_unknown_socket_cannot_be_marked_or_kicked() {
    let (witness, manager) = manager();
    let error = Err(DisconnectError::NotConnected { socket_id: "x".to_owned() });
    assert_eq!(manager.mark_problematic_socket("x", ""), error);
    assert_eq!(manager.kick("x", ""), error);
    assert!(!manager.should_disconnect_socket("x"));
    assert_eq!(manager.count(), 0);
    assert!(witness.asked.lock().is_empty());
}

#[test]
fn a_kick_disconnects_without_a_mark_and_with_a_bounded_reason() {
    let (witness, manager) = manager();
    manager.connected("a", "/", None).expect("there is room");
    manager.kick("a", &"ü".repeat(5_000)).expect("it is connected");
    assert!(!manager.should_disconnect_socket("a"));
    let asked = witness.asked.lock();
    assert_eq!(asked[0].1, Cause::Kicked);
    assert_eq!(asked[0].2.chars().count(), LONGEST_REASON);
}
