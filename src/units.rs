//! Durations and sizes as an operator writes them, read and shown by one function each.
//!
//! VCL, the settings file and the command share these units. A leaf: it knows no argument.

use std::time::Duration;

/// Reads a duration: a number with one of VCL's units `ms`, `s`, `m`, `h`, `d`, `w`, `y` (365 days),
/// or without one, which means seconds. `None` for anything else, for negative numbers and for
/// more than 1,000 years.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        "y" => 31_536_000.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    if seconds > 3.2e10 {
        return None;
    }
    // To the microsecond: 0.1 as text must compare equal to 100 ms.
    Duration::try_from_secs_f64(seconds)
        .ok()
        .map(|value| Duration::from_micros(u64::try_from(value.as_micros()).unwrap_or(u64::MAX)))
}

/// Reads a size: a whole number with one of VCL's units `B`, `KB`, `MB`, `GB`, `TB` (powers of 1024),
/// or without one, which means bytes. `None` for anything else.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit {
        "" | "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A size as [`bytes`] reads it, in its largest whole unit.
#[must_use]
pub(crate) fn show_bytes(value: u64) -> String {
    let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
    for (shift, unit) in units {
        if value >= 1 << shift && value.is_multiple_of(1 << shift) {
            return format!("{}{unit}", value >> shift);
        }
    }
    format!("{value}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_vcl_writes_them() {
        for (text, ms) in [
            ("10.000", 10_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("0.1", 100),
            ("5m", 300_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-1", "10 s", "1x", "1e9", "nan", "inf", "1..2", "9999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_varnish_units() {
        for (text, number) in [("65536", 65_536), ("64KB", 65_536), ("5GB", 5 << 30), ("7B", 7)] {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for text in ["", "-1", "1.5MB", "64kb", "99999999999TB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
