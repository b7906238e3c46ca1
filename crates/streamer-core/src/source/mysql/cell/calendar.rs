//! Moments as the servers hold them: their text, and their place on the time line where they have one.

/// A date and a time of day, as stored; either may be impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) year: u32,
    pub(super) month: u32,
    pub(super) day: u32,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) micros: u32,
}

/// Days from the epoch to a date of the Gregorian calendar, extended to all years.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

impl Moment {
    /// Seconds and microseconds since the epoch, as a moment in UTC.
    pub(super) fn from_epoch(seconds: u32, micros: u32) -> Self {
        let (days, rest) = (i64::from(seconds / 86_400), seconds % 86_400);
        // The inverse of `days_from_epoch`.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: year as u32,
            month: month as u32,
            day: day as u32,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            micros,
        }
    }

    /// Milliseconds since the epoch, read as UTC, the rest of the microseconds cut off; `None` for a moment that no
    /// calendar has: zero dates, zero months and days, 31 February.
    #[inline]
    pub(super) fn epoch_ms(&self) -> Option<f64> {
        let real = self.day >= 1
            && self.day <= days_in_month(self.year, self.month)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        if !real {
            return None;
        }
        let days = days_from_epoch(i64::from(self.year), i64::from(self.month), i64::from(self.day));
        let seconds = days * 86_400 + i64::from(self.hour * 3_600 + self.minute * 60 + self.second);
        Some((seconds * 1_000 + i64::from(self.micros / 1_000)) as f64)
    }

    /// `YYYY-MM-DD`.
    pub(super) fn write_date(&self, out: &mut String) {
        digits(out, self.year, 4);
        out.push('-');
        digits(out, self.month, 2);
        out.push('-');
        digits(out, self.day, 2);
    }

    /// `YYYY-MM-DD hh:mm:ss` and `fraction` digits.
    pub(super) fn write(&self, fraction: u8, out: &mut String) {
        self.write_date(out);
        out.push(' ');
        digits(out, self.hour, 2);
        out.push(':');
        digits(out, self.minute, 2);
        out.push(':');
        digits(out, self.second, 2);
        write_fraction(self.micros, fraction, out);
    }
}

/// A TIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) negative: bool,
    pub(super) hours: u32,
    pub(super) minutes: u32,
    pub(super) seconds: u32,
    pub(super) micros: u32,
}

impl Span {
    /// `-838:59:59` and `fraction` digits.
    pub(super) fn write(&self, fraction: u8, out: &mut String) {
        if self.negative {
            out.push('-');
        }
        digits(out, self.hours, if self.hours > 99 { 3 } else { 2 });
        out.push(':');
        digits(out, self.minutes, 2);
        out.push(':');
        digits(out, self.seconds, 2);
        write_fraction(self.micros, fraction, out);
    }
}

/// Writes at least `width` digits.
fn digits(out: &mut String, value: u32, width: u32) {
    let digit = |power: u32| char::from(b'0' + (value / 10_u32.pow(power) % 10) as u8);
    let needed = value.checked_ilog10().map_or(1, |log| log + 1);
    for power in (0..width.max(needed)).rev() {
        out.push(digit(power));
    }
}

/// The point and the first `fraction` of six digits.
fn write_fraction(micros: u32, fraction: u8, out: &mut String) {
    if fraction > 0 {
        let fraction = u32::from(fraction.min(6));
        out.push('.');
        digits(out, micros / 10_u32.pow(6 - fraction), fraction);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: u32, month: u32, day: u32) -> Moment {
        Moment {
            year,
            month,
            day,
            ..Moment::default()
        }
    }

    #[test]
    fn moments_are_placed_on_the_time_line() {
        assert_eq!(date(1970, 1, 1).epoch_ms(), Some(0.0));
        assert_eq!(date(2000, 2, 29).epoch_ms(), Some(951_782_400_000.0));
        assert_eq!(date(1, 1, 1).epoch_ms(), Some(-62_135_596_800_000.0));
        assert_eq!(date(9999, 12, 31).epoch_ms(), Some(253_402_214_400_000.0));
        let before = Moment {
            hour: 23,
            minute: 59,
            second: 59,
            micros: 999_999,
            ..date(1969, 12, 31)
        };
        assert_eq!(before.epoch_ms(), Some(-1.0));
    }

    #[test]
    fn impossible_moments_have_no_place() {
        for moment in [
            date(0, 0, 0),
            date(2024, 0, 1),
            date(2024, 2, 30),
            date(2023, 2, 29),
            date(2024, 13, 1),
        ] {
            assert_eq!(moment.epoch_ms(), None);
        }
    }

    #[test]
    fn seconds_since_the_epoch_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (2_147_483_647, "2038-01-19 03:14:07"),
            (u32::MAX, "2106-02-07 06:28:15"),
        ] {
            let mut out = String::new();
            let moment = Moment::from_epoch(seconds, 0);
            moment.write(0, &mut out);
            assert_eq!(out, text);
            assert_eq!(moment.epoch_ms(), Some(f64::from(seconds) * 1_000.0));
        }
    }

    #[test]
    fn spans_are_written_as_the_server_prints_them() {
        let mut out = String::new();
        let span = Span {
            negative: true,
            hours: 838,
            minutes: 59,
            seconds: 5,
            micros: 12_345,
        };
        span.write(3, &mut out);
        assert_eq!(out, "-838:59:05.012");
    }
}
