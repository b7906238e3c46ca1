//! Cells of columns that hold values of any type: SQLite's.

use super::batch::{BatchWriter, MAX_SAFE_INTEGER};

const DYNAMIC_TEXT: f64 = 0.0;
const DYNAMIC_BYTES: f64 = 1.0;
const DYNAMIC_INTEGER: f64 = 2.0;
const DYNAMIC_INFINITY: f64 = 3.0;
const DYNAMIC_NEGATIVE_INFINITY: f64 = 4.0;

impl BatchWriter {
    /// A cell of [`Encoding::Dynamic`](super::Encoding::Dynamic) that is text.
    pub fn put_dynamic_text(&mut self, value: &str) {
        self.put_number(f64::INFINITY);
        self.put_number(DYNAMIC_TEXT);
        self.put_text(value);
    }

    /// A cell of [`Encoding::Dynamic`](super::Encoding::Dynamic) that is bytes.
    pub fn put_dynamic_bytes(&mut self, value: &[u8]) {
        self.put_number(f64::INFINITY);
        self.put_number(DYNAMIC_BYTES);
        self.put_bytes(value);
    }

    /// A cell of [`Encoding::Dynamic`](super::Encoding::Dynamic) that is a 64-bit integer.
    pub fn put_dynamic_i64(&mut self, value: i64) {
        if value.unsigned_abs() <= MAX_SAFE_INTEGER {
            self.put_number(value as f64);
        } else {
            self.put_number(f64::INFINITY);
            self.put_number(DYNAMIC_INTEGER);
            self.put_text(&value.to_string());
        }
    }

    /// A cell of [`Encoding::Dynamic`](super::Encoding::Dynamic) that is a floating-point number.
    pub fn put_dynamic_f64(&mut self, value: f64) {
        if value.is_infinite() {
            let sign = if value > 0.0 {
                DYNAMIC_INFINITY
            } else {
                DYNAMIC_NEGATIVE_INFINITY
            };
            self.put_number(f64::INFINITY);
            self.put_number(sign);
        } else {
            self.put_number(value);
        }
    }
}
