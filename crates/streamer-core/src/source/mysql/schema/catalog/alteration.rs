//! What CREATE TABLE and ALTER TABLE make of a definition. `None`: it cannot be said exactly.
//!
//! The order of columns follows what both servers do (`mysql_prepare_alter_table`): columns keep their places while
//! they are dropped, renamed and redefined; then those that were added or moved are put in, in the order of the clauses.

use super::super::charset;
use super::super::ddl::{
    Change, Declaration, DeclaredColumn, KeyClause, MAX_KEY_BYTES, Place, Room, Session, key_bytes,
    resolve_text,
};
use super::super::definition::{
    CharsetName, ColumnDefinition, ColumnKind, Storage, TableDefinition, TableName,
};
use super::super::information_schema::period_columns;
use crate::source::mysql::link::Flavor;

/// The table that a CREATE TABLE makes in a database with this character set.
pub(super) fn create(
    table: &TableName,
    declaration: &Declaration,
    database_charset: Option<&CharsetName>,
    session: &Session<'_>,
) -> Option<TableDefinition> {
    let charset = declaration
        .choice
        .named(session.utf8_charset)?
        .or_else(|| database_charset.cloned());
    let mut draft = Draft::new(session, charset.clone());
    for column in &declaration.columns {
        draft.add(column, &Place::Unsaid)?;
    }
    for key in &declaration.keys {
        draft.key(key)?;
    }
    let declares_period = declaration.columns.iter().any(|column| column.row_period);
    let versioned = declaration.versioned || declaration.columns.iter().any(|column| column.versioned);
    if versioned && !declares_period {
        draft.columns.extend(period_columns());
    }
    draft.finish(table, charset)
}

/// The table after an ALTER TABLE.
pub(super) fn alter(
    before: &TableDefinition,
    changes: &[Change],
    database_charset: Option<&CharsetName>,
    session: &Session<'_>,
) -> Option<TableDefinition> {
    // Which indices the hidden hashes belong to is not tracked.
    if before
        .columns
        .iter()
        .any(|column| column.storage == Storage::Hash)
        && !changes.is_empty()
    {
        return None;
    }
    let utf8 = session.utf8_charset;
    let mut charset = before.charset.clone();
    for change in changes {
        if let Change::DefaultCharset(choice) | Change::Convert(choice) = change {
            charset = choice.named(utf8)?.or_else(|| database_charset.cloned());
            charset.as_ref()?;
        }
    }
    let mut draft = Draft::new(session, charset.clone());
    draft.columns = before.columns.clone();
    draft.key = before.key_names()?;
    let period = draft.take_period();
    let converts = changes.iter().any(|change| matches!(change, Change::Convert(_)));
    if converts {
        let charset = charset.clone()?;
        for column in &mut draft.columns {
            convert(column, &charset)?;
        }
    }
    draft.change_in_place(changes)?;
    draft.put_in(changes)?;
    let mut period = period;
    for change in changes {
        match change {
            Change::Key(key) => draft.key(key)?,
            Change::Versioning(true) if period.is_empty() && !draft.declares_period => {
                period = period_columns().to_vec();
            }
            // Declared periods are dropped or kept by rules of their own.
            Change::Versioning(false) if !period.is_empty() => period.clear(),
            Change::Versioning(_) if draft.declares_period => {}
            Change::Versioning(_) => return None,
            Change::Visibility { name, invisible } => draft.column(name)?.invisible = *invisible,
            _ => {}
        }
    }
    draft.columns.extend(period);
    draft.finish(&before.name, charset)
}

impl TableDefinition {
    fn key_names(&self) -> Option<Vec<String>> {
        self.key
            .iter()
            .map(|&index| Some(self.columns.get(index as usize)?.name.to_string()))
            .collect()
    }
}

/// CONVERT TO CHARACTER SET for one column.
fn convert(column: &mut ColumnDefinition, charset: &CharsetName) -> Option<()> {
    let (ColumnKind::Text { charset: old, .. } | ColumnKind::JsonText { charset: old }) = &column.kind else {
        // Both servers keep the old bytes of labels that are not ASCII under the new character set.
        return match &column.kind {
            ColumnKind::Enum { labels } | ColumnKind::Set { labels } => {
                labels.iter().all(|label| label.is_ascii()).then_some(())
            }
            _ => Some(()),
        };
    };
    if old == charset {
        return Some(());
    }
    let (old_width, width) = (charset::max_bytes(old)?, charset::max_bytes(charset)?);
    let room = match column.storage {
        Storage::Fixed { length } => Room::Fixed(length),
        Storage::Varying { length, .. } => Room::Varying(length),
        Storage::Long { prefix, .. } if width <= old_width => Room::Long(prefix),
        // A TEXT grows to the size that holds as many characters as before.
        Storage::Long { prefix: 1, .. } => Room::Long(2),
        Storage::Long { prefix: 2, .. } => Room::Long(3),
        Storage::Long { prefix: 3 | 4, .. } => Room::Long(4),
        _ => return None,
    };
    let was_compressed = matches!(
        column.storage,
        Storage::Varying { compressed: true, .. } | Storage::Long { compressed: true, .. }
    );
    let json = matches!(column.kind, ColumnKind::JsonText { .. });
    let (kind, mut storage) = resolve_text(room, charset)?;
    if let Storage::Varying { compressed, .. } | Storage::Long { compressed, .. } = &mut storage {
        *compressed = was_compressed;
    }
    column.kind = match kind {
        ColumnKind::Text { charset, .. } if json => ColumnKind::JsonText { charset },
        kind => kind,
    };
    column.storage = storage;
    Some(())
}

/// A table in the making; the key is kept by name because places still change.
struct Draft<'a> {
    session: &'a Session<'a>,
    charset: Option<CharsetName>,
    columns: Vec<ColumnDefinition>,
    key: Vec<String>,
    declares_period: bool,
}

impl<'a> Draft<'a> {
    fn new(session: &'a Session<'a>, charset: Option<CharsetName>) -> Self {
        Self {
            session,
            charset,
            columns: Vec::new(),
            key: Vec::new(),
            declares_period: false,
        }
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| same(&column.name, name))
    }

    fn column(&mut self, name: &str) -> Option<&mut ColumnDefinition> {
        let at = self.at(name)?;
        self.columns.get_mut(at)
    }

    fn resolve(&mut self, column: &DeclaredColumn) -> Option<ColumnDefinition> {
        let resolved = column.resolve(self.charset.as_ref(), self.session)?;
        if self.session.flavor == Flavor::Mariadb && column.needs_hash(&resolved) {
            return None;
        }
        self.declares_period |= column.row_period;
        Some(resolved)
    }

    fn add(&mut self, column: &DeclaredColumn, place: &Place) -> Option<()> {
        let resolved = self.resolve(column)?;
        if column.primary {
            self.key.push(column.name.clone());
        }
        self.insert(resolved, place)
    }

    fn insert(&mut self, column: ColumnDefinition, place: &Place) -> Option<()> {
        let at = match place {
            Place::Unsaid => self.columns.len(),
            Place::First => 0,
            Place::After(name) => self.at(name)? + 1,
        };
        self.columns.insert(at, column);
        Some(())
    }

    /// Takes the hidden period columns off the end.
    fn take_period(&mut self) -> Vec<ColumnDefinition> {
        let keep = self
            .columns
            .iter()
            .position(|column| column.storage == Storage::Period)
            .unwrap_or(self.columns.len());
        self.columns.split_off(keep)
    }

    /// Drops, renames, and redefines the columns that stay where they are; takes out those that move.
    fn change_in_place(&mut self, changes: &[Change]) -> Option<()> {
        let before = self.columns.clone();
        let mut fates: Vec<Fate<'_>> = before.iter().map(|_| Fate::Stays).collect();
        for change in changes {
            let (name, if_exists, fate) = match change {
                Change::DropColumn { name, if_exists } => (name, *if_exists, Fate::Goes),
                Change::RenameColumn { from, to, if_exists } => (from, *if_exists, Fate::Renamed(to)),
                Change::Replace {
                    from,
                    column,
                    place,
                    if_exists,
                } => (from, *if_exists, Fate::Replaced(column, *place != Place::Unsaid)),
                Change::DropPrimary { if_exists } => {
                    if self.key.is_empty() && !if_exists {
                        return None;
                    }
                    self.key.clear();
                    continue;
                }
                _ => continue,
            };
            match before.iter().position(|column| same(&column.name, name)) {
                Some(at) => {
                    let slot = fates.get_mut(at)?;
                    // Two clauses for one column: the server refuses it, so something else is meant.
                    if !matches!(slot, Fate::Stays) {
                        return None;
                    }
                    *slot = fate;
                }
                None if if_exists => {}
                None => return None,
            }
        }
        self.columns.clear();
        let key = std::mem::take(&mut self.key);
        let mut renamed = Vec::new();
        for (mut column, fate) in before.into_iter().zip(fates) {
            match fate {
                Fate::Stays => {}
                Fate::Goes => continue,
                Fate::Renamed(to) => {
                    renamed.push((column.name.to_string(), to.to_owned()));
                    column.name = to.into();
                }
                Fate::Replaced(declared, moves) => {
                    renamed.push((column.name.to_string(), declared.name.clone()));
                    column = self.resolve(declared)?;
                    if moves {
                        continue;
                    }
                }
            }
            self.columns.push(column);
        }
        let dropped = |name: &String| {
            changes
                .iter()
                .any(|change| matches!(change, Change::DropColumn { name: gone, .. } if same(gone, name)))
        };
        self.key = key
            .into_iter()
            .filter(|name| !dropped(name))
            .map(|name| match renamed.iter().find(|(from, _)| same(from, &name)) {
                Some((_, to)) => to.clone(),
                None => name,
            })
            .collect();
        Some(())
    }

    /// Puts in the columns that are added or moved.
    fn put_in(&mut self, changes: &[Change]) -> Option<()> {
        for change in changes {
            match change {
                Change::Add {
                    column,
                    place,
                    if_not_exists,
                } => {
                    if *if_not_exists && self.at(&column.name).is_some() {
                        continue;
                    }
                    self.add(column, place)?;
                }
                Change::Replace { column, place, .. } => {
                    if *place != Place::Unsaid && self.at(&column.name).is_none() {
                        let resolved = self.resolve(column)?;
                        self.insert(resolved, place)?;
                    }
                    if column.primary && !self.key.iter().any(|name| same(name, &column.name)) {
                        self.key.push(column.name.clone());
                    }
                }
                _ => {}
            }
        }
        Some(())
    }

    fn key(&mut self, key: &KeyClause) -> Option<()> {
        match key {
            KeyClause::Primary(columns) => {
                if !self.key.is_empty() {
                    return None;
                }
                self.key.clone_from(columns);
            }
            KeyClause::Unique { columns, hash } if self.session.flavor == Flavor::Mariadb => {
                let mut bytes = 0_u32;
                for name in columns {
                    bytes = bytes.saturating_add(key_bytes(self.column(name)?));
                }
                if *hash || bytes > MAX_KEY_BYTES {
                    return None;
                }
            }
            KeyClause::Unique { .. } => {}
            KeyClause::Period(begin, end) => {
                self.column(begin)?.nullable = false;
                self.column(end)?.nullable = false;
            }
        }
        Some(())
    }

    fn finish(mut self, table: &TableName, charset: Option<CharsetName>) -> Option<TableDefinition> {
        let mut names = std::collections::HashSet::new();
        if self.columns.is_empty()
            || !self
                .columns
                .iter()
                .all(|column| names.insert(column.name.to_lowercase()))
        {
            return None;
        }
        let mut key = Vec::with_capacity(self.key.len());
        for name in std::mem::take(&mut self.key) {
            let at = self.at(&name)?;
            self.columns.get_mut(at)?.nullable = false;
            key.push(u32::try_from(at).ok()?);
        }
        Some(TableDefinition {
            name: table.clone(),
            columns: self.columns,
            key,
            charset,
        })
    }
}

/// What becomes of a column.
enum Fate<'a> {
    Stays,
    Goes,
    Renamed(&'a str),
    /// Redefined; `true` where it moves.
    Replaced(&'a DeclaredColumn, bool),
}

/// Column names never regard case.
fn same(left: &str, right: &str) -> bool {
    left == right || left.to_lowercase() == right.to_lowercase()
}
