//! Points in time, as metadata strings write them.

use jiff::civil::Date;

/// A point in time to the nanosecond, as bytes that sort like time: seconds since 1970 with the sign
/// bit flipped, then nanoseconds, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant([u8; 12]);

impl Instant {
    /// Reads an RFC 3339 timestamp with its zone (`2024-05-01T12:00:00.5+02:00`) or a plain date
    /// (`2024-05-01`, midnight UTC). `None` for anything else, among it leap seconds and fractions
    /// finer than a nanosecond: such a string is only a string.
    pub fn parse(text: &str) -> Option<Instant> {
        let bytes = text.as_bytes();
        let days = day(bytes.get(..10)?)?;
        let Some(time) = bytes.get(10..).filter(|rest| !rest.is_empty()) else {
            return Some(Instant::new(days, 0));
        };
        let [b'T' | b't' | b' ', clock @ ..] = time else { return None };
        let (seconds, rest) = hour_minute_second(clock)?;
        let (nanoseconds, rest) = fraction(rest)?;
        Some(Instant::new(days + seconds - zone(rest)?, nanoseconds))
    }

    /// The bytes that sort like time.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn new(seconds: i64, nanoseconds: u32) -> Instant {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&(seconds.cast_unsigned() ^ 1 << 63).to_be_bytes());
        bytes[8..].copy_from_slice(&nanoseconds.to_be_bytes());
        Instant(bytes)
    }
}

/// `YYYY-MM-DD` as the seconds from 1970 to its midnight, UTC.
fn day(bytes: &[u8]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *bytes else { return None };
    let year = i16::try_from(decimal(&[y1, y2, y3, y4])?).ok()?;
    let month = i8::try_from(decimal(&[m1, m2])?).ok()?;
    let day = i8::try_from(decimal(&[d1, d2])?).ok()?;
    let date = Date::new(year, month, day).ok()?;
    Some(date.duration_since(Date::constant(1970, 1, 1)).as_secs())
}

/// `hh:mm:ss` as seconds since midnight, and what follows it.
fn hour_minute_second(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = bytes else { return None };
    let (hour, minute) = (decimal(&[*h1, *h2])?, decimal(&[*m1, *m2])?);
    let second = decimal(&[*s1, *s2])?;
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 3600 + minute * 60 + second, rest))
}

/// `.d…` as nanoseconds (0 where there is none), and what follows it.
fn fraction(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let [b'.', rest @ ..] = bytes else { return Some((0, bytes)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let scale = 10_i64.pow(9 - digits as u32);
    Some((u32::try_from(decimal(&rest[..digits])? * scale).ok()?, &rest[digits..]))
}

/// `Z` or `±hh:mm` as seconds east of UTC.
fn zone(bytes: &[u8]) -> Option<i64> {
    let (sign, h1, h2, m1, m2) = match *bytes {
        [b'Z' | b'z'] => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, h1, h2, m1, m2),
        [b'-', h1, h2, b':', m1, m2] => (-1, h1, h2, m1, m2),
        _ => return None,
    };
    let (hour, minute) = (decimal(&[h1, h2])?, decimal(&[m1, m2])?);
    (hour < 24 && minute < 60).then_some(sign * (hour * 3600 + minute * 60))
}

/// At most nine digits as a number.
fn decimal(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then_some(number * 10 + i64::from(digit.wrapping_sub(b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_agree_with_jiff() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59.999999999-23:59",
            "2024-05-01t12:00:00.5+02:00",
            "1969-12-31 23:59:59.25z",
            "0001-01-01T00:00:00-00:00",
        ] {
            let want: jiff::Timestamp = text.parse().unwrap();
            let want = want.as_nanosecond();
            let seconds = i64::try_from(want.div_euclid(1_000_000_000)).unwrap();
            let nanoseconds = u32::try_from(want.rem_euclid(1_000_000_000)).unwrap();
            assert_eq!(Instant::parse(text), Some(Instant::new(seconds, nanoseconds)), "{text}");
        }
    }

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        assert_eq!(Instant::parse("2024-05-01"), Instant::parse("2024-05-01T02:00:00+02:00"));
    }

    #[test]
    fn order_is_the_order_of_time() {
        let ascending = [
            "0000-01-01",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01",
            "1970-01-01T00:00:00.000000001Z",
            "2024-01-01T00:00:00+01:00",
            "2024-01-01",
            "9999-12-31",
            "9999-12-31T23:59:59-12:00",
        ];
        let instants = ascending.map(|text| Instant::parse(text).unwrap());
        assert!(instants.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn everything_else_is_only_a_string() {
        for text in [
            "",
            "2024",
            "2024-5-1",
            "2024-02-30",
            "2024-13-01",
            "20240501",
            "2024-05-01T",
            "2024-05-01T12:00:00",
            "2024-05-01T12:00Z",
            "2024-05-01T24:00:00Z",
            "2024-05-01T12:60:00Z",
            "2024-05-01T12:00:60Z",
            "2024-05-01T12:00:00.Z",
            "2024-05-01T12:00:00.1234567890Z",
            "2024-05-01T12:00:00+02",
            "2024-05-01T12:00:00+24:00",
            "2024-05-01T12:00:00Z ",
            "2024-05-01T12:00:00Z[UTC]",
            "+002024-05-01",
            "２０24-05-01",
            "2024-05-0é",
        ] {
            assert_eq!(Instant::parse(text), None, "{text:?}");
        }
    }
}
