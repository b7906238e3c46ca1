//! Documents of collections, read as they were at the cluster time at which the change stream, or the oplog's reader, stands.
//!
//! Every snapshot read names its time (`readConcern: snapshot`, `atClusterTime`), so the place comes first here: the stream
//! stands at the end of a batch of the server, whose token begins with the time up to which everything was handed over, and
//! documents are read as they were then. A place in the oplog is such a time itself; the server answers once a majority has
//! what was before it. Where that is rolled back instead, the documents are those of the other history, whose entries the
//! reader goes back to. The server keeps that for a while (`minSnapshotHistoryWindowInSeconds`, five minutes); a
//! stream that is further behind is waited for.
//!
//! Of an operation of exactly that time, events may still come behind its documents: they say what the documents show already.
//!
//! The order is that of the index on `_id`, over all types: `min` on the index, since a filter on `_id` finds values of one kind
//! of type only.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use mongodb::Cursor;

use super::connect::{Connected, connect};
use super::failure::client_error;
use super::preflight::now_ms;
use super::scope::Scope;
use crate::code::Code;
use crate::config::{MongodbConfig, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::event::{BatchWriter, DocumentChange, Operation, Shape, ShapeId, TableLayout};
use crate::offset::{MongodbOffset, Offset, Position};
use crate::source::{
    Cell, Chunks, Cursor as Behind, Rest, Rows, Settings, TableRef, TableSize, View, Wanted,
    from_hexadecimal, row_id,
};

/// Numbers of shapes begin here: those of the log count from 0.
const FIRST_SHAPE: ShapeId = 1 << 31;

/// A token that names a moment and no event holds no collection and no key, and so has fewer digits than any other. It stands in front
/// of the operations of its time, which may be one that has not come yet: what was handed over is what was before.
const MARK_DIGITS: usize = 44;

/// Databases of the server itself.
const SYSTEM: [&str; 3] = ["admin", "config", "local"];

/// Reads documents of a deployment.
pub struct MongodbChunks {
    config: MongodbConfig,
    tables: TableFilter,
    scope: Scope,
    settings: Settings,
    connected: Option<Connected>,
    view: Option<(TableRef, Timestamp)>,
    /// Documents of the view that are on their way, how many are left, and the document behind which they begin.
    cursor: Option<(Cursor<RawDocumentBuf>, u32)>,
    shapes: HashMap<TableRef, ShapeId>,
    count: ShapeId,
}

impl MongodbChunks {
    /// Reads the collections of a source. Nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MongodbConfig, settings: Settings) -> Self {
        Self {
            config: config.clone(),
            tables: source.tables.clone(),
            scope: Scope::of(&source.tables),
            settings,
            connected: None,
            view: None,
            cursor: None,
            shapes: HashMap::new(),
            count: 0,
        }
    }

    async fn connected(&mut self) -> Result<&Connected> {
        let connected = match self.connected.take() {
            Some(connected) => connected,
            None => connect(&self.config, self.settings.heartbeat).await?,
        };
        Ok(self.connected.insert(connected))
    }

    async fn list(&mut self) -> Result<Vec<TableSize>> {
        let (tables, scope) = (self.tables.clone(), self.scope.clone());
        let client = self.connected().await?.client.clone();
        let databases = match scope {
            Scope::Deployment => client
                .list_database_names()
                .await
                .map_err(|error| client_error(&error))?,
            Scope::Database(name) | Scope::Collection(name, _) => vec![name],
        };
        let mut found = Vec::new();
        for database in databases.iter().filter(|name| !SYSTEM.contains(&name.as_str())) {
            let of = client.database(database);
            let mut names = of
                .list_collection_names()
                .filter(doc! { "type": "collection" })
                .await
                .map_err(|error| client_error(&error))?;
            names.sort_unstable();
            for name in names {
                if name.starts_with("system.") || !tables.includes(database, &name) {
                    continue;
                }
                let estimate = of.collection::<Document>(&name).estimated_document_count().await;
                found.push(TableSize {
                    table: TableRef {
                        database: database.as_str().into(),
                        table: name.into(),
                    },
                    rows: estimate.ok(),
                });
            }
        }
        Ok(found)
    }

    fn open_view(&mut self, table: &TableRef, position: &str) -> Result<View> {
        let start = Position::parse(position)?.start;
        let time = match &start {
            Offset::Mongodb(MongodbOffset::Token { token, .. }) => MongodbOffset::time_of(token),
            Offset::Mongodb(MongodbOffset::Time { seconds, increment }) => Some((*seconds, *increment)),
            Offset::Mongodb(MongodbOffset::Oplog(optime)) => Some((optime.seconds, optime.increment)),
            _ => None,
        };
        let (time, increment) = time.ok_or_else(|| {
            Error::new(
                Code::ProtocolUnexpected,
                "The resume token does not begin with a cluster time.",
            )
        })?;
        let is_mark = matches!(&start, Offset::Mongodb(MongodbOffset::Token { token, .. }) if token.len() < MARK_DIGITS);
        let time = match increment.checked_sub(u32::from(is_mark)) {
            Some(increment) => Timestamp { time, increment },
            None => Timestamp {
                time: time.saturating_sub(1),
                increment: u32::MAX,
            },
        };
        self.view = Some((table.clone(), time));
        Ok(View {
            table: table.clone(),
            low: None,
            high: start,
            end: None,
            server: None,
        })
    }

    async fn find(&mut self, wanted: &Wanted<'_>) -> Result<Option<Rest>> {
        let Some((table, time)) = self.view.clone() else {
            return Ok(Some(Rest::Table));
        };
        let mut command = doc! {
            "find": &*table.table,
            "sort": { "_id": 1 },
            "hint": { "_id": 1 },
            // The document behind which reading goes on is found as well, where it is still there.
            "limit": i64::from(wanted.rows) + 1,
            "batchSize": i64::from(wanted.rows) + 1,
            "readConcern": { "level": "snapshot", "atClusterTime": time },
        };
        if let Some(after) = wanted.after {
            let Some(bytes) = key_of(after) else {
                return Ok(Some(Rest::Again));
            };
            let Ok(key) = Document::try_from(bytes.as_ref()) else {
                return Ok(Some(Rest::Again));
            };
            command.insert("min", key);
        }
        let connected = self.connected().await?;
        let database = connected.client.database(&table.database);
        let mut run = database.run_cursor_command(command);
        if let Some(criteria) = connected.criteria.clone() {
            run = run.selection_criteria(criteria);
        }
        match run.await {
            Ok(cursor) => {
                self.cursor = Some((cursor.with_type(), wanted.rows));
                Ok(None)
            }
            Err(error) => match rest_of(&error) {
                Some(rest) => Ok(Some(rest)),
                None => Err(client_error(&error)),
            },
        }
    }

    async fn read_rows(&mut self, wanted: Wanted<'_>) -> Result<Rows> {
        if self.cursor.is_none()
            && let Some(rest) = self.find(&wanted).await?
        {
            return Ok(Rows {
                batch: None,
                last: None,
                rest,
            });
        }
        let (Some((table, _)), Some((mut cursor, mut left))) = (self.view.clone(), self.cursor.take()) else {
            return Err(Error::new(Code::Internal, "Rows were read without a view."));
        };
        let behind = wanted.after.and_then(key_of);
        let mut writer = BatchWriter::new();
        let shape = self.shape(&table, &mut writer);
        let (mut last, mut is_over) = (None, false);
        while left > 0
            && writer.changes() < self.settings.batch_size
            && writer.weight() < self.settings.batch_bytes
        {
            let Some(found) = cursor.next().await else {
                is_over = true;
                break;
            };
            let document = found.map_err(|error| client_error(&error))?;
            let key = key_document(&document)?;
            if behind
                .as_ref()
                .is_some_and(|behind| behind.as_bytes() == key.as_bytes())
            {
                continue;
            }
            let cell = Cell::bytes(key.as_bytes());
            write(
                &mut writer,
                shape,
                &document,
                &key,
                &wanted,
                std::slice::from_ref(&cell),
            );
            last = Some(cell);
            left -= 1;
        }
        let mut batch = writer.take();
        batch.is_snapshot = true;
        // When they were committed is not known, so they prove nothing.
        batch.newest_committed_ms = None;
        if batch.changes == 0 {
            self.shapes.remove(&table);
        }
        let rest = match () {
            () if is_over => Rest::Nothing,
            () if left == 0 => Rest::Table,
            () => {
                self.cursor = Some((cursor, left));
                Rest::Rows
            }
        };
        Ok(Rows {
            batch: (batch.changes > 0).then_some(batch),
            last: last.map(|cell| Behind {
                cells: vec![cell],
                order: String::new(),
            }),
            rest,
        })
    }

    /// The shape of a collection, which the batch learns of where it is new.
    fn shape(&mut self, table: &TableRef, writer: &mut BatchWriter) -> ShapeId {
        if let Some(id) = self.shapes.get(table) {
            return *id;
        }
        let id = FIRST_SHAPE + self.count;
        self.count += 1;
        writer.define(Arc::new(Shape {
            id,
            layout: Arc::new(TableLayout {
                database: table.database.to_string(),
                table: table.table.to_string(),
                columns: Vec::new(),
                key: Vec::new(),
            }),
            present: Vec::new(),
            synthetic: false,
        }));
        self.shapes.insert(table.clone(), id);
        id
    }
}

fn write(
    writer: &mut BatchWriter,
    shape: ShapeId,
    document: &RawDocument,
    key: &RawDocument,
    wanted: &Wanted<'_>,
    cells: &[Cell],
) {
    let change = DocumentChange {
        committed_ms: now_ms(),
        transaction: "",
        index: 0,
        operation: Operation::Read,
        shape,
        key: key.as_bytes(),
        before: &[],
        after: document.as_bytes(),
        update: &[],
    };
    writer.put_document(
        &change,
        |text| {
            text.push_str(wanted.prefix);
            text.push_str(&row_id(cells));
        },
        |text| text.push_str(wanted.position),
        |_| (),
    );
}

/// `{ _id: … }` of a document.
fn key_document(document: &RawDocument) -> Result<RawDocumentBuf> {
    let missing = || Error::new(Code::ProtocolUnexpected, "A document has no _id.");
    let id = document.get("_id").ok().flatten().ok_or_else(missing)?;
    let mut key = RawDocumentBuf::new();
    key.append(bson::raw::cstr!("_id"), id);
    Ok(key)
}

/// `{ _id: … }` behind which reading goes on; `None` where it is none of ours.
fn key_of(after: &Behind) -> Option<RawDocumentBuf> {
    match after.cells.as_slice() {
        [Cell::Bytes(text)] => RawDocumentBuf::from_bytes(from_hexadecimal(text)?).ok(),
        _ => None,
    }
}

/// What follows where a read was refused because of what became of its collection, or of its time.
fn rest_of(error: &mongodb::error::Error) -> Option<Rest> {
    match error.kind.as_ref() {
        // NamespaceNotFound.
        mongodb::error::ErrorKind::Command(command) if command.code == 26 => Some(Rest::Gone),
        // SnapshotUnavailable, SnapshotTooOld: made or changed since that time, or the stream is far behind.
        mongodb::error::ErrorKind::Command(command) if matches!(command.code, 246 | 239) => Some(Rest::Table),
        _ => None,
    }
}

impl Chunks for MongodbChunks {
    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<TableSize>>> {
        self.list().boxed()
    }

    fn open<'a>(&'a mut self, table: &'a TableRef, position: &'a str) -> BoxFuture<'a, Result<View>> {
        async move { self.open_view(table, position) }.boxed()
    }

    fn read<'a>(&'a mut self, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Rows>> {
        self.read_rows(wanted).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async {
            if self.cursor.take().is_some() {
                // Some of them may stand in what was not taken.
                self.shapes.clear();
            }
            self.view = None;
        }
        .boxed()
    }

    fn forget(&mut self, _: Option<&TableRef>) {}
}
