//! What each tag of Varnish's log costs a hit, and which are worth hiding.
//!
//! The figures are those of `make e2e T=tag-prices`.

/// `tag,records,instructions,of_stock,made_by`; the cost of a whole hit is in the row `none hidden`.
const FIGURES: &str = include_str!("../../../benches/e2e/tags.csv");

/// What `examples/varnish-mask.conf` hides: all tags of a request but its method, URL and status, which cost
/// little, and those that only some requests have.
pub(super) const RECOMMENDED: [&str; 18] = [
    "Begin",
    "End",
    "Filters",
    "Hit",
    "Link",
    "ReqAcct",
    "ReqHeader",
    "ReqProtocol",
    "ReqStart",
    "ReqUnset",
    "RespHeader",
    "RespProtocol",
    "RespReason",
    "RespUnset",
    "Timestamp",
    "VCL_call",
    "VCL_return",
    "VCL_use",
];

/// What a hit costs less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Saved {
    pub(super) instructions: u64,
    /// Of a hit with the default mask, 0 to 1.
    pub(super) share: f64,
}

/// What is saved where these tags are hidden.
pub(super) fn saved(tags: &[&str]) -> Saved {
    let instructions = tags.iter().filter_map(|tag| figure(tag)).sum();
    let whole = figure("none hidden").unwrap_or(u64::MAX);
    Saved { instructions, share: instructions as f64 / whole as f64 }
}

/// What a row says; `None` for a tag that a hit has no record of.
fn figure(tag: &str) -> Option<u64> {
    FIGURES.lines().find_map(|line| {
        let mut cells = line.split(',');
        (cells.next() == Some(tag)).then(|| cells.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommended_mask_is_that_of_the_example() {
        let example = include_str!("../../../examples/varnish-mask.conf");
        let list: Vec<String> = RECOMMENDED.iter().map(|tag| format!("-{tag}")).collect();
        let line = format!("param.set vsl_mask {}", list.join(","));
        assert!(example.lines().any(|found| found.ends_with(&line)), "{line}\n{example}");
    }

    #[test]
    fn tags_that_are_hidden_together_save_what_was_measured_of_all_of_them() {
        let all = saved(&RECOMMENDED);
        let measured = figure("none hidden").unwrap() - figure("recommended mask").unwrap();
        let off = all.instructions.abs_diff(measured);
        assert!(off * 20 < measured, "{} beside {measured}", all.instructions);
        assert!(all.share > 0.3 && all.share < 0.5, "{}", all.share);
        // A hit takes no header away.
        assert_eq!(figure("RespUnset"), None);
        assert_eq!(saved(&[]).instructions, 0);
    }
}
