//! Times as text: strftime in the C locale, and the numbers around it.
//!
//! Usual conversions are written directly, without an allocation; the rest of C's go through
//! `jiff`, whose own extensions are refused so that a format means what it means in C.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// Which zone `%t` speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// `+0000`.
    Utc,
    /// The process's zone (`TZ`, `/etc/localtime`), looked up once when a format is compiled.
    Local,
}

impl Zone {
    pub(super) fn resolve(self) -> Option<TimeZone> {
        match self {
            Self::Utc => None,
            Self::Local => Some(TimeZone::system()),
        }
    }
}

pub(crate) const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
/// The layout of `%t`.
pub(super) const CLF: &str = "[%d/%b/%Y:%H:%M:%S %z]";
/// Seconds of 0001-01-01 and of 9999-12-30: beyond them no calendar is asked.
const RANGE: (i64, i64) = (-62_135_596_800, 253_402_128_000);
/// The conversions that strftime(3) documents, but for `%n`, which would split a record.
const KNOWN: &[u8] = b"aAbBcCdDeFgGhHIjklmMpPrRsStTuUVwWxXyYzZ%";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Year,
    Month,
    MonthName,
    Day,
    DayBlank,
    DayName,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Offset,
    Other(String),
}

/// A compiled strftime format and the zone whose time it tells; `None` is UTC.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pieces: Vec<Piece>,
    zone: Option<TimeZone>,
    /// From 1, not given twice; clones, which write the same, share it.
    id: u64,
}

/// The `id` of the next layout.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A second that is no longer is copied in one step: `%t` has 28 bytes.
const USUAL: usize = 32;

/// What a layout wrote for one second.
#[derive(Clone, Copy)]
struct Written {
    id: u64,
    seconds: i64,
    len: usize,
    text: [u8; 64],
}

const NOTHING: Written = Written { id: 0, seconds: 0, len: 0, text: [0; 64] };

thread_local! {
    /// A worker asks for the same second many times, of a few layouts in turn.
    static WRITTEN: RefCell<[Written; 4]> = const { RefCell::new([NOTHING; 4]) };
}

/// Whether both write the same.
impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        self.pieces == other.pieces && self.zone == other.zone
    }
}

impl Layout {
    /// Compiles `format`; the error is the conversion that is not known.
    pub(super) fn compile(format: &str, zone: Option<TimeZone>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut chars = format.chars();
        while let Some(character) = chars.next() {
            if character != '%' {
                literal(&mut pieces, character);
                continue;
            }
            let mut spec = String::from("%");
            let conversion = loop {
                match chars.next() {
                    Some('E' | 'O') => {}
                    Some(flag @ ('_' | '-' | '0' | '^' | '#')) => spec.push(flag),
                    Some(other) => break other,
                    None => return Err("%".to_owned()),
                }
            };
            spec.push(conversion);
            if !u8::try_from(conversion).is_ok_and(|byte| KNOWN.contains(&byte)) {
                return Err(spec);
            }
            if spec.len() > 2 {
                pieces.push(Piece::Other(spec));
                continue;
            }
            expand(&mut pieces, conversion, spec);
        }
        // Relaxed: a number that no other call gets.
        Ok(Self { pieces, zone, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Whether it tells the time of UTC.
    pub(super) const fn is_utc(&self) -> bool {
        self.zone.is_none()
    }

    /// What it writes as strftime's conversions `Y m b d e H M S z`; `None` where it writes another one.
    pub(super) fn pattern(&self) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            text.push_str(match piece {
                Piece::Literal(literal) => {
                    text.push_str(&std::str::from_utf8(literal).ok()?.replace('%', "%%"));
                    continue;
                }
                Piece::Year => "%Y",
                Piece::Month => "%m",
                Piece::MonthName => "%b",
                Piece::Day => "%d",
                Piece::DayBlank => "%e",
                Piece::Hour => "%H",
                Piece::Minute => "%M",
                Piece::Second => "%S",
                Piece::Offset => "%z",
                Piece::DayName | Piece::DayOfYear | Piece::Other(_) => return None,
            });
        }
        Some(text)
    }

    /// What it writes, with `x` for what it tells of a time: digits, letters, signs and blanks.
    pub(super) fn skeleton(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(&String::from_utf8_lossy(literal)),
                // A tab has no digits that a flag could change.
                Piece::Other(spec) if spec.ends_with('t') => text.push('\t'),
                _ => text.push('x'),
            }
        }
        text
    }

    /// Writes the time `seconds` after 1970.
    pub(super) fn write(&self, seconds: i64, out: &mut Vec<u8>) {
        WRITTEN.with_borrow_mut(|written| {
            let Some(last) = written.get_mut((self.id % 4) as usize) else { return };
            if last.id != self.id || last.seconds != seconds {
                let from = out.len();
                self.put(seconds, out);
                let text = out.get(from..).unwrap_or_default();
                if let Some(room) = last.text.get_mut(..text.len()) {
                    room.copy_from_slice(text);
                    (last.id, last.seconds, last.len) = (self.id, seconds, text.len());
                }
            } else if let (Some(text), 0..=USUAL) = (last.text.first_chunk::<USUAL>(), last.len) {
                // All of it, and then away with the rest: a copy of a known length is no call.
                let end = out.len() + last.len;
                out.extend_from_slice(text);
                out.truncate(end);
            } else if let Some(text) = last.text.get(..last.len) {
                out.extend_from_slice(text);
            }
        });
    }

    fn put(&self, seconds: i64, out: &mut Vec<u8>) {
        let seconds = seconds.clamp(RANGE.0, RANGE.1);
        let zone = self.zone.as_ref();
        let offset = zone.map_or(0, |zone| offset_of(zone, seconds));
        let civil = Civil::new(seconds + i64::from(offset));
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Year => year(civil.year, out),
                Piece::Month => two(civil.month, out),
                Piece::MonthName => name(&MONTHS, civil.month.saturating_sub(1), out),
                Piece::Day => two(civil.day, out),
                Piece::DayBlank if civil.day < 10 => {
                    out.extend_from_slice(&[b' ', digit(civil.day)]);
                }
                Piece::DayBlank => two(civil.day, out),
                Piece::DayName => name(&DAYS, civil.weekday, out),
                Piece::DayOfYear => {
                    out.push(digit(civil.day_of_year / 100));
                    two(civil.day_of_year % 100, out);
                }
                Piece::Hour => two(civil.hour, out),
                Piece::Minute => two(civil.minute, out),
                Piece::Second => two(civil.second, out),
                Piece::Offset => zone_offset(offset, out),
                Piece::Other(spec) => other(spec, seconds, zone, out),
            }
        }
    }
}

fn literal(pieces: &mut Vec<Piece>, character: char) {
    let mut buffer = [0; 4];
    let bytes = character.encode_utf8(&mut buffer).as_bytes();
    if let Some(Piece::Literal(text)) = pieces.last_mut() {
        text.extend_from_slice(bytes);
    } else {
        pieces.push(Piece::Literal(bytes.to_vec()));
    }
}

fn expand(pieces: &mut Vec<Piece>, conversion: char, spec: String) {
    let text: &[char] = match conversion {
        'T' => &['H', ':', 'M', ':', 'S'],
        'R' => &['H', ':', 'M'],
        'F' => &['Y', '-', 'm', '-', 'd'],
        _ => &[],
    };
    for part in text {
        match part {
            ':' | '-' => literal(pieces, *part),
            _ => expand(pieces, *part, String::new()),
        }
    }
    if !text.is_empty() {
        return;
    }
    pieces.push(match conversion {
        'Y' => Piece::Year,
        'm' => Piece::Month,
        'b' | 'h' => Piece::MonthName,
        'd' => Piece::Day,
        'e' => Piece::DayBlank,
        'a' => Piece::DayName,
        'j' => Piece::DayOfYear,
        'H' => Piece::Hour,
        'M' => Piece::Minute,
        'S' => Piece::Second,
        'z' => Piece::Offset,
        '%' => return literal(pieces, '%'),
        't' => return literal(pieces, '\t'),
        _ => Piece::Other(spec),
    });
}

fn offset_of(zone: &TimeZone, seconds: i64) -> i32 {
    jiff::Timestamp::from_second(seconds).map_or(0, |time| zone.to_offset(time).seconds())
}

fn other(spec: &str, seconds: i64, zone: Option<&TimeZone>, out: &mut Vec<u8>) {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return };
    let zoned = time.to_zoned(zone.cloned().unwrap_or(TimeZone::UTC));
    let config = strtime::Config::new().custom(strtime::PosixCustom::new()).lenient(true);
    let broken = strtime::BrokenDownTime::from(&zoned);
    if let Ok(text) = broken.to_string_with_config(&config, spec) {
        out.extend_from_slice(text.as_bytes());
    }
}

fn digit(value: u32) -> u8 {
    b'0' + (value % 10) as u8
}

fn two(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[digit(value / 10), digit(value)]);
}

fn year(value: i64, out: &mut Vec<u8>) {
    let value = value.unsigned_abs() as u32;
    two(value / 100 % 100, out);
    two(value % 100, out);
}

fn name(names: &[&[u8; 3]], at: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(names.get(at as usize).copied().unwrap_or(b"???"));
}

fn zone_offset(offset: i32, out: &mut Vec<u8>) {
    out.push(if offset < 0 { b'-' } else { b'+' });
    let minutes = offset.unsigned_abs() / 60;
    two(minutes / 60, out);
    two(minutes % 60, out);
}

/// A moment in the proleptic Gregorian calendar.
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: u32,
    pub(crate) day: u32,
    weekday: u32,
    day_of_year: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
}

impl Civil {
    /// From seconds of local time since 1970; eras of 400 years start on 1 March, so that the
    /// leap day is the last day of its year.
    pub(crate) fn new(local: i64) -> Self {
        let days = local.div_euclid(86_400);
        let second = local.rem_euclid(86_400) as u32;
        let shifted = days + 719_468;
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let index = (5 * from_march + 2) / 153;
        let month = if index < 10 { index + 3 } else { index - 9 };
        let year = year_of_era + shifted.div_euclid(146_097) * 400 + i64::from(month <= 2);
        let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        let day_of_year = if month > 2 { from_march + 60 + leap } else { from_march - 305 };
        Self {
            year,
            month: month as u32,
            day: (from_march - (153 * index + 2) / 5 + 1) as u32,
            weekday: (days + 4).rem_euclid(7) as u32,
            day_of_year: day_of_year as u32,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

/// Reads seconds since 1970 the way `strtod` reads what `VSLb_ts` printed (`%ju.%06ju`).
///
/// `None` for anything but digits with at most one point; the value is the double nearest to
/// the decimal number, as strtod's is.
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    if let Some(micros) = micros(text) {
        // Both are exact, so that the quotient is the nearest to the number.
        return Some(micros as f64 / 1e6);
    }
    text.first().filter(|byte| byte.is_ascii_digit())?;
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Microseconds, from the text that Varnish writes from 2001 to 2255: ten digits, a point, six
/// digits. A double has them exactly.
fn micros(text: &[u8]) -> Option<u64> {
    let (seconds, fraction) = text.split_last_chunk::<7>()?;
    let (b'.', fraction) = (fraction.first()?, fraction.last_chunk::<6>()?) else { return None };
    let seconds: &[u8; 10] = seconds.try_into().ok()?;
    let micros = number(seconds)? * 1_000_000 + number(fraction)?;
    (micros < 1 << f64::MANTISSA_DIGITS).then_some(micros)
}

/// Up to nineteen digits. There is no early end, so that the compiler unrolls it.
#[inline]
fn number<const N: usize>(digits: &[u8; N]) -> Option<u64> {
    let mut valid = true;
    let mut number = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        valid &= digit <= 9;
        number = number * 10 + u64::from(digit);
    }
    valid.then_some(number)
}

/// Cuts a time to the microseconds that `VSLb_ts` would have printed.
pub(super) fn quantise(time: f64) -> f64 {
    floor(time * 1e6) as f64 / 1e6
}

/// The greatest whole number that is not above `number`, where an `i64` has it. `f64::floor` is a call
/// of libm on the least processor that this is built for.
#[inline]
pub(super) fn floor(number: f64) -> i64 {
    let whole = number as i64;
    whole.saturating_sub(i64::from(whole as f64 > number))
}

/// Writes the last `width` digits of `number`, with leading zeros.
pub(crate) fn padded(number: u32, width: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 10];
    let mut rest = number;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(text.get(10 - width.min(10)..).unwrap_or_default());
}
