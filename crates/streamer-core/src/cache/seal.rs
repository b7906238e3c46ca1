//! The form in which an entry lies where others can write.
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | version, 2 |
//! | 1 | 0 plain, 1 encrypted |
//! | 8 | first bytes of the key's SHA-256; zero in a plain entry |
//! | 32 | rank of the reach in hexadecimal digits, so that a script can compare it as text |
//! | 8 | when it ends, ms since the epoch |
//! | 4, n | the reach |
//! | 12 or 32 | nonce, or SHA-256 of the name, of everything before it, and of the value |
//! | n | the value; encrypted it ends with the tag (AES-256-GCM) |
//!
//! The value: a 0, the number of rows, the columns as JSON, and the cells, [packed](crate::event::packed); or a 1, and the bytes
//! of a value of the application. JSON, cells and bytes stand behind their lengths in 4 bytes.
//!
//! Integers are big-endian. What judges the entry, and the name under which it lies, are authenticated with it: an entry that
//! was altered, cut, or moved to another name does not open. Without a key that holds against accidents only, because
//! whoever can write there can make the sum too.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::columns::Columns;
use super::reach::Reach;
use super::store::Value;
use crate::event::Packed;

const VERSION: u8 = 2;
const HEAD: usize = 54;
const SUM: usize = 32;

/// Where the rank lies.
pub const RANK: std::ops::Range<usize> = 10..42;

/// A key for entries.
pub struct Cipher {
    key: LessSafeKey,
    id: [u8; 8],
}

impl Cipher {
    /// From 32 bytes.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let digest: [u8; 32] = Sha256::new_with_prefix(b"ultimate-streaming")
            .chain_update(key)
            .finalize()
            .into();
        let (id, _) = digest.split_first_chunk()?;
        Some(Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?),
            id: *id,
        })
    }

    /// Names the key, and says nothing of it.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }
}

/// An entry as it was found.
#[derive(Debug)]
pub struct Sealed {
    /// What of the log its value holds.
    pub reach: Reach,
    /// When it ends, ms since the epoch.
    pub expires_ms: u64,
    /// The value.
    pub value: Value,
}

/// It is not what this version, with this key, wrote under this name.
#[derive(Debug, PartialEq, Eq)]
pub struct Unusable;

/// The bytes of an entry under `name`; `None` where they cannot be made.
pub fn seal(
    cipher: Option<&Cipher>,
    name: &[u8],
    reach: &Reach,
    expires_ms: u64,
    value: &Value,
) -> Option<Vec<u8>> {
    let mut bytes = vec![VERSION, u8::from(cipher.is_some())];
    bytes.extend_from_slice(&cipher.map_or([0; 8], |cipher| cipher.id));
    bytes.extend_from_slice(format!("{:032x}", reach.rank()).as_bytes());
    bytes.extend_from_slice(&expires_ms.to_be_bytes());
    put(&mut bytes, &reach.encode()?)?;
    let mut content = encode(value)?;
    match cipher {
        Some(cipher) => {
            let mut nonce = [0_u8; NONCE_LEN];
            SystemRandom::new().fill(&mut nonce).ok()?;
            let aad = Aad::from(context(name, &bytes));
            cipher
                .key
                .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut content)
                .ok()?;
            bytes.extend_from_slice(&nonce);
        }
        None => {
            let sum = sum(name, &bytes, &content);
            bytes.extend_from_slice(&sum);
        }
    }
    bytes.extend_from_slice(&content);
    Some(bytes)
}

/// Reads what [`seal`] made.
///
/// # Errors
/// [`Unusable`] for anything else.
pub fn open(cipher: Option<&Cipher>, name: &[u8], bytes: &[u8]) -> Result<Sealed, Unusable> {
    let expected = (
        VERSION,
        u8::from(cipher.is_some()),
        cipher.map_or([0; 8], Cipher::id),
    );
    let mut input = Input(bytes);
    let [version, kind] = input.array()?;
    if (version, kind, input.array()?) != expected {
        return Err(Unusable);
    }
    let rank: [u8; 32] = input.array()?;
    let expires_ms = u64::from_be_bytes(input.array()?);
    let reach = Reach::decode(input.field()?).map_err(|_| Unusable)?;
    if rank != format!("{:032x}", reach.rank()).as_bytes() {
        return Err(Unusable);
    }
    let head = bytes.get(..bytes.len() - input.0.len()).ok_or(Unusable)?;
    let value = match cipher {
        Some(cipher) => {
            let nonce = Nonce::assume_unique_for_key(input.array()?);
            let mut content = input.0.to_vec();
            let aad = Aad::from(context(name, head));
            let content = cipher
                .key
                .open_in_place(nonce, aad, &mut content)
                .map_err(|_| Unusable)?;
            decode(content)?
        }
        None => {
            if input.array::<SUM>()? != sum(name, head, input.0) {
                return Err(Unusable);
            }
            decode(input.0)?
        }
    };
    Ok(Sealed {
        reach,
        expires_ms,
        value,
    })
}

fn context(name: &[u8], head: &[u8]) -> Vec<u8> {
    let mut context = (name.len() as u64).to_be_bytes().to_vec();
    context.extend_from_slice(name);
    context.extend_from_slice(head);
    context
}

fn sum(name: &[u8], head: &[u8], content: &[u8]) -> [u8; SUM] {
    Sha256::new_with_prefix(context(name, head))
        .chain_update(content)
        .finalize()
        .into()
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    bytes.extend_from_slice(&u32::try_from(field.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(field);
    Some(())
}

fn encode(value: &Value) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD + value.weight());
    match value {
        Value::Rows {
            cells,
            columns,
            count,
        } => {
            bytes.push(0);
            bytes.extend_from_slice(&count.to_be_bytes());
            let json = columns.as_ref().map_or("", |columns| columns.json());
            put(&mut bytes, json.as_bytes())?;
            put(&mut bytes, cells.bytes())?;
        }
        Value::Bytes(content) => {
            bytes.push(1);
            put(&mut bytes, content)?;
        }
    }
    Some(bytes)
}

fn decode(bytes: &[u8]) -> Result<Value, Unusable> {
    let mut input = Input(bytes);
    let value = match input.array()? {
        [0] => {
            let count = u32::from_be_bytes(input.array()?);
            let json = std::str::from_utf8(input.field()?).map_err(|_| Unusable)?;
            let cells = input.field()?;
            // A row has a number, a document five bytes, at least.
            if count as usize > cells.len() / 5 {
                return Err(Unusable);
            }
            Value::Rows {
                cells: Packed::read(cells).ok_or(Unusable)?,
                columns: (!json.is_empty()).then(|| Columns::from_json(json)),
                count,
            }
        }
        [1] => Value::Bytes(input.field()?.into()),
        _ => return Err(Unusable),
    };
    match input.0 {
        [] => Ok(value),
        _ => Err(Unusable),
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Unusable)?;
        self.0 = rest;
        Ok(*head)
    }

    fn field(&mut self) -> Result<&'a [u8], Unusable> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (field, rest) = self.0.split_at_checked(length).ok_or(Unusable)?;
        self.0 = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reach::LogFile;
    use super::*;
    use crate::event::Batch;

    fn reach() -> Reach {
        Reach::Shown {
            file: LogFile {
                number: 2,
                created: 7,
            },
            offset: 1_000,
        }
    }

    fn value() -> Value {
        Value::Rows {
            cells: Packed::of(&Batch {
                numbers: vec![1.5, f64::NAN, f64::INFINITY],
                text: b"abc".to_vec(),
                wide: vec![1, 2],
                bytes: vec![9],
                ..Batch::default()
            }),
            columns: Some(Columns::from_json("{}")),
            count: 3,
        }
    }

    fn ciphers() -> [Option<Cipher>; 2] {
        [None, Cipher::new(&[7; 32])]
    }

    #[test]
    fn an_entry_is_read_back() {
        for cipher in ciphers() {
            let bytes = seal(cipher.as_ref(), b"name", &reach(), 55, &value()).unwrap();
            let opened = open(cipher.as_ref(), b"name", &bytes).unwrap();
            assert_eq!((opened.reach, opened.expires_ms), (reach(), 55));
            assert_eq!(opened.value, value());
            let rank = std::str::from_utf8(&bytes[RANK]).unwrap();
            assert_eq!(u128::from_str_radix(rank, 16).unwrap(), reach().rank());
            let own = Value::Bytes([1, 2, 3].into());
            let bytes = seal(cipher.as_ref(), b"name", &reach(), 55, &own).unwrap();
            assert_eq!(open(cipher.as_ref(), b"name", &bytes).unwrap().value, own);
        }
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_other_name_is_found_out() {
        for cipher in ciphers() {
            let bytes = seal(cipher.as_ref(), b"name", &reach(), 55, &value()).unwrap();
            for at in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(open(cipher.as_ref(), b"name", &flipped).is_err(), "bit {at}");
            }
            for length in 0..bytes.len() {
                assert!(open(cipher.as_ref(), b"name", &bytes[..length]).is_err());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(open(cipher.as_ref(), b"name", &longer).is_err());
            assert!(open(cipher.as_ref(), b"other", &bytes).is_err());
        }
    }

    #[test]
    fn another_key_and_none_open_nothing() {
        let (one, other) = (Cipher::new(&[7; 32]), Cipher::new(&[8; 32]));
        let bytes = seal(one.as_ref(), b"name", &reach(), 55, &value()).unwrap();
        assert!(open(other.as_ref(), b"name", &bytes).is_err());
        assert!(open(None, b"name", &bytes).is_err());
        let plain = seal(None, b"name", &reach(), 55, &value()).unwrap();
        assert!(open(one.as_ref(), b"name", &plain).is_err());
        let text = b"abc";
        assert!(!bytes.windows(text.len()).any(|window| window == text));
    }
}
