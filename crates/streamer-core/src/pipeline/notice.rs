//! Notices: everything that is not a change, as the JSON that JavaScript reads.
//!
//! Each has a `type`; the other fields are those of the event of that name in `index.d.ts`.

use serde_json::{Value, json};

use super::health::Health;
use crate::error::Error;
use crate::source::{Beat, Gap, SchemaChange, SnapshotProgress};

/// `{ type: 'disconnect', source, error, retryInMs, attempt }`: the connection broke or could not be made; `attempt`
/// is the number of the attempt that follows, from 1.
pub(super) fn disconnect(source: &str, error: &Error, retry_in_ms: f64, attempt: u32) -> Value {
    json!({
        "type": "disconnect",
        "source": source,
        "error": error.to_json(),
        "retryInMs": retry_in_ms,
        "attempt": attempt,
    })
}

/// `{ type: 'reconnect', source, attempt, downMs }`: that attempt succeeded.
pub(super) fn reconnect(source: &str, attempt: u32, down_ms: f64) -> Value {
    json!({ "type": "reconnect", "source": source, "attempt": attempt, "downMs": down_ms })
}

/// `{ type: 'error', source, error }`: the source has failed and is not read any more.
pub(super) fn error(source: &str, error: &Error) -> Value {
    json!({ "type": "error", "source": source, "error": error.to_json() })
}

/// `{ type: 'ready' }`: every source streams.
pub(super) fn ready() -> Value {
    json!({ "type": "ready" })
}

/// `{ type: 'stop' }`: the last delivery.
pub(super) fn stop() -> Value {
    json!({ "type": "stop" })
}

/// `{ type: 'health', health }`.
pub(super) fn health(health: &Health) -> Value {
    json!({ "type": "health", "health": health.to_json() })
}

/// `{ type: 'heartbeat', source, freshUntil, roundTripMs, position }`. Deliveries are worked off in order, so whoever
/// reads it has been given everything before `freshUntil`.
pub(super) fn heartbeat(source: &str, beat: &Beat) -> Value {
    json!({
        "type": "heartbeat",
        "source": source,
        "freshUntil": beat.fresh_until_ms.floor(),
        "roundTripMs": beat.round_trip_ms,
        "position": &*beat.position,
    })
}

/// `{ type: 'gap', source, from, to, tables, reason }`.
pub(super) fn gap(source: &str, gap: &Gap) -> Value {
    let tables = gap
        .tables
        .as_ref()
        .map_or_else(|| Value::from("*"), |tables| Value::from(tables.clone()));
    json!({
        "type": "gap",
        "source": source,
        "from": gap.from.as_deref(),
        "to": gap.to.as_deref(),
        "tables": tables,
        "reason": gap.reason.as_str(),
    })
}

/// `{ type: 'schema', source, database, table, statement, position }`.
pub(super) fn schema(source: &str, change: &SchemaChange) -> Value {
    json!({
        "type": "schema",
        "source": source,
        "database": &*change.database,
        "table": change.table.as_deref(),
        "statement": change.statement.as_deref(),
        "position": &*change.position,
    })
}

/// `{ type: 'snapshot', source, id, table, rows, estimatedRows, done, remaining }`.
pub(super) fn snapshot(source: &str, progress: &SnapshotProgress) -> Value {
    json!({
        "type": "snapshot",
        "source": source,
        "id": &*progress.id,
        "table": progress.table.as_ref().map(ToString::to_string),
        "rows": progress.rows,
        "estimatedRows": progress.estimated_rows,
        "done": progress.is_done,
        "remaining": progress.remaining,
    })
}

/// `{ type: 'log', level, message, fields }`; `level` is `debug`, `info`, `warn` or `error`.
pub(super) fn log(level: &str, message: &str, fields: serde_json::Map<String, Value>) -> Value {
    json!({ "type": "log", "level": level, "message": message, "fields": fields })
}
