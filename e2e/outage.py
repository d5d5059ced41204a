"""The gateway is down for two million requests, then up: nothing is missing.

Nothing is missing, memory stays flat, and the blocks arrive with every number and an unbroken
chain.
"""

import pathlib
import re
import subprocess
import time

from e2e import rig
from e2e.rig import say, stream_vcl

FLAT = 32  # MiB


def resident(pid):
    """Memory of the process in MiB, the ring's touched pages among it."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def load(env, port, requests):
    """Sends this many requests on 16 connections; all of them were answered."""
    command = ["h2load", "--h1", "-n", str(requests), "-c", "16", f"http://127.0.0.1:{port}/h/page"]
    out = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True).stdout
    if f"{requests} succeeded" not in out:
        raise RuntimeError(out)
    return requests


def chain(client, keys):
    """Checks the blocks' numbers and hashes; what is wrong, and the records they claim."""
    heads = []
    for key in keys:
        heads.append(client.head_object(Bucket=rig.BUCKET, Key=key)["Metadata"])
    heads.sort(key=lambda head: int(head["number"]))
    wrong, before = [], None
    for head in heads:
        if before is not None:
            if int(head["number"]) != int(before["number"]) + 1:
                wrong.append(f"block {head['number']} follows block {before['number']}")
            if head["previous"] != before["sha256"]:
                wrong.append(f"block {head['number']} names another block before it")
        before = head
    return wrong, sum(int(head["records"]) for head in heads), heads


def arguments(parser):
    parser.add_argument("--requests", type=int, default=2_000_000)


def prove(place, options):
    failures = []
    place.s3.start()
    vcl = stream_vcl.write(
        place, "outage", period="2s", on_full='"wait"', max_wait="5s",
        path='"outage/"', format='%h %t "%r" %>s %O %D %{X-Varnish}o "%{User-Agent}i"',
    )
    parameters = ["thread_pools=2", "thread_pool_min=50", "thread_pool_max=50"]
    parameters += ["thread_pool_timeout=3000", "syslog_cli_traffic=off"]
    varnish = place.start_varnish(vcl, parameters=parameters)
    place.s3.kill()
    pid = varnish.child_pid()
    piece = min(200_000, options.requests)
    sent = load(place.env, varnish.port, piece)
    time.sleep(5)
    warm, most, begin = resident(pid), 0.0, time.monotonic()
    while sent < options.requests:
        sent += load(place.env, varnish.port, min(piece, options.requests - sent))
        most = max(most, resident(pid))
    took = time.monotonic() - begin
    spooled = lambda: varnish.counters("access")["access.spooled_records"] >= sent
    rig.wait_for("every record in the spool", spooled)
    now = varnish.balanced()
    rate = (sent - piece) / took if sent > piece else 0
    say(f"outage: {sent} requests, {rate:.0f} a second after the first {piece}")
    say(
        f"outage: memory {warm:.1f} MiB when warm, {most:.1f} at most, "
        f"{resident(pid):.1f} at the end; {now['access.spooled_blocks']} blocks with "
        f"{now['access.spooled_bytes'] / 2**20:.1f} MiB and "
        f"{now['access.spooled_records']} records in the spool, "
        f"oldest {now['access.oldest_unsent']} s"
    )
    if most - warm > FLAT:
        failures.append(f"memory grew by {most - warm:.1f} MiB")
    place.s3.start()
    begin = time.monotonic()
    rig.wait_for("the spool to drain", varnish.idle, 600, 0.2)
    drain = time.monotonic() - begin
    now = varnish.balanced()
    say(
        f"outage: drained in {drain:.1f} s after the gateway came back, "
        f"{now['access.uploaded_bytes'] / 2**20 / drain:.1f} MiB/s; memory {resident(pid):.1f} MiB"
    )
    if dropped := rig.dropped(now):
        failures.append(f"dropped: {dropped}")
    varnish.stop()
    keys = place.s3.keys("outage/")
    wrong, claimed, heads = chain(place.s3.client(), keys)
    failures += wrong
    lines = len(place.patient_cat("access", "--path", "outage/"))
    first, last = heads[0]["number"], heads[-1]["number"]
    say(
        f"outage: {lines} lines in {len(keys)} blocks, numbers {first} to {last}, "
        f"metadata says {claimed} records; answered {sent}"
    )
    if not sent == lines == claimed:
        failures.append(f"{lines} lines, {claimed} claimed, {sent} answered")
    return failures
