//! Who must know of a change before the application does.

use std::sync::Arc;

use crate::event::{Batch, LogPlace};
use crate::source::{Beat, Gap, Host, SchemaChange};

/// Is told of everything that a source hands over, in order, before it is delivered. Must not block. An engine without one pays
/// nothing for it.
pub trait Observer: Send + Sync + 'static {
    /// The source streams, for the first time or again: from which host, and from which position on.
    fn connected(&self, source: &str, host: Host, position: Option<&str>);
    /// Whether the source is polled from now on: what is delivered is then not everything that happened.
    fn polls(&self, source: &str, is_polled: bool);
    /// The batch or the proof of life that comes next ends before this place in the server's files; `None` where that is not
    /// known.
    fn reading(&self, source: &str, place: Option<LogPlace>) {
        let _ = (source, place);
    }
    /// The source's connection broke, or it failed.
    fn disconnected(&self, source: &str);
    /// Changes.
    fn batch(&self, source: &str, batch: &Batch);
    /// A definition changed.
    fn schema(&self, source: &str, change: &SchemaChange);
    /// A definition that concerns no table that is followed changed before this position.
    fn redefined(&self, source: &str, position: &Arc<str>);
    /// Changes may be missing.
    fn gap(&self, source: &str, gap: &Gap);
    /// The source lives.
    fn beat(&self, source: &str, beat: &Beat);
}
