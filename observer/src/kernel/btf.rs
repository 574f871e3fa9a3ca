//! Reads the kernel's type information far enough to find where a member lies in its structure.
//! Format: Documentation/bpf/btf.rst. The crates that read it whole are under the LGPL, which a static binary
//! cannot honour for its users, or keep their members private (aya-obj).

#![expect(
    clippy::cast_possible_truncation,
    reason = "the format has 32-bit offsets, so no section is longer"
)]

use std::fmt;

/// `BTF_KIND_*` of include/uapi/linux/btf.h.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
}

/// Magic number, version 1, no flags.
const HEAD: [u8; 4] = {
    let magic = 0xeb9f_u16.to_ne_bytes();
    [magic[0], magic[1], 1, 0]
};

/// Bytes of `struct btf_header`.
const HEADER_BYTES: u32 = 24;

/// Anonymous structures in structures go this deep at the most.
const DEPTH: u32 = 8;

/// The kernel's type information.
pub(super) struct Btf<'a> {
    /// The section of types.
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins in `types`; type 0 (`void`) has no entry of its own and begins nowhere.
    starts: Vec<u32>,
}

/// The name of a type that programs attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The type of a tracepoint's handlers.
    Typedef(String),
    /// A function.
    Function(String),
}

/// A member's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Bytes from the beginning of the structure.
    pub(super) offset: u32,
    /// Bytes.
    pub(super) size: u32,
}

/// Why type information could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's type information is damaged: {0}")]
pub(super) struct Damaged(&'static str);

/// One type as it stands in the section.
struct Type {
    name: u32,
    kind: u32,
    /// How many members, values or parameters follow.
    length: u32,
    /// Whether members' offsets carry bit field sizes.
    flag: bool,
    /// Size in bytes, or the number of the type it refers to.
    size_or_target: u32,
    /// Where what follows begins.
    rest: usize,
}

impl<'a> Btf<'a> {
    /// Reads the contents of `/sys/kernel/btf/vmlinux`.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Damaged> {
        let word = |offset: usize| word(data, offset).ok_or(Damaged("its header is cut off"));
        if data.get(..2) != Some(&HEAD[..2]) {
            return Err(Damaged("its magic number is not that of this machine's byte order"));
        }
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32| {
            let start = header + offset as usize;
            data.get(start..start + length as usize).ok_or(Damaged("a section is cut off"))
        };
        let types = section(word(8)?, word(12)?)?;
        let strings = section(word(16)?, word(20)?)?;
        let mut btf = Self { types, strings, starts: vec![0] };
        let mut position = 0;
        while position < btf.types.len() {
            btf.starts.push(position as u32);
            let read = btf.read(position).ok_or(Damaged("a type is cut off"))?;
            position = read.rest + Self::following(&read);
        }
        Ok(btf)
    }

    /// The place of a member, also of one in an anonymous structure or union. `None` where the structure or the
    /// member is not there, or where two structures of the same name put it differently.
    pub(super) fn member(&self, structure: &str, member: &str) -> Option<Member> {
        let mut found = None;
        for start in &self.starts[1..] {
            let candidate = self.read(*start as usize)?;
            if candidate.kind != kind::STRUCT
                || candidate.length == 0
                || self.name(candidate.name) != structure.as_bytes()
            {
                continue;
            }
            let place = self.member_of(&candidate, member, DEPTH)?;
            if found.is_some_and(|other| other != place) {
                return None;
            }
            found = Some(place);
        }
        found
    }

    /// Type information in which the types of these names have the numbers that they have here, and every other is an
    /// empty one: all that aya looks up. It keeps members and names of what it is given, of a whole kernel some twenty
    /// megabytes.
    pub(super) fn excerpt(&self, names: &[Named]) -> Vec<u8> {
        const EMPTY: [u32; 3] = [0, kind::FWD << 24, 0];
        let mut strings = vec![0];
        let mut types: Vec<[u32; 3]> = Vec::new();
        let mut wanted: Vec<&Named> = names.iter().collect();
        for (start, number) in self.starts.iter().zip(0_usize..).skip(1) {
            let Some(found) = self.read(*start as usize) else { break };
            let is_it = |named: &&Named| match named {
                Named::Typedef(name) => {
                    found.kind == kind::TYPEDEF && self.name(found.name) == name.as_bytes()
                }
                Named::Function(name) => found.kind == kind::FUNC && self.name(found.name) == name.as_bytes(),
            };
            // aya, too, takes the first of a name.
            let Some(place) = wanted.iter().position(is_it) else { continue };
            wanted.swap_remove(place);
            types.resize(number - 1, EMPTY);
            types.push([strings.len() as u32, found.kind << 24, 0]);
            strings.extend(self.name(found.name));
            strings.push(0);
        }
        let type_bytes = (types.len() * size_of_val(&EMPTY)) as u32;
        let header =
            [u32::from_ne_bytes(HEAD), HEADER_BYTES, 0, type_bytes, type_bytes, strings.len() as u32];
        let words = header.iter().chain(types.as_flattened());
        words.flat_map(|word| word.to_ne_bytes()).chain(strings).collect()
    }

    fn member_of(&self, structure: &Type, wanted: &str, depth: u32) -> Option<Member> {
        /// Bytes of `struct btf_member`.
        const MEMBER: usize = 12;
        for index in 0..structure.length as usize {
            let at = structure.rest + index * MEMBER;
            let (name, type_id, position) =
                (word(self.types, at)?, word(self.types, at + 4)?, word(self.types, at + 8)?);
            let (bits, bit_field) = if structure.flag {
                (position & 0x00ff_ffff, position >> 24 != 0)
            } else {
                (position, false)
            };
            if self.name(name) == wanted.as_bytes() {
                let size = self.size(type_id, DEPTH)?;
                return (!bit_field && bits % 8 == 0).then_some(Member { offset: bits / 8, size });
            }
            if self.name(name).is_empty() && depth > 0 {
                let inner = self.resolve(type_id, DEPTH)?;
                if matches!(inner.kind, kind::STRUCT | kind::UNION)
                    && let Some(place) = self.member_of(&inner, wanted, depth - 1)
                {
                    return Some(Member { offset: bits / 8 + place.offset, ..place });
                }
            }
        }
        None
    }

    /// The type behind qualifiers and typedefs.
    fn resolve(&self, type_id: u32, depth: u32) -> Option<Type> {
        let found = self.read(*self.starts.get(type_id as usize).filter(|_| type_id != 0)? as usize)?;
        match found.kind {
            kind::INT
            | kind::PTR
            | kind::ARRAY
            | kind::STRUCT
            | kind::UNION
            | kind::ENUM
            | kind::ENUM64
            | kind::FLOAT => Some(found),
            _ if depth > 0 => self.resolve(found.size_or_target, depth - 1),
            _ => None,
        }
    }

    fn size(&self, type_id: u32, depth: u32) -> Option<u32> {
        let found = self.resolve(type_id, depth)?;
        match found.kind {
            kind::PTR => Some(size_of::<usize>() as u32),
            kind::ARRAY if depth > 0 => {
                let (element, count) = (word(self.types, found.rest)?, word(self.types, found.rest + 8)?);
                self.size(element, depth - 1)?.checked_mul(count)
            }
            kind::ARRAY => None,
            _ => Some(found.size_or_target),
        }
    }

    fn read(&self, start: usize) -> Option<Type> {
        let info = word(self.types, start + 4)?;
        Some(Type {
            name: word(self.types, start)?,
            kind: (info >> 24) & 0x1f,
            length: info & 0xffff,
            flag: info >> 31 != 0,
            size_or_target: word(self.types, start + 8)?,
            rest: start + 12,
        })
    }

    /// Bytes that follow the common part of a type.
    fn following(of: &Type) -> usize {
        let length = of.length as usize;
        match of.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => length * 12,
            kind::ENUM | kind::FUNC_PROTO => length * 8,
            _ => 0,
        }
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Debug for Btf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Btf").field("types", &(self.starts.len() - 1)).finish_non_exhaustive()
    }
}

fn word(data: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { union { u16 b; }; int c : 3; }; int *d; int e[3]; }`, written by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0d\0e\0u16\0short\0";
        let name = |text: &str| {
            let needle = [&[0], text.as_bytes(), &[0]].concat();
            strings.windows(needle.len()).position(|window| window == needle).unwrap() as u32 + 1
        };
        let info = |kind: u32, length: u32, flag: u32| flag << 31 | kind << 24 | length;
        let types: Vec<u32> = [
            vec![name("int"), info(kind::INT, 0, 0), 4, 32],      // 1
            vec![name("short"), info(kind::INT, 0, 0), 2, 16],    // 2
            vec![name("u16"), info(8, 0, 0), 2],                  // 3: typedef
            vec![0, info(kind::UNION, 1, 0), 2, name("b"), 3, 0], // 4
            vec![0, info(kind::STRUCT, 2, 1), 8, 0, 4, 0, name("c"), 1, 3 << 24 | 32], // 5
            vec![0, info(kind::PTR, 0, 0), 1],                    // 6
            vec![0, info(kind::ARRAY, 0, 0), 0, 1, 1, 3],         // 7
            vec![
                name("outer"),
                info(kind::STRUCT, 4, 0),
                40, //
                name("a"),
                1,
                0,
                0,
                5,
                32,
                name("d"),
                6,
                128,
                name("e"),
                7,
                192,
            ],
        ]
        .concat();
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut data = Vec::new();
        data.extend(0xeb9f_u16.to_ne_bytes());
        data.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            data.extend(word.to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn members_are_found_through_anonymous_structures() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.member("outer", "a"), Some(Member { offset: 0, size: 4 }));
        assert_eq!(btf.member("outer", "b"), Some(Member { offset: 4, size: 2 }));
        assert_eq!(btf.member("outer", "d"), Some(Member { offset: 16, size: 8 }));
        assert_eq!(btf.member("outer", "e"), Some(Member { offset: 24, size: 12 }));
    }

    #[test]
    fn bit_fields_and_strangers_are_not_found() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.member("outer", "c"), None);
        assert_eq!(btf.member("outer", "z"), None);
        assert_eq!(btf.member("inner", "a"), None);
    }

    #[test]
    fn an_excerpt_keeps_the_numbers_of_what_it_was_asked_for() {
        let data = sample();
        let asked = |name: &str| Named::Typedef(name.to_owned());
        let excerpt = Btf::parse(&data).unwrap().excerpt(&[asked("int"), asked("u16"), asked("none")]);
        let found = aya::Btf::parse(&excerpt, aya::Endianness::default()).unwrap();
        let number = |name| found.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Typedef).ok();
        // `int` is there, and no typedef.
        assert_eq!([number("u16"), number("int"), number("none")], [Some(3), None, None]);
        assert!(excerpt.len() < data.len());
    }

    #[test]
    fn every_cut_is_an_error_or_misses_members_but_never_panics() {
        let data = sample();
        for length in 0..data.len() {
            if let Ok(btf) = Btf::parse(&data[..length]) {
                let _place = btf.member("outer", "a");
            }
        }
        assert!(Btf::parse(&data[..data.len() - 1]).is_err());
    }
}
