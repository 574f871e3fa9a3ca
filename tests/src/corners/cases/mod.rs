//! What is played: a file per subject, each a list of corners with what the metrics are to tell of them.
//! [`framing`] is all that is about bytes and their order alone, so that it can be played on any kernel.

pub mod ambiguous;
pub mod continued;
pub mod events;
pub mod fields;
pub mod floods;
pub mod half_close;
pub mod pipelines;
pub mod tunnels;
pub mod types;
pub mod unasked;
pub mod websockets;

use super::case::Case;

/// All of them.
pub fn framing() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("ambiguous", ambiguous::all()),
        ("continued", continued::all()),
        ("events", events::all()),
        ("fields", fields::all()),
        ("floods", floods::all()),
        ("half_close", half_close::all()),
        ("pipelines", pipelines::all()),
        ("tunnels", tunnels::all()),
        ("types", types::all()),
        ("unasked", unasked::all()),
        ("websockets", websockets::all()),
    ]
}
