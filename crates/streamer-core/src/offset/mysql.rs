//! MySQL's GTIDs.

/// Every transaction that a server has executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {}
/// One transaction: `uuid[:tag]:number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlGtid {}
/// First and last number of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GtidInterval {}
