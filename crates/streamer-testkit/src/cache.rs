//! Where downloads and template data directories are kept between runs: outside of the repository.

use std::path::PathBuf;

use crate::Result;

/// `$STREAMER_TEST_CACHE`, else `ultimate-streaming` in the user's cache folder.
///
/// # Errors
/// Where neither is known, or it cannot be made.
pub fn cache_folder() -> Result<PathBuf> {
    let folder = std::env::var_os("STREAMER_TEST_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("XDG_CACHE_HOME")?).join("ultimate-streaming")))
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/ultimate-streaming")))
        .ok_or("Neither STREAMER_TEST_CACHE nor HOME is set.")?;
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("The cache folder {} cannot be made: {error}", folder.display()))?;
    Ok(folder)
}
