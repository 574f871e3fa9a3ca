//! Records that the kernel half sends through the ring.
//! Each begins with its kind, so that the agent counts what it does not know instead of misreading it.

/// `kind` of [`CgroupRecord`] for a cgroup that was made.
pub const CGROUP_CREATED: u32 = 1;
/// `kind` of [`CgroupRecord`] for a cgroup that was removed.
pub const CGROUP_REMOVED: u32 = 2;

/// Room for a cgroup's path. The longest that Kubernetes makes with the systemd driver is about 230 bytes.
pub const PATH_BYTES: usize = 512;

/// A cgroup v2 directory was made or removed somewhere on the host.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CgroupRecord {
    /// [`CGROUP_CREATED`] or [`CGROUP_REMOVED`].
    pub kind: u32,
    /// Bytes of `path` in use.
    pub path_length: u32,
    /// Inode number of the directory.
    pub id: u64,
    /// Path below the root of the hierarchy, with a leading slash.
    pub path: [u8; PATH_BYTES],
}

const _: () = assert!(size_of::<CgroupRecord>() == 16 + PATH_BYTES);
