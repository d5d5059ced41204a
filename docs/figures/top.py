#!/usr/bin/env python3
"""Records `s3log top` on a node as a picture: top.svg. Needs a build, tmux, and two minutes.

    . .deps/env && docs/figures/top.py [debug]

A real varnishd with a stream, requests all the time, a real S3 server behind a slow line. Three moments: the
gateway takes what comes, the line is cut, the line is back. Each is what a terminal of 80 by 24 shows then,
with its colours.
"""

import html
import pathlib
import random
import re
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))
from e2e import rig  # noqa: E402
from e2e.rig import stream_vcl  # noqa: E402

COLUMNS, ROWS, LINE, CHARACTER = 80, 24, 16, 7.23
# Bytes a second, and how long each moment is in coming.
SLOW, FAST, LOAD, DOWN = 250_000, 600_000, 40, 40
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


class SlowLine:
    """Carries connections to a port at so many bytes a second, or none."""

    def __init__(self, port):
        self.port, self.rate, self.open = port, SLOW, []
        self.listener = None
        (self.address,) = rig.free_ports(1)
        self.connect()

    def connect(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # As on a network, and not as on loopback, whose packets of 64 KiB make the kernel keep a whole block.
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.listener.bind(("127.0.0.1", self.address))
        self.listener.listen()
        threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def cut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for side in self.open:
            side.close()
        self.open = []

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            self.open += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=[one, other], daemon=True).start()

    def carry(self, one, other):
        try:
            while piece := one.recv(4096):
                other.sendall(piece)
                time.sleep(len(piece) / self.rate)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Terminal:
    """tmux with `s3log top` in it, on a socket of its own."""

    def __init__(self, place, varnish):
        self.words = ["tmux", "-S", str(place.directory / "tmux"), "-f", "/dev/null"]
        command = [place.command, "top", "-n", varnish.workdir]
        self.run("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), " ".join(map(str, command)))
        place.stack.callback(self.run, "kill-server")

    def run(self, *words):
        return subprocess.run([*self.words, *words], stdout=subprocess.PIPE, text=True, check=True).stdout

    def screen(self):
        return self.run("capture-pane", "-p", "-e").splitlines()


def requests(place, varnish):
    """Requests whose lines no codec makes much smaller, until the end."""
    chance = random.Random(1)
    page = lambda: f"http://127.0.0.1:{varnish.port}/page/?{chance.getrandbits(800):x}"
    urls = place.directory / "urls"
    urls.write_text("".join(f"{page()}\n" for _ in range(20_000)))
    seconds = LOAD + DOWN + 90
    command = ["h2load", "--h1", "-i", urls, "-D", str(seconds), "-c", "1", "--rps", "800"]
    process = rig.Process("h2load", command, place.directory, place.env)
    place.stack.callback(process.stop)


def record(profile):
    """[(what is shown, its lines)]"""
    shown = []
    with rig.Rig("top-figure", profile) as place:
        place.s3.start()
        line = SlowLine(place.s3.ports["s3"])
        place.s3.endpoint = f"http://127.0.0.1:{line.address}"
        limits = {"period": "8s", "max_bytes": '"4MB"', "spool_max": '"20MB"'}
        varnish = place.start_varnish(stream_vcl.write(place, "top", format=rig.COMBINED, **limits))
        requests(place, varnish)
        terminal = Terminal(place, varnish)
        time.sleep(LOAD)
        shown.append(("The gateway takes what comes", while_sending(terminal)))
        line.cut()
        time.sleep(DOWN)
        shown.append(("The line to it has been cut", terminal.screen()))
        line.rate = FAST
        line.connect()
        # At a gateway that is away one attempt in 15 s is made.
        rig.wait_for("an upload", lambda: varnish.counters()["access.uploading_sent"] > 0)
        stored = varnish.counters()["access.blocks_uploaded"]
        rig.wait_for("two more", lambda: varnish.counters()["access.blocks_uploaded"] >= stored + 2)
        shown.append(("It is back, and what waited goes out", while_sending(terminal)))
    return shown


def while_sending(terminal):
    """What is shown while a block is being uploaded."""
    seen = []

    def sends():
        seen[:] = terminal.screen()
        return any("sending" in line and "block" in line for line in seen)

    rig.wait_for("an upload under way", sends)
    return seen


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


def draw(shown):
    wide, high = round(COLUMNS * CHARACTER) + 24, ROWS * LINE + 16
    step = high + 34
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {step * len(shown)}" width="{wide}" '
        f'height="{step * len(shown)}" role="img">',
        "<title>s3log top: under load, with the gateway away, and with it back</title>",
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
    return "\n".join([*out, "</svg>\n"])


if __name__ == "__main__":
    (HERE / "top.svg").write_text(draw(record(sys.argv[1] if sys.argv[1:] else "release")))
