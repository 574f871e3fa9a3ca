//! What the kernel's records mean: from bytes and times to routes, outcomes and events. Pure: nothing here opens,
//! waits or counts; collectors ask and count.

pub mod ahead;
pub mod events;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod http;
pub mod labels;
pub mod routes;
pub mod streams;
