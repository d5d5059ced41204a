//! A block that comes from another route's folder is sealed anew exactly once, wherever it stops.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use crate::common::sim::Sim;
use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Drops};
use vmod_s3log::spool::{ChunkStats, Disk, Files, Options, Spool, moved_here};

fn options(boot: u64) -> Options {
    Options::new("access", "node-1", BootId::new(boot, 1))
}

/// A block of two lines in the folder `access` beside the folder `other`, to which it was handed over
/// unless `stays`.
fn handed_over(spool: &std::path::Path, stays: bool) -> Vec<String> {
    let (from, to) = (spool.join("access"), spool.join("other"));
    fs::create_dir(&to).unwrap();
    let (mut source, _) =
        Spool::open(Arc::new(Disk::open(&from).unwrap()), options(1), None).unwrap();
    let mut member = Vec::new();
    ChunkEncoder::new(Codec::default()).unwrap().encode(b"x\ny\n", &mut member).unwrap();
    let stats = ChunkStats { records: 2, raw_bytes: 4, first: 5, last: 6, cut: 0 };
    source.append(&member, stats).unwrap();
    source.seal(&Drops::default()).unwrap();
    let sidecar = fs::read(from.join("0000000001.json")).unwrap();
    source.store().hand_over(1, "access", &to).unwrap();
    assert!(source.store().sealed().is_empty());
    if stays {
        // It was stopped before it could forget it.
        fs::write(from.join("0000000001.json"), sidecar).unwrap();
    }
    moved_here(&to)
}

#[test]
fn what_is_still_where_it_was_has_not_moved() {
    let directory = tempfile::tempdir().unwrap();
    assert!(handed_over(directory.path(), true).is_empty());
}

#[test]
fn a_stop_after_any_operation_neither_loses_nor_repeats_a_block_that_was_moved() {
    let directory = tempfile::tempdir().unwrap();
    let names = handed_over(directory.path(), false);
    let [name] = &names[..] else { panic!("{names:?}") };
    let kept = ["json", "data"].map(|end| format!("moved/{name}.{end}"));
    for stop in 0.. {
        let sim = Arc::new(Sim::new());
        let files = || Arc::clone(&sim) as Arc<dyn Files>;
        let (mut spool, found) = Spool::open(files(), options(2), None).unwrap();
        for file in &kept {
            sim.place(file, &fs::read(directory.path().join("other").join(file)).unwrap());
        }
        sim.stop_in(stop);
        let done = spool.take_moved(name, &Drops::default());
        let stopped = sim.stopped();
        drop(spool);
        sim.restart();
        // Its commit may have come, or not.
        let payload = match &done {
            Ok(Some((_, payload))) if stop % 2 == 0 => *payload,
            _ => found.payload,
        };
        let (mut spool, _) = Spool::open(files(), options(3), Some(payload.as_bytes())).unwrap();
        if sim.contents(&kept[0]).is_some() {
            spool.take_moved(name, &Drops::default()).unwrap().unwrap();
        }
        let sealed = spool.store().sealed();
        assert_eq!(sealed.len(), 1, "stopped after {stop}: {:?}", sim.names(""));
        let block = spool.store().open_block(sealed[0]).unwrap();
        let mut text = String::new();
        Decoder::new(block.content, block.meta.codec).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((&*text, block.meta.records, block.meta.number), ("x\ny\n", 2, 1));
        assert!(sim.contents(&kept[0]).is_none(), "stopped after {stop}");
        if !stopped {
            assert!(stop > 5, "{stop} operations");
            break;
        }
    }
}
