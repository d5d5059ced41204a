"""What each tag of Varnish's shared-memory log costs a hit, in instructions by callgrind.

One varnishd without the module runs under callgrind and answers the same request again and again,
each time with another `vsl_mask`: the default, then the default without one tag. What a request costs
less then is that tag's price. `records` says how many of it one request logs; a tag of which it logs none
costs nothing. At the end the tags of examples/varnish-mask.conf are hidden together, and then every tag.

The worker's instructions count, from one marked request to the next on one connection: callgrind writes them
down when VCL makes the mark's body. So a price repeats to some hundred instructions, and the median of the
rounds to fewer. `--write` keeps the figures in benches/e2e/tags.csv, which `s3log check --varnish` prints from.
"""

import collections
import csv
import platform
import re
import shutil
import socket
import statistics

from e2e import instructions, rig
from e2e.rig import say

FIGURES = rig.ROOT / "benches/e2e/tags.csv"
FIELDS = ["tag", "records", "instructions", "of_stock", "made_by"]
DEFAULT, RECOMMENDED, ALL = "none hidden", "recommended mask", "all hidden"

VCL = """vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_recv {{
    if (req.url ~ "^/mark/") {{ return (synth(200)); }}
    return (hash);
}}
sub vcl_hash {{ hash_data("one"); return (lookup); }}
sub vcl_synth {{ set resp.body = "mark"; return (deliver); }}
sub vcl_backend_response {{ set beresp.ttl = 1d; }}
"""
# What VCL's mark calls.
MARK = "VRT_l_resp_body"


def arguments(parser):
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {FIGURES.name}")
    parser.add_argument("--requests", type=int, default=200, help="of each phase")
    parser.add_argument("--rounds", type=int, default=5)


class Client:
    """One connection, whose worker lingers on it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), rig.PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers = self.socket.makefile("rb")
        self.at = 0

    def ask(self, kind, count=1):
        for _ in range(count):
            self.at += 1
            request = instructions.REQUEST.format(kind=kind, at=self.at, more="")
            self.socket.sendall(request.encode())
            length = 0
            while (line := self.answers.readline()) != b"\r\n":
                if not line:
                    raise RuntimeError(f"the connection ended at {kind} {self.at}")
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.answers.read(length)


class Measure:
    def __init__(self, place, requests):
        self.directory, self.requests = place.directory / "counted", requests
        self.directory.mkdir()
        vcl = place.directory / "prices.vcl"
        vcl.write_text(VCL.format(origin=place.origin.port))
        self.varnish = place.start_varnish(
            vcl,
            parameters=("thread_pools=1", "thread_pool_min=8", "thread_pool_max=8",
                        "timeout_linger=600", "timeout_idle=600", "vsl_space=200M"),
            wrapper=instructions.callgrind(
                self.directory, "--separate-threads=yes", f"--dump-before={MARK}"
            ),
        )  # fmt: skip
        self.pid = self.varnish.child_pid()
        self.client = Client(self.varnish.port)
        self.mask([])

    def mask(self, tags):
        self.varnish.cli("param.set", "vsl_mask", "default")
        if tags:
            self.varnish.cli("param.set", "vsl_mask", ",".join(f"-{tag}" for tag in tags))

    def mark(self):
        """The worker's instructions since the last mark."""
        self.client.ask("mark")
        files = list(self.directory.glob(f"out.{self.pid}.*"))
        if len(files) != 1:
            raise RuntimeError(f"{len(files)} threads were at the mark")
        text = files[0].read_text(errors="replace")
        files[0].unlink()
        return int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1])

    def phase(self):
        """Instructions a request."""
        self.client.ask("hit", 5)
        self.mark()
        empty = self.mark()
        self.client.ask("hit", self.requests)
        return (self.mark() - empty) / self.requests

    def records(self):
        """How many records of each tag a request logs."""
        command = ("varnishlog", "-g", "raw", "-d")
        self.client.ask("hit")
        before = len(self.varnish.tool(*command).splitlines())
        self.client.ask("hit", 10)

        def logged():
            lines = self.varnish.tool(*command).splitlines()[before:]
            return lines if sum(" ReqAcct " in line for line in lines) >= 10 else None

        lines = [line.split() for line in rig.wait_for("the log of ten requests", logged)]
        tags = collections.Counter(words[1] for words in lines if words[0] != "0")
        return {tag: round(number / 10) for tag, number in tags.items() if number >= 10}


def made_by(place):
    """What the figures depend on."""
    return f"Varnish {rig.version(place.env)}, {platform.machine()}"


def write(rows):
    FIGURES.parent.mkdir(exist_ok=True)
    with open(FIGURES, "w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def prices(measure, rounds):
    """The rows: the medians of rounds in which each tag is hidden once; and how far these differ."""
    counts = measure.records()
    hidden = {
        DEFAULT: [],
        **{tag: [tag] for tag in sorted(counts)},
        RECOMMENDED: rig.recommended_mask(),
        # The word `none` is not in every version.
        ALL: sorted(counts),
    }
    found = collections.defaultdict(list)
    for _ in range(rounds):
        for name, tags in hidden.items():
            measure.mask(tags)
            found[name].append(measure.phase())
    stock = found[DEFAULT]
    for name, costs in found.items():
        one = name in counts
        # Against the same round's.
        figures = [before - now for before, now in zip(stock, costs)] if one else costs
        figure = statistics.median(figures)
        kept = counts if name == DEFAULT else hidden[name]
        row = {
            "tag": name,
            "records": sum(counts.get(tag, 0) for tag in kept),
            "instructions": round(figure),
            "of_stock": f"{figure / statistics.median(stock):.4f}",
        }
        yield row, max(figures) - min(figures)


def prove(place, options):
    if not shutil.which("valgrind"):
        raise rig.Skip("needs valgrind: apt install valgrind")
    measure = Measure(place, options.requests)
    rows = []
    for row, spread in prices(measure, options.rounds):
        say(
            f"tag-prices: {row['tag']:18} {row['records']:3} records {row['instructions']:8,} "
            f"instructions, {row['of_stock']} of stock; the rounds differ by {spread:,.0f}"
        )
        rows.append({**row, "made_by": made_by(place)})
    if options.write:
        write(rows)
        say(f"tag-prices: kept in {FIGURES.relative_to(rig.ROOT)}")
    return []
