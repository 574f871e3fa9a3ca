//! Which file a process runs, told from the descriptor that it is read by.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt as _,
};

use serde::{Deserialize, Serialize};

/// A file as it is now. Two containers that share a layer see one file under two devices, and whoever serves a file system
/// chooses all of it but the device.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file in it, as it is at this moment.
    pub version: Version,
}

/// What is the same under every device, and changes with the file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub struct Version {
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl FileId {
    /// That of an open file.
    pub fn of(file: &File) -> std::io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }

    /// Its number in its file system.
    pub fn inode(&self) -> u64 {
        self.version.inode
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            version: Version {
                inode: metadata.ino(),
                size: metadata.size(),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            },
        }
    }
}
