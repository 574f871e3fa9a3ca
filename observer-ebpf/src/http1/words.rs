//! Text eight bytes at a time: where a byte is in a word, and whether text begins with a known one.
//! Words are little-endian, so the first byte of the text is the lowest; both eBPF and its hosts here are.

/// Bytes of a [`Text`] at the most, and of what it is compared with.
pub const TEXT_BYTES: usize = 24;

const LOW: u64 = 0x0101_0101_0101_0101;
const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// The top bit of each byte.
pub const TOPS: u64 = !SEVEN;
/// Turns ASCII capitals into small letters; what it makes of other bytes equals no letter of a header's name but
/// for `@` and the like, which no name may hold.
pub const LOWER: u64 = 0x2020_2020_2020_2020;

/// The top bit of each byte of `word` that equals `byte`; exact, unlike the shorter form with a borrow.
#[inline(always)]
pub const fn matches(word: u64, byte: u8) -> u64 {
    let differs = word ^ LOW.wrapping_mul(byte as u64);
    !(((differs & SEVEN) + SEVEN) | differs | SEVEN)
}

/// As [`matches`], but exact only up to the first byte that equals `byte`, and half as long: a borrow from there may
/// mark bytes behind it.
#[inline(always)]
pub const fn matches_first(word: u64, byte: u8) -> u64 {
    let differs = word ^ LOW.wrapping_mul(byte as u64);
    differs.wrapping_sub(LOW) & !differs & TOPS
}

/// How many decimal digits the word begins with, 0 to 8.
#[inline(always)]
pub const fn leading_digits(word: u64) -> u32 {
    let values = word ^ LOW.wrapping_mul(b'0' as u64);
    // Values above nine carry into the top bit, or have it.
    let others = (((values & SEVEN) + LOW.wrapping_mul(0x7f - 9)) | values) & TOPS;
    if others == 0 { 8 } else { first(others) }
}

/// The number that the word's first `digits` decimal digits are.
#[inline(always)]
pub const fn decimal(word: u64, digits: u32) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    if digits == 0 {
        return 0;
    }
    // The first digit is the lowest byte: digits go to the upper end, and zeros before them. Then neighbours are put
    // together, twos to fours, and fours to eights.
    let values = (word ^ LOW.wrapping_mul(b'0' as u64)) << ((8 - digits) * 8);
    let twos = values.wrapping_mul(10).wrapping_add(values >> 8);
    let upper = (twos & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let lower = (twos >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    upper.wrapping_add(lower) >> 32
}

/// Ten to the power of `digits`, 0 to 8.
#[inline(always)]
pub const fn power_of_ten(digits: u32) -> u64 {
    // Three steps and no table: 10^8 = (10^4)^2.
    let ones = if digits & 1 != 0 { 10 } else { 1 };
    let twos = if digits & 2 != 0 { 100 } else { 1 };
    let fours = if digits & 4 != 0 { 10_000 } else { 1 };
    if digits & 8 != 0 { 100_000_000 } else { ones * twos * fours }
}

/// The index of the first byte that `matches` found; BPF has no instruction to count zeros.
#[inline(always)]
pub const fn first(found: u64) -> u32 {
    let lowest = (found & found.wrapping_neg()) >> 7;
    ((lowest.wrapping_sub(1) & LOW).wrapping_mul(LOW) >> 56) as u32
}

/// The index of the last byte that `matches` found.
#[inline(always)]
pub const fn last(found: u64) -> u32 {
    let mut below = found >> 7;
    below |= below >> 8;
    below |= below >> 16;
    below |= below >> 32;
    ((below & LOW).wrapping_mul(LOW) >> 56) as u32 - 1
}

/// The top bit of each byte from the first to the last that `matches` found.
#[inline(always)]
pub const fn between(found: u64) -> u64 {
    (TOPS << (first(found) * 8)) & (TOPS >> ((7 - last(found)) * 8))
}

/// Known text of up to 24 bytes, to compare with a window's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    words: [u64; 3],
    masks: [u64; 3],
    /// Its length in bytes.
    pub length: u32,
}

impl Text {
    /// `text` in small letters.
    ///
    /// # Panics
    /// While compiling, if the text is empty or longer than 24 bytes.
    pub const fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 24, "a text has 1 to 24 bytes");
        let (mut words, mut masks) = ([0_u64; 3], [0_u64; 3]);
        let mut index = 0;
        while index < bytes.len() {
            let shift = index % 8 * 8;
            words[index / 8] |= (bytes[index] as u64) << shift;
            masks[index / 8] |= 0xff << shift;
            index += 1;
        }
        Self { words, masks, length: bytes.len() as u32 }
    }

    /// Its first eight bytes, with zeros behind its end.
    #[inline(always)]
    pub const fn first_word(&self) -> u64 {
        self.words[0]
    }

    /// Whether bytes that are `words` begin with it, taking capitals for small letters where it has letters.
    #[inline(always)]
    pub const fn begins(&self, words: [u64; 3]) -> bool {
        self.differs(words, LOWER) == 0
    }

    /// Whether bytes that are `words` begin with exactly it.
    #[inline(always)]
    pub const fn begins_exactly(&self, words: [u64; 3]) -> bool {
        self.differs(words, 0) == 0
    }

    #[inline(always)]
    const fn differs(&self, words: [u64; 3], lower: u64) -> u64 {
        (((words[0] | lower) ^ self.words[0]) & self.masks[0])
            | (((words[1] | lower) ^ self.words[1]) & self.masks[1])
            | (((words[2] | lower) ^ self.words[2]) & self.masks[2])
    }

    /// Whether the first eight bytes, in small letters, may be its own.
    #[inline(always)]
    pub const fn may_begin(&self, lower: u64) -> bool {
        (lower ^ self.words[0]) & self.masks[0] == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_byte_is_found() {
        for places in 1_u32..256 {
            let bytes: [u8; 8] =
                core::array::from_fn(|index| if places & (1 << index) == 0 { b'\n' + 1 } else { b'\n' });
            let found = matches(u64::from_le_bytes(bytes), b'\n');
            assert_eq!(first(found), places.trailing_zeros());
            assert_eq!(last(found), places.ilog2());
            assert_eq!(found.count_ones(), places.count_ones());
            assert_eq!(between(found).count_ones(), last(found) - first(found) + 1);
            assert_eq!(between(found) & found, found);
        }
    }

    #[test]
    fn the_first_place_of_a_byte_is_found_the_short_way_too() {
        for places in 1_u32..256 {
            let bytes: [u8; 8] =
                core::array::from_fn(|index| if places & (1 << index) == 0 { b'?' + 1 } else { b'?' });
            assert_eq!(first(matches_first(u64::from_le_bytes(bytes), b'?')), places.trailing_zeros());
        }
        assert_eq!(matches_first(u64::from_le_bytes(*b"/api/cha"), b'?'), 0);
    }

    #[test]
    fn numbers_are_read_up_to_the_first_other_byte() {
        for (text, digits, number) in [
            (b"00000000", 8, 0),
            (b"12345678", 8, 12_345_678),
            (b"99999999", 8, 99_999_999),
            (b"200\r\nxyz", 3, 200),
            (b"7:;<=>?@", 1, 7),
            (b"/1234567", 0, 0),
            (b"42\xb9\xff1234", 2, 42),
        ] {
            let word = u64::from_le_bytes(*text);
            assert_eq!(leading_digits(word), digits);
            assert_eq!(decimal(word, digits), number);
        }
        for digits in 0..=8 {
            assert_eq!(power_of_ten(digits), 10_u64.pow(digits));
        }
    }

    #[test]
    fn text_is_compared_in_any_case_and_to_its_end() {
        let words = |text: &str| {
            let mut bytes = [0_u8; 24];
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            core::array::from_fn(|index| {
                u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().unwrap())
            })
        };
        let name = Text::new("transfer-encoding");
        assert!(name.begins(words("Transfer-ENCODING: x")));
        assert!(!name.begins(words("transfer-encodin: x")));
        assert!(Text::new("GET ").begins_exactly(words("GET / HTTP/1.1")));
        assert!(!Text::new("GET ").begins_exactly(words("get / HTTP/1.1")));
    }
}
