//! What waits in the spool of each route, why it waits, and what is in quarantine.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use super::finding::{Finding, Mark};
use super::node::Node;
use super::rights::user;
use crate::cli::Error;
use crate::cli::spools::RouteSpool;
use crate::cli::terminal::output::{count, counted};
use crate::cli::terminal::when;
use crate::ring;
use crate::spool::{self, Glance, Refused};

/// Blocks that are older wait for a reason, in ns. A block is open for `period`, and then sent.
const LATE: u64 = 120_000_000_000;

/// The findings of all folders; `gateway` has those of the gateways.
///
/// # Errors
/// None that is the node's: those are findings.
pub(super) fn findings(node: &Node<'_>, gateway: &[Finding]) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for spool in &node.spools {
        let path = spool.folder.path.display();
        let ring = ring::glance(&spool.folder.path.join("ring"));
        match spool.read(spool::glance) {
            Ok(None) => {}
            Ok(Some(glance)) => {
                let used = ring.as_ref().map_or(0, |ring| ring.used);
                let name = stream(spool);
                let fails = gateway
                    .iter()
                    .any(|one| one.mark == Mark::Fix && one.stream.as_deref() == Some(&*name));
                match moves(node, spool, &glance).filter(|_| fails) {
                    Some(finding) => found.push(finding),
                    None => found.extend(waits(spool, &glance, used, fails)),
                }
                found.extend(damaged(spool, &glance, ring.ok().as_ref()));
                found.extend(aside(spool, &glance));
            }
            Err(error) => {
                let text = format!("{path} cannot be read: {error}");
                let action = "Run doctor as root, or as the spool's owner.";
                found.push(Finding::unseen("blocks", text, action).of(&spool.name));
            }
        }
    }
    Ok(found)
}

/// The name that findings of the gateway have for the folder's stream.
fn stream(spool: &RouteSpool) -> String {
    spool.name.split('@').next().unwrap_or(&spool.name).to_owned()
}

/// What to do with blocks that wait for another route than the settings have now, such as one with the
/// bucket's name before it was corrected.
fn moves(node: &Node<'_>, spool: &RouteSpool, glance: &Glance) -> Option<Finding> {
    let waiting = glance.sealed.blocks + glance.moved.blocks;
    let name = stream(spool);
    let (_, now) = node.streams.iter().find(|(stream, _)| *stream == name)?;
    let route = spool.folder.route()?;
    if waiting == 0 || now.as_ref().ok()?.route() == route {
        return None;
    }
    let owner = std::fs::metadata(&spool.folder.path).map_or(0, |folder| folder.uid());
    let directory = spool.folder.path.parent().unwrap_or(&spool.folder.path).display();
    let text = format!(
        "{} for another route than the settings have now: {}",
        counted(waiting, "block"),
        spool.destination().unwrap_or_default()
    );
    let action = format!(
        "Make them deliverable there, or move them to the present route: systemctl stop varnish && \
         runuser -u {} -- s3log requeue --from {route} --spool {directory} {name}; systemctl start \
         varnish.",
        user(owner)
    );
    Some(Finding::fix("blocks", text, action).of(&spool.name))
}

/// Why blocks wait.
fn waits(spool: &RouteSpool, glance: &Glance, ring: u64, gateway_fails: bool) -> Vec<Finding> {
    let name = &spool.name;
    let mut found = Vec::new();
    let waiting = glance.sealed.blocks + glance.moved.blocks;
    let what = format!(
        "{} with {} records wait",
        counted(waiting, "block"),
        count(glance.sealed.records + glance.moved.records)
    );
    let age = glance.oldest.as_ref().map_or(0, |meta| when::now().saturating_sub(meta.first));
    let oldest =
        if age > 0 { format!(", the oldest for {}", when::show_age(age)) } else { String::new() };
    let external = spool.folder.is_external();
    let directory = spool.folder.path.parent().unwrap_or(&spool.folder.path).display();
    let stream = stream(spool);
    if glance.holder.is_none() && (waiting > 0 || ring > 0) {
        let text = match waiting {
            0 => "records wait in the ring, and no process uses the spool".to_owned(),
            _ => format!("{what}{oldest}, and no process uses the spool"),
        };
        let action = format!(
            "Start Varnish with a VCL that has the stream, or run s3log drain {stream} --set \
             spool={directory} with the stream's settings as the spool's owner."
        );
        found.push(Finding::fix("blocks", text, action).of(name));
    } else if external && glance.uploader.is_none() {
        let text = format!("{what}{oldest}; s3log ship uploads them, and it does not run");
        let action =
            "Start it: systemctl enable --now s3log-ship, and read journalctl -u s3log-ship.";
        found.push(Finding::fix("blocks", text, action).of(name));
    } else if waiting > 0 && gateway_fails {
        let action =
            "Do what the gateway's finding says; the blocks are sent without further help.";
        found.push(Finding::fix("blocks", format!("{what}{oldest}"), action).of(name));
    } else if waiting > 0 && age > LATE {
        let log = if external {
            "journalctl -u s3log-ship"
        } else {
            "journalctl -u varnish, or varnishlog -g raw -d -q 'Error ~ \"^S3LOG\"'"
        };
        let action = format!("Read why the last attempt failed: {log}.");
        found.push(Finding::fix("blocks", format!("{what}{oldest}"), action).of(name));
    } else {
        let text = match waiting {
            0 => "no sealed block waits".to_owned(),
            _ => format!("{what}{oldest}"),
        };
        found.push(Finding::ok("blocks", text).of(name));
    }
    if glance.held.blocks > 0 {
        let text = format!(
            "{} must be encrypted, and there is no key",
            counted(glance.held.blocks, "block")
        );
        let action = "Set `encrypt_to` or `public_key` again, and load the VCL.";
        found.push(Finding::fix("blocks", text, action).of(name));
    }
    if glance.unreadable > 0 {
        let text = format!("{} cannot be read", counted(glance.unreadable, "description"));
        let action = "Run doctor as the spool's owner, and check the disk if it still says so.";
        found.push(Finding::fix("blocks", text, action).of(name));
    }
    found
}

/// Damaged blocks, which a start mends.
fn damaged(spool: &RouteSpool, glance: &Glance, ring: Option<&ring::Glance>) -> Option<Finding> {
    let open = spool::open_glance(&ring?.payload);
    let damaged = glance.damaged(open.as_ref()).blocks;
    if damaged == 0 {
        return None;
    }
    let are = if damaged == 1 { "is" } else { "are" };
    let text = format!("{} {are} damaged and not mended yet", counted(damaged, "block"));
    let action = "Make room on the spool's disk, see that its files are its owner's, and restart Varnish, which sends \
         what is whole of it.";
    Some(Finding::fix("blocks", text, action).of(&spool.name))
}

/// What is in quarantine, with the reason that most have.
fn aside(spool: &RouteSpool, glance: &Glance) -> Option<Finding> {
    if glance.quarantined.blocks == 0 {
        return None;
    }
    let refused = spool::refused(&spool.folder.path).unwrap_or_default();
    let stream = stream(spool);
    let directory = spool.folder.path.parent().unwrap_or(&spool.folder.path).display();
    let text = format!(
        "{} with {} records are in quarantine: {}",
        counted(glance.quarantined.blocks, "block"),
        count(glance.quarantined.records),
        most(&refused)
    );
    let action = format!(
        "Remove the cause that the reason names, then run s3log requeue {stream} --all --spool \
         {directory}."
    );
    Some(Finding::fix("quarantine", text, action).of(&spool.name))
}

/// The reason that most blocks have.
fn most(refused: &[Refused]) -> String {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for block in refused.iter().filter(|block| !block.reason.is_empty()) {
        *reasons.entry(&block.reason).or_default() += 1;
    }
    let most = reasons.into_iter().max_by_key(|(_, blocks)| *blocks);
    most.map_or_else(|| "reason unknown".to_owned(), |(reason, _)| reason.to_owned())
}
