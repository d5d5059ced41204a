//! Lines in, the same lines out; and values as they were put in.

use std::io::{self, Read as _};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::layout::{Kind, Layout};
use super::read::{VALUES_MAX, plain};
use super::row::{Cell, Row};
use super::text::to_bytes;
use super::write::ColumnWriter;
use crate::record::task::{NoStructs, unmasked};
use crate::record::{
    Acct, Dialect, Escape, MessageType, Options, Program, Side, Structs, TagTable, Task, Zone,
};

/// What VCL has set.
struct Set<'v>(&'v [Vec<u8>]);

impl Structs for Set<'_> {
    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        let at: usize = std::str::from_utf8(key).ok()?.strip_prefix('v')?.parse().ok()?;
        self.0.get(at).map(Vec::as_slice)
    }
}

fn program(format: &str, options: &Options) -> Program {
    Program::compile(format, options, &TagTable::varnish_7())
        .unwrap_or_else(|error| panic!("{format}: {error}"))
}

/// The line of a request of which VCL has set these values, without its newline.
fn line(program: &Program, values: &[Vec<u8>]) -> Vec<u8> {
    line_of(program, 7, Some(Acct::default()), &Set(values))
}

/// The line of a request without a log, without its newline.
fn line_of(program: &Program, vxid: u64, acct: Option<Acct>, structs: &dyn Structs) -> Vec<u8> {
    let task = Task {
        side: Side::Client,
        log: &[],
        overhead: 3,
        reclen: 255,
        mask: &unmasked,
        vxid,
        esi_level: 0,
        restarts: 0,
        acct,
        structs,
    };
    let mut line = Vec::new();
    program.render(&task, &mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    line
}

fn layout(program: &Program) -> Layout {
    let layout = Layout::of(program).unwrap();
    // As a file has it.
    Layout::parse(layout.json()).unwrap()
}

/// The values of a line by the names of their columns, once it has been seen that they give the line.
fn taken_apart(layout: &Layout, line: &[u8]) -> Option<Vec<(String, Option<String>)>> {
    let (mut row, mut again) = (Row::default(), Vec::new());
    if !layout.parse_line(line, &mut row) {
        return None;
    }
    layout.render(&row, &mut again);
    (again == line).then(|| {
        let value = |cell: &Cell| match cell {
            Cell::Null => None,
            Cell::Int(number) => Some(number.to_string()),
            Cell::Real(number) => Some(number.to_string()),
            Cell::Text(range) => Some(String::from_utf8(row.bytes(range).to_vec()).unwrap()),
        };
        let names = layout.fields().map(|field| field.name.clone());
        names.zip(row.cells.iter().map(value)).collect()
    })
}

/// Every specifier of docs/formats.md but those that are always the same.
const ALL: &str = "%a %A %b %B %{sid}C %D %f %H %{User-Agent}i %{X-Twice:first}i %{X-Twice:last}i %I %m \
    %{Content-Type}o %O %p %{remote}p %q %r %s %t %{%Y-%m-%dT%T}t %{end:%F}t %{sec}t %{msec}t %{usec}t \
    %{msec_frac}t %{usec_frac}t %T %{ms}T %{us}T %u %v %X %{Varnish:time_firstbyte}x \
    %{Varnish:hitmiss}x %{Varnish:handling}x %{Varnish:side}x %{Varnish:vxid}x %{VCL_Log:tenant}x \
    %{VSL:Timestamp:Resp[2]}x %{VSL:ReqAcct[5]}x %{s3log:elapsed}x %{s3log:reason}x %{s3log:incomplete}x %{tenant}x";

#[test]
fn each_specifier_in_each_place_gives_a_line_that_is_taken_apart() {
    for dialect in [Dialect::Apache, Dialect::Varnishncsa] {
        for escape in [Escape::Clf, Escape::Json, Escape::Tsv, Escape::None] {
            for side in [Side::Client, Side::Backend] {
                let options = Options {
                    dialect,
                    escape: Some(escape),
                    zone: Some(Zone::Utc),
                    ..Options::default()
                };
                for specifier in ALL.split_whitespace() {
                    let formats = match escape {
                        Escape::Json => vec![
                            format!("{{\"a\":{specifier}}}"),
                            format!("{{\"a\":\"{specifier}\",\"b\":[1,{specifier}]}}"),
                            format!("{{\"a\":\"x{specifier}y\"}}"),
                        ],
                        _ => vec![
                            specifier.to_owned(),
                            format!("x {specifier} \"{specifier}\" y"),
                            format!("{specifier}{specifier}\t{specifier}"),
                        ],
                    };
                    for format in formats {
                        let program = program(&format, &options);
                        let layout = layout(&program);
                        let mut line = program.example(side, &[("tenant", "green")]);
                        line.pop();
                        let values = taken_apart(&layout, &line);
                        assert!(values.is_some(), "{format}: {}", String::from_utf8_lossy(&line));
                    }
                }
            }
        }
    }
}

#[test]
fn a_value_that_varnishncsa_does_not_have_is_taken_apart() {
    let options = Options {
        dialect: Dialect::Varnishncsa,
        escape: Some(Escape::Json),
        zone: Some(Zone::Utc),
        ..Options::default()
    };
    for specifier in ALL.split_whitespace() {
        for format in [format!("{{\"a\":{specifier}}}"), format!("{{\"a\":\"{specifier}\"}}")] {
            let program = program(&format, &options);
            let line = line_of(&program, 1, None, &NoStructs);
            let values = taken_apart(&layout(&program), &line);
            assert!(values.is_some(), "{format}: {}", String::from_utf8_lossy(&line));
        }
    }
}

#[test]
fn the_combined_format_and_the_json_of_vcl_give_typed_values() {
    let value = |format: &str, name: &str| {
        let program = program(format, &Options::default());
        let mut line = program.example(Side::Client, &[]);
        line.pop();
        let values = taken_apart(&layout(&program), &line).unwrap();
        values.into_iter().find(|(known, _)| known == name).unwrap().1
    };
    let combined = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
    let json = include_str!("../../../vcl/json.vcl");
    let json = json.split_once("format = {\"").unwrap().1.split_once("\"})").unwrap().0;
    for (format, name, wanted) in [
        (combined, "time", "1700000000000000"),
        (combined, "client_ip", "192.0.2.7"),
        (combined, "status", "304"),
        (combined, "body_bytes", "4000"),
        (combined, "req_user_agent", "curl/8.0 \"quoted\""),
        (combined, "request", "GET /path/x?a=1&b=2 HTTP/1.1"),
        (json, "time", "1700000000123456"),
        (json, "status", "304"),
        (json, "bytes_in", "120"),
        (json, "first_byte_s", "0.000544"),
        (json, "user_agent", "curl/8.0 \"quoted\""),
        (json, "handling", "hit"),
    ] {
        assert_eq!(value(format, name).as_deref(), Some(wanted), "{name}");
    }
    assert_eq!(value(combined, "user").as_deref(), Some("aladdin"));
    assert_eq!(value("\"%{None}i\" %s", "req_none"), None);
}

/// A format with values in each kind of place, and whether a value comes back when it is `-`.
fn formats() -> [(Escape, &'static str); 5] {
    [
        (Escape::Clf, "\"%{v0}x\" \"%{v1}x\""),
        (Escape::Tsv, "%{v0}x\t%{v1}x"),
        (Escape::Json, "{\"a\":\"%{v0}x\",\"b\":\"%{v1}x\"}"),
        (Escape::Json, "{\"a\":%{v0}x,\"b\":[%{v1}x]}"),
        (Escape::Json, "{\"a\":\"%{v0}x\",\"b\":%{v1}x,\"s\":%>s}"),
    ]
}

proptest! {
    #[test]
    fn values_of_any_bytes_come_back(
        values in vec(prop_oneof![
            vec(any::<u8>(), 0..40),
            "[ -~]{0,20}".prop_map(String::into_bytes),
            "\\PC{0,20}".prop_map(String::into_bytes),
            prop_oneof![Just("null"), Just("-"), Just(""), Just("12"), Just("\u{ef80}"), Just("0.50")]
                .prop_map(|text| text.as_bytes().to_vec()),
        ], 2)
    ) {
        for (escape, format) in formats() {
            let options = Options { escape: Some(escape), ..Options::default() };
            let program = program(format, &options);
            let line = line(&program, &values);
            let layout = layout(&program);
            let read = taken_apart(&layout, &line);
            prop_assert!(read.is_some(), "{}", String::from_utf8_lossy(&line));
            for ((_, text), value) in read.unwrap_or_default().iter().zip(&values) {
                let mut bytes = Vec::new();
                match text {
                    Some(text) => to_bytes(text.as_bytes(), &mut bytes),
                    None if value == b"null" => bytes.extend_from_slice(b"null"),
                    None => bytes.push(b'-'),
                }
                prop_assert_eq!(&bytes, value);
            }
        }
    }

    #[test]
    fn a_line_of_any_bytes_is_written_again_or_is_not_taken_apart(
        line in vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b' '), Just(b'-')], 0..60)
    ) {
        for (escape, format) in formats() {
            let options = Options { escape: Some(escape), ..Options::default() };
            let layout = layout(&program(format, &options));
            let (mut row, mut again) = (Row::default(), Vec::new());
            if layout.parse_line(&line, &mut row) {
                layout.render(&row, &mut again);
            }
        }
    }
}

#[test]
fn local_time_is_text_that_tells_the_moment() {
    let options =
        Options { dialect: Dialect::Varnishncsa, zone: Some(Zone::Local), ..Options::default() };
    for format in ["%t %s", "{\"t\":\"%t\",\"s\":%s}"] {
        let program = program(format, &options);
        let mut line = program.example(Side::Client, &[]);
        line.pop();
        let layout = layout(&program);
        let mut row = Row::default();
        assert!(layout.parse_line(&line, &mut row) && taken_apart(&layout, &line).is_some());
        assert!(matches!(layout.fields().next().unwrap().kind, Kind::Text));
        assert_eq!(layout.moment(&row), Some(1_700_000_000_000_000));
    }
}

#[test]
fn the_prefix_of_a_message_type_is_a_column() {
    for message in [MessageType::Classic, MessageType::Loggly, MessageType::Logplex] {
        let options = Options {
            message,
            hostname: "edge-1".into(),
            tag: "access".into(),
            pid: 42,
            ..Options::default()
        };
        let program = program("%s %{tenant}x", &options);
        let mut line = program.example(Side::Client, &[("tenant", "green")]);
        line.pop();
        let values = taken_apart(&layout(&program), &line).unwrap();
        let prefix = values[0].1.as_ref().unwrap();
        assert!(values[0].0 == "syslog" && prefix.contains("edge-1 access"), "{values:?}");
        assert_eq!(values[2], ("tenant".to_owned(), Some("green".to_owned())));
    }
}

/// Blocks of lines as a file with row groups of about `most` bytes; the bytes, and how many lines are raw.
fn file(layout: Layout, blocks: &[Vec<u8>], most: usize) -> (Vec<u8>, u64) {
    let mut writer = ColumnWriter::new(Vec::new(), &Arc::new(layout), 3).unwrap();
    writer.most = most;
    for (number, block) in blocks.iter().enumerate() {
        writer.start(&format!("edge-{number}"), 1_700_000_000_000_000_000);
        // Pieces end anywhere.
        block.chunks(37).for_each(|piece| writer.add(piece).unwrap());
        writer.end().unwrap();
    }
    writer.finish().unwrap()
}

/// The lines of a file.
fn lines(file: &[u8]) -> io::Result<Vec<u8>> {
    Ok(lines_of(file, None)?.0)
}

/// The lines of some blocks of a file, and how often something was fetched for them.
fn lines_of(file: &[u8], blocks: Option<Vec<u32>>) -> io::Result<(Vec<u8>, usize)> {
    let mut fetched = 0;
    let fetch = |from: u64, length: u64| {
        fetched += 1;
        let piece = file.get(from as usize..(from + length) as usize);
        piece.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    let mut lines = Vec::new();
    super::lines(file.len() as u64, Box::new(fetch), blocks)?.read_to_end(&mut lines)?;
    Ok((lines, fetched))
}

/// Blocks whose times go back and forth, with lines of no format among them.
fn blocks(layout: &Layout) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut block = |lines: usize| -> Vec<u8> {
        let mut text = Vec::new();
        for number in 0..lines {
            let time = 1_700_000_000 + random.i64(0..50);
            let line = match random.u8(..20) {
                0 => "not of the format\\".to_owned(),
                1 => String::new(),
                2 => format!("{{\"t\":{time},\"status\":007,\"a\":\"x\",\"b\":null}}"),
                3 => format!("{{\"t\":{time},\"status\":null,\"a\":\"\\uef80\",\"b\":\"\"}}"),
                _ => format!("{{\"t\":{time},\"status\":200,\"a\":\"/{number}\",\"b\":{number}}}"),
            };
            text.extend_from_slice(line.as_bytes());
            if random.u8(..20) == 0 {
                text.extend_from_slice(b"\xff\xee\x80");
            }
            text.push(b'\n');
        }
        text
    };
    assert!(matches!(layout.fields().next().map(|field| &field.kind), Some(Kind::Epoch(1))));
    [1, 50, 400, 0, 30, 3].map(&mut block).to_vec()
}

fn json() -> Layout {
    let format = "{\"t\":%{sec}t,\"status\":%>s,\"a\":\"%U\",\"b\":%{b}x}";
    layout(&program(format, &Options::default()))
}

#[test]
fn the_lines_of_a_file_are_those_that_were_written_block_by_block() {
    let blocks = blocks(&json());
    let all = blocks.concat();
    for most in [1, 2_000, 20_000, 1 << 20] {
        let (bytes, unparsed) = file(json(), &blocks, most);
        assert_eq!(lines(&bytes).unwrap(), all, "{most}");
        let known = |line: &&[u8]| taken_apart(&json(), line).is_some();
        let raw = all.split(|byte| *byte == b'\n').filter(|line| !known(line)).count() as u64 - 1;
        assert_eq!(unparsed, raw);
        assert!(unparsed > 20 && unparsed < 200, "{unparsed}");
    }
    let (bytes, _) = file(json(), &[], 1);
    assert_eq!(lines(&bytes).unwrap(), b"");
}

#[test]
fn of_some_blocks_only_the_row_groups_that_have_lines_of_them_are_fetched() {
    let blocks = blocks(&json());
    // Row groups of a line each.
    let (bytes, _) = file(json(), &blocks, 1);
    let (_, end) = lines_of(&bytes, Some(Vec::new())).unwrap();
    let count = |block: &Vec<u8>| block.iter().filter(|byte| **byte == b'\n').count();
    for asked in [&[0][..], &[3], &[1, 4], &[5, 0], &[2], &[], &[0, 1, 2, 3, 4, 5], &[6, u32::MAX]]
    {
        let (lines, fetched) = lines_of(&bytes, Some(asked.to_vec())).unwrap();
        let mut places: Vec<usize> = asked.iter().map(|place| *place as usize).collect();
        places.sort_unstable();
        let wanted: Vec<&Vec<u8>> = places.iter().filter_map(|place| blocks.get(*place)).collect();
        let text: Vec<u8> = wanted.iter().flat_map(|block| block.iter().copied()).collect();
        assert_eq!(lines, text, "{asked:?}");
        let groups = wanted.iter().map(|block| count(block)).sum::<usize>();
        assert_eq!(fetched, end + groups, "{asked:?}");
    }
    // A row group of all.
    let (bytes, _) = file(json(), &blocks, 1 << 20);
    let (lines, fetched) = lines_of(&bytes, Some(vec![1, 5])).unwrap();
    assert_eq!((lines, fetched), ([&*blocks[1], &blocks[5]].concat(), 2));
}

#[test]
fn a_file_that_is_changed_anywhere_gives_an_error_or_lines_and_never_a_panic() {
    let (bytes, _) = file(json(), &blocks(&json()), 8_000);
    let mut random = fastrand::Rng::with_seed(11);
    let mut errors = 0;
    for _ in 0..1_500 {
        let mut changed = bytes.clone();
        for _ in 0..random.usize(1..4) {
            let at = match random.bool() {
                true => random.usize(..changed.len()),
                // What the file says of itself is at its end.
                false => changed.len() - 1 - random.usize(..1_500),
            };
            changed[at] = random.u8(..);
        }
        errors += u32::from(lines(&changed).is_err());
    }
    assert!(errors > 200, "{errors}");
    for length in (0..bytes.len()).step_by(97) {
        assert!(lines(&bytes[..length]).is_err());
    }
}

#[test]
fn a_row_group_with_more_text_than_any_of_ours_is_refused_before_it_is_copied() {
    let line =
        [&b"{\"t\":1700000000,\"status\":200,\"a\":\""[..], &[b'x'; 500_000], b"\",\"b\":1}\n"];
    let line = line.concat();
    for (count, works) in [(20, true), (102, false)] {
        let block = line.repeat(count);
        // As a dictionary's one value: a file of some KB.
        let (bytes, unparsed) = file(json(), std::slice::from_ref(&block), usize::MAX);
        assert!(unparsed == 0 && bytes.len() < 20_000, "{unparsed} {}", bytes.len());
        let read = lines(&bytes);
        assert_eq!(read.as_ref().is_ok_and(|lines| *lines == block), works);
        if let Err(error) = read {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("more values than any that is written"), "{error}");
        }
    }
}

#[test]
fn a_page_that_says_that_it_is_larger_than_any_of_ours_is_refused_before_it_is_decompressed() {
    let line =
        [&b"{\"t\":1700000000,\"status\":200,\"a\":\""[..], &[b'x'; 60 << 20], b"\",\"b\":1}\n"];
    let (mut bytes, unparsed) = file(json(), &[line.concat()], usize::MAX);
    assert!(unparsed == 0 && bytes.len() < 50_000, "{unparsed} {}", bytes.len());
    // Nothing of what follows the frame's header, so that only who decompresses the page sees that it is damaged.
    let size = |at: usize| zstd::zstd_safe::get_frame_content_size(&bytes[at..]).ok().flatten();
    let large = |at: &usize| size(*at).is_some_and(|size| size > VALUES_MAX as u64);
    let starts: Vec<usize> = (0..bytes.len()).filter(large).collect();
    assert!(!starts.is_empty());
    for at in starts {
        let length = zstd::zstd_safe::find_frame_compressed_size(&bytes[at..]).unwrap();
        bytes[at + length / 2..at + length].fill(0xff);
    }
    let error = lines(&bytes).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("more values than any that is written"), "{error}");
}

#[test]
fn a_page_whose_frame_says_no_size_is_decompressed_up_to_the_largest_of_ours() {
    for (length, works) in [(1, true), (100_000, true), (VALUES_MAX, true), (VALUES_MAX + 1, false)]
    {
        let text = vec![b'x'; length];
        let mut frame = zstd::Encoder::new(Vec::new(), 1).unwrap();
        io::Write::write_all(&mut frame, &text).unwrap();
        let frame = frame.finish().unwrap();
        assert!(matches!(zstd::zstd_safe::get_frame_content_size(&frame), Ok(None)));
        let found = plain(&frame);
        assert_eq!(found.is_ok_and(|found| *found == text), works, "{length}");
    }
    assert!(plain(b"no frame").is_err() && plain(b"").is_err());
}

#[test]
fn a_file_is_full_before_it_says_too_much_of_itself() {
    let names = |n: usize| format!("\"a_rather_long_name_{n}\":\"%{{v{n}}}x\"");
    let format = format!("{{{}}}", (0..30).map(names).collect::<Vec<_>>().join(","));
    let long = program(&format, &Options::default());
    // Statistics keep 64 bytes of a value.
    let values: Vec<Vec<u8>> = (0..30).map(|n| vec![b'a' + n % 26; 200]).collect();
    let line = [line(&long, &values), b"\n".to_vec()].concat();
    for (layout, line) in [
        (layout(&long), line),
        (json(), b"{\"t\":1700000000,\"status\":200,\"a\":\"\",\"b\":1}\n".to_vec()),
    ] {
        let mut writer = ColumnWriter::new(Vec::new(), &Arc::new(layout), 3).unwrap();
        (writer.most, writer.most_footer) = (1, 400_000);
        writer.start("edge-1", 0);
        while !writer.is_full() {
            writer.add(&line).unwrap();
        }
        let (file, _) = writer.finish().unwrap();
        let [.., a, b, c, d, b'P', b'A', b'R', b'1'] = file[..] else { panic!("no footer") };
        let footer = u32::from_le_bytes([a, b, c, d]);
        assert!(footer < 400_000 && footer > 80_000, "{footer}");
        assert!(lines(&file).is_ok());
    }
}
