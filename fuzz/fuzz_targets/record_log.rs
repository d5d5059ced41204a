//! Any bytes are a task's log: the walk ends, and the line is one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmod_s3log::record::task::NoStructs;
use vmod_s3log::record::{Dialect, Options, Program, Side, TagTable, Task, vsl::Records};

const FORMAT: &str = r#"{"r":"%r","h":%h,"s":%s,"t":"%t","u":"%u","d":%D,"f":"%{end:%c}t",
    "i":%{X}i,"j":"%{X:last}i","o":%{Y}o,"c":%{a}C,"I":%I,"b":%{Varnish:time_firstbyte}x,
    "k":"%{VCL_Log:k}x","v":"%{VSL:Timestamp:Resp[2]}x","w":%{VSL:Debug}x,
    "g":"%{Varnish:handling}x"}"#;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (bits, reclen, log) = input;
    let overhead = usize::from(bits >> 2 & 3);
    assert!(Records::new(log, overhead).count() <= log.len() / 4);
    let options = Options {
        dialect: if bits & 1 == 0 { Dialect::Apache } else { Dialect::Varnishncsa },
        heal: bits & 16 == 0,
        max_line: 1_000 + usize::from(reclen),
        ..Options::default()
    };
    let program = Program::compile(FORMAT, &options, &TagTable::varnish_7()).expect("a format");
    let task = Task {
        side: if bits & 2 == 0 { Side::Client } else { Side::Backend },
        log,
        overhead,
        reclen: usize::from(reclen),
        mask: &[],
        vxid: 1,
        esi_level: 0,
        restarts: 0,
        acct: None,
        structs: &NoStructs,
    };
    let mut line = Vec::new();
    program.render(&task, &mut line);
    assert!(line.len() <= options.max_line);
    serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
});
