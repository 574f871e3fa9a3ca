//! The table of examples of roles: command lines of real servers, and hostile ones.
//! A row is an executable, the arguments with `|` between them, and the role that comes of them.

use super::role;

const NODE: &str = "/usr/bin/node";
const PYTHON: &str = "/usr/bin/python3.11";
const POSTGRES: &str = "/usr/lib/postgresql/15/bin/postgres";

const EXAMPLES: &[(&str, &str, &str)] = &[
    (NODE, "node|/app/server.js", "node server"),
    (NODE, "next-server (v15.3.6)", "next-server"),
    (
        "/usr/lib64/ld-linux-x86-64.so.2",
        "/lib64/ld-linux-x86-64.so.2|/usr/bin/node|/app/server.js",
        "node server",
    ),
    (
        "/lib/ld-musl-x86_64.so.1",
        "/lib/ld-musl-x86_64.so.1|--library-path|/opt/lib|--argv0|x|/bin/node|--inspect|main.js",
        "node main",
    ),
    ("/usr/lib64/ld-linux-x86-64.so.2", "ld.so|ld.so|ld.so|node", "ld-linux-x86-so"),
    (NODE, "/bin/node|/app/startServer.js", "node startserver"),
    (NODE, "npm run backend", "npm backend"),
    (NODE, "node|/usr/local/bin/npm|start", "node npm start"),
    (
        NODE,
        "node|/app/node_modules/.bin/cross-env|NODE_ENV=production|node|api/index.js",
        "node cross-env node",
    ),
    (NODE, "node|/app/server/index.js", "node server"),
    (NODE, "node|/app/collector/index.js", "node collector"),
    (NODE, "node|/app/server/jobs/embedding-worker.js", "node embedding-worker"),
    (NODE, "node|--max-old-space-size=4096|-r|dd-trace/init|dist/main.js", "node main"),
    (NODE, "node|-e|console.log('secret')", "node"),
    ("/usr/bin/bun", "bun|run|server.ts", "bun server"),
    ("/usr/bin/deno", "deno|run|--allow-net|/srv/api.ts", "deno api"),
    (PYTHON, "python|server.py", "python server"),
    (PYTHON, "python3|-u|-m|uvicorn|open_webui.main:app|--host|0.0.0.0", "python uvicorn open_webui.main"),
    (PYTHON, "/usr/bin/python3|/usr/local/bin/uvicorn|--port|80|main:app", "python uvicorn main"),
    (
        PYTHON,
        "python|-c|from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)|--multiprocessing-fork",
        "python spawn_main",
    ),
    (
        PYTHON,
        "python|-c|from multiprocessing.resource_tracker import main;main(4)",
        "python resource_tracker",
    ),
    (PYTHON, "python|-c|import secret", "python"),
    (PYTHON, "gunicorn: master [app:app]", "gunicorn master"),
    (PYTHON, "gunicorn: worker [app:app]", "gunicorn worker"),
    (PYTHON, "/usr/bin/python3|/usr/bin/gunicorn|-w|4|-b|0.0.0.0:80|app:create()", "python gunicorn app"),
    (PYTHON, "VLLM::EngineCore", "vllm::enginecore"),
    (PYTHON, "VLLM::Worker_TP3", "vllm::worker_tp"),
    (PYTHON, "/usr/bin/python3|/usr/local/bin/vllm|serve|meta-llama/Llama-3", "python vllm serve"),
    (PYTHON, "/usr/bin/python3|/usr/bin/celery|worker|-A|proj", "python celery worker"),
    (POSTGRES, "postgres|-D|/var/lib/postgresql/15/main", "postgres"),
    (POSTGRES, "postgres: checkpointer ", "postgres checkpointer"),
    (POSTGRES, "postgres: autovacuum launcher ", "postgres autovacuum"),
    (POSTGRES, "postgres: lobe lobechat 172.17.0.3(52786) idle", "postgres backend"),
    ("/usr/bin/redis-check-rdb", "redis-server *:6379", "redis-server"),
    ("/usr/bin/ollama", "ollama|serve", "ollama serve"),
    ("/usr/bin/ollama", "ollama|runner|--model|/blobs/sha256-6a0746a1|--port|39241", "ollama runner"),
    ("/usr/sbin/nginx", "nginx: master process nginx -g daemon off;", "nginx master"),
    ("/usr/sbin/nginx", "nginx: worker process", "nginx worker"),
    ("/usr/bin/minio", "minio|server|/data", "minio server"),
    ("/opt/chrome/chrome", "/opt/chrome/chrome --type=renderer --lang=en --id=8213", "chrome renderer"),
    ("/usr/bin/java", "java|-Xmx1g|-cp|a.jar:b.jar|org.elasticsearch.Elasticsearch", "java elasticsearch"),
    ("/usr/bin/java", "java|-jar|/opt/server-1.4.2.jar", "java server"),
    ("/bin/busybox", "sh|-c|wget -q -O- localhost", "sh"),
    ("/usr/bin/bash", "-bash", "bash"),
    ("/usr/bin/bash", "bash|/usr/local/bin/docker-entrypoint.sh|anything", "bash docker-entrypoint"),
    ("/usr/bin/sleep", "sleep|3600", "sleep"),
    // Words that may be secrets, names, ids or free text are no roles.
    ("/usr/bin/redis-cli", "redis-cli|auth|hunter2", "redis-cli"),
    ("/usr/sbin/sshd", "sshd: worker@pts/0", "sshd"),
    ("/app/tool-1.2.3 (deleted)", "/app/tool-1.2.3", "tool"),
    (NODE, "node|/jobs/550e8400-e29b-41d4-a716-446655440000.js", "node"),
    (NODE, "node|/jobs/run-20260509-8f3a.js", "node run"),
    (NODE, "node|--|a\u{fffd}b\n\"}.js", "node ab"),
];

#[test]
fn roles_of_known_command_lines() {
    let wrong: Vec<String> = EXAMPLES
        .iter()
        .filter_map(|(executable, arguments, expected)| {
            let found = role(executable.as_bytes(), "comm", arguments.replace('|', "\0").as_bytes());
            (found != *expected).then(|| format!("{arguments:?} is {found:?}, expected {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_the_executable_the_process_names_itself() {
    assert_eq!(role(b"", "MainThread", b"node\0/app/server.js\0"), "node server");
    assert_eq!(role(b"", "tini", b""), "tini");
    assert_eq!(role(b"", "", b""), "unknown");
    assert_eq!(role(b"/4711", "4711", b"/4711\0"), "unknown");
}

#[test]
fn long_and_broken_command_lines_stay_bounded() {
    let long = format!("node\0/app/{}.js", "x".repeat(5000));
    assert_eq!(role(b"/usr/bin/node", "node", long.as_bytes()).len(), 40);
    assert_eq!(role(b"/usr/bin/n\xffde", "n\u{fffd}de", b"n\xffde\0\xfe\xfd"), "nde");
}
