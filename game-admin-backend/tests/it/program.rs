//! The program itself, as a process of its own.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_game-admin-backend"));
    command.args(arguments).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_ascii_uppercase().starts_with("WATERTIGHT_") {
            command.env_remove(name);
        }
    }
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    (status.code(), String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

/// Ends the process with the test, whatever becomes of the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts the program and waits until it is ready; answers its address too.
pub(crate) fn start(arguments: &[&str]) -> (Running, String) {
    let child =
        program(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.as_mut().expect("piped")).read_line(&mut line).expect("text");
    let address =
        line.trim_end().strip_prefix("listening on http://").unwrap_or_else(|| panic!("it says {line:?}"));
    let address = address.to_owned();
    (running, address)
}

/// The program with its lab. Faults are provoked here from one address, which must not be refused for that.
pub(crate) fn lab(arguments: &[&str]) -> (Running, SocketAddr) {
    let always = ["--port", "0", "--lab", "--quarantine", "off", "--breakers", "off"];
    let (running, address) = start(&[&always, arguments].concat());
    (running, address.parse().expect("an address"))
}

#[test]
fn check_config_prints_every_setting_and_its_origin() {
    let mut command = program(&["check-config", "--port", "0"]);
    let (code, stdout, stderr) = output(command.env("WATERTIGHT_ADMIN__TOKEN", "open sesame"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("listen = \"127.0.0.1:0\""), "{stdout}");
    assert!(stdout.contains("# flag --port; allowed:"), "{stdout}");
    assert!(stdout.contains("# environment variable WATERTIGHT_ADMIN__TOKEN;"), "{stdout}");
    assert!(!stdout.contains("sesame"), "{stdout}");
}

#[test]
fn wrong_settings_end_with_2_and_say_each_problem() {
    for command in ["check-config", "serve"] {
        let (code, stdout, stderr) =
            output(&mut program(&[command, "--set", "recovery.grace_ms=-1", "--set", "recovery.garce_ms=1"]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert_eq!(
            stderr,
            "error: there is no setting recovery.garce_ms (flag --set); did you mean recovery.grace_ms?\n\
             error: recovery.grace_ms = \"-1\" (flag --set) is out of bounds; allowed: 0 to 10000 ms\n"
        );
    }
    let (code, _, stderr) = output(&mut program(&["--prot", "1"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--prot") && stderr.contains("--port"), "{stderr}");
}

#[test]
fn settings_that_exclude_each_other_end_with_2_whatever_was_asked() {
    for command in ["check-config", "serve"] {
        let arguments = ["--set", "detection.disconnect_score=5", "--set", "recovery.quarantine_cap_ms=100"];
        let (code, stdout, stderr) = output(program(&[command]).args(arguments));
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert_eq!(
            stderr,
            "error: detection.warn_score = 10 (default) must not be larger than detection.disconnect_score = 5 \
             (flag --set)\n\
             error: recovery.quarantine_base_ms = 10000 (default) must not be larger than \
             recovery.quarantine_cap_ms = 100 (flag --set)\n"
        );
    }
}

#[test]
fn an_address_in_use_is_named_with_a_remedy() {
    let (_running, address) = start(&["--port", "0"]);
    let (code, stdout, stderr) = output(&mut program(&["--listen", &address]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with(&format!("error: cannot listen on {address}: another program listens there;")),
        "{stderr}"
    );
    assert!(stderr.contains("--port"), "{stderr}");
}

/// `kill` is asked to send the signal, because the standard library cannot.
#[cfg(unix)]
#[test]
fn a_signal_ends_it_well() {
    for signal in ["INT", "TERM"] {
        let (mut running, _) = start(&["--port", "0", "--log-format", "json"]);
        let sent = Command::new("kill")
            .args(["-s", signal, &running.0.id().to_string()])
            .status()
            .expect("kill exists");
        assert!(sent.success());
        assert_eq!(running.0.wait().expect("it ends").code(), Some(0));
        let mut log = String::new();
        running.0.stderr.as_mut().expect("piped").read_to_string(&mut log).expect("text");
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).expect("one JSON object per line")).collect();
        assert!(lines.iter().any(|line| line["message"] == "the server has stopped"), "{log}");
    }
}
