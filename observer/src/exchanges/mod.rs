//! What the kernel's records mean: from bytes and times to routes, outcomes and events. Pure: nothing here opens,
//! waits or counts; collectors ask and count.

pub mod events;
pub mod labels;
pub mod routes;
