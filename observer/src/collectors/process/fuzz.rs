//! What must hold for the role of any process, whatever it has written over its command line.
//! They are labels, so that they must neither be endless nor break a line.

use super::{
    descriptors::watched,
    role::{LONGEST, role},
};

/// A role is short, is no path, and has no characters that a line of text could end with.
pub(crate) fn role_holds(executable: &[u8], comm: &str, command_line: &[u8]) {
    let role = role(executable, comm, command_line);
    assert!(!role.is_empty() && role.len() <= LONGEST, "{role:?}");
    assert!(!role.contains('/') && !role.contains(char::is_control), "{role:?}");
}

/// Inodes in the lines of an epoll instance are hexadecimal numbers in it.
pub(crate) fn watched_inodes(text: &str) {
    let lower = text.to_ascii_lowercase();
    assert!(watched(text).all(|inode| lower.contains(&format!("{inode:x}"))), "{text:?}");
}
