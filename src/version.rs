//! What tells an addon that does not belong to the JavaScript beside it; `lib/addon.js` compares.

use napi_derive::napi;

/// The version of the package.
#[napi]
#[cfg_attr(test, allow(dead_code))]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The form in which the engine and JavaScript talk: the methods of `Engine`, the layout of a batch, the notices. Raised here and in
/// `lib/addon.js` with each change of it.
#[napi]
#[cfg_attr(test, allow(dead_code))]
pub const BOUNDARY: u32 = 2;
