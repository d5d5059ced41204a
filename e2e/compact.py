"""`s3log compact` killed at random, and tampered with: each line is there once, and each change is found.

The blocks are made here from the format alone, by Python's gzip and hashlib: several hosts, a block a
minute each. The server is SeaweedFS. The command is killed with SIGKILL at random instants; after each kill
`s3log cat` must give exactly the bytes that it gave before. Then one run is measured, beside DuckDB's
COPY to Parquet of the same blocks where `make e2e T=recipes` has installed DuckDB. At the end the blocks
are gone, and objects and manifests are changed in every way that `e2e verify` changes blocks.
"""

import concurrent.futures
import datetime
import gzip
import hashlib
import json
import random
import signal
import subprocess
import threading
import time

from e2e import rig
from e2e.rig import say
from e2e.verify import Bucket, verify, watch

START = 1_795_305_600  # 2026-11-22T00:00:00Z
FOLDER = "varnish/%Y/%m/%d/"
DUCKDB = rig.DEPS / "recipes/bin/duckdb"
UNTIL = "2026-11-23T00:00:00Z"


def arguments(parser):
    parser.add_argument("--long", action="store_true", help="20 million lines of 5 hosts and 24 hours, 50 kills")
    parser.add_argument("--lines", type=int, help="lines in all")
    parser.add_argument("--kills", type=int, help="how often the command is killed")
    parser.add_argument("--seed", type=int, default=1)


def block(host, number, previous, lines, generator):
    """Key, body and metadata of a host's block of a minute."""
    at = START + (number - 1) * 60
    text = "".join(
        f'{{"time":{at + n * 60 // lines},"host":"{host}","id":"{host}-{number}-{n}","method":"GET",'
        f'"url":"/page/{generator.randrange(5000)}","status":{generator.choice((200, 200, 200, 304, 404))},'
        f'"bytes":{generator.randrange(100_000)},"agent":"Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"}}\n'
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


class Compact:
    def __init__(self, place, bucket):
        self.place, self.bucket = place, bucket

    def command(self, name, *more):
        words = [str(self.place.command), name, "access", "--path", FOLDER, *self.place.s3.words()]
        return [*words, *more]

    def start(self, *more):
        command = self.command("compact", "--until", UNTIL, "--json", *more)
        temporary = self.place.directory / "temporary"
        temporary.mkdir(exist_ok=True)
        return subprocess.Popen(
            [*command, "--temp-dir", str(temporary)], env=self.place.env, stdout=subprocess.PIPE, text=True
        )

    def digest(self):
        """SHA-256 of all that `s3log cat` gives, and how many lines that are."""
        child = subprocess.Popen(self.command("cat"), env=self.place.env, stdout=subprocess.PIPE)
        sha256, lines = hashlib.sha256(), 0
        while piece := child.stdout.read(1 << 20):
            sha256.update(piece)
            lines += piece.count(b"\n")
        return (sha256.hexdigest(), lines) if child.wait() == 0 else ("cat failed", lines)

    def keys(self, prefix="varnish/"):
        return self.place.s3.keys(prefix)

    def sizes(self, prefix):
        pages = self.bucket.client.get_paginator("list_objects_v2")
        pages = pages.paginate(Bucket=rig.BUCKET, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}

    def empty(self, prefix):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in pool.map(self.bucket.delete, self.keys(prefix)):
                pass


def killed(compact, blocks, kills, generator):
    """Kills the command at random instants. What is not right."""
    wanted, wrong, ended, longest = compact.digest(), [], 0, 1.0
    fills = 1
    for _ in range(kills):
        begin = time.monotonic()
        child = compact.start("--delete")
        try:
            child.communicate(timeout=generator.uniform(0, longest))
            # It was faster; what it takes is when the others are killed.
            ended += 1
            longest = max(0.05, time.monotonic() - begin)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            longest *= 1.5
        found = compact.digest()
        if found != wanted:
            wrong.append(f"after a kill cat gives {found[1]} lines, {found[0]}, not {wanted[1]}, {wanted[0]}")
            break
        if not compact.keys("varnish/2026/"):
            compact.empty("varnish/compact/")
            compact.bucket.fill(blocks)
            fills += 1
    say(f"compact: {kills - ended} kills, {ended} runs that ended before, the bucket filled {fills} times;")
    say(f"  after each, cat gives the same {wanted[1]:,} lines")
    child = compact.start("--delete")
    out, _ = child.communicate()
    if child.returncode or compact.digest() != wanted or compact.keys("varnish/2026/"):
        wrong.append(f"the last run does not finish: exit {child.returncode}, {out}")
    code, findings = verify(compact.place, "--deep")
    if code or any(kind != "note" for kind, _ in findings):
        wrong.append(f"verify --deep after the kills: exit {code}, {findings}")
    return wrong


def measured(compact, blocks):
    """One run, nobody in its way."""
    compact.empty("varnish/")
    compact.bucket.fill(blocks)
    before = compact.sizes("varnish/2026/").values()
    raw = sum(int(meta["raw-bytes"]) for _, _, meta in blocks)
    begin = time.monotonic()
    child = compact.start()
    peak = [0]
    watcher = threading.Thread(target=watch, args=(child.pid, peak))
    watcher.start()
    child.communicate()
    seconds = time.monotonic() - begin
    watcher.join()
    after = [size for key, size in compact.sizes("varnish/compact/").items() if "/part-" in key]
    say(f"compact: {len(before):,} blocks, {sum(before) / 1e6:.1f} MB, {raw / 1e6:.1f} MB of lines, to "
        f"{len(after)} objects, {sum(after) / 1e6:.1f} MB")  # fmt: skip
    say(f"  {seconds:.1f} s, {raw / 1e6 / seconds:.0f} MB/s of lines, at most {peak[0] / 1024:.0f} MiB resident")
    wrong = [] if child.returncode == 0 else [f"the run that is measured: exit {child.returncode}"]
    if peak[0] > 256 * 1024:
        wrong.append(f"{peak[0]} KiB resident, and 256 MiB are promised")
    if DUCKDB.exists():
        duckdb(compact, blocks, raw)
    else:
        say("  DuckDB is not measured beside it: make e2e T=recipes installs it")
    return wrong


def duckdb(compact, blocks, raw):
    """The same blocks to Parquet, from files: without what the server takes."""
    folder = compact.place.directory / "blocks"
    folder.mkdir()
    for key, body, _ in blocks:
        (folder / key.rsplit("/", 1)[1]).write_bytes(body)
    query = (
        f"COPY (SELECT * FROM read_json('{folder}/*.log.gz', format = 'newline_delimited')) "
        f"TO '{folder}/all.parquet' (FORMAT parquet, COMPRESSION zstd)"
    )
    begin = time.monotonic()
    subprocess.run([str(DUCKDB), "-c", query], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    size = (folder / "all.parquet").stat().st_size
    say(f"  DuckDB, from files to Parquet: {seconds:.1f} s, {raw / 1e6 / seconds:.0f} MB/s of lines, {size / 1e6:.1f} MB")


def tampered(compact):
    """Changes of objects and manifests, with no block left: what was not found."""
    child = compact.start("--delete")
    child.communicate()
    bucket = compact.bucket
    keys = compact.keys("varnish/compact/")
    stored = {key: bucket.get(key) for key in keys}
    parts = [key for key in keys if "/part-" in key]
    manifests = [key for key in keys if "/manifest-" in key]

    def put(key, body, meta, rehash=False):
        if rehash:
            meta = meta | {"sha256": hashlib.sha256(body).hexdigest(), "bytes": str(len(body))}
        bucket.put((key, body, meta))

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
        ("an object is deleted", lambda: bucket.delete(parts[0]), ()),
        ("a byte of an object is flipped", lambda: flip(parts[0]), ("--download",)),
        ("an object is cut", lambda: put(parts[0], stored[parts[0]][0][:-9], stored[parts[0]][1]), ()),
        ("two objects are swapped", lambda: swap(parts[0], parts[1]), ()),
        ("an object is forged", lambda: put(parts[0], forged, stored[parts[0]][1], rehash=True), ()),
        ("a manifest is deleted", lambda: bucket.delete(manifests[0]), ()),
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
        ("a foreign object", lambda: bucket.put(
            (manifests[0].rsplit("/", 1)[0] + "/notes.txt", b"?", {})), ()),
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
        for key in set(compact.keys("varnish/compact/")) - stored.keys():
            bucket.delete(key)
        for key, (body, meta) in stored.items():
            bucket.put((key, body, meta))
    code, findings = verify(compact.place, "--deep")
    say(f"  untouched again, --deep: exit {code}, {len(findings)} findings")
    if code or findings:
        wrong.append(f"untouched: {findings}")
    return wrong


def prove(place, options):
    lines = options.lines or (20_000_000 if options.long else 200_000)
    kills = options.kills or (50 if options.long else 8)
    hosts, hours = (5, 24) if options.long else (3, 2)
    each = max(1, lines // (hosts * hours * 60))
    place.s3.start()
    compact = Compact(place, Bucket(place))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        names = [f"edge-{n}" for n in range(1, hosts + 1)]
        made = pool.map(of_host, names, [hours * 60] * hosts, [each] * hosts, [options.seed] * hosts)
        blocks = [block for of in made for block in of]
    say(f"compact: {len(blocks):,} blocks of {hosts} hosts and {hours} hours, {len(blocks) * each:,} lines, "
        f"seed {options.seed}")  # fmt: skip
    compact.bucket.fill(blocks)
    wrong = killed(compact, blocks, kills, random.Random(options.seed))
    wrong += measured(compact, blocks)
    wrong += tampered(compact)
    return wrong
