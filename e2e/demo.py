"""Requests of several kinds through a real Varnish, and their lines in a bucket."""

import contextlib
import os
import re
import subprocess
import time

from e2e import rig
from e2e.rig import say


def h2load(env, requests, url, *more):
    """Sends requests and returns how many got an answer."""
    command = ["h2load", "-n", str(requests), "-c", "8", *more, url]
    out = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True).stdout
    total, done = re.search(r"requests: (\d+) total, \d+ started, (\d+) done", out).groups()
    if total != done:
        raise RuntimeError(f"{' '.join(command)}: only {done} of {total} answered\n{out}")
    return int(done)


def kinds(env, port, body):
    """Each kind of request: what it is called, how many, and how it is sent."""
    base = f"http://127.0.0.1:{port}"
    h1 = "--h1"
    yield "hit", h2load(env, 2000, f"{base}/page?from=demo", h1)
    for n in range(20):
        yield "miss", h2load(env, 8, f"{base}/fresh/{n}", h1)
    yield "pass", h2load(env, 200, f"{base}/private", h1, "-H", "Authorization: Basic ZWRnZTp4")
    yield "synth", h2load(env, 400, f"{base}/ping", h1)
    yield "POST", h2load(env, 200, f"{base}/form", h1, "-d", str(body))
    yield "404", h2load(env, 200, f"{base}/missing", h1)
    yield "HTTP/2", h2load(env, 1000, f"{base}/page?from=http2", "-H", "User-Agent: demo \"2\"")


def different(lines, count):
    """Lines of as many kinds as there are: by method, protocol and status."""
    kinds = {}
    for line in lines:
        match = re.search(rb'"(\S+) \S+ (\S+)" (\d+) ', line)
        kinds.setdefault(match.groups() if match else line, line)
    return list(kinds.values())[:count]


def prove(place, options):
    say(f"demo: everything is in {place.directory}, on loopback")
    place.s3.start()
    say(f"demo: S3 server (SeaweedFS) at {place.s3.endpoint}, bucket {rig.BUCKET}")
    varnish = place.start_varnish(place.example())
    say(f"demo: Varnish at http://127.0.0.1:{varnish.port}, with vcl/example.vcl")

    body = place.directory / "body"
    body.write_bytes(b"a=1&b=2" * 100)
    sent = {}
    for kind, count in kinds(place.env, varnish.port, body):
        sent[kind] = sent.get(kind, 0) + count
    last = time.monotonic()
    total = sum(sent.values())
    say("demo: sent " + ", ".join(f"{n} {kind}" for kind, n in sent.items()))

    lines = []
    with contextlib.suppress(TimeoutError):
        rig.wait_for("the last block", lambda: len(place.cat()) >= total, step=0.2)
    seconds = time.monotonic() - last
    lines = place.cat()

    say("\nkeys in the bucket:")
    keys = place.s3.keys("varnish/")
    for key in keys[:6]:
        say(f"  {key}")
    if len(keys) > 6:
        say(f"  ... and {len(keys) - 6} more")
    say("\nfive lines read back with 's3log cat access':")
    for line in different(lines, 5):
        say(f"  {line.decode(errors='replace')}")
    say("\ncounters (varnishstat -1 -f 'S3LOG.*'):")
    for name, value in varnish.counters().items():
        if value:
            say(f"  S3LOG.{name:<32} {value}")
    found = len(lines)
    say(f"\nsent {total}, found {found} in the bucket, {seconds:.1f} s after the last request")

    if options.keep and found == total:
        settings = f"--endpoint {place.s3.endpoint} --bucket {rig.BUCKET}"
        settings += f" --credentials {place.s3.credentials}"
        say("\nIt goes on running until Ctrl-C. Try:")
        say(f"  curl -i http://127.0.0.1:{varnish.port}/page")
        say(f"  {os.path.relpath(place.command)} cat {settings} access | tail")
        say(f"  varnishstat -n {varnish.workdir} -f 'S3LOG.*'")
        say(f"  varnishadm -n {varnish.workdir} stop   # and see the last block arrive")
        say(f"(. {os.path.relpath(rig.DEPS)}/env first puts Varnish's tools on the PATH)")
        with contextlib.suppress(KeyboardInterrupt):
            while varnish.process.alive():
                time.sleep(0.5)
    return [] if found == total else [f"{total - found} lines are not in the bucket"]
