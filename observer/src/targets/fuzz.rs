//! What must hold for whatever a container runtime answers, and for the files that targets are found by.
//! A runtime's names and labels are those that whoever starts a container has chosen.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use std::{fmt::Write as _, path::Path};

use super::{
    selector::Selector,
    sources::{
        docker::answers::{Event, summaries},
        names, socket_table,
    },
};

/// Docker's answers: a container that is taken has the id and one of the names that it was listed with.
pub fn docker(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(event) = serde_json::from_slice::<Event>(bytes)
        && let Some((action, id)) = event.read()
    {
        // What an event is about is asked for by its id alone.
        assert!(action.len() + id.len() <= 3 * bytes.len(), "{action} {id}");
    }
    for container in summaries(bytes).unwrap_or_default().into_iter().filter_map(|it| it.workload("docker")) {
        assert!(!container.id.is_empty() && !container.name.is_empty(), "{container:?}");
        assert!(container.info.container_id.chars().count() <= 12, "{container:?}");
    }
    if let Some(id) = names::id_of_cgroup(Path::new(text.as_ref())) {
        assert!(id.len() == 64 && text.contains(id), "{id}");
    }
    if let Some(unit) = names::unit_of_cgroup(Path::new(text.as_ref())) {
        assert!(text.contains(unit), "{unit}");
    }
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.to_string(), text);
    }
}

/// A table of sockets: no more are found than it has lines, and those of a whole table are all found.
pub(crate) fn sockets(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(socket_table::listening_sockets(bytes).len() <= lines);
    let ports: Vec<u16> =
        bytes.chunks_exact(2).take(20).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let mut table =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
            .to_owned();
    for (index, port) in ports.iter().enumerate() {
        let row = format!(
            "{index:4}: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 100 0 0 10 0",
            index + 1
        );
        // Writing to a string does not fail.
        writeln!(table, "{row:149}").ok();
    }
    let found = socket_table::listening_sockets(table.as_bytes());
    assert!(
        found.iter().map(|(_, address)| address.port()).eq(ports.iter().copied()),
        "{found:?} of {ports:?}"
    );
    assert!(found.iter().map(|(inode, _)| *inode).eq(1..=ports.len() as u64), "{found:?}");
}
