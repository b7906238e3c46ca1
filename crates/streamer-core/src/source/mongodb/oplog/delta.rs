//! What the oplog says of an update, as the description that a change stream gives of it.
//!
//! # The formats
//! An entry of the operation `u` holds in `o` one of these:
//!
//! - **a replacement**: the whole document; no field of it begins with `$`;
//! - **version 1** (before MongoDB 5.0, `$v: 1` or none): `$set` and `$unset`, each with paths;
//! - **version 2** (`$v: 2`): `diff`, a tree. A document's level has the sections `d` (fields that are gone), `u` (fields
//!   with new values), `i` (new fields), and for each field below which something changed one named `s` and the field's name. An
//!   array's level begins with `a: true`, then `l` (its new length, where it was cut), then `u<index>` and `s<index>`.
//!
//! Source: `doc_diff` (`document_diff_serialization.h`) and `update_oplog_entry_serialization.h` of the server. Within a level a change
//! stream lists new values (`u`, then `i`), then what is gone, then goes deeper; so does this.
//!
//! What is not known to the last field is refused: part of a difference is worse than none.

use bson::raw::CString;
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

/// Deepest tree that is followed; the server allows documents of 180 levels.
const MAX_DEPTH: usize = 250;

/// What an update did.
#[derive(Debug, PartialEq)]
pub enum Update {
    /// The document is another one: `o` itself.
    Replacement,
    /// `{ updatedFields, removedFields, truncatedArrays }`.
    Delta(RawDocumentBuf),
}

/// Why an update cannot be told: words for a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown(pub &'static str);

impl From<bson::error::Error> for Unknown {
    fn from(_: bson::error::Error) -> Self {
        Self("is no valid BSON")
    }
}

/// Reads `o` of an update.
///
/// # Errors
/// What of it is not understood.
pub fn read(o: &RawDocument) -> Result<Update, Unknown> {
    let version = o.get("$v")?;
    match version.and_then(number) {
        Some(2) => {
            let Some(diff) = o.get("diff")?.and_then(RawBsonRef::as_document) else {
                return Err(Unknown("has no difference"));
            };
            let mut description = Description::default();
            description.document(diff, 0)?;
            Ok(Update::Delta(description.finish()))
        }
        Some(1) => modifiers(o),
        None if version.is_none() => {
            let first = o.iter_elements().next().transpose()?;
            if first.is_some_and(|element| element.key().as_str().starts_with('$')) {
                modifiers(o)
            } else {
                Ok(Update::Replacement)
            }
        }
        _ => Err(Unknown("has a version that is not known")),
    }
}

/// `$set` and `$unset`.
fn modifiers(o: &RawDocument) -> Result<Update, Unknown> {
    let mut description = Description::default();
    for element in o.iter_elements() {
        let element = element?;
        match (element.key().as_str(), element.value()?) {
            ("$v", _) => {}
            ("$set", RawBsonRef::Document(fields)) => {
                for field in fields.iter_elements() {
                    let field = field?;
                    description.updated.append(field.key(), field.value()?);
                }
            }
            ("$unset", RawBsonRef::Document(fields)) => {
                for field in fields.iter_elements() {
                    description.removed.push(field?.key().as_str());
                }
            }
            _ => return Err(Unknown("has an operator that is not known")),
        }
    }
    Ok(Update::Delta(description.finish()))
}

fn number(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        // Whole numbers that an old shell wrote.
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 1e9 => Some(number as i64),
        _ => None,
    }
}

#[derive(Default)]
struct Description {
    updated: RawDocumentBuf,
    removed: RawArrayBuf,
    truncated: RawArrayBuf,
    /// Where in the document the tree stands.
    path: String,
    /// How many steps that is; names may be empty.
    steps: usize,
}

impl Description {
    fn finish(self) -> RawDocumentBuf {
        rawdoc! {
            "updatedFields": self.updated,
            "removedFields": self.removed,
            "truncatedArrays": self.truncated,
        }
    }

    /// Does something one step deeper.
    fn at<T>(&mut self, step: &str, act: impl FnOnce(&mut Self) -> Result<T, Unknown>) -> Result<T, Unknown> {
        let length = self.path.len();
        if self.steps > 0 {
            self.path.push('.');
        }
        self.path.push_str(step);
        self.steps += 1;
        let result = act(self);
        self.steps -= 1;
        self.path.truncate(length);
        result
    }

    fn set(&mut self, step: &str, value: RawBsonRef<'_>) -> Result<(), Unknown> {
        self.at(step, |this| {
            let path = CString::try_from(this.path.as_str()).map_err(|_| Unknown("is no valid BSON"))?;
            this.updated.append(&path, value);
            Ok(())
        })
    }

    fn document(&mut self, diff: &RawDocument, depth: usize) -> Result<(), Unknown> {
        if depth > MAX_DEPTH {
            return Err(Unknown("is nested too deeply"));
        }
        let mut sections: [Option<&RawDocument>; 3] = [None; 3];
        for element in diff.iter_elements() {
            let element = element?;
            let name = element.key().as_str();
            let slot = match name {
                "u" => 0,
                "i" => 1,
                "d" => 2,
                _ if name.starts_with('s') => continue,
                _ => return Err(Unknown("has a section that is not known")),
            };
            let section = element.value()?.as_document();
            if let Some(place) = sections.get_mut(slot) {
                *place = Some(section.ok_or(Unknown("has a section that is no document"))?);
            }
        }
        let [updates, inserts, deletes] = sections;
        for field in updates
            .into_iter()
            .chain(inserts)
            .flat_map(RawDocument::iter_elements)
        {
            let field = field?;
            self.set(field.key().as_str(), field.value()?)?;
        }
        for field in deletes.into_iter().flat_map(RawDocument::iter_elements) {
            let name = field?.key().as_str();
            self.at(name, |this| {
                this.removed.push(this.path.as_str());
                Ok(())
            })?;
        }
        for element in diff.iter_elements() {
            let element = element?;
            if let Some(name) = element.key().as_str().strip_prefix('s') {
                self.below(name, element.value()?, depth)?;
            }
        }
        Ok(())
    }

    fn below(&mut self, step: &str, diff: RawBsonRef<'_>, depth: usize) -> Result<(), Unknown> {
        let diff = diff
            .as_document()
            .ok_or(Unknown("has a section that is no document"))?;
        let is_array = matches!(diff.iter_elements().next(), Some(Ok(first)) if first.key().as_str() == "a");
        self.at(step, |this| {
            if is_array {
                this.array(diff, depth + 1)
            } else {
                this.document(diff, depth + 1)
            }
        })
    }

    fn array(&mut self, diff: &RawDocument, depth: usize) -> Result<(), Unknown> {
        if depth > MAX_DEPTH {
            return Err(Unknown("is nested too deeply"));
        }
        for element in diff.iter_elements() {
            let element = element?;
            let (name, value) = (element.key().as_str(), element.value()?);
            match (name.split_at_checked(1), value) {
                (Some(("a", "")), RawBsonRef::Boolean(true)) => {}
                (Some(("l", "")), length) => {
                    let length = number(length).and_then(|length| i32::try_from(length).ok());
                    let size = length.ok_or(Unknown("cuts an array to a length that is no number"))?;
                    let cut = rawdoc! { "field": self.path.as_str(), "newSize": size };
                    self.truncated.push(cut);
                }
                (Some(("u", index)), value) if is_index(index) => self.set(index, value)?,
                (Some(("s", index)), value) if is_index(index) => self.below(index, value, depth)?,
                _ => return Err(Unknown("has a section of an array that is not known")),
            }
        }
        Ok(())
    }
}

fn is_index(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
