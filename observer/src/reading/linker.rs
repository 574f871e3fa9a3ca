//! Dynamic linkers by their names: a process that runs one runs the program that it has loaded.
//! The kernel tells of the linker only.

/// Whether this is a dynamic linker, which can be started with a program as its argument (`man 8 ld.so`).
pub fn is_linker(name: &str) -> bool {
    ["ld-linux", "ld-musl", "ld64.so", "ld.so"].iter().any(|linker| name.starts_with(linker))
}
