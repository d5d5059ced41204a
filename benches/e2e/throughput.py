"""`s3log cat` beside `zcat` and `zstdcat` of the same blocks, in one run.

The blocks are made here, of lines in the combined format that are all different, as members or
frames of 1 MiB as the module makes them, and stored under keys of the module's form.
"""

import gzip
import random
import statistics
import subprocess
import time

from e2e import rig

CHUNK = 1 << 20
BLOCKS = 4
ROUNDS = 3


def lines(seed):
    """A mebibyte of lines, and a little less."""
    rng, text = random.Random(seed), []
    size = 0
    while size < CHUNK - 400:
        address = ".".join(str(rng.randrange(256)) for _ in range(4))
        line = (
            f'{address} - - [22/Nov/2026:10:00:{rng.randrange(60):02} +0000] "GET '
            f'http://www.example.org/articles/{rng.randrange(10**6)}?page={rng.randrange(40)} '
            f'HTTP/1.1" {rng.choice([200, 200, 200, 304, 404])} {rng.randrange(10**5)} '
            f'"https://www.example.org/{rng.randrange(300)}" "Mozilla/5.0 (X11; Linux x86_64; '
            f'rv:{rng.randrange(90, 146)}.0) Gecko/20100101 Firefox/{rng.randrange(90, 146)}.0"\n'
        )
        text.append(line)
        size += len(line)
    return "".join(text).encode()


def zstd(data):
    return subprocess.run(["zstd", "-3c"], input=data, stdout=subprocess.PIPE, check=True).stdout


CODECS = {
    "gz": (lambda data: gzip.compress(data, 3), "zcat"),
    "zst": (zstd, "zstdcat"),
}


def seconds(command, env, cwd=None):
    """Wall clock seconds of a command, and how many bytes it wrote."""
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{command} | wc -c"],
        env=env, cwd=cwd, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    return time.monotonic() - began, int(done.stdout)


def store(place, suffix, compress, chunks):
    """Stores the blocks under PREFIX, and leaves them in files of the same names."""
    prefix = f"throughput-{suffix}/"
    folder = place.directory / prefix
    folder.mkdir()
    part = len(chunks) // BLOCKS
    for number in range(BLOCKS):
        data = b"".join(compress(chunk) for chunk in chunks[number * part : (number + 1) * part])
        name = f"2026-11-22T10-00-0{number}Z-vm-access-6b032b6fd269-{number + 1:010}.log.{suffix}"
        (folder / name).write_bytes(data)
        place.s3.client().put_object(Bucket=rig.BUCKET, Key=prefix + name, Body=data)
    return prefix, folder


def measure(place, env, mebibytes):
    """A line for each codec: MB/s of lines, `s3log cat` and the decompressor by turns."""
    chunks = [lines(seed) for seed in range(mebibytes // BLOCKS * BLOCKS)]
    raw = sum(map(len, chunks))
    report = []
    for suffix, (compress, tool) in CODECS.items():
        prefix, folder = store(place, suffix, compress, chunks)
        cat = f"s3log cat --path {prefix} access"
        times = {cat: [], f"{tool} *": []}
        for _ in range(ROUNDS):
            for command, found in times.items():
                took, size = seconds(command, env, folder)
                if size != raw:
                    raise ValueError(f"{command} gave {size} bytes of {raw}")
                found.append(took)
        ours, theirs = (raw / statistics.median(found) / 1e6 for found in times.values())
        ratios = [b / a for a, b in zip(*times.values())]
        report.append(
            f"recipes: {raw / 1e6:.0f} MB of lines in {BLOCKS} blocks .{suffix}: s3log cat "
            f"{ours:.0f} MB/s, {tool} {theirs:.0f} MB/s, ratio {ours / theirs:.2f} "
            f"(of {ROUNDS} rounds {min(ratios):.2f} to {max(ratios):.2f})"
        )
    return "\n".join(report)
