//! Parts of Python programs on a made-up `/proc`: LitServe, `uvicorn --workers`, pools, the fork server, as they look
//! in a real one (links and lines copied from it).

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

const MAIN: &str = "python3|/app/server.py|";
const SPAWNED: &str = "python3|-c|from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7, \
                       pipe_handle=11)|--multiprocessing-fork|";
const FORK_SERVER: &str = "python3|-c|from multiprocessing.forkserver import main; main(7, 8)|";

/// A process of the made-up `/proc`, with its sockets and those that its epoll instance (4) watches.
fn process(root: &Path, command_line: &str, sockets: &[u64], watched: &[u64]) -> Told {
    let pid = fs::read_dir(root).unwrap().count() + 1;
    let directory = root.join(pid.to_string());
    fs::create_dir_all(directory.join("fd")).unwrap();
    fs::create_dir(directory.join("fdinfo")).unwrap();
    fs::create_dir(directory.join("net")).unwrap();
    symlink("/usr/bin/python3.11", directory.join("exe")).unwrap();
    for (number, socket) in sockets.iter().enumerate() {
        symlink(format!("socket:[{socket}]"), directory.join(format!("fd/{}", number + 10))).unwrap();
    }
    if !watched.is_empty() {
        symlink("anon_inode:[eventpoll]", directory.join("fd/4")).unwrap();
        let line =
            |inode: &u64| format!("tfd:       10 events:       19 data:   a  pos:0 ino:{inode:x} sdev:9\n");
        let lines: String = watched.iter().map(line).collect();
        fs::write(directory.join("fdinfo/4"), format!("pos:\t0\nflags:\t02\n{lines}")).unwrap();
    }
    // Socket 900 accepts; 901 is a connection to it.
    let table = "Num RefCount Protocol Flags Type St Inode Path\n\
                 00000000: 00000002 00000000 00010000 0001 01 900 /tmp/pymp-x/listener-y\n\
                 00000000: 00000003 00000000 00000000 0001 03 901 /tmp/pymp-x/listener-y\n";
    fs::write(directory.join("net/unix"), table).unwrap();
    let directory = ProcessDirectory::open(root, &pid.to_string()).unwrap();
    Told::new(directory, "python3", command_line.replace('|', "\0").into_bytes())
}

fn role(process: &Told, parents: &[Told], names: Option<&ProcessNames>) -> String {
    Part::of(process, parents).map_or(process.role.clone(), |part| part.role(&process.role, names))
}

#[test]
fn the_processes_of_litserve_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let main = [process(root.path(), MAIN, &[700, 710], &[])];
    let children = [
        process(root.path(), MAIN, &[700, 720, 900], &[]),
        process(root.path(), SPAWNED, &[730, 901], &[]),
        process(root.path(), MAIN, &[700, 740], &[700, 740]),
        process(
            root.path(),
            "python3|-c|from multiprocessing.resource_tracker import main;main(5)|",
            &[],
            &[],
        ),
    ];
    let profiles = crate::profiles::Profiles::compiled_in().unwrap();
    let roles = |names| children.iter().map(|child| role(child, &main, names)).collect::<Vec<_>>();
    let general = ["python manager", "python worker", "python http server", "python resource_tracker"];
    assert_eq!(roles(None), general);
    assert_eq!(role(&main[0], &[], None), "python server");
    let names = profiles.process_names("litserve");
    let expected = ["manager", "inference worker", "http server", "python resource_tracker"];
    assert_eq!(roles(names), expected);
    assert_eq!(role(&main[0], &[], names), "main");
}

#[test]
fn workers_of_uvicorn_and_gunicorn_serve_from_the_start() {
    let root = tempfile::tempdir().unwrap();
    let uvicorn = [process(root.path(), "python3|-m|uvicorn|app:app|--workers|2|", &[700], &[])];
    assert_eq!(role(&uvicorn[0], &[], None), "python uvicorn app");
    assert_eq!(role(&process(root.path(), SPAWNED, &[], &[]), &uvicorn, None), "python http server");
    let gunicorn = "python3|/usr/bin/gunicorn|-w|2|app:app|";
    let parent = [process(root.path(), gunicorn, &[700], &[])];
    assert_eq!(role(&process(root.path(), gunicorn, &[700], &[]), &parent, None), "python http server");
}

#[test]
fn what_a_server_starts_does_not_serve() {
    let root = tempfile::tempdir().unwrap();
    let command_line = "python3|-m|uvicorn|app:app|";
    // One process, which runs the event loop; a forked child has it too and never runs it.
    let server = [process(root.path(), command_line, &[700], &[700])];
    assert_eq!(role(&process(root.path(), SPAWNED, &[], &[]), &server, None), "python worker");
    let forked = process(root.path(), command_line, &[700], &[700]);
    assert_eq!(role(&forked, &server, None), "python uvicorn app");
    let other = process(root.path(), "python3|/app/tool.py|", &[700], &[700]);
    assert_eq!(role(&other, &server, None), "python tool");
    assert_eq!(Part::of(&process(root.path(), "python3|-c|import json|", &[], &[]), &[]), None);
}

#[test]
fn what_the_fork_server_starts_is_its_parent_s() {
    let root = tempfile::tempdir().unwrap();
    let main = || process(root.path(), MAIN, &[700], &[]);
    let server = || process(root.path(), FORK_SERVER, &[710], &[]);
    assert_eq!(role(&server(), &[main()], None), "python forkserver");
    let started = |sockets: &[u64], watched: &[u64]| process(root.path(), FORK_SERVER, sockets, watched);
    let above = [server(), main()];
    assert_eq!(role(&started(&[], &[]), &above, None), "python worker");
    assert_eq!(role(&started(&[700], &[700]), &above, None), "python http server");
    assert_eq!(role(&started(&[900], &[]), &above, None), "python manager");
}
