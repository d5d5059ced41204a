use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::{Backing, Capacity, Ring, make, place, rest};
use crate::clock::Clock;
use crate::ring::header::MAX_PAYLOAD;
use crate::ring::{CommitTooLong, PushError, Taken, Torn, Until};

#[test]
fn records_come_out_in_the_order_they_went_in() {
    let mut opened = Ring::open(Backing::Memory, Capacity::MIN).unwrap();
    assert!(opened.recovered.fresh);
    for record in [&b"one\n"[..], b"", b"a third one\n", b"\0\xff"] {
        opened.ring.push(record).unwrap();
    }
    assert_eq!(rest(&mut opened.reader), [&b"one\n"[..], b"", b"a third one\n", b"\0\xff"]);
    assert!(!opened.reader.damaged());
}

#[test]
fn records_that_are_read_together_end_at_a_length_a_number_or_a_place() {
    let mut opened = Ring::open(Backing::Memory, Capacity::MIN).unwrap();
    for record in [&b"one\n"[..], b"two\n", b"three\n", b"four\n", b"five\n"] {
        opened.ring.push(record).unwrap();
    }
    let mut out = b"zero\n".to_vec();
    let mut read = |bytes, records, position| {
        let taken = opened.reader.read_into(&mut out, Until { bytes, records, position });
        (taken.records, opened.reader.cursor(), std::mem::take(&mut out))
    };
    let far = u64::MAX;
    assert_eq!(read(6, far, far), (1, 16, b"zero\none\n".to_vec()), "what was there counts");
    assert_eq!(read(usize::MAX, 1, far), (1, 32, b"two\n".to_vec()));
    assert_eq!(read(usize::MAX, far, 40), (1, 48, b"three\n".to_vec()));
    assert_eq!(read(usize::MAX, far, 48), (0, 48, Vec::new()));
    assert_eq!(read(usize::MAX, far, far), (2, 80, b"four\nfive\n".to_vec()));
    assert_eq!(read(usize::MAX, far, far), (0, 80, Vec::new()));
}

#[test]
fn damage_among_records_that_are_read_together_costs_its_record_and_no_other() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    for n in 0..8 {
        opened.ring.push(format!("line {n} of text").as_bytes()).unwrap();
    }
    // Of the third the payload, of the sixth the header.
    stray(&path, 2 * 24 + 8, b"stray");
    stray(&path, 5 * 24, b"stray");
    let mut out = Vec::new();
    let until = Until { bytes: usize::MAX, records: u64::MAX, position: u64::MAX };
    let taken = opened.reader.read_into(&mut out, until);
    assert_eq!(taken, Taken { records: 6, cut: 0 });
    let text = [0, 1, 3, 4, 6, 7].map(|n| format!("line {n} of text")).concat();
    assert_eq!(String::from_utf8(out).unwrap(), text);
    assert_eq!(opened.reader.torn(), Torn { places: 2, bytes: 48 });
    assert!(!opened.reader.damaged());
}

#[test]
fn a_record_that_does_not_fit_before_the_end_goes_behind_a_pad() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    for _ in 0..3 {
        opened.ring.push(b"12345678").unwrap();
    }
    assert_eq!(rest(&mut opened.reader).len(), 3);
    opened.reader.commit(b"").unwrap();
    opened.ring.push(b"123456789").unwrap();
    assert_eq!(opened.reader.pending_bytes(), 16 + 24);
    assert_eq!(opened.reader.next(), Some(&b"123456789"[..]));
    assert_eq!(opened.reader.cursor(), 64 + 24);
    assert_eq!(opened.reader.pending_bytes(), 0);
}

#[test]
fn a_full_ring_refuses_until_the_reader_commits() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    for _ in 0..4 {
        opened.ring.push(b"12345678").unwrap();
    }
    assert_eq!(opened.ring.push(b""), Err(PushError::Full));
    opened.reader.next().unwrap();
    assert_eq!(opened.ring.push(b""), Err(PushError::Full));
    opened.reader.commit(b"").unwrap();
    assert_eq!(opened.ring.push(b""), Ok(()));
    let usage = opened.ring.usage();
    assert_eq!((usage.capacity, usage.used, usage.high_water), (64, 56, 64));
}

#[test]
fn a_record_of_a_share_leaves_the_rest_of_the_ring_to_others_pads_included() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    let half = |record: &[u8]| opened.ring.push_within(record, 32);
    assert_eq!([half(b"12345678"), half(b"12345678")], [Ok(()), Ok(())]);
    assert_eq!(half(b""), Err(PushError::Full));
    // The rest is the others', and no share is more than the ring.
    opened.ring.push_within(b"12345678", u64::MAX).unwrap();
    opened.ring.push(b"12345678").unwrap();
    assert_eq!(opened.ring.push_within(b"", u64::MAX), Err(PushError::Full));
    assert_eq!(rest(&mut opened.reader).len(), 4);
    opened.reader.commit(b"").unwrap();
    // At 48 of 64 a record of 24 bytes has a pad of 16 before it, which is of its share.
    for _ in 0..3 {
        opened.ring.push(b"12345678").unwrap();
    }
    assert_eq!(rest(&mut opened.reader).len(), 3);
    opened.reader.commit(b"").unwrap();
    assert_eq!(opened.ring.push_within(b"123456789", 39), Err(PushError::Full));
    assert_eq!(opened.ring.push_within(b"123456789", 40), Ok(()));
    assert_eq!(opened.ring.usage().used, 40);
}

#[test]
fn the_reader_does_not_run_past_what_it_has_not_released() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    for _ in 0..4 {
        opened.ring.push(b"12345678").unwrap();
    }
    assert_eq!(rest(&mut opened.reader).len(), 4);
    assert_eq!(opened.reader.next(), None);
    assert!(!opened.reader.damaged());
}

#[test]
fn rewinding_reads_what_was_not_committed_again() {
    let (_dir, path) = place();
    let mut opened = make(&path, 256);
    opened.ring.push(b"a").unwrap();
    opened.ring.push(b"b").unwrap();
    opened.ring.push(b"c").unwrap();
    opened.reader.next().unwrap();
    opened.reader.commit(b"").unwrap();
    opened.reader.next().unwrap();
    opened.reader.rewind();
    assert_eq!(rest(&mut opened.reader), [b"b", b"c"]);
}

#[test]
fn the_longest_record_goes_in_and_a_longer_one_is_refused() {
    let mut opened = Ring::open(Backing::Memory, Capacity::MIN).unwrap();
    let longest = vec![b'x'; MAX_PAYLOAD];
    opened.ring.push(&longest).unwrap();
    let longer = vec![b'x'; MAX_PAYLOAD + 1];
    assert_eq!(opened.ring.push(&longer), Err(PushError::TooLong));
    assert_eq!(rest(&mut opened.reader), [longest]);
}

#[test]
fn a_record_of_the_longest_length_fits_an_empty_ring_wherever_it_starts() {
    let (_dir, path) = place();
    let mut opened = make(&path, 128);
    for start in 0..64 {
        let longest = vec![b'x'; opened.ring.capacity() as usize / 2 - 8];
        opened.ring.push(&longest).unwrap_or_else(|e| panic!("{e} at start {start}"));
        opened.ring.push(b"").unwrap_or_else(|e| assert_eq!(e, PushError::Full));
        rest(&mut opened.reader);
        opened.reader.commit(b"").unwrap();
    }
}

#[test]
fn a_commit_with_a_payload_too_long_changes_nothing() {
    let (_dir, path) = place();
    let mut opened = make(&path, 64);
    opened.ring.push(b"a").unwrap();
    opened.reader.next().unwrap();
    assert_eq!(opened.reader.commit(&[0; 233]), Err(CommitTooLong(233)));
    opened.reader.rewind();
    assert_eq!(opened.reader.next(), Some(&b"a"[..]));
    assert_eq!(opened.reader.commit(&[0; 232]), Ok(()));
}

#[test]
fn a_record_whose_bytes_change_under_the_reader_is_stepped_over_and_counted() {
    let (_dir, path) = place();
    let mut opened = make(&path, 256);
    opened.ring.push(b"good").unwrap();
    opened.ring.push(b"to be overwritten").unwrap();
    super::alter(&path, |bytes| assert_eq!(bytes.len(), super::REGION + 256 + 4096));
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"X", super::REGION as u64 + 30).unwrap();
    assert_eq!(opened.reader.next(), Some(&b"good"[..]));
    assert_eq!(opened.reader.next(), None);
    opened.ring.push(b"after it").unwrap();
    assert_eq!(opened.reader.next(), Some(&b"after it"[..]));
    assert!(!opened.reader.damaged());
    assert_eq!(opened.reader.torn(), Torn { places: 1, bytes: 32 });
    opened.reader.rewind();
    assert_eq!(super::rest(&mut opened.reader), [&b"good"[..], b"after it"]);
    assert_eq!(opened.reader.torn(), Torn { places: 1, bytes: 32 }, "and not twice");
    opened.reader.commit(b"").unwrap();
    assert_eq!(opened.ring.usage().used, 0);
}

/// A clock that moves only when somebody sleeps, and then calls a function.
struct Steps<F>(RefCell<(Duration, F)>);

// The tests that use it have one thread; `Clock` asks for `Sync`.
struct OneThread<T>(std::sync::Mutex<T>);

impl<F: FnMut(Duration) + Send> Clock for OneThread<Steps<F>> {
    fn unix(&self) -> Duration {
        Duration::ZERO
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().0.borrow().0
    }

    fn sleep(&self, duration: Duration) {
        let steps = self.0.lock().unwrap();
        let mut state = steps.0.borrow_mut();
        state.0 += duration;
        let now = state.0;
        (state.1)(now);
    }
}

fn clock<F: FnMut(Duration) + Send>(on_sleep: F) -> OneThread<Steps<F>> {
    OneThread(std::sync::Mutex::new(Steps(RefCell::new((Duration::ZERO, on_sleep)))))
}

#[test]
fn a_waiting_push_gives_up_after_its_time_and_not_before() {
    let (_dir, path) = place();
    let opened = make(&path, 64);
    while opened.ring.push(b"12345678").is_ok() {}
    let max_wait = Duration::from_millis(10);
    let clock = clock(|_| {});
    assert_eq!(opened.ring.push_wait(b"late", u64::MAX, max_wait, &clock), Err(PushError::Full));
    assert_eq!(clock.monotonic(), max_wait);
}

#[test]
fn a_waiting_push_gets_in_when_space_comes_free() {
    let (_dir, path) = place();
    let opened = make(&path, 64);
    while opened.ring.push(b"12345678").is_ok() {}
    let mut reader = opened.reader;
    let clock = clock(|now| {
        if now >= Duration::from_millis(3) {
            reader.next();
            reader.commit(b"").unwrap();
        }
    });
    assert_eq!(opened.ring.push_wait(b"late", u64::MAX, Duration::from_secs(1), &clock), Ok(()));
    assert!(clock.monotonic() < Duration::from_millis(5));
}

#[test]
fn a_ring_in_memory_works_from_several_threads() {
    let mut opened = Ring::open(Backing::Memory, Capacity::MIN).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let ring = Arc::clone(&opened.ring);
            scope.spawn(move || (0..100).for_each(|_| ring.push(b"line\n").unwrap()));
        }
    });
    assert_eq!(rest(&mut opened.reader).len(), 400);
}

/// Writes into a ring that is in use, as stray code would.
fn stray(path: &std::path::Path, position: usize, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let at = (super::REGION + position) as u64;
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
}

#[test]
fn damaged_headers_cost_their_records_and_no_other() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    for n in 0..20 {
        opened.ring.push(format!("line {n:02} of text").as_bytes()).unwrap();
    }
    // The headers of lines 3 and 4, of line 11, and of the last.
    stray(&path, 3 * 24, b"stray in");
    stray(&path, 4 * 24, b"stray in");
    stray(&path, 11 * 24 + 4, b"some bytes that are written where they do not belong");
    stray(&path, 19 * 24, b"stray in");
    let lines = super::rest(&mut opened.reader);
    let expected: Vec<_> = (0..20)
        .filter(|n| ![3, 4, 11, 12, 13, 19].contains(n))
        .map(|n| format!("line {n:02} of text").into_bytes())
        .collect();
    assert_eq!(lines, expected);
    assert!(!opened.reader.damaged());
    assert_eq!(opened.reader.torn().places, 4);
    opened.reader.commit(b"").unwrap();
    for _ in 0..100 {
        opened.ring.push(b"and on it goes").unwrap();
        assert_eq!(opened.reader.next(), Some(&b"and on it goes"[..]));
        opened.reader.commit(b"").unwrap();
    }
}

#[test]
fn behind_a_damaged_header_a_producer_that_still_copies_is_waited_for() {
    use crate::ring::header::FrameKind;
    use crate::ring::sync::Ordering;
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(b"first of all").unwrap();
    opened.ring.push(b"to be damaged").unwrap();
    // Claimed, half copied, not published.
    let slow = opened.ring.memory.tail().fetch_add(24, Ordering::Relaxed);
    stray(&path, usize::try_from(slow).unwrap() + 8, b"slow, an");
    opened.ring.push(b"the last line").unwrap();
    stray(&path, 24, b"stray in");
    assert_eq!(opened.reader.next(), Some(&b"first of all"[..]));
    for _ in 0..3 {
        assert_eq!(opened.reader.next(), None);
        assert!(opened.reader.damaged());
    }
    opened.reader.commit(b"").unwrap();
    stray(&path, usize::try_from(slow).unwrap() + 8, b"slow, and whole");
    let crc = crc32c::crc32c(b"slow, and whole");
    let header = super::KEY.seal(slow, FrameKind::Record, 15, crc);
    opened.ring.memory.header(slow).store(header, Ordering::Release);
    assert_eq!(super::rest(&mut opened.reader), [&b"slow, and whole"[..], b"the last line"]);
    assert!(!opened.reader.damaged());
    assert_eq!(opened.reader.torn(), Torn { places: 1, bytes: 24 });
}

#[test]
fn zeros_in_place_of_records_cost_them_and_no_other() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    for n in 0..20 {
        opened.ring.push(format!("line {n:02} of text").as_bytes()).unwrap();
    }
    // Lines 3 to 5 whole, from the middle of line 9 into line 10, the header of line 14, the last.
    stray(&path, 3 * 24, &[0; 3 * 24]);
    stray(&path, 9 * 24 + 16, &[0; 16]);
    stray(&path, 14 * 24, &[0; 8]);
    stray(&path, 19 * 24, &[0; 24]);
    let expected: Vec<_> = (0..20)
        .filter(|n| ![3, 4, 5, 9, 10, 14, 19].contains(n))
        .map(|n| format!("line {n:02} of text").into_bytes())
        .collect();
    assert_eq!(super::rest(&mut opened.reader), expected);
    // Line 9 has its length still, so that line 10 is a place of its own.
    assert_eq!(opened.reader.torn(), Torn { places: 5, bytes: 7 * 24 });
    opened.reader.rewind();
    assert_eq!(super::rest(&mut opened.reader), expected);
    assert_eq!(opened.reader.torn(), Torn { places: 5, bytes: 7 * 24 }, "and not twice");
    opened.reader.commit(b"").unwrap();
    assert_eq!(opened.ring.usage().used, 0);
    for _ in 0..100 {
        opened.ring.push(b"and on it goes").unwrap();
        assert_eq!(opened.reader.next(), Some(&b"and on it goes"[..]));
        opened.reader.commit(b"").unwrap();
    }
}

#[test]
fn a_ring_that_is_zeroed_whole_costs_what_was_in_it() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1 << 16);
    for _ in 0..3 {
        while opened.ring.push(b"a line that is lost").is_ok() {}
        stray(&path, 0, &[0; 1 << 16]);
        assert_eq!(opened.reader.next(), None);
        opened.reader.commit(b"").unwrap();
        assert_eq!(opened.ring.usage().used, 0);
    }
    assert_eq!(opened.reader.torn().places, 3);
    opened.ring.push(b"and on it goes").unwrap();
    assert_eq!(opened.reader.next(), Some(&b"and on it goes"[..]));
}

#[test]
fn a_ring_that_goes_on_after_a_process_steps_over_zeros_as_a_new_one_does() {
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(b"before").unwrap();
    // Claimed by a producer that died.
    opened.ring.memory.tail().fetch_add(24, crate::ring::sync::Ordering::Relaxed);
    drop(opened);
    opened = super::reopen(&path, 1024);
    assert_eq!(opened.recovered.torn, 1);
    opened.ring.push(b"zeroed").unwrap();
    opened.ring.push(b"after").unwrap();
    stray(&path, 16 + 24, &[0; 16]);
    assert_eq!(super::rest(&mut opened.reader), [&b"before"[..], b"after"]);
    assert_eq!(opened.reader.torn(), Torn { places: 1, bytes: 16 });
}

#[test]
fn zeros_are_not_stepped_over_while_a_push_may_be_what_they_are() {
    use crate::ring::header::FrameKind;
    use crate::ring::sync::Ordering;
    let (_dir, path) = place();
    let mut opened = make(&path, 1024);
    opened.ring.push(b"first of all").unwrap();
    opened.ring.push(b"to be zeroed").unwrap();
    // Claimed, half copied, not published.
    let slow = opened.ring.memory.tail().fetch_add(24, Ordering::Relaxed);
    stray(&path, usize::try_from(slow).unwrap() + 8, b"slow, an");
    opened.ring.push(b"the last line").unwrap();
    stray(&path, 24, &[0; 24]);
    assert_eq!(opened.reader.next(), Some(&b"first of all"[..]));
    for _ in 0..3 {
        assert_eq!(opened.reader.next(), None);
        assert_eq!(opened.reader.torn(), Torn::default());
    }
    opened.reader.commit(b"").unwrap();
    stray(&path, usize::try_from(slow).unwrap() + 8, b"slow, and whole");
    let crc = crc32c::crc32c(b"slow, and whole");
    let header = super::KEY.seal(slow, FrameKind::Record, 15, crc);
    opened.ring.memory.header(slow).store(header, Ordering::Release);
    opened.ring.memory.published().fetch_add(24, Ordering::Release);
    assert_eq!(super::rest(&mut opened.reader), [&b"slow, and whole"[..], b"the last line"]);
    assert_eq!(opened.reader.torn(), Torn { places: 1, bytes: 24 });
}
