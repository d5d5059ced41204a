//! Which tags a format needs beside the structs, by side and by which lines lack the value.

use super::support;
use crate::record::{Need, Program, Side, When};

const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

fn apache(format: &str) -> Program {
    support::compile(format, &support::apache())
}

fn csa(format: &str) -> Program {
    support::compile(format, &support::csa())
}

/// The needs of each line, as `tag|tag: field field`.
fn each(program: &Program, side: Side) -> Vec<String> {
    needs(program, side, When::Always)
}

fn needs(program: &Program, side: Side, when: When) -> Vec<String> {
    let needs = program.needs(side).into_iter().filter(|need| need.when == when);
    let mut found: Vec<String> = needs
        .map(|need| format!("{}: {}", names(&need).join("|"), need.fields.join(" ")))
        .collect();
    found.sort();
    found
}

fn names(need: &Need) -> Vec<&str> {
    need.tags.iter().map(|tag| tag.name.as_str()).collect()
}

#[test]
fn a_combined_line_of_a_client_needs_no_tag_of_the_log() {
    let program = apache(COMBINED);
    assert!(each(&program, Side::Client).is_empty());
    let default = csa("%{Varnish:default_format}x");
    assert!(each(&default, Side::Client).is_empty());
}

#[test]
fn the_status_of_a_fetch_and_what_its_response_had_are_in_the_log_alone() {
    let program = apache(r#"%h %>s %{s3log:reason}x %{Age}o %{Age:first}o %m %{Host}i %b"#);
    assert_eq!(
        each(&program, Side::Backend),
        [
            "BackendOpen: %h",
            "BerespHeader: %{Age}o %{Age:first}o",
            "BerespReason: %{s3log:reason}x",
            "BerespStatus: %s",
            "VCL_call: %s %{s3log:reason}x %{Age}o %{Age:first}o",
        ]
    );
}

#[test]
fn texts_of_vcl_and_records_are_in_the_log_alone_and_need_its_beginning() {
    let program = csa("%{VCL_Log:key}x %{VSL:Timestamp:Resp[2]}x %{VSL:Hit}x %{VSL:ReqAcct[3]}x");
    let wanted = [
        "Begin|Timestamp: %{VCL_Log:key}x %{VSL:Timestamp:Resp[2]}x %{VSL:Hit}x",
        "Hit: %{VSL:Hit}x",
        "Timestamp: %{VSL:Timestamp:Resp[2]}x",
        "VCL_Log: %{VCL_Log:key}x",
    ];
    for side in [Side::Client, Side::Backend] {
        assert_eq!(each(&program, side), wanted);
    }
}

#[test]
fn one_of_several_tags_is_enough() {
    let program = csa("%{VCL_Log:key}x");
    let begin = program.needs(Side::Client).into_iter().find(|need| need.tags.len() == 2).unwrap();
    assert!(!begin.is_hidden(&|tag| tag.name == "Begin"));
    assert!(!begin.is_hidden(&|tag| tag.name == "Timestamp"));
    assert!(begin.is_hidden(&|_| true));
}

/// `Need::to_show` for what each line of `format` needs, where `shown` are shown anyway.
fn to_show(format: &str, shown: &[&str]) -> Vec<String> {
    let needs = csa(format).needs(Side::Client);
    let each: Vec<&Need> = needs.iter().filter(|need| need.when == When::Always).collect();
    let tags = Need::to_show(&each, &|tag| shown.contains(&tag.name.as_str()));
    tags.into_iter().map(|tag| tag.name.clone()).collect()
}

#[test]
fn of_several_tags_that_are_enough_the_one_that_is_shown_anyway_is_chosen_or_the_cheapest() {
    let format = "%{VCL_Log:key}x";
    assert_eq!(to_show(format, &[]), ["VCL_Log", "Begin"]);
    assert_eq!(to_show(format, &["Timestamp"]), ["VCL_Log", "Timestamp"]);
    assert_eq!(to_show(format, &["Begin", "Timestamp"]), ["VCL_Log", "Begin"]);
    // A specifier that nothing but one of them serves decides for the others.
    let both = "%{VCL_Log:key}x %{VSL:Timestamp:Resp[2]}x";
    assert_eq!(to_show(both, &[]), ["VCL_Log", "Timestamp"]);
    assert!(to_show("%h", &[]).is_empty());
}

#[test]
fn what_a_restart_may_have_changed_is_told_from_the_request_by_its_records_and_the_calls() {
    let program = apache("%m %U %{Referer}i %t %>s");
    assert_eq!(
        needs(&program, Side::Client, When::Restarted),
        [
            "Begin|Timestamp: %m %U %{Referer}i",
            "ReqHeader: %{Referer}i",
            "ReqMethod: %m",
            "ReqURL: %U",
            "Timestamp: %t",
            "VCL_call: %m %U %{Referer}i",
        ]
    );
    assert!(needs(&program, Side::Backend, When::Restarted).is_empty());
}

#[test]
fn a_pipes_bytes_and_its_first_bytes_time_are_in_its_own_records() {
    let program = apache("%I %O %D %T %{end:%H}t %{Varnish:time_firstbyte}x");
    assert_eq!(
        needs(&program, Side::Client, When::Piped),
        ["PipeAcct: %I %O", "Timestamp: %{Varnish:time_firstbyte}x",]
    );
}

#[test]
fn what_was_sent_to_a_fragment_or_after_a_wait_is_in_the_log_alone() {
    let program = apache("%>s %{Age}o %{Varnish:handling}x");
    let wanted = ["RespHeader: %{Age}o", "RespStatus: %s", "VCL_call: %{Varnish:handling}x"];
    for when in [When::Fragment, When::Waited] {
        assert_eq!(needs(&program, Side::Client, when), wanted);
    }
}
