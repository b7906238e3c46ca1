//! The keys of a table, and of a compared table what its rows were: what is missing in the next look is gone.

use std::collections::HashMap;

use super::window::hash;

/// Most keys that are kept of one table.
pub const MAX_KEYS: usize = 1_000_000;

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    /// The look in which it was seen last.
    look: u32,
    /// A hash of the row; 0 where rows are not compared.
    version: u128,
}

/// What a row is to what was known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Its key was not known.
    New,
    /// It was another version.
    Changed,
    /// It was the same.
    Same,
}

/// The keys of one table.
#[derive(Debug, Default)]
pub struct Keys {
    entries: HashMap<u128, Entry>,
    look: u32,
}

impl Keys {
    /// A look at all keys begins.
    pub fn begin(&mut self) {
        self.look = self.look.wrapping_add(1);
    }

    /// A key was seen, in a look or beside one.
    pub fn see(&mut self, key: Vec<u8>, version: u128) -> Known {
        let look = self.look;
        match self.entries.get_mut(&hash(&[&key])) {
            None => {
                let key = key.into_boxed_slice();
                self.entries.insert(hash(&[&key]), Entry { key, look, version });
                Known::New
            }
            Some(entry) => {
                entry.look = look;
                if std::mem::replace(&mut entry.version, version) == version {
                    Known::Same
                } else {
                    Known::Changed
                }
            }
        }
    }

    /// The look has ended: takes out and returns the keys that were not seen in it.
    pub fn end(&mut self) -> Vec<Box<[u8]>> {
        let look = self.look;
        let gone: Vec<u128> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.look != look)
            .map(|(hash, _)| *hash)
            .collect();
        gone.iter()
            .filter_map(|hash| self.entries.remove(hash))
            .map(|entry| entry.key)
            .collect()
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_seen_again_is_gone_once() {
        let mut keys = Keys::default();
        keys.begin();
        for key in [b"a", b"b"] {
            assert_eq!(keys.see(key.to_vec(), 0), Known::New);
        }
        assert!(keys.end().is_empty());
        keys.begin();
        assert_eq!(keys.see(b"a".to_vec(), 0), Known::Same);
        // Delivered by a poll while the look goes on, behind the place where it would have been seen.
        assert_eq!(keys.see(b"c".to_vec(), 0), Known::New);
        assert_eq!(keys.end(), vec![Box::from(&b"b"[..])]);
        assert_eq!(keys.len(), 2);
        keys.begin();
        keys.see(b"a".to_vec(), 0);
        keys.see(b"c".to_vec(), 0);
        assert!(keys.end().is_empty());
    }

    #[test]
    fn versions_are_compared() {
        let mut keys = Keys::default();
        keys.begin();
        assert_eq!(keys.see(b"a".to_vec(), 1), Known::New);
        assert_eq!(keys.see(b"a".to_vec(), 1), Known::Same);
        assert_eq!(keys.see(b"a".to_vec(), 2), Known::Changed);
    }
}
