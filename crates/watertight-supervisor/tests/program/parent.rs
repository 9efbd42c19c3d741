//! The parent: settings from `TRIAL_SETTINGS` (`name=value` separated by blanks), and one line to standard output for whatever
//! happens.

use std::{env, process::ExitCode, time::Duration};

use watertight_supervisor::{
    EXIT_OS, Exceeded, Happening, RestartPolicy, SuperviseError, Supervisor, SupervisorSettings,
};

use crate::{board::Boards, say};

struct Settings(String);

impl Settings {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.value(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    fn millis(&self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.number(name, default))
    }
}

pub(crate) fn run() -> ExitCode {
    match supervise() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(EXIT_OS)
        }
    }
}

fn supervise() -> Result<ExitCode, SuperviseError> {
    let given = Settings(env::var("TRIAL_SETTINGS").unwrap_or_default());
    let restart = RestartPolicy::default()
        .backoff(given.millis("base", 10), given.millis("cap", 100))
        .intensity(
            u32::try_from(given.number("restarts", 100)).unwrap_or(100),
            given.millis("period", 60_000),
        )
        .when_exceeded(if given.value("exceeded") == Some("exit") { Exceeded::Exit } else { Exceeded::Wait });
    let settings = match given.value("program") {
        Some(program) => SupervisorSettings::program(program),
        None => SupervisorSettings::this_program()?,
    };
    let mut settings = settings
        .restart(restart)
        .ready_timeout(given.millis("ready", 20_000))
        .drain_timeout(given.millis("drain", 10_000))
        .wedge_limit(given.millis("wedge", 10_000));
    if given.value("ready_after").is_some() {
        settings = settings.ready_after(given.millis("ready_after", 0));
    }
    for _ in 0..given.number("listeners", 1) {
        settings = settings.listen(([127, 0, 0, 1], 0).into());
    }
    if given.value("subreaper").is_some() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| SuperviseError::OwnPath(error.into()))?;
    }
    let supervisor =
        Supervisor::new(settings)?.observer(|happening: &Happening| say(&format!("{happening:?}")));
    let supervisor =
        if given.value("board").is_some() { supervisor.black_box(Boards::default()) } else { supervisor };
    let outcome = supervisor.run()?;
    say(&format!("outcome: {outcome:?}"));
    Ok(outcome.into())
}
