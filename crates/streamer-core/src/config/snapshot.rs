//! When the rows that tables hold already are read, and how fast.

use super::problem::{Options, Problems};

const MAX_RATE: u64 = 100_000_000;

/// When rows that tables hold already are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotMode {
    /// Only where it is asked for.
    #[default]
    Never,
    /// Where no checkpoint exists.
    Initial,
    /// At each start.
    Always,
    /// Where no checkpoint exists, and after a gap.
    WhenNeeded,
}

/// Snapshots of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotConfig {
    /// When.
    pub mode: SnapshotMode,
    /// Most rows per second, 1 to 100 million; `None`, the default, is as fast as they come: one connection reads one
    /// table at a time, which no server is drowned by.
    pub rate: Option<u32>,
}

impl SnapshotConfig {
    /// A gap is mended by reading the tables again.
    pub fn repairs(self) -> bool {
        self.mode == SnapshotMode::WhenNeeded
    }
}

/// Reads the options of a source.
pub(super) fn read(options: &Options<'_>, problems: &mut Problems) -> SnapshotConfig {
    let modes = [
        ("never", SnapshotMode::Never),
        ("initial", SnapshotMode::Initial),
        ("always", SnapshotMode::Always),
        ("when-needed", SnapshotMode::WhenNeeded),
    ];
    let mode = options.choice("snapshot", &modes, problems).unwrap_or_default();
    let rate = options.whole("snapshotRate", 1, MAX_RATE, problems);
    SnapshotConfig {
        mode,
        rate: rate.and_then(|rate| u32::try_from(rate).ok()),
    }
}

/// Refuses snapshots of a source that has none, because it is polled.
pub(super) fn refuse(options: &Options<'_>, snapshot: SnapshotConfig, problems: &mut Problems) {
    if snapshot.mode != SnapshotMode::Never {
        problems.add(
            options.path_of("snapshot"),
            "a source that is polled (`capture`) has no snapshots: `from: 'earliest'` begins with the rows that are there",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_snapshot_that_repairs_gaps_goes_on_after_them() {
        let source = |value| Config::parse(&value).unwrap().sources.remove(0);
        let plain = source(json!({ "url": "sqlite:a.db" }));
        assert_eq!(plain.snapshot, SnapshotConfig::default());
        assert!(!plain.continues_after_gap);
        let initial = source(json!({ "url": "sqlite:a.db", "snapshot": "initial", "snapshotRate": 5 }));
        assert_eq!(initial.snapshot.rate, Some(5));
        assert!(!initial.continues_after_gap);
        assert!(source(json!({ "url": "sqlite:a.db", "snapshot": "when-needed" })).continues_after_gap);
    }

    #[test]
    fn other_words_and_rates_are_refused() {
        for value in [
            json!({ "url": "sqlite:a.db", "snapshot": "sometimes" }),
            json!({ "url": "sqlite:a.db", "snapshotRate": 0 }),
            json!({ "url": "mysql://localhost/a", "capture": "poll", "snapshot": "initial" }),
            json!({ "url": "mongodb://localhost/a", "capture": "poll", "snapshot": "always" }),
        ] {
            assert!(Config::parse(&value).is_err(), "{value}");
        }
    }
}
