#!/usr/bin/env python3
"""Draws the path of a line, VCL to bucket: path.svg for the README, files.svg for docs/design.md.

    docs/figures/path.py          writes both beside this file
    docs/figures/path.py --check  fails if one is not what is drawn now

Text is text, and the colours follow the reader's light or dark theme.
"""

import html
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Folder, where it runs, what it does in few lines, the files that matter most.
WORKER, SHARED, THREADS, AWAY = "worker", "shared", "threads", "away"
PATH = [
    ("src/vmod/", WORKER, ["access.log()", "when the request", "has ended"],
     ["mod.rs", "task.rs", "structs.rs", "counters.rs"]),
    ("src/record/", WORKER, ["the request's log", "becomes one line", "in your format"],
     ["program.rs", "walk.rs", "heal.rs", "render.rs"]),
    ("src/ring/", SHARED, ["lock-free, in a file", "that outlives the", "process"],
     ["producer.rs", "reader.rs", "recover.rs", "layout.rs"]),
    ("src/block/", THREADS, ["gzip, zstd, snappy;", "chained by hashes", "of their content"],
     ["encoder.rs", "meta.rs", "key.rs", "digest.rs"]),
    ("src/spool/", THREADS, ["sealed blocks on", "disk, until the", "bucket has them"],
     ["writer.rs", "store.rs", "seal.rs", "recovery/mod.rs"]),
    ("src/s3/", THREADS, ["signed PUT, tried", "until the gateway", "has stored it"],
     ["client.rs", "sign.rs", "outcome.rs", "retry.rs"]),
    ("your bucket", AWAY, ["files of lines that", "gzip, zstd and", "s3log read"], []),
]  # fmt: skip
BANDS = [
    ("Varnish's worker, one request", 0, 1, "no lock, no system call"),
    ("survives a kill", 2, 2, ""),
    ("the module's own threads: src/pipeline/", 3, 5, "src/seal/ encrypts and signs blocks"),
    ("S3", 6, 6, ""),
]

WIDTH, GAP, LEFT, TOP = 134, 20, 12, 34
STYLE = """
  svg { font-family: ui-sans-serif, system-ui, sans-serif; font-size: 12px; }
  text { fill: #24292f; } .quiet { fill: #57606a; font-size: 11px; }
  .mono { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 11px; }
  .name { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px; font-weight: 600; }
  rect { stroke-width: 1.2; } path { stroke: #57606a; stroke-width: 1.4; fill: none; }
  .worker { fill: #fff1e5; stroke: #bc4c00; } .shared { fill: #fff8c5; stroke: #9a6700; }
  .threads { fill: #ddf4ff; stroke: #0969da; } .away { fill: #dafbe1; stroke: #1a7f37; }
  .band { stroke: #afb8c1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .quiet { fill: #9198a1; } path { stroke: #9198a1; }
    .worker { fill: #3d1d08; stroke: #f0883e; } .shared { fill: #341a00; stroke: #d29922; }
    .threads { fill: #0c2d6b; stroke: #4493f8; } .away { fill: #04260f; stroke: #3fb950; }
    .band { stroke: #3d444d; }
  }
"""


def draw(with_files):
    files = max(len(names) for *_, names in PATH) if with_files else 0
    height = 84 + (10 + 16 * files if with_files else 0)
    width = 2 * LEFT + len(PATH) * WIDTH + (len(PATH) - 1) * GAP
    cli = TOP + height + 34
    bottom = cli + 44
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom}" '
        f'width="{width}" height="{bottom}" role="img">',
        "<title>The path of a log line from VCL to an S3 bucket</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L7,4 L0,8"/></marker></defs>',
    ]

    def text(x, y, words, kind="", path=""):
        if not words:
            return
        attributes = f' class="{kind}"' if kind else ""
        if path:
            attributes += f' data-path="{path}"'
        out.append(f'<text x="{x}" y="{y}"{attributes}>{html.escape(words)}</text>')

    def left(column):
        return LEFT + column * (WIDTH + GAP)

    for words, first, last, below in BANDS:
        x, end = left(first), left(last) + WIDTH
        out.append(f'<path class="band" d="M{x},24 H{end}"/>')
        for y, label in ((16, words), (TOP + height + 18, below)):
            named = [word for word in label.split() if word.startswith("src/")]
            text(x, y, label, "quiet", path="".join(named))
    for column, (name, kind, words, names) in enumerate(PATH):
        x = left(column)
        out.append(f'<rect class="{kind}" x="{x}" y="{TOP}" width="{WIDTH}" height="{height}" rx="6"/>')
        folder = name.startswith("src/")
        text(x + 10, TOP + 22, name, "name", path=name if folder else "")
        for row, line in enumerate(words):
            text(x + 10, TOP + 42 + 15 * row, line)
        for row, file in enumerate(names if with_files else []):
            text(x + 10, TOP + 96 + 16 * row, file, "mono", path=name + file)
        if column:
            out.append(f'<path marker-end="url(#tip)" d="M{x - GAP + 2},{TOP + 42} H{x - 3}"/>')
    # The other end: the command reads the bucket, and a node's spool.
    end, start = left(6) + WIDTH // 2, left(3)
    out.append(f'<rect class="away" x="{start}" y="{cli}" width="{left(5) + WIDTH - start}" height="34" rx="6"/>')
    text(start + 10, cli + 22, "src/cli/", "name", path="src/cli/")
    text(start + 84, cli + 22, "s3log ls, cat, tail, verify, drain, check, stats")
    out.append(f'<path marker-end="url(#tip)" d="M{end},{TOP + height + 2} V{cli + 17} H{left(5) + WIDTH + 3}"/>')
    out.append("</svg>\n")
    return "\n".join(out)


def main():
    stale = 0
    for name, with_files in (("path.svg", False), ("files.svg", True)):
        text, at = draw(with_files), HERE / name
        if "--check" not in sys.argv:
            at.write_text(text)
        elif not at.exists() or at.read_text() != text:
            print(f"docs/figures/{name} is stale: run docs/figures/path.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
