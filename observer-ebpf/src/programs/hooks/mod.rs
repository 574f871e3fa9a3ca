//! Where the kernel calls: packets, sockets, walks, cgroups, Node.js, kills for want of memory. A file per subject.
//! A hook knows its context and hands on what it read there; what it means is `flow`'s.

mod cgroups;
mod nodejs;
mod ooms;
mod packets;
mod sockets;
mod walks;
