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

from e2e import rig
from e2e.rig import say, stream_vcl, traffic

CODECS = ["gzip", "zstd", "snappy", "none", "snappy", "gzip:9", "zstd:1"]
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


class Codecs:
    def __init__(self, place):
        self.place, self.answered, self.deaths, self.failures = place, [], traffic.Deaths(), []
        self.wanted = collections.Counter()

    def round(self, number, codec):
        """Requests under this codec, with a kill in the middle of them."""
        varnish, name = self.place.varnish, f"round{number}"
        if number:
            vcl = stream_vcl.write(self.place, name, **self.settings(codec))
            varnish.swap(name, vcl)
        self.wanted[SUFFIXES[codec.split(":")[0]]] += 1
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

    @staticmethod
    def settings(codec):
        return {
            # The stop at the end has the time that it takes.
            "compression": f'"{codec}"', "period": "300ms", "exit_timeout": "10m",
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
            lines += text.splitlines()
        for suffix, (stored, raw) in sorted(sizes.items()):
            say(f"codecs: {found[suffix]:3} *{suffix}: {raw:,} bytes of lines in {stored:,}")
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
    verdict = traffic.Verdict(codecs.answered, traffic.ids_of(lines), codecs.deaths)
    say(f"codecs: {verdict}")
    if not verdict.ok():
        codecs.failures.append("lines are missing or doubled")
    if sorted(place.patient_cat()) != sorted(lines):
        codecs.failures.append("s3log cat gives other lines than the other programs")
    codecs.verify()
    return codecs.failures
