//! What is out of the ordinary is known to be, whatever else was so before. In a process of its own, since it is counted for the
//! whole process.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use watertight::{
    Activity, ActivityKind, Admission, BreakerSettings, Breakers, Identity, Notice, Registry, SealMode,
    Watertight, admission,
};

static INSTALLED: LazyLock<&Watertight> = LazyLock::new(|| {
    Watertight::builder().install().expect("the first of this process");
    watertight::installed().expect("it is installed")
});

#[test]
fn who_was_forgotten_is_known_to_have_been_whoever_else_was() {
    let registry = Registry::global();
    let [first, second, third] = [(); 3].map(|()| registry.open(None));
    let is_forgotten = || [&first, &second, &third].map(|lease| lease.is_forgotten());
    assert_eq!(is_forgotten(), [false, false, false]);
    registry.forget(&first);
    assert_eq!(is_forgotten(), [true, false, false]);
    registry.forget(&second);
    // Once more changes nothing.
    registry.forget(&second);
    assert_eq!(is_forgotten(), [true, true, false]);
    // A session that is named after all.
    assert!(registry.name(&second, "second"));
    assert_eq!(is_forgotten(), [true, false, false]);
    registry.forget(&second);

    drop(second);
    let fourth = registry.open(None);
    assert!(first.is_forgotten());
    assert!(!third.is_forgotten() && !fourth.is_forgotten());
    assert!(third.is_live() && first.is_live(), "nobody has sealed it");
}

#[tokio::test]
async fn who_is_sealed_is_not_live_whoever_else_was() {
    let registry = Registry::global();
    let [first, second, third] = [(); 3].map(|()| registry.open(None));
    let seal = async |lease: &watertight::Lease| {
        let sealing = INSTALLED.seal(lease, Notice::new("test", "sealed by a test"), SealMode::Disconnect);
        tokio::time::timeout(Duration::from_secs(10), sealing).await.expect("it has no parts");
    };
    seal(&first).await;
    assert!(!first.is_live() && second.is_live() && third.is_live());
    // Whoever comes too late changes nothing.
    seal(&first).await;
    seal(&second).await;
    drop(second);
    assert!(!first.is_live() && third.is_live());
    drop(first);
    assert!(third.is_live());
    seal(&third).await;
    assert!(!third.is_live());
}

/// Has clients crash in `activity` until it is off.
fn switch_off(breakers: &Breakers, activity: &Activity) {
    let crashes = (0..).map(|number| Identity::named(format!("user:{number}")));
    let tripped = crashes.take(100).find_map(|who| breakers.fault(activity, &who, Instant::now()));
    assert!(tripped.is_some());
}

#[test]
fn an_activity_that_is_off_stays_off_whatever_other_breakers_say() {
    let ours = INSTALLED.breakers();
    let [chat, move_to] = ["chat", "move"].map(|name| Activity::new(ActivityKind::Event, "/", name));
    let is_off = |activity| matches!(admission(activity), Admission::Refused { .. });
    assert!(!is_off(&chat));
    switch_off(ours, &chat);
    assert!(is_off(&chat) && !is_off(&move_to));

    let others = Breakers::new(BreakerSettings::new());
    switch_off(&others, &chat);
    switch_off(&others, &move_to);
    assert!(!is_off(&move_to), "only the installed ones are asked");
    assert!(others.reset(&move_to));
    drop(others);
    assert!(is_off(&chat));
    switch_off(ours, &move_to);
    assert!(ours.reset(&chat));
    assert!(!is_off(&chat) && is_off(&move_to));
    assert!(ours.reset(&move_to));
    assert!(!is_off(&move_to));
}
