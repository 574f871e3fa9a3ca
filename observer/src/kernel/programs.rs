//! The table of programs: where each attaches, whether the agent can do without it, and what is lost then.
//! A test compares it with the programs in the built object, both ways.

/// Where a program attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `cgroup_skb` of each target's cgroup, packets in.
    CgroupIngress,
    /// `cgroup_skb` of each target's cgroup, packets out.
    CgroupEgress,
    /// `sock_ops` of each target's cgroup.
    CgroupSockets,
    /// A tracepoint with typed arguments, once for the host.
    Tracepoint(&'static str),
    /// An iterator over the named map, run at each scrape.
    MapIterator(&'static str),
    /// A place in the executables of Node.js that targets run.
    NodeJs(&'static str),
}

/// One program of the kernel half.
#[derive(Debug)]
pub struct Program {
    /// Its name in the object, and the label in `observer_program_attached`.
    pub name: &'static str,
    /// Where it attaches.
    pub hook: Hook,
    /// Whether the agent is of no use without it.
    pub required: bool,
    /// What is lost, or takes its place, where this kernel refuses it.
    pub without: &'static str,
}

/// All programs, in the order in which they are loaded.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "socket_state",
        hook: Hook::Tracepoint("inet_sock_set_state"),
        required: false,
        without: "connections older than the agent are never seen to close",
    },
    Program {
        name: "socket_events",
        hook: Hook::CgroupSockets,
        required: true,
        without: "no connection is counted",
    },
    Program {
        name: "packet_ingress",
        hook: Hook::CgroupIngress,
        required: true,
        without: "no bytes are counted",
    },
    Program {
        name: "packet_egress",
        hook: Hook::CgroupEgress,
        required: true,
        without: "no bytes are counted",
    },
    Program {
        name: "socket_walk",
        hook: Hook::MapIterator("CONNECTIONS"),
        required: false,
        without: "bytes and retransmissions of a connection show when it closes, not while it lives",
    },
    Program {
        name: "exchange_walk",
        hook: Hook::MapIterator("HTTP"),
        required: false,
        without: "streams show when they end, not while they are open, and no request shows as in flight",
    },
    Program {
        name: "cgroup_created",
        hook: Hook::Tracepoint("cgroup_mkdir"),
        required: false,
        without: "new containers are found by a rescan every second, and may lose what they do before it",
    },
    Program {
        name: "cgroup_removed",
        hook: Hook::Tracepoint("cgroup_rmdir"),
        required: false,
        without: "gone containers are found by a rescan",
    },
    Program {
        name: "oom_victim",
        hook: Hook::Tracepoint("sched_process_exit"),
        required: false,
        without: "of processes that are killed for want of memory, one is missed where its cgroup is removed before the \
                  next scrape",
    },
    Program {
        name: "process_started",
        hook: Hook::Tracepoint("sched_process_exec"),
        required: false,
        without: "Node.js processes are found by the next look, and what they do before it is not counted",
    },
    Program {
        name: "thread_ended",
        hook: Hook::Tracepoint("sched_process_exit"),
        required: false,
        without: "a thread that gets the number of an ended one may begin with a turn that is too long",
    },
    Program {
        name: "nodejs_wait",
        hook: Hook::NodeJs("the call of epoll_wait in uv__io_poll"),
        required: false,
        without: "turns of Node.js' event loops are not counted",
    },
    Program {
        name: "nodejs_turn",
        hook: Hook::NodeJs("behind the call of epoll_wait in uv__io_poll"),
        required: false,
        without: "turns of Node.js' event loops are not counted",
    },
    Program {
        name: "nodejs_gc_begin",
        hook: Hook::NodeJs("v8::internal::Heap::PerformGarbageCollection"),
        required: false,
        without: "garbage collections are not counted",
    },
    Program {
        name: "nodejs_gc_end",
        hook: Hook::NodeJs("the return of v8::internal::GlobalHandles::PostGarbageCollectionProcessing"),
        required: false,
        without: "garbage collections are not counted",
    },
    Program {
        name: "nodejs_mark_begin",
        hook: Hook::NodeJs("v8::internal::Heap::InvokeIncrementalMarkingPrologueCallbacks"),
        required: false,
        without: "steps of incremental marking are not counted",
    },
    Program {
        name: "nodejs_mark_end",
        hook: Hook::NodeJs("v8::internal::Heap::InvokeIncrementalMarkingEpilogueCallbacks"),
        required: false,
        without: "steps of incremental marking are not counted",
    },
    Program {
        name: "nodejs_pause_begin",
        hook: Hook::NodeJs("v8::internal::Heap::CallGCPrologueCallbacks"),
        required: false,
        without: "pauses for garbage collection are not counted",
    },
    Program {
        name: "nodejs_pause_end",
        hook: Hook::NodeJs("v8::internal::Heap::CallGCEpilogueCallbacks"),
        required: false,
        without: "pauses for garbage collection are not counted",
    },
    Program {
        name: "nodejs_heap",
        hook: Hook::NodeJs("the return of v8::internal::Heap::SizeOfObjects"),
        required: false,
        without: "the heap in use is not known",
    },
];

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// Its name.
    pub name: &'static str,
    /// Whether it runs, or for one that attaches per target, whether it is loaded and will.
    pub attached: bool,
    /// Why not; empty where it does.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    /// The names in the first column of `table`'s rows.
    fn first_column(table: &str) -> BTreeSet<&str> {
        table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn the_document_of_kernels_was_written_for_these_programs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kernels.md");
        let document = fs::read_to_string(path).unwrap();
        let (before, rest) = document.split_once("<!-- begin: cargo xtask kernels --write -->").unwrap();
        let (tried, _) = rest.split_once("<!-- end: cargo xtask kernels --write -->").unwrap();
        let programs: BTreeSet<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        let mend = "run `cargo xtask kernels --write`";
        assert_eq!(first_column(tried), programs, "docs/kernels.md is out of date: {mend}");
        for program in PROGRAMS {
            assert!(before.contains(&format!("| `{}` |", program.name)), "{} is not described", program.name);
            if program.required {
                let row = tried.lines().find(|line| line.starts_with(&format!("| `{}`", program.name)));
                assert!(row.is_some_and(|row| !row.contains("refused")), "{row:?}");
            }
        }
        assert!(!tried.contains("**failed**"), "a test failed on some kernel: mend it and {mend}");
    }
}
