//! Takes up streams that were under way before anybody looked, by how a chunk of theirs begins.
//! Only what begins like server-sent events or lines of JSON is taken for a stream.

use super::{
    events, life_cycle,
    names::{self, EVENT_FIELDS},
    state::{ADOPTING, DATA, Half, Http, RESPONSE, Stage},
};
use crate::records::exchange::Body;

/// Looks at the beginning of the chunk behind what seemed to be a size line, and counts it where it is a stream's.
#[inline(always)]
pub(super) fn adopt(http: &mut Http) {
    let half = &mut http.halves[RESPONSE as usize];
    half.flags &= !ADOPTING;
    let Some(body) = body_of(half) else {
        half.stage = Stage::Resync as u8;
        return;
    };
    life_cycle::adopted(http, names::OTHER, body);
    events::happened(http);
}

/// Tells what kind of stream begins a chunk as the window does.
#[inline(always)]
fn body_of(half: &Half) -> Option<Body> {
    let words = half.words(DATA);
    if EVENT_FIELDS.iter().any(|field| field.begins_exactly(words)) {
        Some(Body::Sse)
    } else if names::JSON.begins_exactly(words) {
        Some(Body::Ndjson)
    } else {
        None
    }
}
