"""What each codec stores, other programs read; in a real bucket, from a real node.

One stream goes through all of them by reload, with a kill of the cache process under each. Then
the objects are fetched with boto3 and decoded by what did not make them: Python's gzip, the
command zstd, Google's snappy (pysnappy). All requests are there once, `s3log cat` gives the same
lines, and `s3log verify --deep` finds nothing.
"""

import collections
import gzip
import hashlib
import os
import subprocess
import time
import zlib

from e2e import rig
from e2e.rig import say, stream_vcl, traffic

# With "one", a block is to be one member.
CODECS = ["gzip", "zstd", "snappy", "none", "snappy one", "gzip:9", "zstd:1", "gzip one", "zstd one"]
# What has more lines than that is of several chunks: a ring of 1MB makes them of 256 KiB.
SEVERAL = 2 * 256 * 1024
SUFFIXES = {"gzip": ".log.gz", "zstd": ".log.zst", "snappy": ".log.sz", "none": ".log"}
# Lines so long that a second of requests is many chunks, and not all the same.
FILLER = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(30))


def unzstd(data):
    return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout


def unsnappy(data):
    from pysnappy.framing import Decompressor

    decoder = Decompressor()
    text = decoder.decompress(data)
    decoder.flush()
    return text


DECODERS = {
    ".gz": gzip.decompress, ".zst": unzstd, ".sz": unsnappy, ".log": lambda data: data,
}  # fmt: skip


def first_member(suffix, data):
    """What a reader has that stops after the first member."""
    if suffix == ".log.gz":
        return zlib.decompressobj(wbits=31).decompress(data)
    if suffix == ".log.zst":
        return unzstd(data[: data.find(b"\x28\xb5\x2f\xfd", 1) % (len(data) + 1)])
    identifier = b"\xff\x06\x00\x00sNaPpY"
    return unsnappy(data[: data.find(identifier, 1) % (len(data) + 1)]) if suffix == ".log.sz" else None


class Codecs:
    def __init__(self, place):
        self.place, self.answered, self.deaths, self.failures = place, [], traffic.Deaths(), []
        self.wanted, self.single = collections.Counter(), collections.Counter()

    def round(self, number, codec):
        """Requests under this codec, with a kill in the middle of them."""
        varnish, name = self.place.varnish, f"round{number}"
        if number:
            vcl = stream_vcl.write(self.place, name, **self.settings(codec))
            varnish.swap(name, vcl)
        self.wanted[SUFFIXES[codec.split()[0].split(":")[0]]] += 1
        load = traffic.Traffic(varnish.port, 2, number, pause=0.01).start()
        rig.wait_for("requests", lambda: len(load.answered()) > 300)
        child = varnish.child_pid()
        begin, _ = varnish.end_child()
        rig.wait_for("another child", lambda: varnish.child_pid() not in (None, child))
        rig.wait_for("varnishd", varnish.answers)
        self.deaths.add(begin, time.monotonic())
        before = len(load.answered())
        rig.wait_for("requests", lambda: len(load.answered()) > before + 300)
        self.answered += load.stop()
        if codec.endswith(" one"):
            # The block is sealed with the settings of then, and not with the next round's.
            varnish.cli("stop")
            varnish.cli("start")
            rig.wait_for("varnishd", varnish.answers)

    @staticmethod
    def settings(codec):
        compression, _, members = codec.partition(" ")
        return {
            # The stop at the end has the time that it takes.
            "compression": f'"{compression}"', "members": f'"{members or "many"}"',
            "period": "1m" if members else "300ms", "ring": '"1MB"', "exit_timeout": "10m",
            "format": f"%U %>s {FILLER}",
        }  # fmt: skip

    def objects(self):
        """The lines of all objects, decoded by others; how many have which suffix."""
        client, lines, found, sizes = self.place.s3.client(), [], collections.Counter(), {}
        for key in self.place.s3.keys():
            data = client.get_object(Bucket=rig.BUCKET, Key=key)["Body"].read()
            suffix = next(end for end in (".log.gz", ".log.zst", ".log.sz", ".log") if key.endswith(end))
            text = DECODERS[os.path.splitext(key)[1]](data)
            stored, raw = sizes.get(suffix, (0, 0))
            sizes[suffix] = (stored + len(data), raw + len(text))
            found[suffix] += 1
            if len(text) > SEVERAL and first_member(suffix, data) == text:
                self.single[suffix] += 1
            lines += text.splitlines()
        for suffix, (stored, raw) in sorted(sizes.items()):
            single = f", {self.single[suffix]} of chunks made one member" if suffix != ".log" else ""
            say(f"codecs: {found[suffix]:3} *{suffix}: {raw:,} bytes of lines in {stored:,}{single}")
        return lines, found

    def verify(self):
        place = self.place
        done = subprocess.run(
            [str(place.command), "verify", "--deep", *place.s3.words(), "access"],
            env=place.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        say("codecs: s3log verify --deep: " + done.stdout.strip().splitlines()[-1])
        if done.returncode != 0:
            self.failures.append(f"verify --deep: {done.stdout}")


def prove(place, options):
    place.s3.start()
    codecs = Codecs(place)
    first = stream_vcl.write(place, "boot", **codecs.settings(CODECS[0]))
    varnish = place.start_varnish(first)
    for number, codec in enumerate(CODECS):
        codecs.round(number, codec)
    varnish.cli("stop")
    lines, found = codecs.objects()
    for suffix in codecs.wanted:
        if not found[suffix]:
            codecs.failures.append(f"no object ends in {suffix}")
        if suffix != ".log" and not codecs.single[suffix]:
            codecs.failures.append(f"no object *{suffix} of several chunks has one member")
    verdict = traffic.Verdict(codecs.answered, traffic.ids_of(lines), codecs.deaths)
    say(f"codecs: {verdict}")
    if not verdict.ok():
        codecs.failures.append("lines are missing or doubled")
    if sorted(place.patient_cat()) != sorted(lines):
        codecs.failures.append("s3log cat gives other lines than the other programs")
    codecs.verify()
    return codecs.failures
