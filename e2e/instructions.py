"""Instructions a request, by callgrind: the same figure in every run, whatever else the machine does.

varnishd's cache process runs under callgrind and answers N and then, started anew, 3 N of the same
requests; half the difference over N is a request without the start and the end. The threads are
told apart, so that the worker's share stands beside the packer's and the uploaders'. The same is
done with varnishncsa's own process, which reads the log of a varnishd that runs at full speed.

`--quick` measures what the module adds to the worker of a hit and fails when that has grown by more than
2 % of the hit since benches/e2e/instructions.csv; `--write` measures every row, or with `--quick` these
two, and writes that file. Another compiler, processor or Varnish makes other instructions of the same
source: a quick run compares with figures of the same three, and is skipped where there are none.
"""

import contextlib
import csv
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
import typing

from e2e import rig
from e2e.rig import say

FIGURES = rig.ROOT / "benches/e2e/instructions.csv"
FIELDS = ["profile", "row", "worker", "threads", "all", "of_stock", "made_by"]
# How far above the kept figure a quick run may be, as a share of the whole hit.
MARGIN = 0.02

REQUEST = (
    "GET /{kind}/{at} HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: https://www.example.com/start\r\n"
    "X-Forwarded-For: 192.0.2.7\r\n"
    "{more}\r\n"
)

VCL = """vcl 4.1;
{import_}
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{ {stream} }}
sub vcl_recv {{
    {log}
    if (req.url ~ "^/synth/") {{ return (synth(200)); }}
    if (req.url ~ "^/pass/") {{ return (pass); }}
    return (hash);
}}
sub vcl_hash {{
    if (req.url ~ "^/miss/") {{ hash_data(req.url); }} else {{ hash_data("one"); }}
    return (lookup);
}}
sub vcl_backend_response {{ set beresp.ttl = 1d; }}
"""

STREAM = """new {name} = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
    credentials = "{credentials}", spool = "{spool}", compression = "{codec}", format = {{"{format}"}}, period = 5s);"""
# What a second stream prints that has a format of its own.
OTHER = '%h %m %U %>s %b %D "%{Host}i" "%{Referer}i"'

NONE = ("vsl_mask=none",)
MASK = ("vsl_mask=" + ",".join(f"-{tag}" for tag in rig.recommended_mask()),)


class Row(typing.NamedTuple):
    name: str
    # Of request.
    kind: str
    # `None` without the module.
    codec: str | None = None
    # varnishd's.
    parameters: tuple = ()
    # The formats of the streams that log the request.
    formats: tuple = (rig.COMBINED,)


ROWS = [
    Row("hit: stock", "hit"),
    Row("hit: stock, vsl_mask=none", "hit", parameters=NONE),
    Row("hit: stock, recommended mask", "hit", parameters=MASK),
    Row("hit: module, zstd", "hit", "zstd"),
    Row("hit: module, gzip", "hit", "gzip"),
    Row("hit: module, zstd, recommended mask", "hit", "zstd", MASK),
    Row("hit: module, zstd, vsl_mask=none", "hit", "zstd", NONE),
    Row("hit: two streams, one format", "hit", "zstd", formats=(rig.COMBINED, rig.COMBINED)),
    Row("hit: two streams, two formats", "hit", "zstd", formats=(rig.COMBINED, OTHER)),
    Row("304: stock", "304"),
    Row("304: module, zstd", "304", "zstd"),
    Row("synth: stock", "synth"),
    Row("synth: module, zstd", "synth", "zstd"),
    Row("miss: stock", "miss"),
    Row("miss: module, zstd", "miss", "zstd"),
    Row("miss: module, zstd, recommended mask", "miss", "zstd", MASK),
    Row("pass: stock", "pass"),
    Row("pass: module, zstd", "pass", "zstd"),
    Row("HTTP/2 hit: stock", "h2"),
    Row("HTTP/2 hit: module, zstd", "h2", "zstd"),
]
QUICK = {"hit: stock", "hit: module, zstd"}
SECOND = {"hit: two streams, one format", "hit: two streams, two formats"}
READER = "hit: varnishncsa's own process"


def arguments(parser):
    parser.add_argument("--quick", action="store_true", help="a hit only, against the kept figure")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {FIGURES.name}")
    parser.add_argument("--requests", type=int, default=1000, help="N")
    parser.add_argument("--only", default="", help="the rows whose names begin like this, such as hit:")


def http1(port, kind, count):
    """`count` requests one after the other on one connection."""
    more = 'If-None-Match: "1"\r\n' if kind == "304" else ""
    with socket.create_connection(("127.0.0.1", port)) as client, client.makefile("rb") as answers:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(count):
            client.sendall(REQUEST.format(kind=kind, at=at, more=more).encode())
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if not line:
                    raise RuntimeError(f"the connection ended at request {at}")
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(0 if kind == "304" else length)


def http2(port, count):
    """The same headers by h2load, one stream at a time."""
    lines = REQUEST.format(kind="h2", at=0, more="").split("\r\n")[1:]
    headers = [word for line in lines if line for word in ("-H", line) if not line.startswith("Host")]
    command = ["h2load", "-n", str(count), "-c", "1", "-m", "1", *headers]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/h2/1"], stdout=subprocess.PIPE, check=True, text=True
    )
    if f"{count} succeeded" not in done.stdout:
        raise RuntimeError(f"h2load: {done.stdout}")


def ask(port, kind, count):
    if kind == "h2":
        http2(port, count)
    else:
        http1(port, kind, count)


def callgrind(directory, *more):
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out.%p", *more]


def counted(files):
    """Instructions in callgrind's files, one a thread: `{"worker": .., "threads": .., "other": ..}`.

    What ran requests is a worker; what ran only the module's pipeline is a thread of the module.
    """
    found = dict.fromkeys(("worker", "threads", "other"), 0)
    for path in files:
        text = path.read_text(errors="replace")
        if total := re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE):
            kind = "other"
            if "CNT_Request" in text or "vbf_fetch_thread" in text:
                kind = "worker"
            elif "vmod_s3log::pipeline" in text:
                kind = "threads"
            found[kind] += int(total[1])
    return found


class Measure:
    def __init__(self, place, requests):
        self.place, self.requests, self.runs = place, requests, 0

    def directory(self):
        self.runs += 1
        path = self.place.directory / f"run-{self.runs}"
        path.mkdir()
        return path

    def vcl(self, directory, row):
        formats = row.formats if row.codec else ()
        streams = []
        for at, text in enumerate(formats):
            spool = directory / f"spool-{at}"
            spool.mkdir()
            stream = STREAM.format(
                name=f"access{at}",
                endpoint=self.place.s3.endpoint,
                bucket=rig.BUCKET,
                credentials=self.place.s3.credentials,
                spool=spool,
                codec=row.codec,
                format=text,
            )
            streams.append(stream)
        path = directory / "measured.vcl"
        path.write_text(
            VCL.format(
                import_="import s3log;" if streams else "",
                origin=self.place.origin.port,
                stream="\n".join(streams),
                log=" ".join(f"access{at}.log();" for at in range(len(streams))),
            )
        )
        return path

    def varnish(self, directory, row, wrapper=()):
        few = ("thread_pools=1", "thread_pool_min=8", "thread_pool_max=8", *row.parameters)
        vcl = self.vcl(directory, row)
        return self.place.start_varnish(vcl, directory=directory, parameters=few, wrapper=wrapper)

    def cache_process(self, row, count):
        """Instructions of a cache process from its start to its end, with `count` requests."""
        directory = self.directory()
        varnish = self.varnish(directory, row, callgrind(directory, "--separate-threads=yes"))
        pid = varnish.child_pid()
        ask(varnish.port, row.kind, count)
        varnish.cli("stop")
        rig.wait_for("callgrind to write", lambda: not pathlib.Path(f"/proc/{pid}").exists())
        varnish.stop()
        found = counted(directory.glob(f"out.{pid}*"))
        shutil.rmtree(directory)
        return found

    def log_reader(self, count):
        """Instructions of varnishncsa for `count` lines of the combined format."""
        directory = self.directory()
        varnish = self.varnish(directory, Row("", "hit"))
        lines = directory / "lines"
        command = [*callgrind(directory), "varnishncsa", "-n", varnish.workdir, "-w", lines]
        reader = rig.Process("ncsa", command, directory, self.place.env)

        def reads():
            ask(varnish.port, "hit", 1)
            return lines.exists() and lines.stat().st_size

        rig.wait_for("varnishncsa to read", reads, step=0.5)
        before = lines.read_text().count("\n")
        for _ in range(0, count, 100):
            # No faster than it reads: a reader that is overrun skips lines.
            ask(varnish.port, "hit", 100)
            before += 100
            rig.wait_for("its lines", lambda: lines.read_text().count("\n") >= before)
        reader.stop(signal.SIGTERM, 60)
        varnish.stop()
        found = counted(directory.glob("out.*"))
        shutil.rmtree(directory)
        return found

    def difference(self, run):
        less, more = run(self.requests), run(3 * self.requests)
        share = {kind: (more[kind] - less[kind]) / (2 * self.requests) for kind in less}
        return {**share, "all": sum(share.values())}

    def row(self, row):
        began = time.monotonic()
        found = self.difference(lambda count: self.cache_process(row, count))
        say(
            f"instructions: {row.name:34} {found['all']:9,.0f} a request: worker {found['worker']:,.0f}, "
            f"module's threads {found['threads']:,.0f} ({time.monotonic() - began:.0f} s)"
        )
        return found


def made_by(place):
    """What the figures depend on besides the source."""
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, check=True, text=True)
    compiler = " ".join(rustc.stdout.split()[:2])
    return f"{compiler}, Varnish {rig.version(place.env)}, {platform.machine()}"


def kept(profile):
    with contextlib.suppress(FileNotFoundError), open(FIGURES, newline="") as file:
        return {row["row"]: row for row in csv.DictReader(file) if row["profile"] == profile}
    return {}


def write(profile, found, maker):
    """Puts the rows of this profile into the file and leaves the others as they are."""
    others = []
    with contextlib.suppress(FileNotFoundError), open(FIGURES, newline="") as file:
        others = [
            row
            for row in csv.DictReader(file)
            if row["profile"] != profile or row["row"] not in found
        ]
    stock = {name.split(":")[0]: row["all"] for name, row in found.items() if name.endswith("stock")}
    rows = others + [
        {
            "profile": profile,
            "row": name,
            "worker": round(row["worker"]),
            "threads": round(row["threads"]),
            "all": round(row["all"]),
            "of_stock": f"{row['all'] / stock[name.split(':')[0]]:.3f}",
            "made_by": maker,
        }
        for name, row in found.items()
    ]
    order = [*(row.name for row in ROWS), READER]
    with open(FIGURES, "w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        table.writerows(sorted(rows, key=lambda row: (row["profile"], order.index(row["row"]))))


def added(rows):
    """What the module adds to a hit: of the worker, and in all."""
    stock, module = rows["hit: stock"], rows["hit: module, zstd"]
    return {share: float(module[share]) - float(stock[share]) for share in ("worker", "all")}


def grown(before, now, profile, maker):
    """What is wrong with a quick run's rows, `now`, beside those that were kept, `before`."""
    if not QUICK <= before.keys():
        return [f"{FIGURES.name} has no figures of the {profile} build: --write"]
    if others := {before[row]["made_by"] for row in QUICK} - {maker}:
        raise rig.Skip(f"the kept figures are of {' and '.join(others)}, and this is {maker}")
    stock, module = (
        [float(rows[row]["worker"]) for rows in (before, now)]
        for row in ("hit: stock", "hit: module, zstd")
    )
    more = [module[at] - stock[at] for at in range(2)]
    share = [module[at] / stock[at] for at in range(2)]
    say(f"instructions: a hit with the module is {share[1]:.3f} of stock, {share[0]:.3f} was kept")
    if more[1] > more[0] + MARGIN * module[0]:
        return [
            f"the module adds {more[1]:,.0f} instructions to the worker of a hit, {more[0]:,.0f} were "
            f"kept: make it less, or keep the new figure with --write"
        ]
    return []


def prove(place, options):
    if not shutil.which("valgrind"):
        raise rig.Skip("needs valgrind: apt install valgrind")
    place.s3.start()
    measure = Measure(place, options.requests)
    rows = [row for row in ROWS if row.name in QUICK or not options.quick]
    rows = [row for row in rows if row.name.startswith(options.only)]
    if not rows and (options.quick or not READER.startswith(options.only)):
        return [f"no row's name begins with {options.only}"]
    if rig.numbers(place.env) < rig.NONE_SINCE:
        rows = [row for row in rows if row.parameters != NONE]
    found = {row.name: measure.row(row) for row in rows}
    maker = made_by(place)
    if QUICK <= found.keys():
        now = added(found)
        say(f"instructions: the module adds {now['worker']:,.0f} to the worker, {now['all']:,.0f} in all")
        one, first = float(found["hit: module, zstd"]["worker"]), now["worker"]
        for name in SECOND & found.keys():
            more = float(found[name]["worker"]) - one
            say(f"instructions: {name}: the second adds {more:,.0f} to the worker, {more / first:.2f} of the first")
    if options.quick:
        if options.write:
            write(options.profile, found, maker)
            return []
        return grown(kept(options.profile), found, options.profile, maker)
    if READER.startswith(options.only):
        found[READER] = measure.difference(measure.log_reader)
        say(f"instructions: varnishncsa's own process, a line {found[READER]['all']:,.0f}")
    if options.write:
        write(options.profile, found, maker)
        say(f"instructions: kept in {FIGURES.relative_to(rig.ROOT)}")
    return []
