//! The dates of HTTP headers (RFC 9110, section 5.6.7) and of credential documents (RFC 3339).
//!
//! All times are seconds since 1970-01-01T00:00:00Z; a date before that or one that does not
//! exist is `None`, never an error: a gateway may send anything.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Longest date text that is looked at, in bytes.
const LONGEST: usize = 64;

/// The three forms that a recipient must take: IMF-fixdate, RFC 850 and asctime.
const FORMS: [&str; 3] =
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Reads an HTTP date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn http(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let parsed = FORMS.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    unix(TimeZone::UTC.to_timestamp(parsed).ok()?)
}

/// Reads an RFC 3339 date such as `2030-01-01T00:00:00Z`: the expiry in a credential document.
#[must_use]
pub fn rfc3339(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    unix(text.parse::<Timestamp>().ok()?)
}

fn unix(timestamp: Timestamp) -> Option<Duration> {
    u64::try_from(timestamp.as_second()).ok().map(Duration::from_secs)
}

/// Reads `Retry-After`: seconds, or a date compared with `now` (a date in the past is zero).
#[must_use]
pub fn retry_after(text: &str, now: Duration) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long", not "at once".
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    Some(http(text)?.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_of_rfc_9110_are_the_same_moment() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http(text), Some(Duration::from_secs(784_111_777)), "{text}");
        }
    }

    #[test]
    fn a_date_that_does_not_exist_is_no_date() {
        for text in ["", "now", "Sun, 31 Feb 1994 08:49:37 GMT", "Mon, 01 Jan 1900 00:00:00 GMT"] {
            assert_eq!(http(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Duration::from_secs(784_111_700);
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now),
            Some(Duration::from_secs(77))
        );
        let later = Duration::from_secs(784_200_000);
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", later), Some(Duration::ZERO));
        assert_eq!(retry_after("-1", now), None);
        assert_eq!(
            retry_after("99999999999999999999999", now).map(|d| d.as_secs() > 1000),
            Some(true)
        );
    }

    #[test]
    fn an_expiry_is_rfc_3339() {
        assert_eq!(rfc3339("2030-01-01T00:00:00Z"), Some(Duration::from_secs(1_893_456_000)));
        assert_eq!(rfc3339("2030-01-01"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_date_or_none(text in ".{0,80}") {
            let _ = http(&text);
            let _ = rfc3339(&text);
            let _ = retry_after(&text, Duration::from_secs(1));
        }

        #[test]
        fn every_second_until_2200_survives_formatting(second in 0u64..7_258_118_400) {
            let timestamp = Timestamp::from_second(second.cast_signed()).unwrap();
            let text = timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(http(&text), Some(Duration::from_secs(second)));
        }
    }
}
