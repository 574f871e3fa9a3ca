//! The words that the roles of processes are told by: programs, flags, and what parts of servers are called.
//! A word that is in no table here never becomes part of a role, but for names of programs, scripts and modules.

/// Programs that run a script, and their flags whose value is the next argument.
pub(super) const INTERPRETERS: &[(&str, &[&str])] = &[
    (
        "node",
        &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
            "--title",
            "--stack-trace-limit",
            "--max-old-space-size",
        ],
    ),
    ("nodejs", &["-r", "--require"]),
    ("bun", &["-r", "--preload", "--cwd"]),
    ("deno", &["-c", "--config", "--import-map"]),
    ("python", &["-W", "-X", "--check-hash-based-pycs"]),
    ("pypy", &["-W", "-X"]),
    ("ruby", &["-r", "-I", "-C"]),
    ("perl", &["-I"]),
    ("php", &["-c", "-d", "-f"]),
    ("java", &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "-jar"]),
    ("dotnet", &["exec"]),
    ("sh", &["-o"]),
    ("bash", &["-o", "--rcfile"]),
    ("ash", &["-o"]),
    ("dash", &["-o"]),
];

/// Those of [`INTERPRETERS`] that are Python.
pub(super) const PYTHONS: &[&str] = &["python", "pypy"];

/// Flags after which code stands, not a script.
pub(super) const INLINE: &[&str] = &["-c", "-e", "-p", "--eval", "--print"];

/// Servers that are told the app as `module:attribute`.
pub(super) const APP_SERVERS: &[&str] = &["uvicorn", "gunicorn", "hypercorn", "daphne", "granian"];

/// Runners that are told the script or package to run.
pub(super) const RUNNERS: &[&str] = &[
    "npm",
    "npm-cli",
    "npx",
    "npx-cli",
    "pnpm",
    "yarn",
    "bunx",
    "tsx",
    "ts-node",
    "nodemon",
    "cross-env",
    "uv",
    "uvx",
    "poetry",
    "torchrun",
    "accelerate",
];

/// Words of a runner that only say that it runs something.
pub(super) const RUN_WORDS: &[&str] = &["run", "run-script", "exec", "x", "dlx", "launch"];

/// Words that say what a program with many parts does. Only these are taken from a command line: any other word may
/// be data, a name of a user, or a secret.
pub(super) const PARTS: &[&str] = &[
    "agent",
    "api",
    "archiver",
    "autovacuum",
    "background",
    "beat",
    "cache",
    "checkpointer",
    "consumer",
    "daemon",
    "dev",
    "flower",
    "io",
    "launcher",
    "logger",
    "logical",
    "manager",
    "master",
    "monitor",
    "parallel",
    "pool",
    "proxy",
    "run",
    "runner",
    "scheduler",
    "serve",
    "server",
    "standalone",
    "start",
    "startup",
    "stats",
    "walreceiver",
    "walsender",
    "walwriter",
    "web",
    "worker",
    "writer",
];

/// Script names that say nothing, so that the folder above is taken: `/app/collector/index.js`.
pub(super) const PLAIN_SCRIPTS: &[&str] = &["index", "main", "__main__", "__init__", "cli"];

/// Folder names that say nothing either.
pub(super) const PLAIN_FOLDERS: &[&str] = &["bin", "build", "cjs", "dist", "lib", "out", "src", "."];
