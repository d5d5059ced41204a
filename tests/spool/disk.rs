//! The spool on a real file system.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmod_s3log::block::{BootId, ChunkEncoder, Codec, Decoder, Drops};
use vmod_s3log::spool::{
    ChunkStats, Disk, DiskError, Memory, Options, Payload, Recovered, Spool, SyncPolicy,
};

fn open(root: &Path, last: Option<&Payload>) -> (Spool, Recovered) {
    let options = Options::new("access", "node-1", BootId::new(1_800_000_000, 1));
    let files = Arc::new(Disk::open(root).unwrap());
    Spool::open(files, options, last.map(Payload::as_bytes)).unwrap()
}

fn stats(raw: &str) -> ChunkStats {
    let records = raw.lines().count() as u64;
    ChunkStats { records, raw_bytes: raw.len() as u64, first: 5, last: 6, cut: 0 }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_block_goes_through_a_directory_and_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("deep/spool");
    let mut encoder = ChunkEncoder::new(Codec::default()).unwrap();
    let mut last = None;
    for line in ["a\n", "b\nc\n", "d\n"] {
        let (mut spool, recovered) = open(&root, last.as_ref());
        assert_eq!(recovered.set_aside, Vec::<String>::new());
        let mut chunk = Vec::new();
        encoder.encode(line.as_bytes(), &mut chunk).unwrap();
        last = Some(spool.append(&chunk, stats(line)).unwrap());
        // Written, and killed before the commit.
        spool.append(&chunk, stats(line)).unwrap();
    }
    let (mut spool, recovered) = open(&root, last.as_ref());
    assert!(recovered.uncommitted_bytes > 0);
    spool.sync().unwrap();
    let (sealed, _) = spool.seal(&Drops::default()).unwrap().unwrap();
    assert!(sealed.unsynced.is_none());
    let data = root.join("0000000001.data");
    assert_eq!(sealed.meta.bytes, fs::metadata(&data).unwrap().len());
    let mut gzip = std::process::Command::new("gzip");
    let output = gzip.arg("-dc").stdin(fs::File::open(&data).unwrap()).output().unwrap();
    assert_eq!(output.stdout, b"a\nb\nc\nd\n");
    let sha = std::process::Command::new("sha256sum").arg(&data).output().unwrap();
    assert!(sha.stdout.starts_with(sealed.meta.sha256.to_string().as_bytes()));

    let store = spool.store();
    let block = store.open_block(1).unwrap();
    store.uploaded(1).unwrap();
    let mut text = String::new();
    Decoder::new(block.content, block.meta.codec).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "a\nb\nc\nd\n", "what is being read stays readable");
    assert!(!data.exists());
}

#[test]
fn the_directory_and_its_files_are_for_their_owner_only() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut spool, _) = open(root.path(), None);
    spool.append(b"x\n", stats("x\n")).unwrap();
    spool.seal(&Drops::default()).unwrap().unwrap();
    spool.store().quarantine(1, "a test").unwrap();
    spool.append(b"y\n", stats("y\n")).unwrap();
    assert_eq!(mode(root.path()), 0o700);
    let mut files = 0;
    for folder in ["", "quarantine", "foreign"] {
        for entry in fs::read_dir(root.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{}", path.display());
            files += u32::from(path.is_file());
        }
    }
    assert_eq!(files, 6, "lock, format, open data, and three in quarantine");
}

#[test]
fn a_second_user_is_refused_and_told_who_has_it() {
    let root = tempfile::tempdir().unwrap();
    let first = Disk::open(root.path()).unwrap();
    let error = Disk::open(root.path()).unwrap_err();
    assert!(matches!(error, DiskError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
    assert_eq!(
        error.to_string(),
        format!(
            "spool {} is in use by process {}: give each varnishd a spool of its own (argument spool)",
            root.path().display(),
            std::process::id()
        )
    );
    drop(first);
    Disk::open(root.path()).unwrap();
}

#[test]
fn a_path_that_cannot_be_a_spool_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Disk::open(&path).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("spool {} cannot be used: ", path.display())),
            "{error}"
        );
        assert!(error.ends_with("make it a directory that varnishd's cache user may write"));
    }
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_not_touched() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.path().join("syslog"), "").unwrap();
    let error = Disk::open(root.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "spool {} is a directory with other files, such as syslog: give an empty one, or one \
             that does not exist yet",
            root.path().display()
        )
    );
    assert_eq!(mode(root.path()), 0o755);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    fs::remove_file(root.path().join("syslog")).unwrap();
    open(root.path(), None);
    fs::write(root.path().join("notes.txt"), "").unwrap();
    let (_, recovered) = open(root.path(), None);
    assert_eq!(recovered.set_aside, ["foreign/notes.txt"], "a spool is kept tidy");
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let victim = root.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let spool_root = root.path().join("spool");
    let (mut spool, _) = open(&spool_root, None);
    symlink(&victim, spool_root.join("0000000001.data")).unwrap();
    spool.append(b"x\n", stats("x\n")).unwrap_err();
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
}

#[test]
fn a_write_that_the_file_system_refuses_leaves_the_block_at_its_committed_length() {
    let root = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(root.path(), None);
    let last = spool.append(b"a\n", stats("a\n")).unwrap();
    let data = root.path().join("0000000001.data");
    let kept = root.path().join("ring.kept");
    fs::rename(&data, &kept).unwrap();
    // A link is not followed, so the write fails, and so does the healing.
    symlink("/nowhere", &data).unwrap();
    spool.append(b"b\n", stats("b\n")).unwrap_err();
    fs::rename(&kept, &data).unwrap();
    assert_eq!(spool.open_records(), 1);
    spool.append(b"b\n", stats("b\n")).unwrap();
    drop(spool);
    let (_, recovered) = open(root.path(), Some(&last));
    assert_eq!((recovered.open_records, recovered.uncommitted_bytes), (1, 2));
}

#[test]
fn ten_thousand_sealed_blocks_open_quickly_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let files = Arc::new(Disk::open(root.path()).unwrap());
    let mut options = Options::new("access", "node-1", BootId::new(1, 1));
    options.sync = SyncPolicy::None;
    let (mut spool, _) = Spool::open(files, options, None).unwrap();
    let mut last = None;
    for _ in 0..10_000 {
        spool.append(b"x\n", stats("x\n")).unwrap();
        last = spool.seal(&Drops::default()).unwrap().map(|(_, payload)| payload);
    }
    drop(spool);
    let start = Instant::now();
    let (spool, recovered) = open(root.path(), last.as_ref());
    let elapsed = start.elapsed();
    println!("10,000 sealed blocks opened in {elapsed:?}");
    assert_eq!(recovered.counts.sealed.records, 10_000);
    assert!(spool.store().sealed().is_sorted());
    assert!(elapsed < Duration::from_secs(30));
}

#[test]
fn a_spool_in_memory_ends_with_its_last_user() {
    let options = Options::new("access", "node-1", BootId::new(1, 1));
    let (mut spool, _) = Spool::open(Arc::new(Memory::new()), options, None).unwrap();
    spool.append(b"x\n", stats("x\n")).unwrap();
    spool.seal(&Drops::default()).unwrap().unwrap();
    let store = spool.store();
    drop(spool);
    let mut text = String::new();
    store.open_block(1).unwrap().content.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x\n");
    store.uploaded(1).unwrap();
    assert_eq!(store.counts().sealed.bytes, 0);
}

#[test]
fn uploaders_and_a_packer_work_at_the_same_time() {
    let root = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(root.path(), None);
    let store = spool.store();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while store.counts().uploaded.blocks < 200 {
                    let Some(number) = store.claim(Duration::ZERO) else {
                        std::thread::yield_now();
                        continue;
                    };
                    let mut block = store.open_block(number).unwrap();
                    let mut text = String::new();
                    block.content.read_to_string(&mut text).unwrap();
                    assert_eq!(text, format!("{number}\n"));
                    store.uploaded(number).unwrap();
                }
            });
        }
        for number in 1..=200 {
            let line = format!("{number}\n");
            spool.append(line.as_bytes(), stats(&line)).unwrap();
            spool.seal(&Drops::default()).unwrap().unwrap();
        }
    });
    assert_eq!(store.counts().uploaded.records, 200);
    assert_eq!(store.counts().left_behind, 0);
    let names = fs::read_dir(root.path()).unwrap().count();
    assert!(names <= 6, "{names} names are left");
    assert!(fs::metadata(root.path().join("0000000200.done")).unwrap().size() > 0);
}
