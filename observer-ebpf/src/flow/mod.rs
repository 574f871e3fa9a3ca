//! Who a connection is: its target, role and peer, what it carries, and whether its HTTP is followed.
//! Makes and ends the state of its protocol; knows sockets' numbers and no bytes.

pub mod claim;
pub mod connection;
pub mod followed;

pub use self::{
    connection::{Carries, Connection},
    followed::Followed,
};
