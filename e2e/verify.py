"""A bucket that is tampered with in every way, and what `s3log verify` says.

The blocks are made here, by Python's own gzip and hashlib from the format alone, so that the
command is held against a second writer; then some by the module in a real Varnish, which are held
against a second reader, examples/chain.py. The server is SeaweedFS, the manipulations are boto3's,
the signatures are the program minisign's.
"""

import concurrent.futures
import datetime
import gzip
import hashlib
import json
import subprocess
import sys
import threading
import time
import urllib.request

from e2e import rig

# Imported as the program that it is.
sys.path.insert(0, str(rig.ROOT / "examples"))
import chain  # noqa: E402

START = 1_795_341_600  # 2026-11-22T10:00:00Z
FOLDER = "varnish/%Y/%m/%d/"


class Host:
    """A node whose blocks follow one another."""

    def __init__(self, name, start):
        self.name, self.number, self.previous, self.time = name, 0, None, start

    def block(self, boot, lines):
        self.number += 1
        text = "".join(f"{self.name} {self.number} {n}\n" for n in range(lines)).encode()
        half = text.index(b"\n") + 1 if lines else 0
        body = gzip.compress(text[:half], mtime=0) + gzip.compress(text[half:], mtime=0)
        digest = hashlib.sha256(body).hexdigest()
        first = self.time * 1_000_000_000
        meta = {
            "format": "1",
            "stream": "access",
            "host": self.name,
            "boot": boot,
            "number": str(self.number),
            "records": str(lines),
            "raw-bytes": str(len(text)),
            "bytes": str(len(body)),
            "first": str(first),
            "last": str(first + 5),
            "dropped": "0,0,0,0",
            "cut": "0",
            "codec": "gzip",
            "sha256": digest,
        }
        if self.previous:
            meta["previous"] = self.previous
        stamp = datetime.datetime.fromtimestamp(self.time, datetime.timezone.utc)
        key = stamp.strftime(FOLDER + "%Y-%m-%dT%H-%M-%SZ")
        key += f"-{self.name}-access-{boot}-{self.number:010}.log.gz"
        self.previous, self.time = digest, self.time + 10
        return key, body, meta


class Bucket:
    """The server's bucket, by boto3."""

    def __init__(self, place):
        self.place, self.client = place, place.s3.client()

    def put(self, block):
        key, body, meta = block
        self.client.put_object(Bucket=rig.BUCKET, Key=key, Body=body, Metadata=meta)

    def get(self, key):
        got = self.client.get_object(Bucket=rig.BUCKET, Key=key)
        return got["Body"].read(), got["Metadata"]

    def delete(self, key):
        self.client.delete_object(Bucket=rig.BUCKET, Key=key)

    def fill(self, blocks):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in pool.map(self.put, blocks):
                pass


def command(place, *arguments):
    words = [str(place.command), "verify", "access", "--json", "--path", FOLDER]
    return [*words, *place.s3.words(), *arguments]


def verify(place, *arguments):
    """The exit code, and each finding as (kind, where)."""
    done = subprocess.run(
        command(place, *arguments), env=place.env, stdout=subprocess.PIPE, text=True
    )
    findings = []
    for line in done.stdout.splitlines():
        finding = json.loads(line).get("finding")
        if finding:
            where = [str(number) for number in finding.get("numbers", [])]
            where = [finding.get("host"), "-".join(sorted(set(where), key=int))]
            where = " ".join(part for part in where if part) or finding.get("keys", ["the bucket"])[0]
            findings.append((finding["kind"], where))
    return done.returncode, findings


def manipulations(bucket, of):
    """Each: what is done, what undoes it, the mode that sees it, and the kinds that name it."""

    def copy(source, target, with_metadata=True):
        body, meta = bucket.get(source)
        bucket.put((target, body, meta if with_metadata else bucket.get(target)[1]))

    def swap(a, b):
        one, two = bucket.get(a), bucket.get(b)
        bucket.put((a, *two))
        bucket.put((b, *one))

    def flip(key):
        body, meta = bucket.get(key)
        body = bytearray(body)
        body[len(body) // 2] ^= 1
        bucket.put((key, bytes(body), meta))

    def meta(key, name, value):
        body, pairs = bucket.get(key)
        pairs[name] = value
        bucket.put((key, body, pairs))

    def cut(key):
        body, pairs = bucket.get(key)
        bucket.put((key, body[:-9], pairs))

    def forge(key):
        body = gzip.compress(b"forged\n", mtime=0)
        pairs = bucket.get(key)[1]
        pairs.update({"sha256": hashlib.sha256(body).hexdigest(), "bytes": str(len(body))})
        pairs.update({"records": "1", "raw-bytes": "7"})
        bucket.put((key, body, pairs))

    a, b, c = (of[host] for host in sorted(of))
    other = a[19].replace("-0000000020.", "-0000000999.")
    heads, download, deep = (), ("--download",), ("--deep",)
    yield "a block is deleted", lambda: bucket.delete(a[9]), heads, {"missing"}
    yield "the first is deleted", lambda: bucket.delete(b[0]), heads, {"missing"}
    boots = len(c) // 2
    yield "the last of a boot is deleted", lambda: bucket.delete(c[boots - 1]), heads, {"gap"}
    yield "a block is copied to another number", lambda: copy(a[19], other), heads, {"doubled"}
    yield "two blocks are swapped", lambda: swap(b[4], b[8]), heads, {"swapped"}
    yield "a byte is flipped", lambda: flip(c[30]), download, {"altered"}
    yield "a block is cut", lambda: cut(a[40]), heads, {"cut"}
    yield "an older block replaces a newer", lambda: copy(a[2], a[60]), heads, {
        "doubled",
        "missing",
    }
    yield "an older content replaces a newer", lambda: copy(b[2], b[60], False), download, {
        "altered"
    }
    yield "records are changed", lambda: meta(c[12], "records", "9"), deep, {"altered"}
    yield "previous is changed", lambda: meta(c[13], "previous", "0" * 64), heads, {"altered"}
    yield "a block is forged", lambda: forge(a[70]), heads, {"altered"}
    yield "a foreign object", lambda: bucket.put(
        (a[0].rsplit("/", 1)[0] + "/notes.txt", b"?", {})
    ), heads, {"foreign"}
    yield "the newest is deleted", lambda: bucket.delete(b[-1]), ("--checkpoint",), {"missing"}


def tampering(place, bucket):
    hosts = [Host(f"edge-{n}", START + n) for n in (1, 2, 3)]
    blocks, of = [], {host.name: [] for host in hosts}
    for boot in ("6b02c5e00001", "6b02d5e00002"):
        for _ in range(84):
            for host in hosts:
                blocks.append(host.block(boot, 20))
                of[host.name].append(blocks[-1][0])
    bucket.fill(blocks)
    stored = {block[0]: block for block in blocks}
    print(f"verify-demo: {len(blocks)} blocks of 3 hosts and 2 boots")
    for mode in ((), ("--download",), ("--deep",)):
        code, findings = verify(place, *mode)
        print(f"  untouched, {' '.join(mode) or 'heads only':12} exit {code}, {len(findings)} findings")
        if code or findings:
            return 1
    checkpoint = place.directory / "checkpoint"
    verify(place, "--checkpoint", str(checkpoint))
    wrong = 0
    for what, act, mode, kinds in manipulations(bucket, of):
        act()
        mode = (*mode, str(checkpoint)) if mode == ("--checkpoint",) else mode
        code, findings = verify(place, *mode)
        found = {kind for kind, _ in findings}
        right = code == 1 and found == kinds
        wrong += not right
        word = "found" if right else f"NOT RIGHT, exit {code}, wanted {sorted(kinds)}:"
        print(f"  {what:36} {mode[0] if mode else 'heads':12} {word} {told(findings)}")
        restore(place, bucket, stored)
    code, findings = verify(place, "--deep")
    print(f"  untouched again, --deep: exit {code}, {len(findings)} findings")
    return wrong + code + forgeries(place, bucket, blocks, of) + of_the_module(place, bucket)


class Key:
    """A key pair of minisign's."""

    def __init__(self, directory, name):
        self.secret, self.public = directory / f"{name}.sec", directory / f"{name}.pub"
        command = ["minisign", "-G", "-W", "-f", "-s", self.secret, "-p", self.public]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def sign(self, meta, directory):
        """The metadata with its signature."""
        meta = {name: meta[name] for name in chain.STATED if name in meta}
        name = directory / hashlib.sha256(repr(meta).encode()).hexdigest()
        name.write_text(chain.statement(meta))
        command = ["minisign", "-S", "-s", self.secret, "-m", name, "-t", chain.comment(meta)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = name.with_name(name.name + ".minisig").read_text().splitlines()
        return meta | {"signature": lines[1], "global-signature": lines[3]}


def forgeries(place, bucket, blocks, of):
    """Who knows the format and may write forges a chain: seen with the key only."""
    edge, other = Key(place.directory, "edge"), Key(place.directory, "other")
    folder = place.directory / "statements"
    folder.mkdir()

    def signed(block):
        key, body, meta = block
        return key, body, edge.sign(meta, folder)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(signed, blocks))
    bucket.fill(blocks)
    stored = {block[0]: block for block in blocks}
    victim = of["edge-2"]

    def forge(count, sign):
        """The last `count` blocks of a host, forged, links and all."""
        previous = stored[victim[-count - 1]][2]["sha256"]
        for key in victim[-count:]:
            body = gzip.compress(b"forged\n", mtime=0)
            meta = dict(stored[key][2], previous=previous, records="1")
            previous = hashlib.sha256(body).hexdigest()
            meta |= {"sha256": previous, "bytes": str(len(body)), "raw-bytes": "7"}
            bucket.put((key, body, sign(meta)))

    def bare(meta):
        return {name: meta[name] for name in chain.STATED if name in meta}

    def replay():
        key = victim[20]
        _, body, meta = stored[key]
        bucket.put((key, body, meta | {"dropped": "7,0,0,0"}))

    cases = [
        ("the rest of a chain is forged", lambda: forge(5, bare), {"unsigned"}),
        ("... and signed with another key", lambda: forge(5, lambda m: other.sign(m, folder)), {"forged"}),
        ("... with the signatures of before", lambda: forge(5, lambda m: m), {"forged"}),
        ("drops are invented", replay, {"forged"}),
    ]
    public = ("--public-key", str(edge.public))
    code, findings = verify(place, "--download", *public)
    print(f"  {len(blocks)} signed blocks, --public-key: exit {code}, {len(findings)} findings")
    wrong = bool(code or findings)
    for what, act, kinds in cases:
        act()
        # Nothing but a note that there are signatures.
        blind, seen = verify(place, "--download")
        code, findings = verify(place, *public)
        right = blind == 0 and {kind for kind, _ in seen} <= {"note"}
        right = right and code == 1 and {kind for kind, _ in findings} == kinds
        wrong += not right
        word = "found" if right else f"NOT RIGHT, exit {blind} and {code}, wanted {sorted(kinds)}:"
        print(f"  {what:36} without the key: exit {blind}; with it {word} {told(findings)}")
        by_page, *_ = chain.check(chain.read(bucket.client, rig.BUCKET, "varnish/", "access"), edge.public)
        keys = {sentence.split(":")[0] for sentence in by_page}
        same = len(keys) == len(findings)
        wrong += not same
        print(f"  {'':36} examples/chain.py finds {len(keys)}{'' if same else ', NOT THE SAME'}")
        restore(place, bucket, stored)
    return wrong


def of_the_module(place, bucket):
    """Blocks that a real Varnish has written, in two boots, read by docs/chain.md alone."""
    key = Key(place.directory, "node")
    vcl = place.example(period="300ms")
    text = vcl.read_text()
    vcl.write_text(text.replace("path =", f'sign_key = "{key.secret}",\n        path =').replace(
        "new access", "new signed").replace("access.log", "signed.log"))
    requests = 0
    varnish = place.start_varnish(vcl)
    for _ in range(2):
        for n in range(40):
            urllib.request.urlopen(f"http://127.0.0.1:{varnish.port}/page?{n}").read()
            requests += 1
            time.sleep(0.04)
        varnish.stop()
        if requests == 40:
            varnish.start()
    blocks = chain.read(bucket.client, rig.BUCKET, "varnish/", "signed")
    wrong, count, _ = chain.check(blocks, key.public)
    records = sum(int(meta["records"]) for _, meta, _, _ in blocks)
    boots = len({meta["boot"] for _, meta, _, _ in blocks})
    print(f"  of the module: {count} blocks of {boots} boots, {records} records of {requests} requests;")
    print(f"    examples/chain.py, with the key: {len(wrong)} wrong")
    for sentence in wrong:
        print(f"    {sentence}")
    # A changed record of a boot, so that this is seen to fail.
    name, meta, digest, length = blocks[1]
    changed = [*blocks[:1], (name, meta | {"previous": "0" * 64}, digest, length), *blocks[2:]]
    noticed, *_ = chain.check(changed, key.public)
    return bool(wrong) + (boots != 2) + (records < requests) + (len(noticed) < 2)


def told(findings):
    return "; ".join(f"{kind} {where}" for kind, where in findings)


def restore(place, bucket, stored):
    """Makes the bucket what it was."""
    there = set(place.s3.keys("varnish/"))
    for key in there - stored.keys():
        bucket.delete(key)

    def mend(block):
        if block[0] not in there or bucket.get(block[0]) != block[1:]:
            bucket.put(block)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in pool.map(mend, stored.values()):
            pass


def watch(pid, peak, name="s3log"):
    """The most resident memory of a process that runs the command `name`, in KiB, until it ends."""
    while True:
        try:
            status = open(f"/proc/{pid}/status").read()
        except OSError:
            return
        found = [line for line in status.splitlines() if line.startswith("VmHWM")]
        if not found:
            return
        # A child is a copy of this process until it has become the command.
        if f"Name:\t{name}\n" in status:
            peak[0] = max(peak[0], int(found[0].split()[1]))
        time.sleep(0.05)


def many(place, bucket, count):
    """Time and memory for a great number of blocks."""
    hosts = [Host(f"node-{n:02}", START - 40 * 86_400) for n in range(20)]
    blocks = [hosts[n % 20].block("6b0200000001", 1) for n in range(count)]
    start = time.monotonic()
    bucket.fill(blocks)
    print(f"verify-demo: {count} more blocks stored in {time.monotonic() - start:.0f} s")
    start = time.monotonic()
    child = subprocess.Popen(command(place), env=place.env, stdout=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=watch, args=(child.pid, peak))
    watcher.start()
    out = child.communicate()[0]
    seconds = time.monotonic() - start
    watcher.join()
    total = json.loads(out.splitlines()[-1])["sum"]
    print(
        f"  heads only: {total['blocks']} blocks, {seconds:.1f} s, "
        f"{total['blocks'] / seconds:.0f} a second, at most {peak[0] / 1024:.0f} MiB resident, "
        f"exit {child.returncode}"
    )
    return child.returncode


def arguments(parser):
    parser.add_argument("--many", type=int, default=0, metavar="COUNT", help="blocks more, for time and memory")


def prove(place, options):
    place.s3.start()
    bucket = Bucket(place)
    wrong = tampering(place, bucket)
    if options.many:
        wrong += many(place, bucket, options.many)
    return [f"{wrong} findings are not as expected"] if wrong else []
