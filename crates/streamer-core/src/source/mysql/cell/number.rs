//! FLOAT as the servers print it.

/// Powers of ten whose product with any FLOAT's 24-bit significand is exact in a double.
const EXACT_POWERS: [f64; 13] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// The double nearest to what the server prints for a FLOAT.
///
/// MySQL and MariaDB print a FLOAT with six significant digits (`FLT_DIG`), ties to even, so that 1.1 is "1.1" and
/// 16777216 is "16777200"; that text, read as a double, is what every client of the text protocol shows.
#[inline]
pub fn printed_float(value: f32) -> f64 {
    let exact = f64::from(value);
    let size = exact.abs();
    if size < 1e6 && exact.fract() == 0.0 {
        return exact;
    }
    if (1e-7..1e6).contains(&size) {
        // The product is exact: 24 bits of significand, and at most 28 for 5^12. So is the integer that it is rounded
        // to; the quotient of two exact numbers is the double nearest to the decimal text.
        let power = six_digit_power(size);
        return (exact * power).round_ties_even() / power;
    }
    format!("{exact:.5e}").parse().unwrap_or(exact)
}

/// The power of ten that brings `size`, 1e-7 to 1e6, to six digits before the point.
#[inline]
fn six_digit_power(size: f64) -> f64 {
    let mut power = 1e12;
    for candidate in EXACT_POWERS {
        if size * candidate >= 1e5 {
            power = candidate;
            break;
        }
    }
    power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floats_print_as_both_servers_print_them() {
        // What MySQL 9.7 and MariaDB 10.11 answer to SELECT.
        for (stored, printed) in [
            (1.1_f32, 1.1),
            (16_777_216.0, 16_777_200.0),
            (123_456.79, 123_457.0),
            (999_999.9, 1e6),
            (1_234_567.0, 1_234_570.0),
            (3.4e38, 3.4e38),
            (f32::MAX, 3.40282e38),
            (1e-10, 1e-10),
            (1e-45, 1.4013e-45),
            (0.000_123_456_78, 0.000_123_457),
            (0.000_012_345_678, 0.000_012_345_7),
            (-1.5, -1.5),
            (1e14, 1e14),
        ] {
            assert_eq!(printed_float(stored), printed, "{stored}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_exact_decimal_text(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            let text: f64 = format!("{:.5e}", f64::from(value)).parse().unwrap();
            prop_assert_eq!(printed_float(value), text);
        }

        #[test]
        fn the_short_way_agrees_on_common_sizes(value in -2e6_f32..2e6) {
            let text: f64 = format!("{:.5e}", f64::from(value)).parse().unwrap();
            prop_assert_eq!(printed_float(value), text);
        }
    }
}
