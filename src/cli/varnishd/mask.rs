//! Which tags a varnishd hides from its log.

use std::collections::BTreeSet;

/// The parameter `vsl_mask`, as `param.show` has it: `all,-Debug,-Hash`, before Varnish 7.5 without `all`.
pub(in crate::cli) struct Mask {
    /// Whether what is not named is hidden.
    rest: bool,
    /// What is the other way round.
    named: BTreeSet<String>,
}

impl Mask {
    pub(in crate::cli) fn read(text: &str) -> Self {
        let mut mask = Self { rest: false, named: BTreeSet::new() };
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            match (word, word.split_at_checked(1)) {
                ("all", _) => mask = Self { rest: false, named: BTreeSet::new() },
                ("none", _) => mask = Self { rest: true, named: BTreeSet::new() },
                (_, Some((sign @ ("+" | "-"), tag))) => {
                    if (sign == "-") == mask.rest {
                        mask.named.remove(tag);
                    } else {
                        mask.named.insert(tag.to_owned());
                    }
                }
                _ => {}
            }
        }
        mask
    }

    /// Whether records of `tag` are hidden.
    pub(in crate::cli) fn hides(&self, tag: &str) -> bool {
        self.rest != self.named.contains(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_read_in_each_of_its_forms() {
        for (text, hidden, shown) in [
            ("all,-Debug,-Hash", "Hash", "ReqURL"),
            ("-Debug,-Hash", "Hash", "ReqURL"),
            ("none,+ReqURL", "Hash", "ReqURL"),
            ("all,-Hash,-ReqURL,+ReqURL", "Hash", "ReqURL"),
        ] {
            let mask = Mask::read(text);
            assert!(mask.hides(hidden) && !mask.hides(shown), "{text}");
        }
    }
}
