//! Who signed the blocks: without this, anyone who can write to the bucket can forge a whole chain.

use std::collections::BTreeMap;

use super::finding::{Finding, FindingKind};
use super::inspect::Inspected;
use super::signed::Signed;
use crate::block::sanitise;
use crate::cli::terminal::output::counted;
use crate::seal::{KeyId, Verifier};
use crate::settings::Settings;

/// What the signatures tell of a stream's blocks.
pub(super) fn judge(
    settings: &Settings,
    blocks: &[Inspected<'_>],
    keys: &[Verifier],
) -> Vec<Finding> {
    let stream = sanitise(&settings.stream);
    let mut findings = Vec::new();
    let (mut by, mut unsigned) = (BTreeMap::<Option<KeyId>, u64>::new(), 0_u64);
    for block in blocks {
        let Ok(meta) = &block.meta else { continue };
        if meta.stream != stream {
            continue;
        }
        let about = |kind, text: String| {
            let finding = Finding::new(kind, text).at(&meta.host, meta.number, meta.number);
            finding.key(&block.found.key)
        };
        match &block.signed {
            Signed::Holds => {}
            Signed::Bad(bad) => findings.push(about(FindingKind::Forged, bad.to_string())),
            Signed::Unchecked(id) => *by.entry(*id).or_default() += 1,
            Signed::Not if keys.is_empty() => unsigned += 1,
            Signed::Not => {
                let text = "the block is not signed: anyone who can write to the bucket could have made it";
                findings.push(about(FindingKind::Unsigned, text.to_owned()));
            }
        }
    }
    for (id, count) in &by {
        let whose = id.map_or_else(|| "an unreadable key".to_owned(), |id| format!("key {id}"));
        let count = counted(*count, "block");
        let text = format!("{count} signed by {whose}, not checked; check it with --public-key");
        findings.push(Finding::new(FindingKind::Note, text));
    }
    if !by.is_empty() && unsigned > 0 {
        let text = format!("{} unsigned", counted(unsigned, "block"));
        findings.push(Finding::new(FindingKind::Note, text));
    }
    findings
}
