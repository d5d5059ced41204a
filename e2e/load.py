"""wrk against a real Varnish: every request that it counts is in the bucket once."""

import contextlib
import re
import subprocess
import time

from e2e import rig

# Each connection numbers its requests, so that a line that is missing or doubled shows.
SCRIPT = """
local thread_count = 0
function setup(thread)
    thread:set("id", thread_count)
    thread_count = thread_count + 1
end
function init() n = 0 end
function request()
    n = n + 1
    return wrk.format("GET", "/page?id=" .. id .. "-" .. n)
end
"""

VCL = """
sub vcl_hash {
    hash_data("one object for every id");
    return (lookup);
}
"""


def arguments(parser):
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=64)


def prove(place, options):
    place.s3.start()
    vcl = place.example()
    vcl.write_text(vcl.read_text() + VCL)
    varnish = place.start_varnish(vcl)
    child = varnish.child_pid()
    script = place.directory / "ids.lua"
    script.write_text(SCRIPT)
    command = ["wrk", "-t2", f"-c{options.connections}", f"-d{options.seconds}"]
    command += ["-s", str(script), f"http://127.0.0.1:{varnish.port}/"]
    out = subprocess.run(
        command, env=place.env, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    counted = int(re.search(r"(\d+) requests in", out)[1])
    if errors := re.search(r"Socket errors.*|Non-2xx.*", out):
        print(f"load: {errors[0]}")
    last = time.monotonic()
    with contextlib.suppress(TimeoutError):
        rig.wait_for("the last block", lambda: at_rest(varnish), step=0.2)
    answered = counted_by(varnish)
    seconds = time.monotonic() - last
    lines = place.cat()
    ids = [match[1] for line in lines if (match := re.search(rb"[?]id=([0-9-]+) ", line))]
    doubled = len(ids) - len(set(ids))
    dropped = rig.dropped(varnish.balanced())
    print(
        f"load: wrk counted {counted} requests ({counted / options.seconds:.0f}/s), Varnish "
        f"{answered}; {len(ids)} lines in the bucket, {doubled} doubled, dropped "
        f"{dropped or 0}, {seconds:.1f} s after the last request; "
        f"child {child} -> {varnish.child_pid()}"
    )
    # Those that Varnish counted and wrk did not were in flight when wrk's time was up.
    holds = {
        "every request that wrk counted is one that Varnish counted":
            counted <= answered <= counted + options.connections,
        "each of them is one line in the bucket": len(ids) == answered and not doubled,
        "nothing is dropped": not dropped,
        "the cache process is the same": child == varnish.child_pid(),
    }  # fmt: skip
    return [f"not so: {what}" for what, so in holds.items() if not so]


def counted_by(varnish):
    """How many client requests Varnish has counted. Up to 7.1 it counts one that has waited for another
    one's fetch once more when it goes on (bin/varnishd/http1/cache_http1_fsm.c)."""
    text = varnish.tool("varnishstat", "-1", "-f", "MAIN.client_req", "-f", "MAIN.busy_wakeup")
    counts = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()}
    again = counts["MAIN.busy_wakeup"] if rig.numbers(varnish.env) < (7, 2) else 0
    return counts["MAIN.client_req"] - again


def at_rest(varnish):
    """Whether no request is alive, and all that Varnish counts are uploaded. Its workers add up what
    they have counted when they are idle."""
    uploaded = lambda: varnish.counters()["access.uploaded_records"]
    return not varnish.alive() and varnish.idle() and uploaded() == counted_by(varnish)
