//! What must hold for any type information, and for any bytes in a ring.
//! Neither is a stranger's; but both change from kernel to kernel, and what is read wrongly would be counted wrongly.

#![expect(clippy::missing_panics_doc, reason = "a panic tells of a finding")]

use observer_ebpf::records::{cgroup as record, exchange::PATH_BYTES};

use super::{
    btf::{Btf, Member},
    exchanges::{self, Record},
    offsets, ring,
};
use crate::exchanges::http;

/// Members of a structure that is made of the input, at the most.
const MEMBERS: usize = 64;

/// Damaged type information is an error; of a structure that is made of the input each member is found where it was put.
pub fn type_information(bytes: &[u8]) {
    if let Ok(btf) = Btf::parse(bytes) {
        offsets::resolve(&btf);
    }
    let members: Vec<u8> = bytes.iter().copied().take(MEMBERS).collect();
    let (data, places) = structure(&members);
    let btf = Btf::parse(&data).unwrap_or_else(|error| panic!("{error}"));
    for (index, place) in places.into_iter().enumerate() {
        assert_eq!(btf.member("made", &format!("m{index}")), Some(place), "of {members:?}");
    }
    assert_eq!(btf.member("made", "absent"), None);
}

/// Type information of one structure, whose members are integers of 1, 2, 4 or 8 bytes or pointers, by the low bits of each
/// byte, with as many bytes between them as its high bits say; and where they are.
fn structure(members: &[u8]) -> (Vec<u8>, Vec<Member>) {
    const SIZES: [u32; 5] = [1, 2, 4, 8, 8];
    /// `BTF_KIND_INT`, `_PTR` and `_STRUCT` of include/uapi/linux/btf.h.
    const KINDS: [u32; 6] = [1, 1, 1, 1, 2, 4];
    let mut strings = b"\0made\0".to_vec();
    let mut types: Vec<u32> = Vec::new();
    for (kind, size) in KINDS.iter().zip(SIZES) {
        // A pointer has the type it points to in the place of a size: here none.
        let rest = if *kind == 1 { vec![size, size * 8] } else { vec![0] };
        types.extend([0, kind << 24].iter().chain(&rest));
    }
    let count = u32::try_from(members.len()).unwrap_or_default();
    let mut laid = Vec::new();
    let mut end = 0;
    let mut places = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let kind = usize::from(*member) % SIZES.len();
        let size = SIZES[kind];
        let offset = end + u32::from(*member >> 3);
        laid.extend([
            u32::try_from(strings.len()).unwrap_or_default(),
            u32::try_from(kind + 1).unwrap_or_default(),
        ]);
        laid.push(offset * 8);
        strings.extend(format!("m{index}\0").bytes());
        places.push(Member { offset, size });
        end = offset + size;
    }
    types.extend([1, KINDS[5] << 24 | count, end]);
    types.extend(laid);
    let lengths = [types.len() * 4, strings.len()].map(|length| u32::try_from(length).unwrap_or_default());
    let mut data = 0xeb9f_u16.to_ne_bytes().to_vec();
    data.extend([1, 0]);
    for word in [24, 0, lengths[0], lengths[0], lengths[1]].iter().chain(&types) {
        data.extend(word.to_ne_bytes());
    }
    data.extend(strings);
    (data, places)
}

/// A record is what its kind and length say, its path is inside of it, and a damaged one is none.
pub fn records(bytes: &[u8]) {
    if let Some(record) = exchanges::decode(bytes) {
        match record {
            Record::Exchange(exchange) => {
                assert!(usize::from(exchange.path_length) <= PATH_BYTES, "{exchange:?}");
                assert_eq!(http::path(&exchange).len(), usize::from(exchange.path_length));
                let status = http::status_code(&exchange);
                assert!(status == 0 || (100..=1000).contains(&status), "{status}");
            }
            Record::Ahead(request) => assert!(usize::from(request.path_length) <= PATH_BYTES, "{request:?}"),
        }
    }
    let whole = bytes.len() == size_of::<record::CgroupRecord>();
    assert!(whole || ring::decode(bytes).is_none(), "{} bytes", bytes.len());
}
