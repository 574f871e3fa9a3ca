//! Every key of the configuration: what it means and what it allows.
//! Errors quote it, `observer config` prints it, and a test holds it against the sections.

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name: `targets.linger`.
    pub path: &'static str,
    /// What it is for, in one or two sentences.
    pub about: &'static str,
    /// What may be written, to stand after "allowed:".
    pub allowed: &'static str,
}

const fn key(path: &'static str, about: &'static str, allowed: &'static str) -> Key {
    Key { path, about, allowed }
}

const DURATION: &str = "a duration from 1ms to 1day as a string, such as \"30s\"";

const PEM: &str = "the path of a PEM file as a string, or \"\"";

/// All keys, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    key(
        "listen",
        "Where /metrics, /healthz, /readyz and the page are served. Beyond loopback, say below who may read them. A Unix \
         socket is open to the agent's user and group.",
        "ADDRESS:PORT or unix:PATH as a string, such as \"127.0.0.1:9435\", \"[::1]:9435\" or \
         \"unix:/run/observer/metrics.sock\"",
    ),
    key(
        "tls.certificate",
        "Certificate of the server, with those between it and the root behind it. Empty: no TLS. Files of this section \
         and of the next are read again when they change.",
        PEM,
    ),
    key("tls.key", "Private key of the certificate, not encrypted.", PEM),
    key(
        "tls.client_ca",
        "Every client must have a certificate that one of these signed. Make them for observer alone: whatever they sign \
         is let in. Empty: clients need none.",
        PEM,
    ),
    key(
        "access.networks",
        "Connections from elsewhere are closed at once. Behind a proxy it is the proxy's address that counts. Empty: from \
         everywhere.",
        "a list of networks or addresses as strings, such as [\"10.0.0.0/8\", \"fd00::/8\", \"192.0.2.7\"]",
    ),
    key(
        "access.bearer_token_file",
        "File with tokens, one on each line; a request must have one of them as Authorization: Bearer, or a password \
         where there are users. Empty: none.",
        "the path of a text file as a string, or \"\"",
    ),
    key(
        "access.users_file",
        "File with lines of NAME:HASH, as htpasswd -B makes them; a request must have a name and its password as basic \
         authentication, or a token where there are tokens. Empty: none.",
        "the path of a file with bcrypt hashes as a string, or \"\"",
    ),
    key(
        "access.open_health",
        "Answer /healthz and /readyz without token and password, for probes that have none. Networks and client \
         certificates hold for them all the same.",
        "true or false",
    ),
    key(
        "targets.select",
        "What is observed: container:GLOB, image:GLOB, unit:GLOB, cgroup:PATH, port:N, exe:GLOB or pid:N, each with \
         an optional ,app=PROFILE. One that matches nothing yet waits for its target.",
        "a list of selectors as strings, such as [\"container:web-*\", \"port:3210,app=lobechat\"]",
    ),
    key(
        "targets.linger",
        "How long the series of a target that left are still served.",
        "a duration up to 365days as a string, such as \"5m\" or \"250ms\"",
    ),
    key("targets.rescan", "How often the host is searched for targets that no event announces.", DURATION),
    key(
        "profiles.files",
        "Profiles of your own, which say what an app's routes mean: files, or folders of which every .toml is read. \
         One with the name of a known profile replaces it, or extends it where it says so.",
        "a list of paths as strings, such as [\"/etc/observer/profiles\"]",
    ),
    key(
        "docker.socket",
        "Socket of the Docker API, which gives containers their names and images. Empty: do not ask Docker.",
        "a path as a string, or \"\"",
    ),
    key(
        "metrics.prefix",
        "Stands before the name of every metric of a target: chat_tcp_connections. The agent's own metrics keep \
         their names.",
        "letters, digits and _ as a string, not starting with a digit",
    ),
    key(
        "processes.pss",
        "Also read how much memory the processes of a role have when what they share with others is divided among them \
         (chat_process_proportional_memory_bytes). The kernel walks all their page tables for it, at each scrape.",
        "true or false",
    ),
    key(
        "streams.after",
        "An answer of unknown length is a stream, and no request, once its body has taken longer than this. SSE, NDJSON \
         and WebSockets are streams from the start.",
        DURATION,
    ),
    key(
        "streams.stall",
        "A pause between two events of a stream that is longer than this is a stall, also while it lasts.",
        DURATION,
    ),
    key(
        "nodejs.enabled",
        "Whether the Node.js processes of targets are probed for their event loops, garbage collections and heaps.",
        "true or false",
    ),
    key(
        "log.format",
        "How a line of the log looks: text for people, json for log collectors. It goes to standard error.",
        "\"text\" or \"json\"",
    ),
    key(
        "log.level",
        "Which events are logged.",
        "off, error, warn, info, debug or trace as a string, also by module: \"info,observer::targets=debug\"",
    ),
    key(
        "limits.ring_bytes",
        "Size of the ring through which the kernel reports events. Counts do not depend on it; when it is full, \
         observer_records_lost_total grows.",
        "a power of two from 4096 to 1073741824",
    ),
    key(
        "limits.exchange_ring_bytes",
        "Size of the ring through which the kernel reports HTTP exchanges, about 150 bytes each. It is read at least \
         once a second; when it is full, observer_records_lost_total grows.",
        "a power of two from 4096 to 1073741824",
    ),
    key(
        "limits.peers",
        "Outbound peer addresses that are counted apart, over all targets; further ones are counted together.",
        "a whole number from 1 to 1048576",
    ),
    key(
        "limits.process_roles",
        "Values of the label process per target; further processes are counted as other.",
        "a whole number from 1 to 1024",
    ),
    key(
        "limits.nodejs_processes",
        "Node.js processes whose event loops and collections are counted, over all targets; for further ones, \
         observer_records_lost_total grows.",
        "a whole number from 1 to 65536",
    ),
    key(
        "limits.http_connections",
        "Connections whose HTTP is followed at once, over all targets: the kernel takes 4.5 KiB for each, of the agent's \
         memory. For further ones, observer_records_lost_total grows, once each. 0: as many as the agent's memory limit \
         has room for, and without a limit all.",
        "a whole number from 0 to 16777216",
    ),
    key(
        "limits.routes",
        "Values of the label route per target; further routes are counted as other.",
        "a whole number from 1 to 10000",
    ),
    key(
        "limits.series",
        "Series per target, of which a histogram has one for each bucket and two more; those that come after are added up \
         as other, and chat_target_over_budget says so.",
        "a whole number from 100 to 1000000",
    ),
    key(
        "server.header_bytes",
        "Size up to which the head of a request is read; a larger one is answered with 431.",
        "a whole number from 8192 to 1048576",
    ),
    key("server.idle_timeout", "A connection that completes no request for this long is closed.", DURATION),
    key(
        "server.max_connections",
        "Connections held at once; for one more, the one that has been idle for longest is closed.",
        "a whole number from 1 to 65536",
    ),
];

/// The key with this path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}
