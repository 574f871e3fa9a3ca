//! What hosts do to an agent while applications are under full load, with the clients' own log as the truth.
//! [`kills`] and [`pause`] are run short by the end-to-end tests, and long by `cargo xtask faults`.

pub mod application;
pub mod calls;
pub mod kills;
pub mod pause;
pub mod rounds;
