//! How the C library keeps memory: for this process as little as it can.
//! A start and a scrape need several times what the agent keeps between them.

/// Blocks of this many bytes and more are mapped by themselves, and given back as soon as they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES: libc::c_int = 128 * 1024;

/// Has memory kept in one pool. To be called before other threads are started.
///
/// By itself glibc gives each thread a pool of its own (`man 3 mallopt`, `M_ARENA_MAX`), of which each keeps what its
/// thread once needed; and from the first freed block of some megabytes on, it keeps blocks of that size too.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets parameters of the allocator; no other thread runs yet.
    unsafe {
        // A refusal leaves the default, with which everything works too.
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
    }
}

/// Gives memory that was freed back to the system: what lies between blocks in use stays with glibc otherwise.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
