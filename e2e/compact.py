"""`s3log compact` killed at random, and tampered with: each line is there once, and each change is found.

The blocks are made here from the format alone, by Python's gzip and hashlib: several hosts, a block a
minute each. The server is SeaweedFS. All is done with compressed lines and with Parquet. First one run is
measured, beside DuckDB's COPY to Parquet of the same blocks. Parquet objects are read by DuckDB and pyarrow,
whose answers must be those that Python gets from the lines. Both are taken where they are on PATH, or where
`make e2e T=recipes` has installed them. Then the command is killed with SIGKILL at random instants: by the clock, of
the whole day or of an hour, while it waits for the answer to an hour's manifest, which a proxy holds up, and soon
after the bucket shows a manifest, or a first block gone.
The bucket before and after tells what the command was doing; with 20 kills or more, some must have ended each of the
four things that it does. What `s3log cat` gives must always be the bytes that Python made: after each kill of every
hour of which anything in the bucket has changed since it was read last, and of the whole day each time that all
blocks are gone. Then objects and manifests are changed in every way that `e2e verify` changes blocks.
"""

import collections
import concurrent.futures
import contextlib
import datetime
import gzip
import hashlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

from e2e import rig
from e2e.rig import page, say, several
from e2e.rig.line import Line
from e2e.verify import Bucket, verify, watch

PAGE = rig.ROOT / "docs/compaction.md"
START = 1_795_305_600  # 2026-11-22T00:00:00Z
FOLDER = "varnish/%Y/%m/%d/"
RECIPES = rig.DEPS / "recipes/bin"
# The package's `duckdb` on its PATH starts this one.
PACKAGED = next(RECIPES.parent.glob("lib/python3*/site-packages/duckdb_cli/duckdb"), None)
DUCKDB = shutil.which("duckdb") or PACKAGED
FORMAT = (
    '{"time":%{sec}t,"host":"%v","id":"%{id}x","method":"%m","url":"%U","status":%>s,"bytes":%B,'
    '"agent":"%{User-Agent}i"}'
)
FORMS = {"zstd": ["--to", "zstd"], "parquet": ["--to", "parquet", "--format", FORMAT]}
# The last as the module writes bytes that are no UTF-8, quotes and backslashes.
AGENTS = ["Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"] * 7 + ['\u00fc \\"q\\" \\uefff \\\\']
# Lines that are not of the format, one in so many.
OTHER = 97
# What a killed command was doing.
READ, STORED, NAMED, DELETED, AFTER = (
    "while blocks were read", "before an object's manifest", "before deletion", "during deletion", "after deletion",
)  # fmt: skip
# As many kills must have ended each but the last.
MANY = 20


def arguments(parser):
    parser.add_argument("--long", action="store_true", help="20 million lines of 5 hosts and 24 hours, 50 kills")
    parser.add_argument("--lines", type=int, help="lines in all, at least")
    parser.add_argument("--kills", type=int, help="how often the command is killed")
    parser.add_argument("--seed", type=int, default=1)
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--to", choices=FORMS, help="only this form")
    some.add_argument("--write", action="store_true", help="put the result into docs/compaction.md")


def block(host, number, previous, lines, generator):
    """Key, body and metadata of a host's block of a minute."""
    at = START + (number - 1) * 60
    text = "".join(
        f'{{"text":"line {n} of VCL"}}\n'
        if n % OTHER == OTHER // 2
        else f'{{"time":{at + n * 60 // lines},"host":"{host}","id":"{host}-{number}-{n}","method":"GET",'
        f'"url":"/page/{generator.randrange(5000)}","status":{generator.choice((200, 200, 200, 304, 404))},'
        f'"bytes":{generator.randrange(100_000)},"agent":"{generator.choice(AGENTS)}"}}\n'
        for n in range(lines)
    ).encode()
    body = gzip.compress(text, compresslevel=3, mtime=0)
    meta = {
        "format": "1", "stream": "access", "host": host, "boot": "6b01a0000001", "number": str(number),
        "records": str(lines), "raw-bytes": str(len(text)), "bytes": str(len(body)),
        "first": str(at * 1_000_000_000), "last": str((at + 59) * 1_000_000_000),
        "dropped": "0,0,0,0", "cut": "0", "codec": "gzip", "sha256": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip
    if previous:
        meta["previous"] = previous
    stamp = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    key = stamp.strftime(FOLDER + "%Y-%m-%dT%H-%M-%SZ") + f"-{host}-access-6b01a0000001-{number:010}.log.gz"
    return key, body, meta


def of_host(host, count, lines, seed):
    generator, previous, made = random.Random(f"{seed} {host}"), None, []
    for number in range(1, count + 1):
        made.append(block(host, number, previous, lines, generator))
        previous = made[-1][2]["sha256"]
    return made


def moment(hour):
    """The start of an hour, as the command takes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + hour * 3600))


def hours_of(blocks):
    """What `s3log cat` is to give of each hour: SHA-256 and number of lines."""
    by_hour = collections.defaultdict(list)
    for key, body, _ in sorted(blocks, key=lambda block: block[0]):
        by_hour[hour_of(key)].append(body)

    def of(bodies):
        sha256, lines = hashlib.sha256(), 0
        for body in bodies:
            text = gzip.decompress(body)
            sha256.update(text)
            lines += text.count(b"\n")
        return sha256.hexdigest(), lines

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(by_hour, pool.map(of, by_hour.values())))


def day_of(blocks):
    """The same of the whole day."""
    sha256, lines = hashlib.sha256(), 0
    for _, body, meta in sorted(blocks, key=lambda block: block[0]):
        sha256.update(gzip.decompress(body))
        lines += int(meta["records"])
    return sha256.hexdigest(), lines


def hour_of(key):
    """The hour that a block's or an object's key names."""
    return int(re.search(r"/hour=(\d\d)/|/[-\d]+T(\d\d)-[^/]+$", key).expand(r"\1\2"))


class Gate(Line):
    """A line to the S3 server on which all goes but a manifest."""

    def __init__(self, to):
        self.holds, self.over = threading.Event(), threading.Event()
        super().__init__(to)

    def pass_on(self, piece, other):
        # A client waits for each answer, so that a request starts a piece.
        if piece.startswith(b"PUT ") and b"/manifest-" in piece.split(b"\r\n", 1)[0]:
            self.holds.set()
            self.over.wait()
            return False
        return super().pass_on(piece, other)

    def cut(self):
        self.over.set()
        super().cut()


class Hour:
    """What the lines of an hour can come from: keys and entity tags."""

    def __init__(self):
        self.blocks, self.objects, self.manifests = set(), set(), set()

    def __eq__(self, other):
        return vars(self) == vars(other)


class Compact:
    def __init__(self, place, bucket):
        self.place, self.bucket, self.form = place, bucket, "zstd"
        # Of each manifest, by key and entity tag: its hour, and the keys of its blocks and of its objects.
        self.manifests = {}
        # What the page shows.
        self.told = []

    def tell(self, text):
        say(text)
        self.told.append(text)

    def command(self, name, *more, endpoint=None):
        words = [str(self.place.command), name, "access", "--path", FOLDER, *self.place.s3.words(endpoint=endpoint)]
        return [*words, *more]

    def compacting(self, *more, hours=range(24), endpoint=None):
        temporary = self.place.directory / "temporary"
        temporary.mkdir(exist_ok=True)
        words = ["--since", moment(hours[0]), "--until", moment(hours[-1] + 1), "--json", "--temp-dir", str(temporary)]
        return self.command("compact", *words, *FORMS[self.form], *more, endpoint=endpoint)

    def start(self, *more, **options):
        command = self.compacting(*more, **options)
        return subprocess.Popen(command, env=self.place.env, stdout=subprocess.PIPE, text=True)

    def digest(self, *range):
        """SHA-256 of what `s3log cat` gives, and how many lines that are."""
        child = subprocess.Popen(self.command("cat", *range), env=self.place.env, stdout=subprocess.PIPE)
        sha256, lines = hashlib.sha256(), 0
        while piece := child.stdout.read(1 << 20):
            sha256.update(piece)
            lines += piece.count(b"\n")
        return (sha256.hexdigest(), lines) if child.wait() == 0 else ("cat failed", lines)

    def hour(self, hour):
        """The same of an hour."""
        return self.digest("--since", f"2026-11-22T{hour:02}:00:00Z", "--until", f"2026-11-22T{hour:02}:59:59Z")

    def keys(self, prefix="varnish/"):
        return self.place.s3.keys(prefix)

    def listing(self, prefix):
        pages = self.bucket.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=rig.BUCKET, Prefix=prefix):
            yield from page.get("Contents", [])

    def sizes(self, prefix):
        return {item["Key"]: item["Size"] for item in self.listing(prefix)}

    def state(self):
        """What the lines of each hour can come from."""
        hours = collections.defaultdict(Hour)
        for item in self.listing("varnish/"):
            known = item["Key"], item["ETag"]
            if "/manifest-" in known[0]:
                if known not in self.manifests:
                    document = json.loads(self.bucket.get(known[0])[0])
                    blocks = {block["key"] for part in document["parts"] for block in part["blocks"]}
                    parts = {part["key"] for part in document["parts"]}
                    self.manifests[known] = (document["since"] // 10**9 - START) // 3600, blocks, parts
                hours[self.manifests[known][0]].manifests.add(known)
            elif "/part-" in known[0]:
                hours[hour_of(known[0])].objects.add(known)
            else:
                hours[hour_of(known[0])].blocks.add(known)
        return hours

    def doing(self, before, after, hours):
        """What a command that was to compact these hours was doing when it was killed."""

        def keys(state, what):
            return {key for hour in hours for key, _ in getattr(state[hour], what)}

        manifests = [self.manifests[known] for hour in hours for known in after[hour].manifests]
        left, named = keys(after, "blocks"), set().union(*(blocks for _, blocks, _ in manifests))
        gone = keys(before, "blocks") - left
        if any(blocks & gone and blocks & left for _, blocks, _ in manifests):
            return DELETED
        stored = keys(after, "objects") - keys(before, "objects")
        if stored.difference(*(parts for _, _, parts in manifests)):
            return STORED
        if left - named:
            return READ
        return NAMED if left else AFTER

    def wait_for(self, child, what, hour):
        """Until the bucket has another manifest, or a block of the hour fewer, or the command has ended."""
        (day, _), folder = moment(hour).split("T"), FOLDER.partition("%")[0]
        blocks = f"{folder}{day.replace('-', '/')}/{moment(hour)[:13]}-"
        prefix = {NAMED: f"{folder}compact/access/dt={day}/manifest-", DELETED: blocks}[what]
        client, before = self.place.s3.client(), None
        while child.poll() is None:
            count = client.list_objects_v2(Bucket=rig.BUCKET, Prefix=prefix)["KeyCount"]
            before = count if before is None else before
            if count != before:
                return

    def empty(self, prefix):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in pool.map(self.bucket.delete, self.keys(prefix)):
                pass


def times(count):
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def aims(kills, generator):
    """What each kill waits for in the bucket, if anything. Two in five go by the clock alone."""
    return generator.sample([(None, None, STORED, NAMED, DELETED)[n % 5] for n in range(kills)], kills)


def kill_one(compact, known, aim, within, generator):
    """Runs the command and kills it within so many seconds: the hours that it was to compact, and whether it had ended.

    By the clock, the whole day is compacted every other time. An hour that is watched has to have what is waited for.
    """
    fresh = [hour for hour, state in known.items() if state.blocks and not state.objects]
    left = [hour for hour, state in known.items() if len(state.blocks) > 1]
    hours = {None: left, STORED: fresh, NAMED: fresh, DELETED: left}[aim]
    if aim is None and generator.random() < 0.5 or not hours:
        aim, hours, seconds = None, range(24), within["day"]
    else:
        hours, seconds = [generator.choice(hours)], within["hour"]
    with contextlib.ExitStack() as stack:
        gate = None
        if aim == STORED:
            gate = stack.enter_context(Gate(compact.place.s3.ports["s3"]))
        child = compact.start("--delete", hours=hours, endpoint=gate and gate.endpoint)
        if gate:
            while child.poll() is None and not gate.holds.wait(0.05):
                pass
        elif aim:
            compact.wait_for(child, aim, hours[0])
        try:
            child.communicate(timeout=generator.uniform(0, within[aim] if aim else seconds))
            return hours, True
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        return hours, child.returncode != -signal.SIGKILL


def killed(compact, blocks, right, kills, seconds, generator):
    """Kills the command so often; left alone, it takes about so many seconds. What is not right."""
    by_hour, day = right
    wrong, ended, fills, read, found = [], 0, 1, 0, compact.digest()
    if found != day:
        return [f"before all kills cat gives {found[1]} lines, {found[0]}, not {day[1]}, {day[0]}"]
    # So that an hour is mostly done before the next kill, and a day is killed many times.
    usual = {"day": min(1, 4 / len(by_hour)) * seconds, "hour": 1.5 * seconds / len(by_hour)}
    usual |= {STORED: 0.2, NAMED: 0.02, DELETED: 0.2}
    longest, known, doing, waiting = dict(usual), compact.state(), collections.Counter(), aims(kills, generator)
    while waiting and ended < 2 * kills:
        aim = waiting.pop()
        hours, early = kill_one(compact, known, aim, longest, generator)
        state = compact.state()
        if early:
            ended += 1
            waiting.insert(0, aim)
        else:
            doing[compact.doing(known, state, hours)] += 1
        changed = [hour for hour in by_hour if state[hour] != known[hour]]
        # Where it comes to nothing, it gets more time.
        longest = dict(usual) if changed else {name: 1.5 * most for name, most in longest.items()}
        known, read = state, read + len(changed)
        for hour in changed:
            found = compact.hour(hour)
            if found != by_hour[hour]:
                text = f"after a kill cat gives {found[1]} lines of hour {hour}, {found[0]}, not {by_hour[hour]}"
                return [text]
        if not compact.keys("varnish/2026/"):
            if (found := compact.digest()) != day:
                return [f"after the last block is gone cat gives {found[1]} lines, {found[0]}, not {day}"]
            compact.empty("varnish/compact/")
            compact.bucket.fill(blocks)
            fills, known = fills + 1, compact.state()
    compact.tell(f"compact --to {compact.form}: {several(doing.total(), 'kill')}, {several(ended, 'run')} that ended before, "
        f"the bucket filled {times(fills)};")  # fmt: skip
    told = [f"{doing[what]} {what}" for what in (READ, STORED, NAMED, DELETED, AFTER) if doing[what]]
    compact.tell(f"  of them {', '.join(told)};")
    compact.tell(f"  after each, cat gives the same lines of every hour that changed, {read} in all, and {times(fills)} of all "
        f"{day[1]:,} lines")  # fmt: skip
    if doing.total() < kills:
        wrong.append(f"{doing.total()} kills of {kills}: {ended} runs ended before")
    missed = [what for what in (READ, STORED, NAMED, DELETED) if not doing[what]]
    if kills >= MANY and missed:
        wrong.append(f"of {kills} kills none fell {' or '.join(missed)}")
    child = compact.start("--delete")
    out, _ = child.communicate()
    if child.returncode or compact.digest() != day or compact.keys("varnish/2026/"):
        wrong.append(f"the last run does not finish: exit {child.returncode}, {out}")
    code, findings = verify(compact.place, "--deep")
    if code or any(kind != "note" for kind, _ in findings):
        wrong.append(f"verify --deep after the kills: exit {code}, {findings}")
    return wrong


def peak_of(command, name, **more):
    """Seconds, KiB resident at most, and exit code of a command whose program is called `name`."""
    peak, begin = [0], time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, **more)
    watcher = threading.Thread(target=watch, args=(child.pid, peak, name))
    watcher.start()
    child.wait()
    seconds = time.monotonic() - begin
    watcher.join()
    return seconds, peak[0], child.returncode


def measured(compact, blocks, pool):
    """One run, nobody in its way: what is not right, and the seconds."""
    before = compact.sizes("varnish/2026/").values()
    raw = sum(int(meta["raw-bytes"]) for _, _, meta in blocks)
    seconds, peak, code = peak_of(compact.compacting(), "s3log", env=compact.place.env)
    after = [size for key, size in compact.sizes("varnish/compact/").items() if "/part-" in key]
    compact.tell(f"compact --to {compact.form}: {len(before):,} blocks, {sum(before) / 1e6:,.1f} MB, {raw / 1e6:,.1f} MB of lines, to "
        f"{len(after)} objects, {sum(after) / 1e6:,.1f} MB")  # fmt: skip
    compact.tell(f"  {seconds:.1f} s, {raw / 1e6 / seconds:.0f} MB/s of lines, at most {peak / 1024:.0f} MiB resident")
    wrong = [] if code == 0 else [f"the run that is measured: exit {code}"]
    if peak > 256 * 1024:
        wrong.append(f"{peak} KiB resident, and 256 MiB are promised")
    if compact.form == "parquet":
        wrong += engines(compact, blocks, pool)
        if DUCKDB:
            duckdb(compact, blocks, raw)
    return wrong, seconds


SQL = """
    SELECT count(*)::BIGINT AS lines, count(s3log_raw)::BIGINT AS raw, sum(bytes)::BIGINT AS bytes,
        count(*) FILTER (status = 404)::BIGINT AS not_found, count(DISTINCT id)::BIGINT AS ids,
        epoch_us(min(time)) AS first, epoch_us(max(time)) AS last, sum(length(agent))::BIGINT AS characters,
        count(DISTINCT s3log_host)::BIGINT AS hosts,
        any_value(typeof(time) || ' ' || typeof(status) || ' ' || typeof(bytes) || ' ' || typeof(url)) AS types
    FROM read_parquet('%s/**/*.parquet')
"""

ARROW = """
import json, pathlib, sys
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
files = sorted(pathlib.Path(sys.argv[1]).rglob("*.parquet"))
total = dict(lines=0, raw=0, bytes=0, not_found=0, characters=0)
ids, hosts, first, last = [], set(), [], []
for path in files:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        micros = table["s3log_time"].cast("int64").combine_chunks()
        assert pc.all(pc.less_equal(micros[:-1], micros[1:])).as_py(), "rows of a row group are not sorted"
        column = file.metadata.row_group(group).column(file.schema.names.index("s3log_time"))
        assert column.has_column_index and column.has_offset_index, "no page index"
        assert column.statistics.has_min_max and file.metadata.row_group(group).sorting_columns
        total["lines"] += table.num_rows
        total["raw"] += table.num_rows - table["s3log_raw"].null_count
        total["bytes"] += pc.sum(table["bytes"]).as_py()
        total["not_found"] += pc.sum(pc.equal(table["status"], 404)).as_py()
        total["characters"] += pc.sum(pc.utf8_length(table["agent"])).as_py()
        ids += table["id"].drop_null().chunks
        hosts.update(pc.unique(table["s3log_host"]).to_pylist())
        first.append(pc.min(table["time"].cast("int64")).as_py())
        last.append(pc.max(table["time"].cast("int64")).as_py())
ids = pc.count_distinct(pa.chunked_array(ids)).as_py()
schema = pq.ParquetFile(files[0]).schema_arrow
types = " ".join(str(schema.field(name).type) for name in ("time", "status", "bytes", "url"))
print(json.dumps([total | dict(ids=ids, hosts=len(hosts), first=min(first), last=max(last), types=types)]))
"""


def has_pyarrow(python):
    return python and not subprocess.run([python, "-c", "import pyarrow.parquet"], capture_output=True).returncode


def counted(bodies):
    """What engines are to find in the lines of blocks."""
    wanted = dict.fromkeys(("lines", "raw", "bytes", "not_found", "characters", "ids", "last"), 0)
    for body in bodies:
        for line in gzip.decompress(body).splitlines():
            record = json.loads(line)
            wanted["lines"] += 1
            if "text" in record:
                wanted["raw"] += 1
                continue
            wanted["ids"] += 1
            wanted["bytes"] += record["bytes"]
            wanted["not_found"] += record["status"] == 404
            wanted["characters"] += len(record["agent"])
            wanted["last"] = max(wanted["last"], record["time"] * 1_000_000)
    return wanted


def engines(compact, blocks, pool):
    """What others read in Parquet objects, beside the lines themselves: what is not the same."""
    bodies = [body for _, body, _ in blocks]
    parts = list(pool.map(counted, (bodies[at : at + 100] for at in range(0, len(bodies), 100))))
    wanted = {name: sum(part[name] for part in parts) for name in parts[0]}
    wanted |= {"hosts": len({meta["host"] for _, _, meta in blocks}), "first": START * 1_000_000}
    wanted["last"] = max(part["last"] for part in parts)
    folder = compact.place.directory / "parquet"
    for key in compact.keys("varnish/compact/"):
        if key.endswith(".parquet"):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(compact.bucket.get(key)[0])
    pythons = [shutil.which("python3", path=RECIPES), sys.executable]
    python = next((python for python in pythons if has_pyarrow(python)), None)
    readers = {
        "DuckDB": ([DUCKDB, "-json", "-c", SQL % folder], "TIMESTAMP WITH TIME ZONE INTEGER BIGINT VARCHAR"),
        "pyarrow": ([python, "-c", ARROW, str(folder)], "timestamp[us, tz=UTC] int32 int64 string"),
    }
    wrong = []
    for name, (words, types) in readers.items():
        if not words[0]:
            compact.tell(f"  {name} is not asked: it is not here")
            continue
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            wrong.append(f"{name}: {done.stderr}")
            continue
        [found] = json.loads(done.stdout)
        if found != wanted | {"types": types}:
            wrong.append(f"{name} finds {found}, and the lines give {wanted | {'types': types}}")
        compact.tell(f"  {name} finds the {found['lines']:,} lines, {found['raw']:,} in s3log_raw, typed {found['types']}")
    return wrong


def duckdb(compact, blocks, raw):
    """The same blocks to Parquet, from files: without what the server takes."""
    folder = compact.place.directory / "blocks"
    folder.mkdir(exist_ok=True)
    for key, body, _ in blocks:
        (folder / key.rsplit("/", 1)[1]).write_bytes(body)
    query = (
        f"SET memory_limit = '4GB'; SET temp_directory = '{folder}/temporary'; "
        f"COPY (SELECT * FROM read_json('{folder}/*.log.gz', format = 'newline_delimited')) "
        f"TO '{folder}/all.parquet' (FORMAT parquet, COMPRESSION zstd)"
    )
    seconds, peak, code = peak_of([DUCKDB, "-c", query], "duckdb")
    if code:
        compact.tell(f"  DuckDB, from files to Parquet: exit {code} after {seconds:.1f} s")
        return
    size = (folder / "all.parquet").stat().st_size
    compact.tell(f"  DuckDB, from files to Parquet: {seconds:.1f} s, {raw / 1e6 / seconds:.0f} MB/s of lines, {size / 1e6:,.1f} MB, "
        f"at most {peak / 1024:,.0f} MiB resident")  # fmt: skip


def tampered(compact):
    """Changes of objects and manifests, with no block left: what was not found."""
    child = compact.start("--delete")
    child.communicate()
    bucket = compact.bucket
    keys = compact.keys("varnish/compact/")
    stored, touched = {key: bucket.get(key) for key in keys}, set()
    parts = [key for key in keys if "/part-" in key]
    manifests = [key for key in keys if "/manifest-" in key]

    def put(key, body, meta, rehash=False):
        if rehash:
            meta = meta | {"sha256": hashlib.sha256(body).hexdigest(), "bytes": str(len(body))}
        touched.add(key)
        bucket.put((key, body, meta))

    def delete(key):
        touched.add(key)
        bucket.delete(key)

    def flip(key):
        body = bytearray(stored[key][0])
        body[len(body) // 2] ^= 1
        put(key, bytes(body), stored[key][1])

    def swap(one, two):
        put(one, *stored[two])
        put(two, *stored[one])

    def edit(key, change):
        document = json.loads(stored[key][0])
        change(document)
        put(key, json.dumps(document, separators=(",", ":")).encode(), stored[key][1], rehash=True)

    def first_block(document):
        return document["parts"][0]["blocks"][0]

    def without_a_block(document):
        part = document["parts"][0]
        gone = part["blocks"].pop(3)
        part["records"] -= int(gone["metadata"]["records"])
        part["raw-bytes"] -= int(gone["metadata"]["raw-bytes"])

    forged = gzip.compress(b'{"forged":true}\n', mtime=0)
    cases = [
        ("an object is deleted", lambda: delete(parts[0]), ()),
        ("a byte of an object is flipped", lambda: flip(parts[0]), ("--download",)),
        ("an object is cut", lambda: put(parts[0], stored[parts[0]][0][:-9], stored[parts[0]][1]), ()),
        ("two objects are swapped", lambda: swap(parts[0], parts[1]), ()),
        ("an object is forged", lambda: put(parts[0], forged, stored[parts[0]][1], rehash=True), ()),
        ("a manifest is deleted", lambda: delete(manifests[0]), ()),
        ("a byte of a manifest is flipped", lambda: flip(manifests[0]), ()),
        ("two manifests are swapped", lambda: swap(manifests[0], manifests[1]), ()),
        ("a block is left out of a manifest", lambda: edit(manifests[-1], without_a_block), ()),
        ("records are changed", lambda: edit(
            manifests[0], lambda d: first_block(d)["metadata"].update(records="9")), ()),
        ("a number is changed", lambda: edit(
            manifests[0], lambda d: first_block(d)["metadata"].update(number="99999")), ()),
        ("previous is changed", lambda: edit(
            manifests[-1], lambda d: d["parts"][0]["blocks"][-1]["metadata"].update(previous="0" * 64)), ()),
        ("the hash of lines is changed", lambda: edit(
            manifests[-1], lambda d: first_block(d).update(lines="0" * 64)), ("--deep",)),
        ("the hash of an object is changed", lambda: edit(
            manifests[-1], lambda d: d["parts"][0].update(sha256="0" * 64)), ()),
        ("a foreign object", lambda: put(manifests[0].rsplit("/", 1)[0] + "/notes.txt", b"?", {}), ()),
    ]  # fmt: skip
    wrong = []
    for what, act, mode in cases:
        act()
        code, findings = verify(compact.place, *mode)
        kinds = sorted({kind for kind, _ in findings if kind != "note"})
        found = code == 1 and bool(kinds)
        say(f"  {what:34} {mode[0] if mode else 'heads':12} {'found: ' + ', '.join(kinds) if found else 'NOT FOUND'}")
        if not found:
            wrong.append(f"{what}: verify {' '.join(mode)} exits with {code} and finds {findings}")
        for key in touched:
            if key in stored:
                bucket.put((key, *stored[key]))
            else:
                bucket.delete(key)
        touched.clear()
    code, findings = verify(compact.place, "--deep")
    say(f"  untouched again, --deep: exit {code}, {len(findings)} findings")
    if code or findings:
        wrong.append(f"untouched: {findings}")
    return wrong


def prove(place, options):
    lines = options.lines or (20_000_000 if options.long else 200_000)
    kills = options.kills or (50 if options.long else 8)
    hosts, hours = (5, 24) if options.long else (3, 2)
    # At least as many lines as were asked for.
    each = -(-lines // (hosts * hours * 60))
    place.s3.start()
    compact = Compact(place, Bucket(place))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        names = [f"edge-{n}" for n in range(1, hosts + 1)]
        made = pool.map(of_host, names, [hours * 60] * hosts, [each] * hosts, [options.seed] * hosts)
        blocks = [block for of in made for block in of]
        compact.tell(f"compact: {len(blocks):,} blocks of {hosts} hosts and {hours} hours, {len(blocks) * each:,} lines, "
            f"seed {options.seed}")  # fmt: skip
        wrong, right = [], (hours_of(blocks), day_of(blocks))
        for compact.form in [options.to] if options.to else FORMS:
            compact.empty("varnish/")
            compact.bucket.fill(blocks)
            found, seconds = measured(compact, blocks, pool)
            compact.empty("varnish/compact/")
            wrong += found + killed(compact, blocks, right, kills, seconds, random.Random(options.seed))
            wrong += tampered(compact)
    if options.write and not wrong:
        page.put(PAGE, "compact", "".join(f"    {line}\n" for line in compact.told))
    return wrong
