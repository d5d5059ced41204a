#!/usr/bin/env python3
"""The rows of the matrix of Varnish versions, made of what packaging/compat.sh has left.

    packaging/matrix.py [--write] FOLDER...

Each folder is one cell's. It has `what` (three lines: the Varnish, where it is from, how it is tested), suite.log,
and oracle.log, chaos.log and memory.log of the proofs that ran; or `stopped`, with the reason why nothing ran.
Prints one row of Markdown for each. `--write` puts the rows into docs/versions.md, between its two markers: in place
of those of the same Varnish from the same place, tested alike; all sorted by version. The other rows stay as they are. Exits
with 1 if anything failed, did not end or gave no figures, after it has printed or written that, too.
"""

import argparse
import datetime
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs/versions.md"
BEGIN, END = "<!-- rows of make compat -->\n", "<!-- end of the rows -->\n"
HEAD = "| Varnish | from | tested with | suite | lines as varnishncsa's | chaos | memory | when |\n" + "|---" * 8 + "|\n"


def suite(text):
    """What the output of tests/vtc.rs says, and whether that is a success."""
    found = re.search(r"^test result: (\w+)\. (\d+) passed; (\d+) failed; (\d+) ignored", text, re.M)
    if not found:
        return "did not end", False
    passed, failed, ignored = map(int, found.groups()[1:])
    late = len(re.findall(r"^#\s+top\s+TEST .* TIMED OUT", text, re.M))
    said = f"{passed} of {passed + failed}"
    said += (f", {late} timed out" if late else "") + (f", {ignored} not for it" if ignored else "")
    return said, found[1] == "ok" and passed > 0


# What an output gives as figures; None where it has none, because the proof words them otherwise now.
def oracle(text):
    pairs = re.findall(r"(\d+) lines compared, (\d+) differ", text)
    lines, differing = (sum(int(pair[n]) for pair in pairs) for n in (0, 1))
    return f"{lines - differing:,} of {lines:,}" if pairs else None


def chaos(text):
    kills = re.search(r"^chaos: \{.* (\d+ kills?)$", text, re.M)
    answers = re.search(r"^chaos: answered (\d+)", text, re.M)
    return f"{kills[1]}, {int(answers[1]):,} answers" if kills and answers else None


def memory(text):
    found = re.findall(r"^memory: guard: \w+: (\d+) lines", text, re.M)
    return f"{sum(map(int, found)):,} lines" if found else None


FIGURES = {"oracle": oracle, "chaos": chaos, "memory": memory}


def proof(name, path):
    """What a proof's output says, and whether that is no failure; nothing where it did not run."""
    if not path.exists():
        return "", True
    text = path.read_text(errors="replace")
    verdicts = re.findall(rf"^{name}: (ok|FAILED|SKIPPED)\b", text, re.M)
    if not verdicts:
        return "did not end", False
    if verdicts[-1] == "SKIPPED":
        return "skipped", True
    if verdicts[-1] == "ok":
        figures = FIGURES[name](text)
        return figures or "ok without figures", figures is not None
    return "FAILED", False


def row(folder):
    """A cell's row, and whether everything in it is as it should be."""
    what = (folder / "what").read_text().splitlines()
    stopped = folder / "stopped"
    log = folder / "suite.log"
    if stopped.exists():
        results = [(stopped.read_text().strip(), False)]
    else:
        results = [suite(log.read_text(errors="replace") if log.exists() else "")]
    results += [proof(name, folder / f"{name}.log") for name in FIGURES]
    # The day on which it began, which is not always that of this command.
    day = datetime.datetime.fromtimestamp((folder / "what").stat().st_mtime, datetime.UTC).date()
    cells = [*what, *(f"**{said}**" if not good else said for said, good in results), str(day)]
    return "| " + " | ".join(cells) + " |\n", all(good for _, good in results)


def known_by(line):
    """What a row is known by: the Varnish, where it is from but for the details, how it is tested."""
    varnish, origin, how = line.split(" | ")[:3]
    return varnish, origin.split(",")[0], how


def version_of(line):
    found = re.search(r"\d+(\.\d+)+", line)
    return [int(part) for part in found[0].split(".")] if found else []


def write(rows):
    text = PAGE.read_text()
    before, rest = text.split(BEGIN + HEAD)
    kept, after = rest.split(END)
    new = {known_by(line) for line in rows}
    lines = [line for line in kept.splitlines(keepends=True) if known_by(line) not in new] + rows
    lines.sort(key=version_of, reverse=True)
    PAGE.write_text(before + BEGIN + HEAD + "".join(lines) + END + after)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into docs/versions.md")
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    found = [row(folder) for folder in options.folders]
    rows = [line for line, _ in found]
    sys.stdout.write(HEAD + "".join(rows))
    for folder, (_, good) in zip(options.folders, found, strict=True):
        if not good:
            print(f"see {folder}/")
    if options.write:
        write(rows)
    return 0 if all(good for _, good in found) else 1


if __name__ == "__main__":
    sys.exit(main())
