//! Any text is a format or an error of one line; a format renders one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmod_s3log::record::task::NoStructs;
use vmod_s3log::record::{Acct, Dialect, Escape, Options, Program, Side, TagTable, Task};

fuzz_target!(|input: (u8, &str)| {
    let (bits, format) = input;
    let options = Options {
        dialect: if bits & 1 == 0 { Dialect::Apache } else { Dialect::Varnishncsa },
        escape: match bits >> 1 & 7 {
            0 => Some(Escape::Clf),
            1 => Some(Escape::Json),
            2 => Some(Escape::Tsv),
            3 => Some(Escape::None),
            _ => None,
        },
        ..Options::default()
    };
    match Program::compile(format, &options, &TagTable::varnish_7()) {
        Err(error) => assert!(!error.to_string().contains(['\n', '\r'])),
        Ok(program) => {
            let task = Task {
                side: Side::Client,
                log: &[],
                overhead: 3,
                reclen: 255,
                mask: &[],
                vxid: 1,
                esi_level: 0,
                restarts: 0,
                acct: Some(Acct::default()),
                structs: &NoStructs,
            };
            let mut line = Vec::new();
            program.render(&task, &mut line);
            assert!(line.len() <= options.max_line);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(line.last(), Some(&b'\n'));
            if program.escape() == Escape::Json {
                serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
            }
        }
    }
});
