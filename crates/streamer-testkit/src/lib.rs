//! Real servers for the tests of `ultimate-streaming`.
