//! Whether `vsl_mask` hides what a stream's format prints, for streams whose settings are named.
//!
//! Non-goals: lines of fetches, which a settings file does not tell from those of clients; formats that
//! stand in VCL alone, whose streams say it in a message when their VCL is loaded.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::node::Node;
use crate::cli::varnishd::Mask;
use crate::record::{Need, Side, TagTable};
use crate::settings;

pub(super) fn findings(node: &Node<'_>) -> Vec<Finding> {
    let Some(mask) = node.parameters.as_ref().and_then(|all| all.get("vsl_mask")) else {
        return Vec::new();
    };
    let mask = Mask::read(mask);
    let mut found = Vec::new();
    for (stream, settings) in &node.streams {
        let Ok(settings) = settings else { continue };
        let own = match settings::program(&settings.arguments, &TagTable::varnish_7()) {
            Ok(program) => {
                let esi = settings.arguments.flag("esi").unwrap_or_default();
                let needs = program.needs(Side::Client);
                vec![judge(&mask, &needs, esi, &node.varnishd.option())]
            }
            Err(error) => {
                let action = "Correct it, and load the VCL again.";
                vec![Finding::fix("settings", error.to_string(), action)]
            }
        };
        found.extend(own.into_iter().map(|one| one.of(stream)));
    }
    found
}

/// What a few lines lack, as those of restarted requests, is what the recommended mask takes: it is no fault.
fn judge(mask: &Mask, needs: &[Need], esi: bool, option: &str) -> Finding {
    let hidden = needs.iter().filter(|need| need.is_hidden(&|tag| mask.hides(&tag.name)));
    let (each, few): (Vec<&Need>, Vec<&Need>) = hidden.partition(|need| need.when.is_each(esi));
    if each.is_empty() {
        let lines: BTreeSet<&str> = few.iter().map(|need| need.when.lines()).collect();
        let lines: Vec<&str> = lines.into_iter().collect();
        let text = match lines.as_slice() {
            [] => "no tag that the format needs is hidden".to_owned(),
            lines => format!(
                "no tag that every line needs is hidden; values may be missing in {}",
                lines.join(", ")
            ),
        };
        return Finding::ok("vsl_mask", text);
    }
    let tags = Need::to_show(&each, &|tag| !mask.hides(&tag.name));
    let tags: BTreeSet<&str> = tags.into_iter().map(|tag| &*tag.name).collect();
    let plus: Vec<String> = tags.iter().map(|tag| format!("+{tag}")).collect();
    let action = format!(
        "Show them: varnishadm{option} param.set vsl_mask {0}, and the same as -p vsl_mask={0} where \
         varnishd is started.",
        plus.join(",")
    );
    let what: Vec<String> = each
        .iter()
        .map(|need| format!("{} of {}", need.fields.join(" "), need.when.lines()))
        .collect();
    let tags: Vec<&str> = tags.into_iter().collect();
    let text = format!(
        "vsl_mask hides {}, so these values are missing: {}",
        tags.join(", "),
        what.join("; ")
    );
    Finding::fix("vsl_mask", text, action)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Mark;
    use super::*;
    use crate::settings::Arguments;

    fn found(format: &str, mask: &str) -> Finding {
        found_of(format, mask, false)
    }

    fn found_of(format: &str, mask: &str, esi: bool) -> Finding {
        let mut arguments = Arguments::new("access");
        arguments.set("format", Some(format.to_owned()));
        let program = settings::program(&arguments, &TagTable::varnish_7()).unwrap();
        judge(&Mask::read(mask), &program.needs(Side::Client), esi, " -n x")
    }

    #[test]
    fn a_tag_that_each_line_needs_is_to_be_shown_and_one_of_few_requests_is_no_fault() {
        let hidden = found("%h %{VCL_Log:key}x", "all,-VCL_Log");
        assert_eq!(hidden.mark, Mark::Fix);
        assert!(hidden.action.unwrap().contains("varnishadm -n x param.set vsl_mask +VCL_Log, "));
        assert_eq!(found("%h %{VCL_Log:key}x", "all,-Debug").mark, Mark::Ok);
        let few = found("%h %m", "none,+Begin,+VCL_call");
        assert_eq!(few.mark, Mark::Ok);
        assert!(
            few.text.ends_with("may be missing in lines of restarted requests"),
            "{}",
            few.text
        );
        assert_eq!(found_of("%s", "all,-RespStatus", true).mark, Mark::Fix);
        assert_eq!(found_of("%s", "all,-RespStatus", false).mark, Mark::Ok);
        assert_eq!(found("%h", "none").mark, Mark::Ok);
    }
}
