//! Corners of TCP and HTTP that realistic traffic seldom comes to, each played byte for byte beside the running agent.
//! `cases` says what is played and what the metrics are to tell of it; `stage` plays it with the target at either end.

pub mod actor;
pub mod case;
pub mod cases;
pub mod expected;
pub mod link;
pub mod room;
pub mod said;
pub mod stage;
