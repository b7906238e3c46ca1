//! Collections that are polled: a standalone `mongod` keeps no log.
//!
//! The server sets no time of change. By itself only `_id` is taken, where it is an ObjectId, whose first four bytes are the
//! second in which it was made: new documents are seen. A field that the application sets has to be named.

use std::collections::HashMap;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt};
use mongodb::Collection;
use mongodb::options::FindOptions;

use super::connect::{Connected, connect};
use super::failure::client_error;
use super::preflight;
use super::scope::Scope;
use crate::code::Code;
use crate::config::{Heartbeat, MongodbConfig, PollConfig, SourceConfig, TableFilter};
use crate::error::{Error, Result};
use crate::event::{BatchWriter, DocumentChange, Operation, Shape, TableLayout};
use crate::source::Host;
use crate::source::poll::{Database, FIRST_SHAPE, Found, Growth, Head, Row, Start, Way, hash};

const SECOND: i128 = 1_000_000;

/// What a collection is polled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Ids that hold their time.
    Id,
    /// A field with a date.
    Date,
    /// A field with a whole number.
    Number,
    /// Nothing.
    Nothing,
}

/// A collection.
#[derive(Debug, PartialEq, Eq)]
pub struct PolledCollection {
    database: Arc<str>,
    table: Arc<str>,
    field: String,
    by: By,
}

/// A document as it was read.
pub struct PolledDocument {
    document: RawDocumentBuf,
    cursor: Option<i128>,
    key: Vec<u8>,
}

impl Row for PolledDocument {
    fn cursor(&self) -> Option<i128> {
        self.cursor
    }

    fn key(&self) -> Vec<u8> {
        self.key.clone()
    }

    fn version(&self) -> u128 {
        hash(&[self.document.as_bytes()])
    }
}

/// The collections of one source.
pub struct MongodbTables {
    config: MongodbConfig,
    poll: PollConfig,
    tables: TableFilter,
    scope: Scope,
    heartbeat: Heartbeat,
    connected: Option<Connected>,
    shapes: HashMap<(Arc<str>, Arc<str>), u32>,
}

impl MongodbTables {
    /// For a source; nothing connects yet.
    pub fn new(source: &SourceConfig, config: &MongodbConfig, heartbeat: Heartbeat) -> Self {
        Self {
            config: config.clone(),
            poll: source.poll.clone(),
            tables: source.tables.clone(),
            scope: Scope::of(&source.tables),
            heartbeat,
            connected: None,
            shapes: HashMap::new(),
        }
    }

    fn connected(&self) -> Result<&Connected> {
        self.connected
            .as_ref()
            .ok_or_else(|| Error::new(Code::ConnectionLost, "The source is not connected."))
    }

    fn collection(&self, table: &PolledCollection) -> Result<Collection<RawDocumentBuf>> {
        let database = self.connected()?.client.database(&table.database);
        Ok(database.collection(&table.table))
    }

    async fn find(
        &self,
        table: &PolledCollection,
        filter: Document,
        options: FindOptions,
    ) -> Result<Vec<RawDocumentBuf>> {
        let collection = self.collection(table)?;
        let mut find = collection.find(filter).with_options(options);
        if let Some(criteria) = &self.connected()?.criteria {
            find = find.selection_criteria(criteria.clone());
        }
        let cursor = find.await.map_err(|error| client_error(&error))?;
        cursor.try_collect().await.map_err(|error| client_error(&error))
    }

    async fn discover(&self) -> Result<Vec<Found<PolledCollection>>> {
        let client = &self.connected()?.client;
        let databases = match &self.scope {
            Scope::Deployment => client
                .list_database_names()
                .await
                .map_err(|error| client_error(&error))?,
            Scope::Database(database) | Scope::Collection(database, _) => vec![database.clone()],
        };
        let mut found = Vec::new();
        for database in databases {
            if matches!(database.as_str(), "admin" | "config" | "local")
                || !self.tables.concerns_database(&database)
            {
                continue;
            }
            let collections = client
                .database(&database)
                .list_collections()
                .filter(doc! { "type": "collection" })
                .await
                .map_err(|error| client_error(&error))?;
            let names: Vec<String> = collections
                .map_ok(|collection| collection.name)
                .try_collect()
                .await
                .map_err(|error| client_error(&error))?;
            let wanted = names
                .into_iter()
                .filter(|table| !table.starts_with("system.") && self.tables.includes(&database, table));
            for table in wanted {
                found.push(self.describe(&database, &table).await?);
            }
        }
        Ok(found)
    }

    async fn describe(&self, database: &str, table: &str) -> Result<Found<PolledCollection>> {
        let (database, table): (Arc<str>, Arc<str>) = (database.into(), table.into());
        let mut handle = PolledCollection {
            database: Arc::clone(&database),
            table: Arc::clone(&table),
            field: "_id".to_owned(),
            by: By::Nothing,
        };
        let own = self.poll.columns.get(&format!("{database}.{table}"));
        let shared = match (own, &self.poll.column) {
            (None, Some(field)) => self.extreme(&handle, field, -1).await?.and(Some(field)),
            _ => None,
        };
        let way = match own.or(shared) {
            Some(field) => {
                handle.field.clone_from(field);
                self.by_field(&mut handle, field).await?
            }
            None => self.by_id(&mut handle).await?,
        };
        Ok(Found {
            database,
            table,
            way,
            handle,
        })
    }

    /// The value of a field with the lowest or the highest value.
    async fn extreme(&self, table: &PolledCollection, field: &str, direction: i32) -> Result<Option<Bson>> {
        let mut sort = doc! {};
        sort.insert(field, direction);
        let mut present = doc! {};
        present.insert(field, doc! { "$exists": true });
        let options = FindOptions::builder().sort(sort).limit(1).build();
        let rows = self.find(table, present, options).await?;
        Ok(rows.first().and_then(|row| value_at(row, field)))
    }

    async fn by_field(&self, handle: &mut PolledCollection, field: &str) -> Result<Way> {
        let growth = match self.extreme(handle, field, -1).await? {
            // Of an empty collection it is not known yet: most are times.
            None | Some(Bson::DateTime(_)) => {
                handle.by = By::Date;
                Growth::ServerTime
            }
            Some(Bson::Int32(_) | Bson::Int64(_)) => {
                handle.by = By::Number;
                Growth::Counter
            }
            Some(_) => {
                return Ok(Way::Unusable(format!(
                    "its field {field}, which `poll` names, is neither a date nor a whole number"
                )));
            }
        };
        Ok(Way::Column {
            column: field.into(),
            growth,
            is_insert_only: false,
        })
    }

    async fn by_id(&self, handle: &mut PolledCollection) -> Result<Way> {
        let is_object_id = |value: &Option<Bson>| matches!(value, None | Some(Bson::ObjectId(_)));
        let (lowest, highest) = (
            self.extreme(handle, "_id", 1).await?,
            self.extreme(handle, "_id", -1).await?,
        );
        if is_object_id(&lowest) && is_object_id(&highest) {
            handle.by = By::Id;
            return Ok(Way::Column {
                column: "_id".into(),
                growth: Growth::ServerTime,
                is_insert_only: true,
            });
        }
        Ok(match self.poll.compare_rows {
            0 => Way::Unusable("its _id is not an ObjectId".to_owned()),
            _ => Way::Compare,
        })
    }

    async fn page(
        &self,
        table: &PolledCollection,
        start: Start<'_, PolledDocument>,
        limit: usize,
    ) -> Result<Vec<PolledDocument>> {
        let mut options = FindOptions::builder().limit(limit as i64).build();
        let mut sort = doc! {};
        if table.by != By::Nothing {
            sort.insert(table.field.as_str(), 1);
            sort.insert("_id", 1);
            options.sort = Some(sort);
        }
        let rows = self.find(table, condition(table, start), options).await?;
        Ok(rows.into_iter().map(|row| taken_in(table, row)).collect())
    }
}

/// The documents that a read begins with. Values compare with those of their own type only.
fn condition(table: &PolledCollection, start: Start<'_, PolledDocument>) -> Document {
    let field = table.field.as_str();
    let of = |condition: Bson| {
        let mut filter = doc! {};
        filter.insert(field, condition);
        filter
    };
    match (start, table.by) {
        (_, By::Nothing) => doc! {},
        (Start::Beginning, By::Id) => of(Bson::Document(doc! { "$type": "objectId" })),
        (Start::Beginning, By::Date) => of(Bson::Document(doc! { "$type": "date" })),
        (Start::Beginning, By::Number) => of(Bson::Document(doc! { "$type": ["int", "long"] })),
        (Start::From(low), by) => of(Bson::Document(doc! { "$gte": value_of(low, by) })),
        (Start::After(row), by) => {
            let id = value_at(&row.document, "_id").unwrap_or(Bson::MinKey);
            if by == By::Id {
                return of(Bson::Document(doc! { "$gt": id }));
            }
            let value = value_at(&row.document, field).unwrap_or(Bson::MinKey);
            let mut tie = of(value.clone());
            tie.insert("_id", doc! { "$gt": id });
            doc! { "$or": [of(Bson::Document(doc! { "$gt": value })), tie] }
        }
    }
}

fn taken_in(table: &PolledCollection, document: RawDocumentBuf) -> PolledDocument {
    let key = match document.get("_id") {
        Ok(Some(id)) => {
            let mut key = RawDocumentBuf::new();
            key.append(bson::raw::cstr!("_id"), bson::RawBson::from(id));
            key.into_bytes()
        }
        _ => Vec::new(),
    };
    PolledDocument {
        cursor: cursor_of(&document, &table.field),
        key,
        document,
    }
}

/// The value of a field, which may be a path.
fn value_at(document: &bson::RawDocument, path: &str) -> Option<Bson> {
    let (field, rest) = path
        .split_once('.')
        .map_or((path, None), |(field, rest)| (field, Some(rest)));
    let value = document.get(field).ok()??;
    match rest {
        Some(rest) => value_at(value.as_document()?, rest),
        None => Bson::try_from(value).ok(),
    }
}

fn cursor_of(document: &bson::RawDocument, field: &str) -> Option<i128> {
    match value_at(document, field)? {
        Bson::DateTime(time) => Some(i128::from(time.timestamp_millis()) * 1000),
        Bson::Int32(number) => Some(i128::from(number)),
        Bson::Int64(number) => Some(i128::from(number)),
        Bson::ObjectId(id) => {
            let [a, b, c, d, ..] = id.bytes();
            Some(i128::from(u32::from_be_bytes([a, b, c, d])) * SECOND)
        }
        _ => None,
    }
}

fn value_of(cursor: i128, by: By) -> Bson {
    match by {
        By::Id => {
            let seconds = u32::try_from((cursor / SECOND).max(0)).unwrap_or(u32::MAX);
            let mut bytes = [0; 12];
            for (byte, of_time) in bytes.iter_mut().zip(seconds.to_be_bytes()) {
                *byte = of_time;
            }
            Bson::ObjectId(ObjectId::from_bytes(bytes))
        }
        By::Date => Bson::DateTime(DateTime::from_millis(
            i64::try_from(cursor.div_euclid(1000)).unwrap_or(i64::MIN),
        )),
        By::Number | By::Nothing => Bson::Int64(i64::try_from(cursor).unwrap_or(i64::MAX)),
    }
}

impl MongodbTables {
    fn shape(&mut self, table: &PolledCollection, writer: &mut BatchWriter) -> u32 {
        let name = (Arc::clone(&table.database), Arc::clone(&table.table));
        let next = FIRST_SHAPE + u32::try_from(self.shapes.len()).unwrap_or_default();
        *self.shapes.entry(name).or_insert_with(|| {
            writer.define(Arc::new(Shape {
                id: next,
                layout: Arc::new(TableLayout {
                    database: table.database.to_string(),
                    table: table.table.to_string(),
                    columns: Vec::new(),
                    key: Vec::new(),
                }),
                present: Vec::new(),
                synthetic: false,
            }));
            next
        })
    }

    fn put(
        &mut self,
        table: &PolledCollection,
        key: &[u8],
        after: &[u8],
        head: &Head<'_>,
        writer: &mut BatchWriter,
    ) {
        let shape = self.shape(table, writer);
        let change = DocumentChange {
            committed_ms: head.committed_ms,
            transaction: "",
            index: 0,
            operation: head.operation,
            shape,
            key,
            before: &[],
            after,
            update: &[],
        };
        writer.put_document(
            &change,
            |text| text.push_str(head.id),
            |text| text.push_str(head.position),
            |_| (),
        );
    }
}

impl Database for MongodbTables {
    type Table = PolledCollection;
    type Row = PolledDocument;

    fn open(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            self.connected = Some(connect(&self.config, self.heartbeat).await?);
            Ok(())
        }
        .boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.connected = None;
        }
        .boxed()
    }

    fn host(&self) -> Host {
        Host::default()
    }

    fn tables(&mut self) -> BoxFuture<'_, Result<Vec<Found<PolledCollection>>>> {
        self.discover().boxed()
    }

    fn clock(&mut self) -> BoxFuture<'_, Result<i128>> {
        async move { preflight::clock(self.connected()?).await }.boxed()
    }

    fn read<'a>(
        &'a mut self,
        table: &'a PolledCollection,
        start: Start<'a, PolledDocument>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<PolledDocument>>> {
        self.page(table, start, limit).boxed()
    }

    fn newest<'a>(
        &'a mut self,
        table: &'a PolledCollection,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<PolledDocument>>> {
        async move {
            let mut sort = doc! {};
            sort.insert(table.field.as_str(), -1);
            let options = FindOptions::builder().sort(sort).limit(limit as i64).build();
            let rows = self
                .find(table, condition(table, Start::Beginning), options)
                .await?;
            Ok(rows.into_iter().map(|row| taken_in(table, row)).collect())
        }
        .boxed()
    }

    fn keys<'a>(
        &'a mut self,
        table: &'a PolledCollection,
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Vec<u8>>>> {
        async move {
            let mut options = FindOptions::builder()
                .sort(doc! { "_id": 1 })
                .projection(doc! { "_id": 1 })
                .limit(limit as i64)
                .build();
            if let Some(after) = after.and_then(|key| Document::from_reader(key).ok()) {
                // Of every type, unlike `$gt`; the key itself comes again.
                options.min = Some(after);
                options.hint = Some(mongodb::options::Hint::Keys(doc! { "_id": 1 }));
            }
            let rows = self.find(table, doc! {}, options).await?;
            Ok(rows.into_iter().map(|row| taken_in(table, row).key).collect())
        }
        .boxed()
    }

    fn write(
        &mut self,
        table: &PolledCollection,
        row: &PolledDocument,
        head: &Head<'_>,
        writer: &mut BatchWriter,
    ) {
        self.put(table, &row.key, row.document.as_bytes(), head, writer);
    }

    fn write_delete(
        &mut self,
        table: &PolledCollection,
        key: &[u8],
        head: &Head<'_>,
        writer: &mut BatchWriter,
    ) {
        debug_assert_eq!(head.operation, Operation::Delete);
        self.put(table, key, &[], head, writer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_its_second() {
        let low = 1_700_000_000 * SECOND;
        let mut document = RawDocumentBuf::new();
        let Bson::ObjectId(id) = value_of(low + 999_999, By::Id) else {
            panic!("an ObjectId")
        };
        document.append(bson::raw::cstr!("_id"), id);
        assert_eq!(cursor_of(&document, "_id"), Some(low));
        assert_eq!(&id.bytes()[4..], &[0; 8]);
    }

    #[test]
    fn a_field_may_be_a_path() {
        let document = bson::rawdoc! { "meta": { "rev": 7_i64 } };
        assert_eq!(cursor_of(&document, "meta.rev"), Some(7));
        assert_eq!(cursor_of(&document, "meta.other"), None);
        assert_eq!(cursor_of(&document, "meta"), None);
    }
}
