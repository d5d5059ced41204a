//! One process packs and another one uploads, each with its own right to.

use std::os::unix::fs::PermissionsExt as _;

use crate::common::s3_server::S3Server;
use crate::common::stream::{Holder, Process, expected, lines, objects, wait_for};
use vmod_s3log::pipeline::{Folder, Shipment};

const SHORT: (&str, &str) = ("period", "100ms");
const EXTERNAL: (&str, &str) = ("upload", "external");

/// Uploads from the process's folder, as `s3log ship` does.
fn ship(process: &Process, endpoint: &str) -> Shipment {
    let folder = Folder::read(process.spool().join("access"));
    assert!(folder.is_external());
    let given = process.arguments(endpoint, &[]);
    let settings = folder.saved.as_ref().unwrap().settings_to_ship(&given).unwrap();
    // The packer's thread makes the spool, and has perhaps not begun.
    wait_for("the spool to be there", || folder.path.join("format").exists());
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

    let third = process.attach(&server.endpoint(), &[SHORT]);
    drop(second);
    third.push("line", 20..30);
    // It is left to the shipper while that has the right.
    wait_shipped(&shipment, &third, 30);
    assert!(!folder().is_external());
    drop(shipment);
    third.push("line", 30..40);
    third.wait_stat("uploaded_records", 40);
    third.wait_balance();
    assert_eq!(lines(&server), expected(&[("line", 0..40)]));
    let stored: usize = objects(&server).iter().map(|(_, lines)| lines.len()).sum();
    assert_eq!(stored, 40);
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
