//! One process packs and another one uploads, each with its own right to.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::common::s3_server::S3Server;
use crate::common::stream::{DEAD, Holder, Process, expected, lines, objects, wait_for};
use vmod_s3log::clock::{Clock, System};
use vmod_s3log::pipeline::{Folder, Shipment};
use vmod_s3log::spool::Uploading;

const SHORT: (&str, &str) = ("period", "100ms");
const EXTERNAL: (&str, &str) = ("upload", "external");

/// Uploads from the process's folder, as `s3log ship` does.
pub(crate) fn ship(process: &Process, endpoint: &str) -> Shipment {
    let root = process.spool().join("access");
    // The packer's thread makes the spool and shares it, and has perhaps not begun.
    wait_for("the folder to be shared", || root.join("ship").exists());
    let folder = Folder::read(root);
    assert!(folder.is_external());
    let given = process.arguments(endpoint, &[]);
    let settings = folder.saved.as_ref().unwrap().settings_to_ship(&given).unwrap();
    Shipment::open(&folder, settings, &process.environment).unwrap()
}

fn wait_shipped(shipment: &Shipment, holder: &Holder<'_>, records: u64) {
    wait_for("the records to be counted", || {
        shipment.follow().unwrap();
        holder.stat("uploaded_records") >= records
    });
}

#[test]
fn a_stream_that_another_process_uploads_makes_no_connection_and_needs_no_credentials() {
    let server = S3Server::start();
    let process = Process::new();
    let nowhere = [SHORT, EXTERNAL, ("credentials", "/nowhere"), ("ca_file", "/nowhere")];
    let holder = process.attach(&server.endpoint(), &nowhere);
    holder.push("line", 0..10);
    holder.wait_stat("blocks_sealed", 1);
    wait_for("the block to be counted", || holder.stat("spooled_records") == 10);
    assert!(objects(&server).is_empty());
    assert_eq!((holder.stat("upload_retries"), holder.stat("last_status")), (0, 0));
    let root = process.spool().join("access");
    assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o750);

    let shipment = ship(&process, &server.endpoint());
    wait_shipped(&shipment, &holder, 10);
    holder.push("line", 10..20);
    wait_shipped(&shipment, &holder, 20);
    holder.wait_balance();
    assert_eq!(lines(&server), expected(&[("line", 0..20)]));
    assert_eq!(holder.stat("upload_retries"), 0);
    let status: serde_json::Value = serde_json::from_str(&holder.pipeline.status()).unwrap();
    assert_eq!(status["shipper"]["pid"], std::process::id());
    assert!(process.messages().iter().all(|message| !message.starts_with("error")));
}

#[test]
fn a_reload_hands_the_uploads_over_and_back_and_each_line_is_stored_once() {
    let server = S3Server::start();
    let process = Process::new();
    let first = process.attach(&server.endpoint(), &[SHORT]);
    first.push("line", 0..10);
    first.wait_stat("uploaded_records", 10);

    let second = process.attach(&server.endpoint(), &[SHORT, EXTERNAL]);
    drop(first);
    second.push("line", 10..20);
    let folder = || Folder::read(process.spool().join("access"));
    wait_for("the folder to say so", || folder().is_external());
    second.wait_stat("blocks_sealed", 2);
    let settings = || {
        let given = process.arguments(&server.endpoint(), &[]);
        folder().saved.unwrap().settings_to_ship(&given).unwrap()
    };
    // The right to upload is given up within a second or two.
    let shipment = std::cell::OnceCell::new();
    wait_for("the shipper's turn", || {
        match Shipment::open(&folder(), settings(), &process.environment) {
            Ok(open) => shipment.set(open).is_ok(),
            Err(error) => {
                assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
                false
            }
        }
    });
    let shipment = shipment.into_inner().unwrap();
    wait_shipped(&shipment, &second, 20);

    let route = process.spool().join("access/route");
    let mode = || std::fs::metadata(&route).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o640);
    let third = process.attach(&server.endpoint(), &[SHORT]);
    drop(second);
    third.push("line", 20..30);
    // It is left to the shipper while that has the right.
    wait_shipped(&shipment, &third, 30);
    assert!(!folder().is_external());
    assert_eq!(mode(), 0o640, "the shipper has to read that it is to let go");
    drop(shipment);
    third.push("line", 30..40);
    third.wait_stat("uploaded_records", 40);
    third.wait_balance();
    assert_eq!(lines(&server), expected(&[("line", 0..40)]));
    let stored: usize = objects(&server).iter().map(|(_, lines)| lines.len()).sum();
    assert_eq!(stored, 40);
}

/// Time that stands still for the packer once it is told to, and for nobody else.
struct PackerStopped(System, AtomicBool, AtomicU64);

impl Clock for PackerStopped {
    fn unix(&self) -> Duration {
        self.0.unix()
    }

    fn monotonic(&self) -> Duration {
        let now = self.0.monotonic();
        if std::thread::current().name() != Some("s3log-pack") {
            return now;
        }
        let nanoseconds = u64::try_from(now.as_nanos()).unwrap();
        if !self.1.load(Ordering::SeqCst) {
            self.2.store(nanoseconds, Ordering::SeqCst);
        }
        Duration::from_nanos(self.2.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
    }
}

#[test]
fn what_a_shipper_has_noted_when_it_lets_go_is_counted_once_and_not_sent_again() {
    let server = S3Server::start();
    let mut process = Process::new();
    let clock = Arc::new(PackerStopped(System::new(), AtomicBool::default(), AtomicU64::default()));
    process.environment.clock = clock.clone();
    let first = process.attach(&server.endpoint(), &[SHORT, EXTERNAL]);
    first.push("line", 0..10);
    first.wait_stat("blocks_sealed", 1);
    let root = process.spool().join("access");
    let right = Uploading::take(&root).unwrap().unwrap();
    let second = process.attach(&server.endpoint(), &[SHORT]);
    drop(first);
    second.push("line", 10..20);
    wait_for("the folder to say so", || !Folder::read(root.clone()).is_external());
    second.wait_stat("blocks_sealed", 2);
    // The packer's next look for notes is never due by the clock.
    clock.1.store(true, Ordering::SeqCst);
    let sidecar = std::fs::read_to_string(root.join("0000000001.json")).unwrap();
    let sidecar: serde_json::Value = serde_json::from_str(sidecar.lines().next().unwrap()).unwrap();
    let sha256 = sidecar["meta"]["sha256"].as_str().unwrap();
    let note = root.join("ship").join(format!("0000000001-{}.sent", &sha256[..16]));
    std::fs::write(&note, "").unwrap();
    drop(right);
    second.wait_stat("uploaded_records", 20);
    assert!(!note.exists());
    assert_eq!(lines(&server), expected(&[("line", 10..20)]), "the first block was noted");
    assert_eq!(second.stat("blocks_uploaded"), 2);
}

#[test]
fn a_folder_that_cannot_be_told_who_uploads_is_told_when_it_can() {
    let server = S3Server::start();
    let process = Process::new();
    let first = process.attach(&server.endpoint(), &[SHORT]);
    first.push("line", 0..10);
    first.wait_stat("uploaded_records", 10);
    let root = process.spool().join("access");
    let folder = || Folder::read(root.clone());
    std::fs::create_dir(root.join("route.new")).unwrap();
    let second = process.attach(&server.endpoint(), &[SHORT, EXTERNAL]);
    drop(first);
    second.push("line", 10..20);
    second.wait_stat("blocks_sealed", 2);
    assert!(!folder().is_external());
    std::fs::remove_dir(root.join("route.new")).unwrap();
    second.push("line", 20..30);
    wait_for("the folder to say so", || folder().is_external());
    assert!(process.messages().iter().any(|said| said.contains("its route cannot be noted")));
}

#[test]
fn what_a_shipper_has_counted_since_its_last_report_is_counted_when_it_ends() {
    let process = Process::new();
    let holder = process.attach(DEAD, &[SHORT, EXTERNAL]);
    holder.push("line", 0..10);
    holder.wait_stat("blocks_sealed", 1);
    let shipment = ship(&process, DEAD);
    shipment.follow().unwrap();
    // It has reported, and does so again no sooner than it is asked to follow.
    let status = || serde_json::from_str::<serde_json::Value>(&holder.pipeline.status()).unwrap();
    wait_for("the report", || status()["shipper"]["pid"].is_u64());
    let failed = |(name, count): &(&str, u64)| *name == "upload_retries" && *count > 0;
    wait_for("an attempt to fail", || shipment.stats().snapshot().iter().any(failed));
    drop(shipment);
    holder.wait_stat("upload_retries", 1);
}

#[test]
fn an_exit_seals_and_waits_for_no_upload() {
    let process = Process::new();
    let holder = process.attach("http://127.0.0.1:1", &[EXTERNAL, ("exit_timeout", "10m")]);
    holder.push("line", 0..10);
    // Would take ten minutes, if it waited.
    process.registry.drain(&process.environment);
    assert_eq!(holder.stat("spooled_records"), 10);
    assert_eq!(holder.stat("blocks_sealed"), 1);
    drop(holder);
    // Until they are uploaded, as always when the last VCL with a stream goes.
    assert!(!process.registry.is_empty());
}

#[test]
fn a_shipment_whose_folder_is_gone_says_so() {
    let server = S3Server::start();
    let process = Process::new();
    let holder = process.attach(&server.endpoint(), &[SHORT, EXTERNAL]);
    let shipment = ship(&process, &server.endpoint());
    assert!(shipment.follow().unwrap());
    drop(holder);
    wait_for("the unused folder to go", || !process.spool().join("access").exists());
    assert!(!shipment.follow().unwrap());
}
