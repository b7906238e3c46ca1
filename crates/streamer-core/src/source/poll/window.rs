//! Which row versions were delivered already: those near the end of a table's cursor, where rows are read again.

use std::collections::HashMap;

/// Most rows that are remembered of one table: some 50 MB.
pub const MAX_REMEMBERED: usize = 500_000;

/// A hash of 128 bits that is the same in every process and version (FNV-1a).
pub fn hash(parts: &[&[u8]]) -> u128 {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let mut add = |byte: u8| {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    };
    for part in parts {
        for byte in (part.len() as u64).to_le_bytes() {
            add(byte);
        }
        part.iter().copied().for_each(&mut add);
    }
    hash
}

/// The version that was delivered last of each row, by a hash of its key, with the value of the cursor's column.
#[derive(Debug, Default)]
pub struct Window {
    seen: HashMap<u128, (u128, i128)>,
}

impl Window {
    /// Remembers a row's version; false where it is the one that was remembered.
    pub fn add(&mut self, key: u128, version: u128, cursor: i128) -> bool {
        self.seen
            .insert(key, (version, cursor))
            .is_none_or(|(before, _)| before != version)
    }

    /// Forgets what lies below `low`: it is not read again.
    pub fn forget_below(&mut self, low: i128) {
        self.seen.retain(|_, (_, cursor)| *cursor >= low);
        // What a burst took is given back.
        if self.seen.capacity() > 1024 && self.seen.capacity() / 4 > self.seen.len() {
            self.seen.shrink_to_fit();
        }
    }

    /// Where more than `most` are remembered, forgets the lower half of them, and returns the value up to which, inclusive,
    /// nothing is remembered any more.
    pub fn halve(&mut self, most: usize) -> Option<i128> {
        if self.seen.len() <= most {
            return None;
        }
        let mut cursors: Vec<i128> = self.seen.values().map(|(_, cursor)| *cursor).collect();
        let middle = cursors.len() / 2;
        let (_, cut, _) = cursors.select_nth_unstable(middle);
        let cut = *cut;
        self.seen.retain(|_, (_, cursor)| *cursor > cut);
        Some(cut)
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_version_is_new_once() {
        let mut window = Window::default();
        assert!(window.add(1, 7, 10) && window.add(2, 7, 10));
        assert!(!window.add(1, 7, 10));
        // There and back again within one tick of the column's clock.
        assert!(window.add(1, 8, 10) && window.add(1, 7, 10));
        window.forget_below(11);
        assert_eq!(window.len(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let mut window = Window::default();
        for at in 0..100 {
            window.add(at, 0, at as i128 / 2);
            window.halve(10);
            assert!(window.len() <= 10);
        }
        assert!(!window.add(99, 0, 49));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b""]), hash(&[]));
        assert_eq!(hash(&[b"ab", b"c"]), hash(&[b"ab", b"c"]));
    }
}
