//! The declarations: every setting with its documentation, type, default and bounds.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    catalogue::Setting,
    kind::Kind,
    values::{Allowed, EventDeadline, FailEvent, LogFormat, Network, Secret},
};

/// Declares one section: the struct with its defaults, and the entries of the catalogue, from the same lines.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        [$section:ident] $Section:ident {
            $( $(#[doc = $about:literal])+ $name:ident: $type:ty = $default:expr, $kind:expr; )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $Section {
            $( $(#[doc = $about])+ pub $name: $type, )+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $( $name: $default, )+ }
            }
        }

        impl $Section {
            pub(super) const CATALOGUE: &'static [Setting] = &[$( Setting {
                section: stringify!($section),
                key: concat!(stringify!($section), ".", stringify!($name)),
                about: concat!($( $about, )+),
                kind: $kind,
            }, )+];
        }
    };
}

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;

section! {
    /// Where and how the server listens, and how it stops.
    [server] Server {
        /// The address to listen on, as IP:PORT. Port 0 takes a free one, which is printed.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 3002)), Kind::Address;
        /// Opens the namespaces of real faults for drills. Never in production.
        lab: bool = false, Kind::Switch;
        /// Time between two pings to a client.
        ping_interval_ms: u64 = 25 * SECOND_MS, Kind::milliseconds(100, 10 * MINUTE_MS);
        /// Time that a client has to answer a ping before it counts as gone.
        ping_timeout_ms: u64 = 20 * SECOND_MS, Kind::milliseconds(100, 10 * MINUTE_MS);
        /// Time that a client has to join its first namespace after it has opened a connection.
        connect_timeout_ms: u64 = 45 * SECOND_MS, Kind::milliseconds(100, 10 * MINUTE_MS);
        /// Largest message that a client may send, and largest answer to one polling request.
        max_payload_bytes: u64 = 100_000, Kind::bytes(1_024, 64 * 1_024 * 1_024);
        /// Whether handlers run on threads of their own (lanes), so that one that blocks its thread is felt by nobody else.
        lanes: bool = true, Kind::Switch;
        /// How many lane threads are kept free of handlers that block; 0 is one for each processor.
        lane_threads: u32 = 0, Kind::count(0, 1_024);
        /// How many further lane threads may be started while handlers block the others.
        lane_spares: u32 = 64, Kind::count(0, 4_096);
        /// Reverse proxies whose X-Forwarded-For is believed, each an address or a network such as 10.0.0.0/8.
        trusted_proxies: Vec<Network> = Vec::new(), Kind::Networks { max_entries: 1_024 };
        /// Longest time that a shutdown may take to tell and close all clients.
        drain_timeout_ms: u64 = 10 * SECOND_MS, Kind::milliseconds(0, 10 * MINUTE_MS);
    }
}

section! {
    /// Who may act as an operator.
    [admin] Admin {
        /// What an operator must present to enter the namespace /admin. Without it only this machine may enter.
        token: Option<Secret> = None, Kind::Secret { min_chars: 8, max_chars: 256 };
    }
}

section! {
    /// What counts as a fault, and what a client is told of it.
    [detection] Detection {
        /// Whether the text of a panic is sent to the client that it happened to.
        expose_details: bool = false, Kind::Switch;
        /// Events whose panic fails that one event instead of the socket, each as "NAMESPACE EVENT".
        fail_events: Vec<FailEvent> = Vec::new(), Kind::Events { max_entries: 1_024 };
        /// Time after which a handler that still runs is cancelled and its socket disconnected; 0 is never.
        handler_deadline_ms: u64 = 30 * SECOND_MS, Kind::milliseconds(0, 24 * 60 * MINUTE_MS);
        /// Other deadlines, each as "NAMESPACE EVENT TIME"; * is every event, 0ms no deadline.
        deadlines: Vec<EventDeadline> = Vec::new(), Kind::Deadlines { max_entries: 1_024 };
        /// Time after which a handler that blocks its thread is logged, while it still does.
        stall_warn_ms: u64 = 250, Kind::milliseconds(20, 60 * MINUTE_MS);
        /// Time after which the socket of a handler that blocks its thread is disconnected.
        stall_limit_ms: u64 = 2 * SECOND_MS, Kind::milliseconds(20, 60 * MINUTE_MS);
        /// Whether a stall is recorded with the stack of its thread, where the platform allows.
        stall_stacks: bool = true, Kind::Switch;
        /// How many messages one client may send each second; more are answered with an error and scored. 0 is any number.
        messages_per_second: u32 = 5_000, Kind::count(0, 1_000_000);
        /// How many messages one client may send at once.
        message_burst: u32 = 10_000, Kind::count(1, 1_000_000);
        /// How many bytes one client may send each second; 0 is any number.
        bytes_per_second: u32 = 16 * 1_024 * 1_024, Kind::count(0, 100_000_000);
        /// How many bytes one client may send at once.
        byte_burst: u32 = 32 * 1_024 * 1_024, Kind::count(1, 100_000_000);
        /// Whether misbehaviour (floods, unknown events, slow reads and the like) is scored.
        conduct: bool = true, Kind::Switch;
        /// Score at which a client is warned.
        warn_score: u32 = 10, Kind::count(1, 1_000_000);
        /// Score at which it is disconnected.
        disconnect_score: u32 = 20, Kind::count(1, 1_000_000);
        /// Score at which it is quarantined as well.
        quarantine_score: u32 = 40, Kind::count(1, 1_000_000);
        /// How many failed events one socket is forgiven; the next panic disconnects it.
        fail_event_limit: u32 = 3, Kind::count(0, 1_000_000);
    }
}

section! {
    /// How a socket with a fault is disconnected and cleaned up.
    [recovery] Recovery {
        /// Time that a client gets to receive its incident before its transport is closed.
        grace_ms: u64 = 300, Kind::milliseconds(0, 10 * SECOND_MS);
        /// Time without a new incident after which recovery mode ends.
        quiet_period_ms: u64 = MINUTE_MS, Kind::milliseconds(100, 60 * MINUTE_MS);
        /// Time after which a socket leaves its rooms and namespaces although its disconnect handler still runs.
        disconnect_cleanup_ms: u64 = 500, Kind::milliseconds(1, MINUTE_MS);
        /// Time after which a disconnect handler that still runs is cancelled.
        disconnect_deadline_ms: u64 = 30 * SECOND_MS, Kind::milliseconds(1, 10 * MINUTE_MS);
        /// Whether identities with repeated faults are refused for a while.
        quarantine: bool = true, Kind::Switch;
        /// How many faults within the window quarantine an identity; an address alone needs at least 2.
        quarantine_strikes: u32 = 2, Kind::count(1, 100);
        /// Time within which faults of one identity count together.
        quarantine_window_ms: u64 = MINUTE_MS, Kind::milliseconds(1_000, 24 * 60 * MINUTE_MS);
        /// How long the first quarantine of an identity lasts; each further one lasts twice as long.
        quarantine_base_ms: u64 = 10 * SECOND_MS, Kind::milliseconds(100, 24 * 60 * MINUTE_MS);
        /// How long a quarantine lasts at most.
        quarantine_cap_ms: u64 = 60 * MINUTE_MS, Kind::milliseconds(100, 30 * 24 * 60 * MINUTE_MS);
        /// Who is never quarantined: addresses, networks, and names as the application gives them.
        quarantine_allow: Vec<Allowed> = Vec::new(), Kind::Identities { max_entries: 1_024 };
        /// Whether an event in which different clients crash is switched off for everyone for a while.
        breakers: bool = true, Kind::Switch;
        /// How many different identities have to crash in it.
        breaker_identities: u32 = 3, Kind::count(2, 1_000);
        /// Time within which they count together.
        breaker_window_ms: u64 = MINUTE_MS, Kind::milliseconds(1_000, 24 * 60 * MINUTE_MS);
        /// How long it is switched off before one client may try it; twice as long after each failed try, at most 10 min.
        breaker_open_ms: u64 = 30 * SECOND_MS, Kind::milliseconds(100, 10 * MINUTE_MS);
        /// What a disconnected client is told to wait before it connects again.
        retry_after_ms: u64 = SECOND_MS, Kind::milliseconds(0, 10 * MINUTE_MS);
    }
}

section! {
    /// How connections are watched and how many incidents are remembered.
    [monitoring] Monitoring {
        /// Time between two sweeps: log summaries, seals that are overdue, and in recovery mode connections that nobody ended.
        sweep_interval_ms: u64 = SECOND_MS, Kind::milliseconds(10, MINUTE_MS);
        /// How many of the latest incidents are kept in memory.
        incident_history: u32 = 1_024, Kind::count(1, 100_000);
    }
}

section! {
    /// How the parent process starts the server again when that dies.
    [supervisor] Supervisor {
        /// Whether a small parent process holds the address and starts the server again when it dies.
        enabled: bool = true, Kind::Switch;
        /// The longest wait before the second restart; the first is immediate, and each further one may wait twice as long.
        restart_base_ms: u64 = 100, Kind::milliseconds(1, 10 * MINUTE_MS);
        /// The longest wait before any restart.
        restart_cap_ms: u64 = 30 * SECOND_MS, Kind::milliseconds(1, 60 * MINUTE_MS);
        /// How many restarts within the period are not too many.
        restarts: u32 = 5, Kind::count(1, 1_000);
        /// Time within which restarts count together.
        restart_period_ms: u64 = MINUTE_MS, Kind::milliseconds(100, 24 * 60 * MINUTE_MS);
        /// Time that a server has to live for its predecessors' deaths to be forgotten.
        restart_reset_ms: u64 = MINUTE_MS, Kind::milliseconds(100, 24 * 60 * MINUTE_MS);
        /// Whether too many restarts end the parent, with exit code 70, for its service manager to decide; else it goes on.
        give_up: bool = false, Kind::Switch;
        /// Time that a server has to become ready.
        ready_timeout_ms: u64 = 30 * SECOND_MS, Kind::milliseconds(100, 60 * MINUTE_MS);
        /// Time without an answer of the server's threads after which it is aborted and started again.
        wedge_limit_ms: u64 = 10 * SECOND_MS, Kind::milliseconds(500, 60 * MINUTE_MS);
        /// Where a minidump of each crash is written, for a debugger; without it none is. The latest 16 are kept. Linux only.
        minidumps: Option<PathBuf> = None, Kind::Directory;
        /// How many connections are accepted each second after a death; 0 is any number.
        accepts_per_second: u32 = 2_000, Kind::count(0, 1_000_000);
        /// How long after a death they are accepted at that pace.
        accept_pace_ms: u64 = 10 * SECOND_MS, Kind::milliseconds(0, 10 * MINUTE_MS);
    }
}

section! {
    /// How the server logs, always to standard error.
    [logging] Logging {
        /// How a line looks: for people, or one JSON object per line.
        format: LogFormat = LogFormat::Human, Kind::Choice(LogFormat::NAMES);
        /// The lowest level to log, alone or per target: "info" or "warn,game_admin_backend=debug".
        level: String = "info".to_owned(), Kind::Filter;
        /// How many incidents from one location are logged each second; more are summed up in one line.
        storm_limit_per_second: u32 = 20, Kind::count(1, 100_000);
    }
}

/// Gives each setting in milliseconds a method that answers a [`Duration`].
macro_rules! durations {
    ($Section:ident { $( $method:ident = $field:ident; )+ }) => {
        impl $Section {
            $(
                #[doc = concat!("[`", stringify!($field), "`](Self::", stringify!($field), ") as a duration.")]
                #[must_use]
                pub fn $method(&self) -> Duration {
                    Duration::from_millis(self.$field)
                }
            )+
        }
    };
}

durations! { Server {
    ping_interval = ping_interval_ms;
    ping_timeout = ping_timeout_ms;
    connect_timeout = connect_timeout_ms;
    drain_timeout = drain_timeout_ms;
} }
durations! { Recovery {
    grace = grace_ms;
    quiet_period = quiet_period_ms;
    disconnect_cleanup = disconnect_cleanup_ms;
    disconnect_deadline = disconnect_deadline_ms;
    retry_after = retry_after_ms;
    quarantine_window = quarantine_window_ms;
    quarantine_base = quarantine_base_ms;
    quarantine_cap = quarantine_cap_ms;
    breaker_window = breaker_window_ms;
    breaker_open = breaker_open_ms;
} }
durations! { Detection {
    handler_deadline = handler_deadline_ms;
    stall_warn = stall_warn_ms;
    stall_limit = stall_limit_ms;
} }
durations! { Supervisor {
    restart_base = restart_base_ms;
    restart_cap = restart_cap_ms;
    restart_period = restart_period_ms;
    restart_reset = restart_reset_ms;
    ready_timeout = ready_timeout_ms;
    wedge_limit = wedge_limit_ms;
    accept_pace = accept_pace_ms;
} }
durations! { Monitoring { sweep_interval = sweep_interval_ms; } }

impl Server {
    /// [`max_payload_bytes`](Self::max_payload_bytes) as a length in memory.
    #[must_use]
    pub fn max_payload_len(&self) -> usize {
        // The bound of 64 MiB fits every platform that has 32-bit addresses or wider.
        usize::try_from(self.max_payload_bytes).unwrap_or(usize::MAX)
    }
}
