//! Logs that were cut, flushed or masked.

use super::support::{Known, Log, apache, client, csa, full, tag_number, tags, task};
use crate::record::task::{Handling, NoStructs, unmasked};
use crate::record::{Options, Side, Task};

fn long_url() -> Vec<u8> {
    let mut url = b"/p?".to_vec();
    url.extend(std::iter::repeat_n(b'x', 600));
    url
}

fn long_agent(length: usize) -> Vec<u8> {
    let mut header = b"User-Agent: ".to_vec();
    header.extend(std::iter::repeat_n(b'u', length));
    header
}

fn cut_log() -> Log {
    Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("Timestamp", "Start: 1700000000.123456 0.000000 0.000000")
        .rec("ReqMethod", "GET")
        .rec("ReqURL", long_url())
        .rec("ReqHeader", long_agent(400))
        .rec("VCL_call", "RECV")
}

#[test]
fn a_cut_record_is_whole_again_from_the_structs() {
    let log = cut_log();
    let known = Known {
        url: Some(long_url()),
        received: vec![b"Host: h".to_vec(), long_agent(400)],
        ..Known::default()
    };
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let (line, rendered) = full("%U%q %{User-Agent}i", &apache(), &task);
    assert_eq!(line.len(), 603 + 1 + 400);
    assert!(!rendered.incomplete);
}

#[test]
fn dialect_varnishncsa_without_healing_prints_the_cut() {
    let log = cut_log();
    let known = Known { url: Some(long_url()), ..Known::default() };
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let (line, rendered) = full("%U%q %{User-Agent}i", &csa(), &task);
    assert_eq!(line.len(), 254 + 1 + (254 - 12));
    assert!(rendered.incomplete, "a cut value is counted");
}

#[test]
fn a_line_says_whether_a_value_of_it_is_missing() {
    let log = cut_log();
    let format =
        r#"{"missing":%{s3log:incomplete}x,"agent":"%{User-Agent}i","so":"%{s3log:incomplete}x"}"#;
    let known = Known { received: vec![long_agent(400)], ..Known::default() };
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let (line, rendered) = full(format, &apache(), &task);
    assert!(line.starts_with(b"{\"missing\":0,") && line.ends_with(b"\"so\":\"0\"}"));
    assert!(!rendered.incomplete);
    let task = Task { structs: &NoStructs, ..task };
    let (line, rendered) = full(format, &apache(), &task);
    assert!(line.starts_with(b"{\"missing\":1,") && line.ends_with(b"\"so\":\"1\"}"));
    assert!(rendered.incomplete);
}

#[test]
fn a_header_that_vcl_changed_does_not_stand_in_for_the_one_logged() {
    let log = cut_log();
    let mut other = long_agent(400);
    other[15] = b'X';
    let known = Known { url: Some(long_url()), received: vec![other], ..Known::default() };
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let (line, rendered) = full("%{User-Agent}i", &apache(), &task);
    assert_eq!(line.len(), 254 - 12);
    assert!(rendered.incomplete);
}

#[test]
fn a_flushed_log_is_answered_by_the_structs() {
    let log = Log::new()
        .rec("ReqHeader", "User-Agent: set by VCL")
        .rec("VCL_call", "DELIVER")
        .rec("Timestamp", "Resp: 1700000000.373456 0.250000 0.249456");
    let known = Known {
        method: Some(b"GET".to_vec()),
        url: Some(b"/flushed?q".to_vec()),
        received: vec![b"Host: h.example".to_vec(), b"User-Agent: as received".to_vec()],
        response: vec![b"Content-Type: text/html".to_vec()],
        status: Some(206),
        handling: Some(Handling::Miss),
        times: Some((1_700_000_000.123_456_7, 1_700_000_000.4, 1_700_000_000.2)),
        ..Known::default()
    };
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let format = "%h %t %r %s %{User-Agent}i %{X}i %{Content-Type}o %{Varnish:handling}x \
                  %{Varnish:hitmiss}x %D %{Varnish:time_firstbyte}x %{remote}p";
    let (line, rendered) = full(format, &apache(), &task);
    assert_eq!(
        String::from_utf8_lossy(&line),
        "192.0.2.7 [14/Nov/2023:22:13:20 +0000] GET /flushed?q HTTP/1.1 206 as received - \
         text/html miss miss 250000 0.076543 51234"
    );
    assert!(!rendered.incomplete);
}

#[test]
fn a_header_that_varnish_added_is_found_where_varnish_put_it() {
    let log = Log::new().rec("VCL_call", "DELIVER");
    for via in ["1.1 edge (Varnish/7.7)", "1.1 edge (Vinyl-Cache/9.0)"] {
        let known = Known {
            received: vec![b"Host: h.example".to_vec(), b"X: 1".to_vec()],
            request: vec![format!("via: {via}").into_bytes(), b"X: 2".to_vec(), b"Y: 2".to_vec()],
            ..Known::default()
        };
        let task = Task { structs: &known, ..task(&log, Side::Client) };
        let (line, rendered) = full("%{Via}i %{X}i %{Y}i", &apache(), &task);
        assert_eq!(String::from_utf8_lossy(&line), format!("{via} 1 -"));
        assert!(!rendered.incomplete);
    }
    // Whatever VCL has made of it since.
    let request = vec![b"X-Forwarded-For: of VCL".to_vec(), b"Via: of VCL".to_vec()];
    let known = Known { received: vec![b"Host: h.example".to_vec()], request, ..Known::default() };
    let task = Task { structs: &known, ..task(&log, Side::Client) };
    let (line, rendered) = full("%{X-Forwarded-For}i", &apache(), &task);
    assert_eq!(line, b"192.0.2.7");
    assert!(!rendered.incomplete);
    let (line, rendered) = full("%{Via}i", &apache(), &task);
    assert_eq!(line, b"-");
    assert!(rendered.incomplete, "VCL may have replaced it");
}

#[test]
fn of_a_restarted_request_only_what_vcl_left_alone_is_known() {
    // varnishncsa prints what the request was when it was restarted.
    let log = Log::new().rec("VCL_call", "DELIVER");
    let known = Known {
        url: Some(b"/p".to_vec()),
        received: vec![b"Host: h.example".to_vec(), b"X: 1".to_vec(), b"Y: 1".to_vec()],
        request: vec![b"Host: h.example".to_vec(), b"X: 2".to_vec(), b"Z: 2".to_vec()],
        ..Known::default()
    };
    let task = Task { structs: &known, restarts: 1, ..task(&log, Side::Client) };
    let (line, rendered) = full("%U %{Host}i", &apache(), &task);
    assert_eq!(line, b"/p h.example");
    assert!(!rendered.incomplete);
    for name in ["X", "Y", "Z"] {
        let (line, rendered) = full(&format!("%{{{name}}}i"), &apache(), &task);
        assert_eq!((line.as_slice(), rendered.incomplete), (b"-".as_slice(), true), "{name}");
    }
}

#[test]
fn a_restarted_request_has_no_url_of_vcls_because_another_value_was_cut() {
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("Timestamp", "Start: 1700000000.123456 0.000000 0.000000")
        .rec("ReqHeader", long_agent(400))
        .rec("VCL_call", "RECV");
    let mask = |number| number == tag_number("ReqURL");
    let known = Known {
        url: Some(b"/received".to_vec()),
        url_of_vcl: Some(b"/of/vcl".to_vec()),
        received: vec![long_agent(400)],
        ..Known::default()
    };
    let task = Task { structs: &known, mask: &mask, restarts: 1, ..task(&log, Side::Client) };
    let (line, rendered) = full("%U %{User-Agent}i", &apache(), &task);
    assert_eq!(String::from_utf8_lossy(&line), format!("- {}", "u".repeat(400)));
    assert!(rendered.incomplete);
}

#[test]
fn a_request_line_without_a_host_lacks_nothing_where_vcl_changed_the_host() {
    let log = Log::new().rec("VCL_call", "DELIVER");
    let known = Known {
        method: Some(b"GET".to_vec()),
        url: Some(b"/p".to_vec()),
        received: vec![b"Host: h.example".to_vec()],
        request: vec![b"Host: of.vcl".to_vec()],
        ..Known::default()
    };
    let task = Task { structs: &known, restarts: 1, ..task(&log, Side::Client) };
    let (line, rendered) = full("%r", &apache(), &task);
    assert_eq!((line.as_slice(), rendered.incomplete), (b"GET /p HTTP/1.1".as_slice(), false));
    assert!(full("%r", &Options { heal: true, ..csa() }, &task).1.incomplete, "it has the host");
}

#[test]
fn a_response_that_the_log_still_has_is_not_mixed_with_what_vcl_made_of_it() {
    let known =
        Known { response: vec![b"X: of VCL".to_vec(), b"Y: 1".to_vec()], ..Known::default() };
    let answered = Log::new()
        .rec("BerespStatus", "200")
        .rec("BerespHeader", "Y: 1")
        .rec("VCL_call", "BACKEND_RESPONSE")
        .rec("BerespHeader", "X: of VCL");
    let backend = Task { structs: &known, ..task(&answered, Side::Backend) };
    assert_eq!(full("%{X}o %{Y}o", &apache(), &backend).0, b"- 1");
    let lost = Log::new().rec("RespStatus", "201").rec("VCL_return", "deliver");
    let client = Task { structs: &known, ..task(&lost, Side::Client) };
    assert_eq!(full("%{Y}o", &apache(), &client).0, b"1", "VCL set the status, headers are lost");
}

#[test]
fn a_line_that_nobody_can_complete_is_counted() {
    let log = Log::new().rec("VCL_call", "DELIVER");
    let task = task(&log, Side::Client);
    for format in ["%m", "%s", "%t", "%{X}i", "%{X}o", "%{VCL_Log:k}x", "%{Varnish:handling}x"] {
        let (_, rendered) = full(format, &apache(), &task);
        assert!(rendered.incomplete, "{format}");
    }
}

#[test]
fn a_whole_log_leaves_nothing_to_count() {
    let log = client();
    let task = task(&log, Side::Client);
    let (_, rendered) = full("%m %s %t %{X}i %{X}o %{VCL_Log:k}x %{VSL:Gzip}x", &apache(), &task);
    assert!(!rendered.incomplete);
}

#[test]
fn a_masked_tag_is_answered_by_the_structs() {
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("Timestamp", "Start: 1700000000.123456 0.000000 0.000000")
        .rec("VCL_call", "RECV");
    let mask = |number| number == tag_number("ReqHeader");
    let known = Known { received: vec![b"X: here".to_vec()], ..Known::default() };
    let task = Task { structs: &known, mask: &mask, ..task(&log, Side::Client) };
    assert_eq!(full("%{X}i", &apache(), &task).0, b"here");
    assert_eq!(full("%{X}i", &Options { heal: false, ..apache() }, &task).0, b"-");
    assert_eq!(full("%m", &apache(), &task).0, b"-", "a tag that is not masked was not logged");
}

#[test]
fn without_vcl_call_a_request_is_as_the_structs_received_it() {
    // Nothing in the log tells that X is VCL's.
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("Timestamp", "Start: 1700000000.123456 0.000000 0.000000")
        .rec("ReqMethod", "GET")
        .rec("ReqHeader", "Y: received")
        .rec("ReqMethod", "POST")
        .rec("ReqHeader", "X: of VCL");
    let mask = |number| number == tag_number("VCL_call");
    let received = vec![b"Y: received".to_vec()];
    let known = Known { method: Some(b"GET".to_vec()), received, ..Known::default() };
    let task = Task { structs: &known, mask: &mask, ..task(&log, Side::Client) };
    let (line, rendered) = full("%m %{X}i %{Y}i", &apache(), &task);
    assert_eq!(String::from_utf8_lossy(&line), "GET - received");
    assert!(!rendered.incomplete);
}

#[test]
fn without_begin_a_log_that_starts_with_the_start_is_whole() {
    let log = Log::new()
        .rec("Timestamp", "Start: 1700000000.123456 0.000000 0.000000")
        .rec("ReqMethod", "GET")
        .rec("VCL_call", "RECV")
        .rec("VCL_Log", "k: first");
    let task = Task { structs: &NoStructs, ..task(&log, Side::Client) };
    let (line, rendered) = full("%{VCL_Log:k}x", &apache(), &task);
    assert_eq!((line.as_slice(), rendered.incomplete), (b"".as_slice(), true), "it is flushed");
    let mask = |number| number == tag_number("Begin");
    let task = Task { mask: &mask, ..task };
    let (line, rendered) = full("%m %{VCL_Log:k}x", &apache(), &task);
    assert_eq!(String::from_utf8_lossy(&line), "GET first");
    assert!(!rendered.incomplete);
}

#[test]
fn a_cookie_is_that_of_the_header_as_sent_or_received() {
    let fetch = |records: &[(&str, &str)]| {
        let begin = [("Begin", "bereq 2 fetch"), ("BereqHeader", "Cookie: sid=abc")];
        let log =
            begin.iter().chain(records).fold(Log::new(), |log, (tag, text)| log.rec(tag, text));
        log.rec("VCL_call", "BACKEND_RESPONSE")
    };
    let print = |log: &Log, side, restarts, received: &[&str], request: &[&str]| {
        let lines = |of: &[&str]| of.iter().map(|line| line.as_bytes().to_vec()).collect();
        let known =
            Known { received: lines(received), request: lines(request), ..Known::default() };
        let task = Task { structs: &known, restarts, ..task(log, side) };
        let (line, rendered) = full("%{sid}C", &apache(), &task);
        assert!(!rendered.incomplete);
        String::from_utf8(line).unwrap()
    };
    let (sent, dark, late) = (["Cookie: sid=abc"], ["Cookie: theme=dark"], ["Cookie: sid=late"]);

    // Of a fetch.
    let unset = ("BereqUnset", "Cookie: sid=abc");
    assert_eq!(print(&fetch(&[]), Side::Backend, 0, &sent, &sent), "abc");
    assert_eq!(print(&fetch(&[unset]), Side::Backend, 0, &sent, &["Host: h"]), "-");
    assert_eq!(print(&fetch(&[unset]), Side::Backend, 0, &sent, &late), "-");
    let other = fetch(&[unset, ("BereqHeader", "Cookie: theme=dark")]);
    assert_eq!(print(&other, Side::Backend, 0, &sent, &dark), "-");
    // VCL has set it again when the answer was there.
    assert_eq!(print(&other, Side::Backend, 0, &sent, &late), "-");
    let both = ["Cookie: theme=dark", "Cookie: sid=abc"];
    assert_eq!(print(&other, Side::Backend, 0, &sent, &both), "abc");

    // Of a client's request, and of one that VCL has changed and restarted.
    let request = |headers: &[&str]| {
        let log = Log::new().rec("Begin", "req 1 rxreq");
        let log = headers.iter().fold(log, |log, text| log.rec("ReqHeader", text));
        log.rec("VCL_call", "RECV")
    };
    assert_eq!(print(&request(&dark), Side::Client, 0, &both, &dark), "abc");
    assert_eq!(print(&request(&["Host: h"]), Side::Client, 1, &sent, &["Host: h"]), "-");
    assert_eq!(print(&request(&["Host: h"]), Side::Client, 1, &sent, &late), "-");
    assert_eq!(print(&request(&dark), Side::Client, 1, &sent, &dark), "-");
    assert_eq!(print(&request(&dark), Side::Client, 1, &sent, &late), "-");
    assert_eq!(print(&request(&dark), Side::Client, 1, &sent, &both), "abc");
}

#[test]
fn the_status_is_that_of_what_was_delivered_whatever_the_log_has_behind_it() {
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("VCL_call", "SYNTH")
        .rec("RespStatus", "413")
        .rec("RespStatus", "100");
    let known = Known { status: Some(413), ..Known::default() };
    let sent = Task { structs: &known, ..task(&log, Side::Client) };
    for format in ["%s", "%s %{Server}o"] {
        let (line, rendered) = full(format, &apache(), &sent);
        assert!(line.starts_with(b"413"), "{}", String::from_utf8_lossy(&line));
        assert_eq!(rendered.status, Some(413));
    }
    // Where only the log tells.
    let (line, rendered) = full("%s", &apache(), &task(&log, Side::Client));
    assert_eq!((line.as_slice(), rendered.status), (&b"100"[..], Some(100)));
}

#[test]
fn the_reason_goes_with_the_status_that_is_printed() {
    let log = Log::new()
        .rec("Begin", "req 1 rxreq")
        .rec("RespStatus", "200")
        .rec("RespReason", "OK")
        .rec("VCL_call", "DELIVER")
        .rec("RespStatus", "304")
        .rec("RespReason", "Not Modified")
        .rec("RespStatus", "100")
        .rec("RespReason", "Continue");
    let reason = |known: &Known, mask: &dyn Fn(u8) -> bool| {
        let task = Task { structs: known, mask, ..task(&log, Side::Client) };
        let (line, rendered) = full("%{s3log:reason}x", &apache(), &task);
        (String::from_utf8(line).unwrap(), rendered.incomplete)
    };
    let sent =
        Known { status: Some(304), reason: Some(b"Not Modified".to_vec()), ..Known::default() };
    assert_eq!(reason(&sent, &unmasked), ("Not Modified".to_owned(), false));
    // A status without a response, of which nobody keeps the reason: the log's is that of another answer.
    let minimal = Known { status: Some(500), ..Known::default() };
    assert_eq!(reason(&minimal, &unmasked), ("-".to_owned(), true));
    // Where only the log tells.
    assert_eq!(reason(&Known::default(), &unmasked), ("Continue".to_owned(), false));
    let hidden = tags().find("RespReason").unwrap().number;
    let empty = Log::new().rec("Begin", "req 1 rxreq").rec("RespStatus", "200");
    let mask = move |tag| tag == hidden;
    let masked = Task { mask: &mask, ..task(&empty, Side::Client) };
    assert!(full("%{s3log:reason}x", &apache(), &masked).1.incomplete);
    let task = task(&empty, Side::Client);
    assert!(!full("%{s3log:reason}x", &apache(), &task).1.incomplete);
}
