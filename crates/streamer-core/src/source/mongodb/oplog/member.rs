//! The member whose oplog is read: all questions go to the one that the cursor is open on, so that what they say holds for what
//! the cursor gives.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::Client;
use mongodb::options::{ReadPreference, SelectionCriteria};
use tokio::time::timeout;

use super::entry::optime;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::offset::OpTime;
use crate::source::mongodb::connect::Connected;
use crate::source::mongodb::connector::silent;
use crate::source::mongodb::failure::client_error;

/// Longest wait for one answer. The oplog has no index but its order; a place is found at once, a document by its `_id` too.
const PATIENCE: Duration = Duration::from_secs(30);

/// One member of a replica set.
#[derive(Clone)]
pub struct Member {
    client: Client,
    /// Selects it, and no other.
    pub criteria: Option<SelectionCriteria>,
    /// It takes writes, and the URL wants a member that does.
    pub must_be_primary: bool,
    /// The oplog up to here is on a majority of the set, by what it knew when it was chosen.
    pub committed: OpTime,
}

/// What a member says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Hello {
    /// It takes writes.
    pub is_primary: bool,
    /// Its oplog up to here is on a majority of the set.
    pub committed: OpTime,
}

impl Member {
    /// The member that the URL's read preference chooses now.
    ///
    /// # Errors
    /// `ERR_STREAMER_SERVER_SETTING_UNSUITABLE` where it is a router, and those of the connection.
    pub async fn choose(connected: &Connected) -> Result<Self> {
        let mut member = Self {
            client: connected.client.clone(),
            criteria: connected.criteria.clone(),
            must_be_primary: false,
            committed: NOTHING,
        };
        let answer = member.ask_hello().await?;
        if answer.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            return Err(Error::new(
                Code::ServerSettingUnsuitable,
                "The oplog is read from a replica set, a router (mongos) of a sharded cluster was found.",
            )
            .with_advice("Leave `log` out: change streams follow a sharded cluster."));
        }
        let hello = read_hello(&answer);
        let wants_primary = match &connected.criteria {
            None => true,
            Some(criteria) => {
                matches!(
                    criteria,
                    SelectionCriteria::ReadPreference(ReadPreference::Primary)
                )
            }
        };
        member.must_be_primary = wants_primary && hello.is_primary && !connected.is_direct;
        member.committed = hello.committed;
        if !connected.is_direct
            && let Ok(me) = answer.get_str("me")
        {
            let me = me.to_ascii_lowercase();
            let is_me =
                move |server: &mongodb::ServerInfo| server.address().to_string().eq_ignore_ascii_case(&me);
            member.criteria = Some(SelectionCriteria::Predicate(Arc::new(is_me)));
        }
        Ok(member)
    }

    async fn ask_hello(&self) -> Result<Document> {
        let admin = self.client.database("admin");
        // Servers before 4.4.2 do not know `hello`.
        let mut action = admin.run_command(doc! { "isMaster": 1 });
        if let Some(criteria) = &self.criteria {
            action = action.selection_criteria(criteria.clone());
        }
        let answer = timeout(PATIENCE, action).await.map_err(|_| silent())?;
        answer.map_err(|error| client_error(&error))
    }

    /// Asks how far the set is.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn hello(&self) -> Result<Hello> {
        Ok(read_hello(&self.ask_hello().await?))
    }

    /// The newest entry.
    ///
    /// # Errors
    /// `ERR_STREAMER_GRANT_MISSING` where the user may not read the oplog, and those of the connection.
    pub async fn newest(&self) -> Result<OpTime> {
        self.end_of_oplog(-1).await
    }

    /// The oldest entry that is still there.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub async fn oldest(&self) -> Result<OpTime> {
        self.end_of_oplog(1).await
    }

    async fn end_of_oplog(&self, direction: i32) -> Result<OpTime> {
        let entry = self.find(doc! {}, direction, doc! { "ts": 1, "t": 1 }).await?;
        entry.as_deref().and_then(optime).ok_or_else(|| {
            Error::new(
                Code::ConnectionLost,
                "The member has no oplog yet: it copies the data of another one.",
            )
        })
    }

    /// An entry, whole.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub async fn entry(&self, at: OpTime) -> Result<Option<RawDocumentBuf>> {
        self.exactly(at, doc! {}).await
    }

    /// Whether it has an entry.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub async fn has(&self, at: OpTime) -> Result<bool> {
        Ok(self.exactly(at, doc! { "ts": 1, "t": 1 }).await?.is_some())
    }

    /// The links of an entry to the one before it in its transaction.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub async fn link(&self, at: OpTime) -> Result<Option<RawDocumentBuf>> {
        self.exactly(at, doc! { "ts": 1, "t": 1, "prevOpTime": 1 }).await
    }

    async fn exactly(&self, at: OpTime, fields: Document) -> Result<Option<RawDocumentBuf>> {
        // Bounds instead of equality: all versions turn them into a place in the oplog.
        let filter = doc! { "ts": { "$gte": time(at), "$lte": time(at) } };
        let found = self.find(filter, 1, fields).await?;
        Ok(found.filter(|entry| optime(entry) == Some(at)))
    }

    /// The newest entry in front of a place that was written in its election or an earlier one.
    ///
    /// # Errors
    /// As [`newest`](Self::newest).
    pub async fn before(&self, at: OpTime) -> Result<Option<OpTime>> {
        let filter = doc! { "ts": { "$lt": time(at) }, "t": { "$lte": at.term } };
        let found = self.find(filter, -1, doc! { "ts": 1, "t": 1 }).await?;
        Ok(found.as_deref().and_then(optime))
    }

    async fn find(
        &self,
        filter: Document,
        direction: i32,
        fields: Document,
    ) -> Result<Option<RawDocumentBuf>> {
        let local = self.client.database("local");
        let oplog = local.collection::<RawDocumentBuf>("oplog.rs");
        let mut action = oplog
            .find_one(filter)
            .sort(doc! { "$natural": direction })
            .projection(fields);
        if let Some(criteria) = &self.criteria {
            action = action.selection_criteria(criteria.clone());
        }
        let found = timeout(PATIENCE, action).await.map_err(|_| silent())?;
        found.map_err(|error| oplog_error(&error))
    }

    /// A document as it is now; `None` where it is gone.
    ///
    /// # Errors
    /// `ERR_STREAMER_GRANT_MISSING` where the user may not read the collection, and those of the connection.
    pub async fn document(
        &self,
        (database, table): (&str, &str),
        id: RawBsonRef<'_>,
    ) -> Result<Option<RawDocumentBuf>> {
        let Ok(id) = Bson::try_from(id) else {
            return Ok(None);
        };
        let collection = self.client.database(database).collection::<RawDocumentBuf>(table);
        let mut action = collection.find_one(doc! { "_id": { "$eq": id } });
        if let Some(criteria) = &self.criteria {
            action = action.selection_criteria(criteria.clone());
        }
        let found = timeout(PATIENCE, action).await.map_err(|_| silent())?;
        found.map_err(|error| client_error(&error))
    }
}

/// In front of every entry.
pub const NOTHING: OpTime = OpTime {
    seconds: 0,
    increment: 0,
    term: -1,
};

fn time(at: OpTime) -> Bson {
    Bson::Timestamp(Timestamp {
        time: at.seconds,
        increment: at.increment,
    })
}

fn read_hello(answer: &Document) -> Hello {
    let is = |name| answer.get_bool(name).unwrap_or(false);
    let committed = answer
        .get_document("lastWrite")
        .and_then(|last| last.get_document("majorityOpTime"))
        .ok()
        .and_then(|majority| RawDocumentBuf::try_from(majority).ok());
    Hello {
        is_primary: is("ismaster") || is("isWritablePrimary"),
        committed: committed
            .as_deref()
            .and_then(|majority: &RawDocument| optime(majority))
            .unwrap_or(NOTHING),
    }
}

/// An error of reading the oplog.
pub fn oplog_error(error: &mongodb::error::Error) -> Error {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(command) if command.code == 13 => Error::new(
            Code::GrantMissing,
            "The user may not read the oplog, which needs the action find on local.oplog.rs.",
        )
        .with_advice(
            "Run db.getSiblingDB(\"admin\").grantRolesToUser(\"<user>\", [{role: \"read\", db: \"local\"}]), or leave `log` out.",
        )
        .with_detail("serverCode", command.code),
        _ => client_error(error),
    }
}
