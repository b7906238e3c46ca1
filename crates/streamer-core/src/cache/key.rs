//! Keys: everything that a result depends on beside the rows, each part with its type and its length, hashed.
//!
//! Parts that are only joined can be moved into one another (`"a:b", "c"` and `"a", "b:c"`); parts with a type and a
//! length cannot. 128 bits of SHA-256: nobody finds two statements with one key, by chance or on purpose.

use sha2::{Digest, Sha256};

/// Key of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// Its bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// Collects the parts of a key.
#[derive(Debug, Clone)]
pub struct KeyWriter(Sha256);

impl KeyWriter {
    /// Begins the key of an entry of one kind.
    pub fn new(kind: &str) -> Self {
        let mut writer = Self(Sha256::new());
        writer.part(0, kind.as_bytes());
        writer
    }

    /// A part of type `tag`.
    pub fn part(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// All of the hash.
    pub fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The key.
    pub fn finish(self) -> Key {
        Key(self.hash())
    }

    /// The same as a number.
    pub fn number(self) -> i128 {
        i128::from_be_bytes(self.hash().to_be_bytes())
    }

    fn hash(self) -> u128 {
        let hash = self.digest();
        let mut first = [0_u8; 16];
        first.copy_from_slice(hash.split_at(16).0);
        u128::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[(u8, &str)]) -> Key {
        let mut writer = KeyWriter::new("k");
        for (tag, part) in parts {
            writer.part(*tag, part.as_bytes());
        }
        writer.finish()
    }

    #[test]
    fn parts_cannot_be_moved_into_one_another() {
        let keys = [
            key(&[(1, "a"), (1, "b")]),
            key(&[(1, "ab")]),
            key(&[(1, ""), (1, "ab")]),
            key(&[(1, "ab"), (1, "")]),
            key(&[(2, "ab")]),
            key(&[(1, "a"), (2, "b")]),
            key(&[(1, "a\u{1}b")]),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys.iter().skip(at + 1).all(|other| other != one));
        }
        assert_eq!(key(&[(1, "a")]), key(&[(1, "a")]));
    }
}
