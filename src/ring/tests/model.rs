//! The ring against a queue, for any sequence of actions, and recovery against any damage.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use super::{Backing, Capacity, Ring, make, place, reopen, rest};
use crate::ring::{PushError, Record, Taken, Until};

#[derive(Debug, Clone)]
enum Action {
    /// Of so many bytes, cut or not.
    Push(usize, bool),
    Read(usize),
    /// At most so many bytes, or a few more, and records, in one call.
    ReadInto(usize, u64),
    Rewind,
    Commit,
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0_usize..=130, prop::bool::weighted(0.3)).prop_map(|(len, cut)| Action::Push(len, cut)),
        4 => (0_usize..6).prop_map(Action::Read),
        4 => (0_usize..400, 0_u64..9).prop_map(|(bytes, records)| Action::ReadInto(bytes, records)),
        1 => Just(Action::Rewind),
        3 => Just(Action::Commit),
        1 => Just(Action::Reopen),
    ]
}

/// What the ring should do, with positions counted on its own.
struct Model {
    capacity: usize,
    tail: usize,
    released: usize,
    /// Not committed, with the position behind each; `read` of them are read.
    records: VecDeque<(Vec<u8>, bool, usize)>,
    read: usize,
    payload: Vec<u8>,
}

impl Model {
    fn push(&mut self, record: &[u8], cut: bool) -> Result<(), PushError> {
        let size = 8 + record.len().div_ceil(8) * 8 + if cut { 8 } else { 0 };
        if size > self.capacity / 2 {
            return Err(PushError::TooLong);
        }
        let room = self.capacity - self.tail % self.capacity;
        let end = self.tail + size + if size > room { room } else { 0 };
        if end - self.released > self.capacity {
            return Err(PushError::Full);
        }
        self.tail = end;
        self.records.push_back((record.to_vec(), cut, end));
        Ok(())
    }

    fn next(&mut self) -> Option<(Vec<u8>, bool)> {
        let (record, cut, _) = self.records.get(self.read)?;
        self.read += 1;
        Some((record.clone(), *cut))
    }

    fn commit(&mut self, payload: &[u8]) {
        if let Some((.., end)) = self.records.drain(..self.read).next_back() {
            self.released = end;
        }
        self.read = 0;
        self.payload = payload.to_vec();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_actions_behaves_like_a_queue(
        actions in proptest::collection::vec(action(), 1..200),
        capacity in prop_oneof![Just(64_u32), Just(128), Just(256), Just(1024)],
    ) {
        let (_dir, path) = place();
        let mut opened = make(&path, capacity);
        let mut model = Model {
            capacity: capacity as usize,
            tail: 0,
            released: 0,
            records: VecDeque::new(),
            read: 0,
            payload: Vec::new(),
        };
        for (number, action) in actions.iter().enumerate() {
            match action {
                Action::Push(len, cut) => {
                    let record: Vec<u8> = (0..*len).map(|i| (i * 7 + number) as u8).collect();
                    let pushed = opened.ring.push(Record { bytes: &record, cut: *cut });
                    prop_assert_eq!(pushed, model.push(&record, *cut));
                }
                Action::Read(times) => {
                    for _ in 0..*times {
                        let found = opened.reader.next_record();
                        let found = found.map(|record| (record.bytes.to_vec(), record.cut));
                        prop_assert_eq!(found, model.next());
                    }
                }
                Action::ReadInto(bytes, records) => {
                    let until = Until { bytes: *bytes, records: *records, position: u64::MAX };
                    let mut out = Vec::new();
                    let found = opened.reader.read_into(&mut out, until);
                    let (mut expected, mut taken) = (Vec::new(), Taken::default());
                    while expected.len() < *bytes && taken.records < *records {
                        let Some((record, cut)) = model.next() else { break };
                        expected.extend(record);
                        taken.records += 1;
                        taken.cut += u64::from(cut);
                    }
                    prop_assert_eq!((out, found), (expected, taken));
                }
                Action::Rewind => {
                    opened.reader.rewind();
                    model.read = 0;
                }
                Action::Commit => {
                    let payload = number.to_string().into_bytes();
                    opened.reader.commit(&payload).unwrap();
                    model.commit(&payload);
                }
                Action::Reopen => {
                    drop(opened);
                    opened = reopen(&path, capacity);
                    model.read = 0;
                    let found = &opened.recovered;
                    prop_assert_eq!(found.records, model.records.len() as u64);
                    prop_assert_eq!((found.torn, found.skipped_bytes), (0, 0));
                    prop_assert_eq!(found.payload.clone().unwrap_or_default(), model.payload.clone());
                }
            }
            let used = (model.tail - model.released) as u64;
            prop_assert_eq!(opened.ring.usage().used, used);
        }
    }

    #[test]
    fn no_damage_to_a_file_makes_recovery_panic_or_invent_a_record(
        lengths in proptest::collection::vec(0_usize..300, 1..60),
        committed in 0_usize..40,
        damages in proptest::collection::vec((0_usize..8192, 1_usize..64, any::<u8>(), any::<bool>()), 1..12),
        cut in proptest::option::of(0_usize..8192),
    ) {
        let (_dir, path) = place();
        let mut opened = make(&path, 4096);
        let mut pushed = HashSet::new();
        for (number, len) in lengths.iter().enumerate() {
            let record: Vec<u8> = (0..*len).map(|i| (i * 31 + number * 17) as u8).collect();
            if opened.ring.push(&record).is_ok() {
                pushed.insert(record);
            } else {
                for _ in 0..committed {
                    opened.reader.next();
                }
                opened.reader.commit(b"so far").unwrap();
            }
        }
        drop(opened);
        super::alter(&path, |bytes| {
            for (at, len, value, random) in damages {
                for (i, byte) in bytes.iter_mut().skip(at).take(len).enumerate() {
                    *byte = if random { byte.wrapping_add(value).wrapping_mul(i as u8) } else { value };
                }
            }
            if let Some(cut) = cut.filter(|cut| cut % 7 == 0) {
                bytes.truncate(cut);
            }
        });
        if let Ok(mut opened) = Ring::open(Backing::File(&path), Capacity::tiny(4096)) {
            let records = rest(&mut opened.reader);
            prop_assert_eq!(records.len() as u64, opened.recovered.records);
            prop_assert!(records.iter().all(|record| pushed.contains(record)));
            prop_assert!(!opened.reader.damaged());
            prop_assert_eq!(opened.reader.pending_bytes(), 0);
            opened.reader.commit(b"").unwrap();
            prop_assert_eq!(opened.ring.push(b"and on"), Ok(()));
            prop_assert_eq!(rest(&mut opened.reader), vec![b"and on".to_vec()]);
        }
    }

    #[test]
    fn no_stray_write_invents_a_record_or_stops_the_records_behind_it_for_good(
        rounds in proptest::collection::vec(
            (1_usize..12, proptest::option::of((0_usize..1024, 1_usize..40, any::<u8>()))), 1..40),
    ) {
        let (_dir, path) = place();
        let mut opened = make(&path, 1024);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut pushed = HashSet::new();
        let mut seen = HashSet::new();
        for (round, (count, damage)) in rounds.iter().enumerate() {
            for n in 0..*count {
                let record = format!("{round} {n} {}", "x".repeat(n * 7)).into_bytes();
                if opened.ring.push(&record).is_ok() {
                    pushed.insert(record);
                }
            }
            // Free bytes are zero, and whoever writes there takes a frame from a producer.
            let used = usize::try_from(opened.ring.usage().used).unwrap();
            let start = usize::try_from(opened.reader.cursor()).unwrap();
            if let Some((at, len, value)) = damage && used > 0 {
                let at = at % used;
                let bytes: Vec<u8> = (0..*len.min(&(used - at))).map(|i| value.wrapping_add(i as u8) | 1).collect();
                for (i, byte) in bytes.iter().enumerate() {
                    let to = super::REGION + (start + at + i) % 1024;
                    std::os::unix::fs::FileExt::write_all_at(&file, &[*byte], to as u64).unwrap();
                }
            }
            for record in rest(&mut opened.reader) {
                prop_assert!(pushed.contains(&record), "{record:?}");
                prop_assert!(seen.insert(record));
            }
            if opened.reader.damaged() {
                // Until the next start, which steps over it.
                drop(opened);
                opened = reopen(&path, 1024);
                for record in rest(&mut opened.reader) {
                    prop_assert!(pushed.contains(&record), "{record:?}");
                    seen.insert(record);
                }
            }
            prop_assert_eq!(opened.reader.pending_bytes(), 0);
            opened.reader.commit(b"").unwrap();
            prop_assert_eq!(opened.ring.usage().used, 0);
        }
    }
}
