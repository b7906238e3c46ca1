//! Goes over an array of documents where it lies, and remembers how far it came without borrowing it.

use bson::{RawArray, RawDocument};

use super::event::undecodable;
use crate::code::Code;
use crate::error::{Error, Result};

/// How far an array of documents was read.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    at: usize,
    end: usize,
}

impl Walk {
    /// Begins with the first element of an array that is a part of `whole`.
    pub fn over(whole: &[u8], array: &RawArray) -> Self {
        let array = array.as_bytes();
        // The array lies in the whole: where, is kept instead of a borrow.
        let start = (array.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
        Self {
            // Behind the array's own length.
            at: start + 4,
            end: start + array.len(),
        }
    }

    /// The next document of the array in `whole`.
    ///
    /// # Errors
    /// `ERR_STREAMER_LOG_UNDECODABLE` where it is no array of documents.
    pub fn next<'a>(&mut self, whole: &'a [u8]) -> Result<Option<&'a RawDocument>> {
        let rest = whole.get(self.at..self.end).unwrap_or_default();
        match element(rest) {
            Element::End => Ok(None),
            Element::Document { skip, length } => {
                let start = self.at + skip;
                self.at = start + length;
                let document = whole.get(start..self.at).unwrap_or_default();
                RawDocument::from_bytes(document).map(Some).map_err(undecodable)
            }
            Element::Broken => Err(Error::new(
                Code::LogUndecodable,
                "A batch of the log is no array of documents.",
            )),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Element {
    End,
    Document { skip: usize, length: usize },
    Broken,
}

/// What an array's bytes begin with.
fn element(rest: &[u8]) -> Element {
    match rest {
        [0] => Element::End,
        [0x03, name @ ..] => {
            let Some(index) = name.iter().take(16).position(|&byte| byte == 0) else {
                return Element::Broken;
            };
            let document = name.get(index + 1..).unwrap_or_default();
            let length = document
                .first_chunk()
                .and_then(|length| usize::try_from(i32::from_le_bytes(*length)).ok());
            match length {
                Some(length) if (5..document.len()).contains(&length) => Element::Document {
                    skip: index + 2,
                    length,
                },
                _ => Element::Broken,
            }
        }
        _ => Element::Broken,
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawArrayBuf, rawdoc};

    use super::*;

    #[test]
    fn elements_are_found_and_broken_ones_are_refused() {
        let array: RawArrayBuf = [rawdoc! { "a": 1 }, rawdoc! {}].into_iter().collect();
        let bytes = array.as_bytes();
        let Element::Document { skip, length } = element(&bytes[4..]) else {
            panic!("no document");
        };
        let document = RawDocument::from_bytes(&bytes[4 + skip..4 + skip + length]).unwrap();
        assert_eq!(document.get_i32("a").unwrap(), 1);
        let second = &bytes[4 + skip + length..];
        assert_eq!(element(second), Element::Document { skip: 3, length: 5 });
        assert_eq!(element(&second[8..]), Element::End);
        for broken in [
            &[][..],
            &[3],
            &[3, 48, 0],
            &[3, 48, 0, 5, 0, 0, 0, 0],
            &[2, 48, 0, 5, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(element(broken), Element::Broken, "{broken:?}");
        }
        assert_eq!(element(&[3, 48, 0, 255, 255, 255, 255, 0, 0]), Element::Broken);
    }
}
