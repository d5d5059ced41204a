"""What programs that others wrote read of the blocks: each line, the first member only, or nothing.

A real Varnish writes the same requests to a stream of each codec, one block of many members each, which
`s3log compact` then writes into an object. Each reader of `readers_table.py` reads each form that it is
for, in a process of its own. How many lines it finds, and the sum of their numbers, is compared with
what was requested. docs/reading.md has the result as a table: it must be the one that this run comes to, and
`--write` puts it there.
"""

import hashlib
import http.client
import json
import os
import re
import subprocess
import threading
import time
import zlib

from e2e import rig
from e2e.readers_table import FORMS, TABLE
from e2e.rig import page, say

PAGE = rig.ROOT / "docs/reading.md"
HERE = rig.ROOT / "e2e/data/readers"
READERS = rig.DEPS / "readers"
CODECS = {"gzip": "gz", "zstd": "zst", "snappy": "sz"}
# A block of which codec is compacted to what.
COMPACTED = (("gzip", "gzip", "one.gz"), ("zstd", "zstd", "one.zst"), ("snappy", "parquet", "parquet"))
# A ring of 1MB makes members of 256 KiB of lines.
MEMBERS = 20
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0 "
DAY = 86_400
# Lines, and the sum of their column n.
COUNT = "awk -F'[:,]' '{ sum += $2 } END { printf \"%d %d\\n\", NR, sum }'"
ALL, FIRST = "all", "**first member only**"

VCL = """vcl 4.1;
import s3log;
backend default none;
sub vcl_init {{
{streams}
}}
sub vcl_recv {{ return (synth(200)); }}
sub vcl_synth {{ {logs} set resp.body = "ok"; return (deliver); }}
"""
STREAM = """    new {name} = s3log.stream(
        endpoint = "{endpoint}", bucket = "{bucket}", credentials = "{credentials}", spool = "{spool}",
        path = "{name}/%Y/%m/%d/", compression = "{name}", ring = "1MB", period = 1h, max_bytes = "256MB",
        exit_timeout = 10m, format = \"\"\"{format}\"\"\");"""
FORMAT = (
    '{"n":%{X-Number}i,"time":"%{%Y-%m-%dT%H:%M:%SZ}t","host":"%{Host}i","method":"%m","url":"%U",'
    '"status":%>s,"bytes":%B,"agent":"%{User-Agent}i"}'
)


def arguments(parser):
    parser.add_argument("--lines", type=int, default=24_000)
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--write", action="store_true", help="put the table into docs/reading.md")
    some.add_argument("--only", default="", help="readers whose row contains this text")


class Blocks:
    """A block of many members a codec, as a node has written it, and the objects that are made of it."""

    def __init__(self, place, lines):
        self.place, self.lines = place, lines
        self.files = place.directory / "files"
        self.files.mkdir()
        # Lines and sum: of all, and of what is in the first member.
        self.all, self.first = (lines, lines * (lines - 1) // 2), {}

    def log(self):
        s3 = self.place.s3
        values = dict(endpoint=s3.endpoint, bucket=rig.BUCKET, credentials=s3.credentials)
        values |= dict(spool=self.place.spool, format=FORMAT)
        vcl = self.place.directory / "readers.vcl"
        streams = "\n".join(STREAM.format(name=name, **values) for name in CODECS)
        vcl.write_text(VCL.format(streams=streams, logs=" ".join(f"{name}.log();" for name in CODECS)))
        varnish = self.place.start_varnish(vcl)
        clients = [threading.Thread(target=self.request, args=(varnish.port, n)) for n in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        varnish.cli("stop")

    def request(self, port, begin):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for number in range(begin, self.lines, 4):
            tail = hashlib.sha256(b"%d" % number).hexdigest()
            headers = {"X-Number": str(number), "User-Agent": AGENT + tail}
            connection.request("GET", f"/page/{number % 500}", headers=headers)
            connection.getresponse().read()
        connection.close()

    def fetch(self):
        """The blocks as files, with what the first member of each has."""
        client, wrong = self.place.s3.client(), []
        for codec, form in CODECS.items():
            (key,) = self.place.s3.keys(f"{codec}/")
            answer = client.get_object(Bucket=rig.BUCKET, Key=key)
            data = answer["Body"].read()
            path = self.files / f"block.json.{form}"
            path.write_bytes(data)
            members, length = structure(codec, path, data)
            say(f"readers: {key}: {len(data):,} bytes, {members} members")
            if members < MEMBERS:
                wrong.append(f"{key} has {members} members, and is to have {MEMBERS}")
            self.first[form] = counted(f"cat {self.head(codec, path, data[:length])}")
            self.old(client, key, data, answer["Metadata"])
        return wrong

    def head(self, codec, path, data):
        """The lines of the first member, by the codec's own program or Python's zlib."""
        head = path.with_suffix(".head")
        if codec == "gzip":
            text = zlib.decompress(data, wbits=31)
        elif codec == "zstd":
            text = subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
        else:
            from pysnappy.framing import Decompressor

            text = Decompressor().decompress(data)
        head.write_bytes(text)
        return head

    def old(self, client, key, data, meta):
        """The block once more in another stream's place, as if it were of two days ago: hours that are not
        over are not compacted."""
        codec, _, rest = key.partition("/")
        for name in ("first", "last"):
            meta[name] = str(int(meta[name]) - 2 * DAY * 10**9)
        stamp = time.gmtime(int(meta["first"]) // 10**9)
        moment = time.strftime("%Y-%m-%dT%H-%M-%SZ", stamp)
        name = re.sub(r"^[-\dT]+Z", moment, rest.rsplit("/", 1)[1])
        key = time.strftime(f"old/{codec}/%Y/%m/%d/", stamp) + name
        client.put_object(Bucket=rig.BUCKET, Key=key, Body=data, Metadata=meta)

    def compact(self):
        """The objects that compaction makes of the blocks, as files. What is not right."""
        client, wrong = self.place.s3.client(), []
        makes = self.run("compact", "--help").stdout
        for codec, to, form in COMPACTED:
            if to not in makes:
                say(f"readers: s3log compact makes no {to}")
                continue
            path = f"old/{codec}/%Y/%m/%d/"
            columns = ["--format", FORMAT] if to == "parquet" else []
            done = self.run("compact", codec, "--path", path, "--to", to, *columns, *self.place.s3.words())
            keys = [key for key in self.place.s3.keys(f"old/{codec}/compact/") if "/part-" in key]
            if done.returncode or len(keys) != 1:
                wrong.append(f"s3log compact --to {to}: exit {done.returncode}, {keys}: {done.stderr}")
                continue
            name = "compacted.parquet" if to == "parquet" else f"compacted.json.{form.split('.')[1]}"
            client.download_file(rig.BUCKET, keys[0], str(self.files / name))
            say(f"readers: {keys[0]}: {(self.files / name).stat().st_size:,} bytes")
        return wrong

    def run(self, *words):
        command = [str(self.place.command), *words]
        return subprocess.run(command, env=self.place.env, text=True, capture_output=True)

    def path(self, form):
        block = form in CODECS.values()
        stem = "block.json" if block else "compacted.json" if "." in form else "compacted"
        return self.files / f"{stem}.{form.rsplit('.', 1)[-1]}"


def structure(codec, path, data):
    """How many members a block has, and the length of the first; by the formats alone."""
    if codec == "zstd":
        listed = subprocess.run(["zstd", "-l", str(path)], text=True, stdout=subprocess.PIPE, check=True)
        frames = int(listed.stdout.splitlines()[1].split()[0])
        return frames, len(data) if frames == 1 else data.index(b"\x28\xb5\x2f\xfd", 4)
    if codec == "snappy":
        identifier = b"\xff\x06\x00\x00sNaPpY"
        return data.count(identifier), data.find(identifier, 1) % (len(data) + 1)
    members, left, length = 0, data, 0
    while left:
        decoder = zlib.decompressobj(wbits=31)
        decoder.decompress(left)
        left, members = decoder.unused_data, members + 1
        length = length or len(data) - len(left)
    return members, length


def environment():
    env = dict(os.environ, HERE=str(HERE), READERS=str(READERS), LC_ALL="C.UTF-8")
    # Varnish's libraries and the rig's Python are nothing to the readers.
    env.pop("LD_LIBRARY_PATH", None)
    return env | {"NO_COLOR": "1", "DAFT_ANALYTICS_ENABLED": "0", "DO_NOT_TRACK": "1"}


def shell(text, path="/dev/null"):
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", text], env=environment() | {"F": str(path)}, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1_800,
    )  # fmt: skip


def counted(text, path="/dev/null", rows=False):
    """Lines and sum that a command comes to, or its error's last line."""
    done = shell(text if rows else f"{text} | {COUNT}", path)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    lines, total = done.stdout.split()[-2:]
    return int(lines), int(total)


def cell(blocks, form, found):
    if isinstance(found, str):
        return "error"
    if found == blocks.all:
        return ALL
    if found == blocks.first.get(form):
        return FIRST
    return "**wrong lines**"


def available(row):
    return shell(f'command -v "{row.needs}"').returncode == 0


def shown(row):
    """The row's version: the first number that looks like one."""
    match = re.search(r"\d+(\.\d+)+", shell(row.version).stdout)
    return match[0] if match else "?"


def line(cells):
    return f"| {' | '.join(cells)} |\n"


def table(rows):
    head = ["reader", "version", *FORMS.values()]
    return line(head) + line(["---"] * len(head)).replace(" ", "") + "".join(map(line, rows))


def compare(rows):
    """What the page says otherwise; versions may differ, where they are the machine's."""
    there = page.part(PAGE, "readers").splitlines()[2:]
    there = {cells[0]: cells[2:] for cells in ([c.strip() for c in text.strip("|").split(" | ")] for text in there)}
    wrong = []
    for name, _, *cells in rows:
        if there.get(name) != cells:
            wrong.append(f"docs/reading.md has {there.get(name)} for {name}, and this run {cells}")
    return wrong


def prove(place, options):
    if not READERS.exists():
        raise rig.Skip("the readers are not installed: make e2e T=readers installs them")
    asked = [row for row in TABLE if options.only in row.name]
    if not asked:
        return [f"no reader's row contains {options.only}"]
    place.s3.start()
    blocks = Blocks(place, options.lines)
    blocks.log()
    wrong = blocks.fetch() + blocks.compact()
    rows, left_out, forms = [], [], [form for form in FORMS if blocks.path(form).exists()]
    for row in asked:
        if not available(row):
            left_out.append(row.name)
            continue
        cells = dict.fromkeys(FORMS, "")
        for form in forms:
            if form in row.forms:
                found = counted(row.command, blocks.path(form), row.rows)
                cells[form] = cell(blocks, form, found)
                if cells[form] != ALL:
                    say(f"readers: {row.name}, {FORMS[form]}: {cells[form]}: {found}")
        rows.append([row.name, shown(row), *cells.values()])
    print(table(rows))
    if left_out:
        say(f"readers: not on this machine: {', '.join(left_out)}")
    if not options.write:
        return wrong + compare(rows)
    page.put(PAGE, "readers", table(rows))
    return wrong
