#!/usr/bin/env python3
"""Records `make demo` as a picture of a terminal: demo.svg. Needs a release build, and 20 s.

    docs/figures/demo.py

What the demo prints is shown as it is, but for lines that are cut at the picture's edge; each line
appears when it was printed, and the whole stays.
"""

import html
import os
import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COLUMNS, LINE, CHARACTER = 114, 17, 7.25
STYLE = """
  rect { fill: #0d1117; stroke: #3d444d; } circle { fill: #3d444d; }
  text { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12px; fill: #e6edf3;
         white-space: pre; }
  .typed { fill: #3fb950; } .sum { fill: #d29922; }
  @media (prefers-reduced-motion: no-preference) {
    text { opacity: 0; animation: appear 0.1s forwards; }
  }
  @keyframes appear { to { opacity: 1; } }
"""


def record():
    """What `make demo` runs once everything is built: its lines, with seconds since the start."""
    command = [ROOT / ".deps/venv/bin/python", "-m", "e2e", "demo"]
    begin = time.monotonic()
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    lines = [(time.monotonic() - begin, line.rstrip("\n")) for line in child.stdout]
    if child.wait() != 0:
        raise SystemExit(f"the demo fails: {lines}")
    return [(0.0, "$ make demo"), *lines]


def draw(lines):
    width, height = round(COLUMNS * CHARACTER) + 24, len(lines) * LINE + 48
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        "<title>make demo: requests through Varnish, and their lines in a bucket</title>",
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        *(f'<circle cx="{18 + 18 * n}" cy="16" r="5"/>' for n in range(3)),
    ]
    for row, (at, line) in enumerate(lines):
        kind = "typed" if line.startswith("$") else "sum" if line.startswith("sent ") else ""
        shown = line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…"
        attributes = f' class="{kind}"' if kind else ""
        out.append(
            f'<text xml:space="preserve" x="12" y="{44 + row * LINE}" style="animation-delay: {at:.2f}s"{attributes}>'
            f"{html.escape(shown)}</text>"
        )
    return "\n".join([*out, "</svg>\n"])


if __name__ == "__main__":
    (HERE / "demo.svg").write_text(draw(record()))
