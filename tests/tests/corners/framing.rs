//! Bytes and their order alone, on loopback: every list of `tests::corners::cases`, all of a list at once.
//! The emulated kernels play the same ones.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::Result;
use tests::corners::{
    actor::Manner,
    case::Role,
    cases::{
        ambiguous, continued, events, fields, floods, half_close, pipelines, tunnels, types, unasked,
        websockets,
    },
    room::Room,
    stage::{Place, Stage, check},
};

#[test]
fn floods_of_small_pieces_in_one_segment_count_and_so_does_what_comes_behind_them() -> Result<()> {
    check(floods::all())
}

#[test]
fn floods_in_segments_of_192_kib_count() -> Result<()> {
    let room = Room::create()?;
    // Over IPv6, for which they have been there longer.
    if let Err(error) = room.run("ip link set lo gso_max_size 196608 gro_max_size 196608") {
        println!("left out: no packets over 64 KiB here: {error:#}");
        return Ok(());
    }
    let stage = Stage::at(Place::Room(room))?;
    let cases = Role::BOTH.into_iter().flat_map(floods::huge).collect();
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let expected = stage.play_at(cases, Manner::Usual, |_| address)?;
    stage.expect(expected)?;
    stage.end()
}

#[test]
fn bursts_of_websocket_messages_count_and_so_do_those_behind_them() -> Result<()> {
    check(websockets::all())
}

#[test]
fn each_request_of_a_long_pipeline_has_its_own_answer() -> Result<()> {
    check(pipelines::all())
}

#[test]
fn a_client_that_shut_its_writing_side_gets_its_answer() -> Result<()> {
    check(half_close::all())
}

#[test]
fn an_answer_that_nobody_asked_for_is_nothing() -> Result<()> {
    check(unasked::all())
}

#[test]
fn blanks_around_a_value_are_no_part_of_it_and_an_asterisk_is_a_route() -> Result<()> {
    check(fields::all())
}

#[test]
fn a_body_that_was_refused_before_it_came_does_not_swallow_what_comes_behind() -> Result<()> {
    check(continued::all())
}

#[test]
fn each_request_behind_an_ambiguous_one_is_counted_right_or_said_to_be_missing() -> Result<()> {
    check(ambiguous::all())
}

#[test]
fn an_event_is_what_has_data() -> Result<()> {
    check(events::all())
}

#[test]
fn lines_of_json_are_a_stream_by_all_their_names() -> Result<()> {
    check(types::all())
}

#[test]
fn what_passes_in_a_tunnel_is_no_request() -> Result<()> {
    check(tunnels::all())
}

#[test]
fn everything_at_once_is_the_same() -> Result<()> {
    let stage = Stage::with_room_for_all()?;
    let cases = [fields::all(), continued::all(), events::all(), types::all(), unasked::all()].concat();
    stage.play(cases, Manner::Usual)?.wait(stage.agent())?;
    stage.end()
}
