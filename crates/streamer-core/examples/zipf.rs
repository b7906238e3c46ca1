//! Which store for the first level: hit ratio and time of a read on Zipf traffic, quick_cache beside moka.
//!
//! `cargo run --release -p streamer-core --example zipf`
#![allow(missing_docs, clippy::print_stdout)]

use std::time::Instant;

const KEYS: usize = 100_000;
const READS: usize = 5_000_000;
const EXPONENT: f64 = 0.99;

/// Keys by their popularity, drawn by bisection of the summed weights.
fn traffic() -> Vec<u64> {
    let mut sums = Vec::with_capacity(KEYS);
    let mut sum = 0.0;
    for rank in 1..=KEYS {
        sum += 1.0 / (rank as f64).powf(EXPONENT);
        sums.push(sum);
    }
    let mut random = fastrand::Rng::with_seed(7);
    (0..READS)
        .map(|_| {
            let at = random.f64() * sum;
            sums.partition_point(|end| *end < at) as u64
        })
        .collect()
}

fn run(name: &str, capacity: usize, traffic: &[u64], mut read: impl FnMut(u64) -> bool) {
    let begin = Instant::now();
    let hits = traffic.iter().filter(|key| read(**key)).count();
    let nanoseconds = begin.elapsed().as_nanos() as f64 / traffic.len() as f64;
    let ratio = 100.0 * hits as f64 / traffic.len() as f64;
    println!("{name:12} {capacity:7} entries: {ratio:5.2} % hits, {nanoseconds:5.0} ns a read");
}

fn main() {
    let traffic = traffic();
    for capacity in [1_000, 10_000, 50_000] {
        let quick = quick_cache::sync::Cache::<u64, u64>::new(capacity);
        run("quick_cache", capacity, &traffic, |key| {
            let found = quick.get(&key).is_some();
            if !found {
                quick.insert(key, key);
            }
            found
        });
        let moka = moka::sync::Cache::<u64, u64>::new(capacity as u64);
        run("moka", capacity, &traffic, |key| {
            let found = moka.get(&key).is_some();
            if !found {
                moka.insert(key, key);
            }
            found
        });
    }
}
