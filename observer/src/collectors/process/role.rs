//! Names the role of a process inside its container: its program and the first argument that says what it does.
//! A role never holds a number, an id, a path or free text of a command line; `role_tests.rs` has a table of examples.

use std::os::unix::ffi::OsStrExt as _;

use super::{
    files::ProcessDirectory,
    role_words::{
        APP_SERVERS, INLINE, INTERPRETERS, PARTS, PLAIN_FOLDERS, PLAIN_SCRIPTS, PYTHONS, RUN_WORDS, RUNNERS,
    },
};
use crate::reading::is_linker;

/// Longest role, in bytes.
pub(super) const LONGEST: usize = 40;

/// The role of a process, as its program and command line tell it.
pub(super) fn role_of(directory: &ProcessDirectory, comm: &str, command_line: &[u8]) -> String {
    role(directory.executable().as_os_str().as_bytes(), comm, command_line)
}

/// The role of a process: `executable` is the path of its program (empty where it may not be read), `comm` its short
/// name, `command_line` the bytes of `/proc/PID/cmdline`.
pub(super) fn role(executable: &[u8], comm: &str, command_line: &[u8]) -> String {
    let command_line = String::from_utf8_lossy(command_line);
    let arguments: Vec<&str> = command_line.split('\0').filter(|argument| !argument.is_empty()).collect();
    let (first, rest) = arguments.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let executable = String::from_utf8_lossy(executable);
    if is_linker(file_name(&executable))
        && let Some((program, rest)) = linked(rest)
    {
        let executable = program.as_bytes().to_vec();
        let command_line =
            std::iter::once(program).chain(rest.iter().copied()).collect::<Vec<_>>().join("\0");
        // Its own program again would be a linker that was given a linker.
        if !is_linker(file_name(program)) {
            return role(&executable, comm, command_line.as_bytes());
        }
    }
    let executable = clean(file_name(executable.trim_end_matches(" (deleted)")));
    let named = clean(file_name(first.trim_start_matches('-')));
    let program = match executable.as_str() {
        // Without permission to read the link, the program's own word for itself; kernel threads have none.
        "" if first.contains(char::is_whitespace) || named.is_empty() => clean(comm),
        "" | "busybox" | "toybox" | "coreutils" => named.clone(),
        _ => executable,
    };
    let words: Vec<&str> = first.split_ascii_whitespace().collect();
    let has_title =
        words.len() > 1 || (rest.is_empty() && named != program && interpreter(&program).is_some());
    let role = if has_title { title(&program, &words) } else { join(&program, detail(&program, rest)) };
    let mut end = role.len().min(LONGEST);
    while !role.is_char_boundary(end) {
        end -= 1;
    }
    match role.get(..end).map(str::trim_end) {
        Some(role) if !role.is_empty() => role.to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The program that a dynamic linker was given, and the program's arguments.
fn linked<'a, 'b>(arguments: &'b [&'a str]) -> Option<(&'a str, &'b [&'a str])> {
    let mut position = 0;
    while let Some(argument) = arguments.get(position) {
        position += 1;
        match *argument {
            "--library-path"
            | "--inhibit-rpath"
            | "--audit"
            | "--preload"
            | "--argv0"
            | "--glibc-hwcaps-prepend"
            | "--glibc-hwcaps-mask" => position += 1,
            option if option.starts_with('-') => {}
            program => return Some((program, &arguments[position..])),
        }
    }
    None
}

/// The role in a command line that the process wrote over: `next-server (v15.3.6)`, `gunicorn: worker [app]`,
/// `redis-server *:6379`.
fn title(program: &str, words: &[&str]) -> String {
    let (first, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
    let name = clean(file_name(first.trim_end_matches(':')));
    let detail = if first.ends_with(':') {
        let part =
            rest.iter().map(|word| word.to_ascii_lowercase()).find(|word| PARTS.contains(&word.as_str()));
        match part {
            None if name == "postgres" => Some("backend".to_owned()),
            // The rest is free text in which a word of the table may stand anywhere: only the first counts.
            part => part.filter(|part| rest.first().is_some_and(|word| word.eq_ignore_ascii_case(part))),
        }
    } else {
        let kind = |word: &&&str| word.starts_with("--type=");
        // Chromium joins its arguments, of which one says what the process is.
        match rest.iter().find(kind).and_then(|word| word.strip_prefix("--type=")) {
            Some(kind) => Some(clean(kind)),
            None => detail(&name, rest),
        }
    };
    join(if name.is_empty() { program } else { &name }, detail)
}

/// What the arguments after the program's name say that it does.
fn detail(program: &str, arguments: &[&str]) -> Option<String> {
    if let Some(flags_with_value) = interpreter(program) {
        return script(program, flags_with_value, arguments);
    }
    launched(program, arguments)
}

/// The script of an interpreter, or the module.
fn script(program: &str, flags_with_value: &[&str], arguments: &[&str]) -> Option<String> {
    let mut rest = arguments.iter();
    let runs = matches!(program, "bun" | "deno");
    while let Some(argument) = rest.next() {
        let python = PYTHONS.contains(&program);
        if python && argument.starts_with('-') && !argument.starts_with("--") && argument.ends_with('m') {
            let module = clean(rest.next()?);
            return Some(join(&module, launched(&module, rest.as_slice())));
        }
        if INLINE.contains(argument) && !flags_with_value.contains(argument) {
            return inline(program, rest.next().copied().unwrap_or_default());
        }
        if *argument == "-jar" {
            return stem(rest.next()?);
        }
        if flags_with_value.contains(argument) {
            rest.next();
        } else if !(argument.starts_with('-') || runs && RUN_WORDS.contains(argument)) {
            if program == "java" {
                return argument.rsplit('.').next().map(clean).filter(|class| !class.is_empty());
            }
            let script = stem(argument)?;
            return Some(join(&script, launched(&script, rest.as_slice())));
        }
    }
    None
}

/// Code on the command line: Python's own helpers are known by what they import, else nothing is said of it.
fn inline(program: &str, code: &str) -> Option<String> {
    if !PYTHONS.contains(&program) {
        return None;
    }
    let module = code.strip_prefix("from multiprocessing.")?.split_ascii_whitespace().next()?;
    match module {
        "spawn" => Some("spawn_main".to_owned()),
        known @ ("forkserver" | "resource_tracker" | "semaphore_tracker") => Some(known.to_owned()),
        _ => None,
    }
}

/// What a server, runner or command with subcommands was told to do.
fn launched(program: &str, arguments: &[&str]) -> Option<String> {
    if APP_SERVERS.contains(&program) {
        return arguments.iter().find_map(|argument| {
            let (module, attribute) = argument.split_once(':')?;
            let names = |text: &str, more: &[char]| {
                text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                    && text.chars().all(|letter| {
                        letter.is_ascii_alphanumeric() || letter == '_' || more.contains(&letter)
                    })
            };
            (names(module, &['.']) && names(attribute, &['(', ')', '.'])).then(|| clean(module))
        });
    }
    if RUNNERS.contains(&program) {
        let run = arguments.iter().find(|argument| {
            !argument.starts_with('-') && !argument.contains('=') && !RUN_WORDS.contains(*argument)
        });
        return stem(run?);
    }
    let first = arguments.iter().find(|argument| !argument.starts_with('-'))?;
    PARTS.contains(first).then(|| (*first).to_owned())
}

/// A script's name without folders and extension, or the folder above where the name says nothing.
fn stem(path: &str) -> Option<String> {
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
    let file = parts.next()?;
    let name = match file.rsplit_once('.') {
        Some((name, _)) if !name.is_empty() => name,
        _ => file,
    };
    let folder = if PLAIN_SCRIPTS.contains(&name) {
        parts.find(|part| !PLAIN_FOLDERS.contains(part)).map(clean)
    } else {
        None
    };
    folder.filter(|folder| !folder.is_empty()).or_else(|| Some(clean(name))).filter(|name| !name.is_empty())
}

fn interpreter(program: &str) -> Option<&'static [&'static str]> {
    let found = INTERPRETERS.iter().find(|(name, _)| *name == program);
    found.map(|(_, flags_with_value)| *flags_with_value)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `program` and what it does, which is not said twice (`server.js` run by `server`).
fn join(program: &str, detail: Option<String>) -> String {
    match detail {
        Some(detail) if !detail.is_empty() && detail != program => {
            format!("{program} {detail}").trim().to_owned()
        }
        _ => program.to_owned(),
    }
}

/// A name in lower case without its versions, numbers and ids, and with ASCII letters, digits and `-_.:` only.
fn clean(name: &str) -> String {
    let mut cleaned = String::new();
    let name = name.to_ascii_lowercase();
    for token in name.split_inclusive(['-', '_', '.', ':', '@']) {
        let (word, separator) = match token.strip_suffix(['-', '_', '.', ':', '@']) {
            Some(word) => (word, &token[word.len()..]),
            None => (token, ""),
        };
        let word: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
        if is_hexadecimal(&word) {
            continue;
        }
        let letters = word.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let word = if letters.len() > 1 { letters } else { word.as_str() };
        if word.is_empty() || !is_id(word) {
            cleaned.push_str(word);
            cleaned.push_str(if separator == "@" { "" } else { separator });
        }
    }
    cleaned.trim_matches(['-', '_', '.', ':']).to_owned()
}

/// Whether a word is hexadecimal and could not be read as a word: a part of a UUID or a hash.
fn is_hexadecimal(word: &str) -> bool {
    word.len() >= 4
        && word.contains(|letter: char| letter.is_ascii_digit())
        && word.chars().all(|letter| letter.is_ascii_hexdigit())
}

/// Whether a word is a number, a version, or letters mixed with many digits.
fn is_id(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let version = word.strip_prefix('v').is_some_and(|number| number.len() == digits);
    digits == word.len() || digits >= 3 || version
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
