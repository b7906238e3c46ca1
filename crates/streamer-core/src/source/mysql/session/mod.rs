//! From an address to a dump that runs: the server's facts, what capture needs of it, and the commands.

mod dump;
mod place;
mod preflight;
mod replica;
mod resume;
mod server;

pub use dump::{DumpIdentity, begin_dump, is_registered};
pub use place::{current_offset, earliest_offset, logged_offset};
pub use preflight::check;
pub use replica::{Vouch, stalled, vouch};
pub use resume::{Lost, Side, refused_place, verify_resume};
pub use server::{Server, connect_again, connect_any, server_name};
