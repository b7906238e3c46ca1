//! What runs in an environment of Node.js (the main thread, or a worker), so that it ends with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use napi::Result;
use napi::bindgen_prelude::Env;

use crate::engine::Running;

thread_local! {
    /// The engines of each environment of this thread. There is one, except in hosts that keep several on a thread.
    static RUNNING: RefCell<HashMap<usize, Vec<Weak<Running>>>> = RefCell::default();
}

/// Sees to it that an engine is abandoned when its environment goes away. Costs one hook an environment, however many
/// engines it makes.
pub fn leave_with(env: &Env, engine: &Arc<Running>) -> Result<()> {
    let key = env.raw() as usize;
    let is_first = RUNNING.with_borrow_mut(|running| {
        let engines = running.entry(key).or_default();
        let is_first = engines.capacity() == 0;
        engines.retain(|engine| engine.strong_count() > 0);
        engines.push(Arc::downgrade(engine));
        is_first
    });
    if is_first {
        env.add_env_cleanup_hook(key, leave)?;
    }
    Ok(())
}

/// Runs on the environment's thread while it ends: nothing here waits.
fn leave(key: usize) {
    let engines = RUNNING.try_with(|running| running.borrow_mut().remove(&key));
    for engine in engines.ok().flatten().unwrap_or_default() {
        if let Some(engine) = engine.upgrade() {
            engine.abandon();
        }
    }
}
