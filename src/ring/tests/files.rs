use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{Backing, Capacity, Ring, alter, make, place, reopen, rest};
use crate::ring::{BadCapacity, OpenError};

#[test]
fn a_capacity_is_a_power_of_two_from_one_mebibyte_to_one_gibibyte() {
    assert_eq!(Capacity::new(1 << 20), Ok(Capacity::MIN));
    assert_eq!(Capacity::new(1 << 30), Ok(Capacity::MAX));
    assert_eq!(Capacity::default().bytes(), 16 << 20);
    for bytes in [0, 1, 1 << 19, (1 << 20) + 1, 3 << 20, 1 << 31, 1 << 32, u64::MAX] {
        assert_eq!(Capacity::new(bytes), Err(BadCapacity(bytes)));
    }
    assert_eq!(
        BadCapacity(7).to_string(),
        "a ring takes a power of two from 1 MiB to 1 GiB, not 7 bytes"
    );
}

#[test]
fn the_file_is_private_and_wholly_allocated() {
    let (_dir, path) = place();
    Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), 4096 + (1 << 20) + 4096);
    assert!(metadata.blocks() * 512 >= metadata.len());
    assert!(!path.with_extension("new").exists());
}

#[test]
fn a_copy_with_holes_is_allocated_when_it_is_opened() {
    let (_dir, path) = place();
    drop(Ring::open(Backing::File(&path), Capacity::MIN).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    let sparse = path.with_file_name("sparse");
    std::fs::write(&sparse, &bytes[..4096]).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&sparse).unwrap();
    let last = bytes.len() - 4096;
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[last..], last as u64).unwrap();
    assert!(std::fs::metadata(&sparse).unwrap().blocks() * 512 < bytes.len() as u64);
    Ring::open(Backing::File(&sparse), Capacity::MIN).unwrap();
    assert!(std::fs::metadata(&sparse).unwrap().blocks() * 512 >= bytes.len() as u64);
}

/// A file of a mebibyte, and more, with a hole of `hole` bytes; and what allocates on a disk with `free`
/// bytes left as XFS does, which wants as many of them as the range is long.
fn on_xfs(hole: u64, free: u64) -> (Result<(), String>, u64) {
    let (_dir, path) = place();
    let bytes = (1 << 20) + 8192;
    std::fs::write(&path, vec![1; 8192]).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let data = vec![1; usize::try_from(bytes - hole - 8192).unwrap()];
    std::os::unix::fs::FileExt::write_all_at(&file, &data, 8192 + hole).unwrap();
    // Counted here: what a file system takes for its own bookkeeping is its own affair.
    let taken = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let allocate = |file: &std::fs::File, at: u64, bytes: u64| {
        let mut taken = taken.borrow_mut();
        if bytes > free - taken.len() as u64 * 4096 {
            return Err(rustix::io::Errno::NOSPC);
        }
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), at, bytes)?;
        let pages = (at / 4096..(at + bytes).div_ceil(4096)).map(|page| page * 4096);
        taken.extend(pages.filter(|page| (8192..8192 + hole).contains(page)));
        Ok(())
    };
    let done = crate::ring::open::fill_holes(&allocate, &file, bytes);
    assert!(std::fs::read(&path).unwrap()[..8192].iter().all(|byte| *byte == 1));
    (done.map_err(|error| error.to_string()), taken.into_inner().len() as u64 * 4096)
}

#[test]
fn a_whole_ring_is_opened_on_a_full_disk_that_refuses_to_allocate_what_is_there() {
    for free in [0, 20 << 10, 1 << 20] {
        assert_eq!(on_xfs(0, free), (Ok(()), 0), "{free}");
    }
}

#[test]
fn the_holes_of_a_copy_are_filled_where_the_disk_has_room_for_them_and_not_for_a_whole_ring() {
    for hole in [4096, 64 << 10, 300 << 10] {
        assert_eq!(on_xfs(hole, hole), (Ok(()), hole));
        let (done, _) = on_xfs(hole, hole - 4096);
        assert!(done.is_err_and(|error| error.contains("No space left")), "{hole}");
    }
}

#[test]
fn without_fallocate_rewriting_fills_holes_and_keeps_the_bytes() {
    let (_dir, path) = place();
    std::fs::write(&path, b"kept").unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    crate::ring::open::rewrite(&file, 200_000).unwrap();
    let metadata = file.metadata().unwrap();
    assert!(metadata.len() == 200_000 && metadata.blocks() * 512 >= 200_000);
    assert_eq!(&std::fs::read(&path).unwrap()[..5], b"kept\0");
}

#[test]
fn a_ring_that_does_not_fit_the_disk_is_refused_when_it_is_opened() {
    // A limit on the child's files stands in for a full disk: both refuse the allocation.
    let (dir, path) = place();
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg("ulimit -f 100; trap '' XFSZ; exec \"$0\" --exact ring::tests::files::child --nocapture")
        .arg(std::env::current_exe().unwrap())
        .env("RING_TO_OPEN", &path)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("no space for the ring"), "{output:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn child() {
    if let Some(path) = std::env::var_os("RING_TO_OPEN") {
        println!("{}", Ring::open(Backing::File(path.as_ref()), Capacity::MIN).unwrap_err());
    }
}

#[test]
fn a_foreign_file_is_refused_and_left_alone() {
    let (_dir, path) = place();
    for content in [&b""[..], b"not a ring", &[0; 8192], b"S3LRING"] {
        std::fs::write(&path, content).unwrap();
        let error = Ring::open(Backing::File(&path), Capacity::MIN).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert!(error.blames_file());
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_ring_of_a_later_release_is_refused_and_left_alone() {
    let (_dir, path) = place();
    drop(make(&path, 1024));
    alter(&path, |bytes| bytes[8..12].copy_from_slice(&3_u32.to_ne_bytes()));
    let before = std::fs::read(&path).unwrap();
    let error = Ring::open(Backing::File(&path), Capacity::MIN).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 3, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("has format 3 and this release reads up to 2: run the"));
    assert!(!error.blames_file(), "its records wait for the release that wrote them");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_ring_with_a_bad_header_is_refused_and_left_alone() {
    let (_dir, path) = place();
    type Damage = fn(&mut Vec<u8>);
    let damages: [(Damage, &str); 5] = [
        (|bytes| bytes[20] ^= 1, "its header fails its check"),
        (|bytes| bytes[33] ^= 1, "its header fails its check"),
        (|bytes| bytes.truncate(30), "it ends inside its header"),
        (|bytes| bytes.truncate(4096 + 512), "its length is not what its header says"),
        (|bytes| bytes[4096 + 1024..].fill(0xff), "neither of its commits holds"),
    ];
    for (damage, reason) in damages {
        drop(make(&path, 1024));
        alter(&path, damage);
        let before = std::fs::read(&path).unwrap();
        let error = Ring::open(Backing::File(&path), Capacity::tiny(1024)).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { what, .. } if what == reason), "{error}");
        assert!(error.blames_file());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_file_of_another_size_is_drained_and_then_replaced() {
    let (_dir, path) = place();
    let opened = make(&path, 1024);
    opened.ring.push(b"old").unwrap();
    drop(opened);
    let mut old = reopen(&path, 2048);
    assert!(old.recovered.capacity_differs);
    assert_eq!((old.ring.usage().capacity, old.recovered.records), (1024, 1));
    assert_eq!(rest(&mut old.reader), [b"old"]);
    old.reader.commit(b"drained").unwrap();

    let new = Ring::replace(&path, Capacity::tiny(2048), b"drained").unwrap();
    assert!(new.recovered.fresh && !new.recovered.capacity_differs);
    assert_eq!(new.recovered.payload.as_deref(), Some(&b"drained"[..]));
    new.ring.push(b"new").unwrap();
    drop((old, new));
    let mut again = reopen(&path, 2048);
    assert!(!again.recovered.fresh && !again.recovered.capacity_differs);
    assert_eq!(again.recovered.payload.as_deref(), Some(&b"drained"[..]));
    assert_eq!(rest(&mut again.reader), [b"new"]);
}

/// What a ring that cannot be replaced for want of `what` holds after a kill; pushed before and after.
fn after_a_failed_replacement(what: &str) -> Vec<Vec<u8>> {
    let (_dir, path) = place();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ring::tests::files::child_that_replaces", "--nocapture"])
        .envs([("RING_TO_REPLACE", path.as_os_str()), ("WITHOUT", what.as_ref())])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("not replaced: cannot"), "{output:?}");
    rest(&mut Ring::open(Backing::File(&path), Capacity::MIN).unwrap().reader)
}

#[test]
fn a_ring_that_cannot_be_replaced_is_still_the_file_of_its_name() {
    for what in ["descriptors", "memory"] {
        assert_eq!(after_a_failed_replacement(what), [b"before", &b"after"[..]], "{what}");
    }
}

#[test]
fn child_that_replaces() {
    use std::os::fd::AsRawFd;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Some(path) = std::env::var_os("RING_TO_REPLACE") else { return };
    let path = std::path::Path::new(&path);
    let opened = Ring::open(Backing::File(path), Capacity::MIN).unwrap();
    opened.ring.push(b"before").unwrap();
    let (resource, most) = if std::env::var("WITHOUT").unwrap() == "memory" {
        // Less than another ring takes.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        (Resource::As, size * 1024 + (512 << 10))
    } else {
        // One more.
        let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
        (Resource::Nofile, u64::try_from(next).unwrap() + 1)
    };
    setrlimit(resource, Rlimit { current: Some(most), ..getrlimit(resource) }).unwrap();
    let error = Ring::replace(path, Capacity::MIN, b"").unwrap_err();
    println!("not replaced: {error}");
    opened.ring.push(b"after").unwrap();
}

#[test]
fn a_new_ring_is_used_although_the_sync_of_its_name_fails() {
    let (_dir, path) = place();
    drop(make(&path, 1024));
    let fails = |_: &std::fs::File| Err(std::io::Error::from_raw_os_error(libc::EIO));
    let new = crate::ring::open::fresh_by(fails, &path, Capacity::tiny(2048), super::KEY, b"on");
    let new = new.unwrap();
    assert_eq!(new.unsynced.unwrap().raw_os_error(), Some(libc::EIO));
    new.ring.push(b"new").unwrap();
    drop((new.ring, new.reader));
    let mut again = reopen(&path, 2048);
    assert_eq!(again.recovered.payload.as_deref(), Some(&b"on"[..]));
    assert_eq!(rest(&mut again.reader), [b"new"]);
}

#[test]
fn an_unfinished_new_file_of_a_killed_process_is_in_nobodys_way() {
    let (_dir, path) = place();
    std::fs::write(path.with_file_name("ring.new"), b"half").unwrap();
    assert!(Ring::open(Backing::File(&path), Capacity::MIN).unwrap().recovered.fresh);
    assert!(!path.with_file_name("ring.new").exists());
}

#[test]
fn a_directory_that_is_not_there_is_named_in_the_error() {
    let (dir, _) = place();
    let path = dir.path().join("no/ring");
    let error = Ring::open(Backing::File(&path), Capacity::MIN).unwrap_err();
    assert!(matches!(error, OpenError::Io { verb: "make", .. }), "{error}");
    assert!(!error.blames_file());
    assert!(error.to_string().contains("no/ring"));
}

/// A ring of version 1 as its release wrote it: one record read and committed, one waiting.
fn version_1() -> Vec<u8> {
    let mut bytes = vec![0; 4096 + 1024];
    let mut put = |at: usize, hex: &str| {
        for (i, pair) in hex.as_bytes().chunks(2).enumerate() {
            let text = std::str::from_utf8(pair).unwrap();
            bytes[at + i] = u8::from_str_radix(text, 16).unwrap();
        }
    };
    put(0, "53334c52494e470a01000000001000000004000000000000efcdab8967452301b5c5eaed");
    put(256, "2000000000000000");
    put(384, "1000000000000000");
    put(512, "02000000000000001000000000000000060000008b9d06f0736f20666172");
    put(768, "010000000000000000000000000000000700000033756cab626c6f636b2037");
    put(4096 + 16, "06006ad3911ddb547365636f6e64");
    bytes
}

#[cfg(target_endian = "little")]
#[test]
fn a_ring_of_version_1_is_read_and_made_into_one_of_version_2_wherever_that_stops() {
    let (_dir, path) = place();
    let old = version_1();
    // What a stop leaves: the file, longer; and with its second commit copied.
    let longer = [&old[..], &[0; 4096]].concat();
    let mut copied = longer.clone();
    copied.copy_within(768..1024, 4096 + 1024);
    for start in [&old, &longer, &copied] {
        std::fs::write(&path, start).unwrap();
        let glance = crate::ring::glance(&path).unwrap();
        assert_eq!((glance.used, &glance.payload[..]), (16, &b"so far"[..]));
        assert_eq!(std::fs::read(&path).unwrap(), *start, "a look changes nothing");
        let mut opened = reopen(&path, 1024);
        assert!(!opened.recovered.fresh && !opened.recovered.capacity_differs);
        assert_eq!(opened.recovered.payload.as_deref(), Some(&b"so far"[..]));
        assert_eq!((opened.recovered.records, opened.recovered.torn), (1, 0));
        assert_eq!(rest(&mut opened.reader), [b"second"]);
        opened.reader.commit(b"on").unwrap();
        drop(opened);
        let new = std::fs::read(&path).unwrap();
        assert_eq!((new.len(), new[8]), (4096 + 1024 + 4096, 2));
        assert_eq!(reopen(&path, 1024).recovered.payload.as_deref(), Some(&b"on"[..]));
    }
}

#[cfg(target_endian = "little")]
#[test]
fn a_version_1_without_a_commit_that_holds_is_set_aside_as_before() {
    let (_dir, path) = place();
    let mut old = version_1();
    old[512..1024].fill(0xff);
    std::fs::write(&path, old).unwrap();
    let error = Ring::open(Backing::File(&path), Capacity::tiny(1024)).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }) && error.blames_file(), "{error}");
}

#[test]
fn a_link_or_a_pipe_in_the_rings_place_is_foreign_and_left_alone() {
    let (_dir, path) = place();
    let elsewhere = path.with_file_name("elsewhere");
    drop(make(&elsewhere, 1024));
    let before = std::fs::read(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let error = Ring::open(Backing::File(&path), Capacity::tiny(1024)).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&elsewhere).unwrap(), before);
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    let error = Ring::open(Backing::File(&path), Capacity::tiny(1024)).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn the_rings_pages_are_there_at_the_start_and_stay_out_of_core_dumps() {
    let (_dir, path) = place();
    let opened = Ring::open(Backing::File(&path), Capacity::MIN).unwrap();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let after = maps.split_once(path.to_str().unwrap()).unwrap().1;
    let field = |name: &str| {
        after.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    assert!(field("VmFlags:").split(' ').any(|flag| flag == "dd"), "{}", field("VmFlags:"));
    // Where the kernel lacks MADV_POPULATE_WRITE, nothing is promised.
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    if (numbers.next(), numbers.next()) >= (Some(5), Some(14)) {
        assert_eq!(field("Rss:"), format!("{} kB", (4096 + (1 << 20) + 4096) / 1024));
    }
    drop(opened);
}
