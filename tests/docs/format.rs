//! What the pages about other programs' formats show is what `s3log format` prints.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The commands of a page that are `s3log format`, each with what stands below it.
fn shown(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page));
    let text = text.unwrap();
    let mut found = Vec::new();
    for block in text.split("\n    $ ").skip(1).filter(|block| block.contains("s3log format")) {
        let mut lines = block.lines();
        let mut command = lines.next().unwrap().to_owned();
        while command.ends_with('\\') {
            command.pop();
            command.push_str(lines.next().unwrap().trim_start());
        }
        // An empty line is of the output, too, if what follows it is.
        let output: Vec<&str> =
            lines.take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
        let output: Vec<_> =
            output.iter().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
        found.push((command, output.join("\n").trim_end().to_owned()));
    }
    found
}

#[test]
fn each_example_of_a_converted_format_is_what_is_printed() {
    for page in ["from-varnishncsa.md", "from-fastly.md"] {
        let examples = shown(page);
        assert!(!examples.is_empty(), "{page}");
        for (command, expected) in examples {
            let program = Path::new(env!("CARGO_BIN_EXE_s3log")).parent().unwrap();
            let output = Command::new("sh")
                .args(["-c", &command])
                .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
                .env("TZ", "UTC")
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(printed.trim_end(), expected, "{page}: {command}: {said}");
        }
    }
}
