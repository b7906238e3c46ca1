//! Figures of the caches for Prometheus; `docs/metrics.md` explains each.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Queries;
use crate::cache::Figures;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: String,
}

type Read = fn(&Figures) -> u64;

const COUNTERS: [(&str, &str, Read); 17] = [
    ("cache_hits", "Reads that memory answered", |of| of.hits),
    (
        "cache_misses",
        "Reads that memory could not answer, of what may be kept",
        |of| of.misses,
    ),
    (
        "cache_bypassed",
        "Reads of what may not be kept, or not now",
        |of| of.bypassed,
    ),
    ("cache_loads", "Queries and loads that were made", |of| of.loads),
    (
        "cache_coalesced",
        "Reads that waited for the query of another",
        |of| of.coalesced,
    ),
    (
        "cache_invalidations",
        "Entries that were found to be touched by a change",
        |of| of.invalidated,
    ),
    (
        "cache_rejected_fills",
        "Values that were not kept, because a change came in between",
        |of| of.rejected,
    ),
    (
        "cache_proofs",
        "Questions to the server about what is visible",
        |of| of.proofs,
    ),
    (
        "cache_stale",
        "Reads that memory answered although the source was not followed",
        |of| of.stale,
    ),
    (
        "cache_renewed",
        "Entries that were renewed before their time ended",
        |of| of.renewed,
    ),
    (
        "cache_gathered",
        "Look-ups that were asked together with others, as one query",
        |of| of.gathered,
    ),
    (
        "cache_unproved",
        "Answers of the database that are not proved to hold everything that was delivered",
        |of| of.unproved,
    ),
    ("cache_redis_hits", "Reads that the second level answered", |of| {
        of.second.hits
    }),
    (
        "cache_redis_misses",
        "Reads that the second level could not answer",
        |of| of.second.misses,
    ),
    (
        "cache_redis_refused",
        "Entries of the second level that were altered, or of another version or key",
        |of| of.second.refused,
    ),
    (
        "cache_redis_failures",
        "Reads and writes of the second level that did not come about",
        |of| of.second.failures,
    ),
    (
        "cache_redis_writes",
        "Values that were stored in the second level",
        |of| of.second.writes,
    ),
];

/// The figures in the OpenMetrics text format, without its last line.
pub(super) fn render<'a>(sources: impl Iterator<Item = (&'a String, &'a Arc<Queries>)>) -> String {
    let figures: Vec<(OfSource, Figures)> = sources
        .map(|(source, queries)| {
            (
                OfSource {
                    source: source.clone(),
                },
                queries.figures(),
            )
        })
        .collect();
    // A registry of this moment: the counters live with the caches.
    let mut registry = Registry::with_prefix("streamer");
    for (name, help, read) in COUNTERS {
        let family = Family::<OfSource, Counter>::default();
        for (source, figures) in &figures {
            family.get_or_create(source).inc_by(read(figures));
        }
        registry.register(name, help, family);
    }
    let (entries, bytes) = (
        Family::<OfSource, Gauge>::default(),
        Family::<OfSource, Gauge>::default(),
    );
    for (source, figures) in &figures {
        let size = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        entries.get_or_create(source).set(size(figures.entries as u64));
        bytes.get_or_create(source).set(size(figures.bytes));
    }
    registry.register("cache_entries", "Entries in memory", entries);
    registry.register_with_unit("cache", "Bytes of the entries in memory", Unit::Bytes, bytes);
    let mut text = String::new();
    if encode_registry(&mut text, &registry).is_err() {
        // Writing into a string fails only where a figure refuses to be printed.
        text.clear();
    }
    text
}
