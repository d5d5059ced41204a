"""`s3log top` in a terminal of a given size, by tmux, and what it shows as a picture: an SVG file."""

import calendar
import html
import pathlib
import re
import subprocess
import time

from e2e import rig

LINE, CHARACTER = 16, 7.23
# The sixteen colours of a terminal that this program uses.
COLOURS = {1: "#f85149", 2: "#3fb950", 3: "#d29922"}
TEXT = "#e6edf3"
# From an eighth of a cell's height to all of it.
PARTS = "▁▂▃▄▅▆▇█"
STYLE = """
  rect { fill: #0d1117; stroke: #3d444d; }
  text { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12px; fill: #e6edf3; white-space: pre; }
  .title { font-size: 13px; fill: #57606a; font-family: system-ui, sans-serif; } .dim { fill: #7d8590; } .bold { font-weight: 700; }
  .turned { fill: #0d1117; } .back { fill: #e6edf3; stroke: none; }
"""


class Terminal:
    """tmux with `s3log top` of a varnishd in it, on a socket of its own."""

    def __init__(self, place, varnish, columns, rows):
        self.columns, self.rows = columns, rows
        # For the signs of bars and charts, whatever the locale here is.
        self.env = place.env | {"LC_ALL": "C.UTF-8"}
        self.words = ["tmux", "-u", "-S", str(place.directory / f"tmux-{columns}"), "-f", "/dev/null"]
        command = [place.command, "top", "-n", varnish.workdir]
        self.run("new-session", "-d", "-x", str(columns), "-y", str(rows), " ".join(map(str, command)))
        place.stack.callback(self.run, "kill-server")

    def run(self, *words):
        done = subprocess.run(
            [*self.words, *words], env=self.env, stdout=subprocess.PIPE, encoding="utf-8", check=True
        )
        return done.stdout

    def screen(self, *marks):
        """The lines with their escape sequences, once one of them has all the marks. Nothing is being drawn then."""
        found = []

        def seen():
            before, found[:] = found[:], self.run("capture-pane", "-p", "-e", "-N").splitlines()
            return found == before and any(all(mark in plain(line) for mark in marks) for line in found)

        rig.wait_for(f"{' '.join(marks)} in a terminal", seen, step=0.2)
        return found


def plain(line):
    """A line without its escape sequences."""
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def moment(lines):
    """When `top` says that it is, in seconds since 1970; nothing where it does not."""
    found = re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", plain(lines[0]))
    return calendar.timegm(time.strptime(found[0], "%Y-%m-%dT%H:%M:%SZ")) if found else None


def runs(line, on):
    """[(text, what is on)] of a line with escape sequences: "bold", "dim", "turned" and a colour's number. `on` is
    what is on at its beginning, and is left as it is at its end."""
    names, found = {1: "bold", 2: "dim", 7: "turned"}, []
    for part in re.split(r"(\x1b\[[\d;]*m)", line):
        if not part.startswith("\x1b["):
            if part:
                found.append((part, dict(on)))
            continue
        codes = [int(code or 0) for code in part[2:-1].split(";")]
        while codes:
            code, *codes = codes
            if code == 0:
                on.clear()
            elif code in (22, 27, 39):
                for name in {22: ("bold", "dim"), 27: ("turned",), 39: ("colour",)}[code]:
                    on.pop(name, None)
            elif code in names:
                on[names[code]] = True
            elif code == 38:
                # 38;5;NUMBER
                on["colour"], codes = codes[1], codes[2:]
            elif 30 <= code <= 37:
                on["colour"] = code - 30
    return found


def cells(text, x, y, colour):
    """Bars and charts as shapes: a font's have gaps between the lines."""
    path = ""
    for column, sign in enumerate(text):
        if sign in PARTS:
            high = LINE * (PARTS.index(sign) + 1) / 8
            path += f"M{x + column * CHARACTER:.1f} {y + 4}v{-high:g}h{CHARACTER:.1f}v{high:g}z"
    return f'<path d="{path}" fill="{colour}"/>'


def write(path, title, terminal, shown):
    """Draws [(what is shown, its lines)] of a terminal, one below the other."""
    wide, high = round(terminal.columns * CHARACTER) + 24, terminal.rows * LINE + 16
    step = high + 34
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {step * len(shown)}" width="{wide}" '
        f'height="{step * len(shown)}" role="img">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    for number, (what, lines) in enumerate(shown):
        top = number * step + 26
        out.append(f'<text class="title" x="2" y="{top - 8}">{html.escape(what)}</text>')
        out.append(f'<rect x="0.5" y="{top}.5" width="{wide - 1}" height="{high - 1}" rx="6"/>')
        on = {}
        for row, line in enumerate(lines):
            column, y = 0, top + 20 + row * LINE
            for text, style in runs(line, on):
                x, length = 12 + column * CHARACTER, len(text) * CHARACTER
                column += len(text)
                turned = "turned" in style
                if not text.strip() and not turned:
                    continue
                colour = TEXT if turned else COLOURS.get(style.get("colour"), TEXT)
                if turned:
                    out.append(f'<rect class="back" x="{x:.1f}" y="{y - 12}" width="{length + 0.5:.1f}" height="{LINE}"/>')
                if set(text) <= set(PARTS + " "):
                    out.append(cells(text, x, y, colour))
                    continue
                words = [name for name in ("bold", "dim", "turned") if name in style]
                more = f' class="{" ".join(words)}"' if words else ""
                more += f' style="fill: {colour}"' if colour != TEXT else ""
                out.append(
                    f'<text xml:space="preserve" x="{x:.1f}" y="{y}" textLength="{length:.1f}"{more}>{html.escape(text)}</text>'
                )
    pathlib.Path(path).write_text("\n".join([*out, "</svg>\n"]))
