"""What was logged to be encrypted is never uploaded unencrypted after a kill.

A real Varnish with `encrypt_to` is killed with a block open; it comes back without the key, then
gets it again by a reload. Then the bucket has every line once, and none of the first in clear.
"""

import os
import signal
import socket
import subprocess

from e2e import rig
from e2e.rig import say, traffic

SECRET, CLEAR = 500, 20
PATH = ("--path", "varnish/%Y/%m/%d/")


def vcl(place, name, period, more=""):
    text = place.example(period=period).read_text()
    path = place.directory / f"{name}.vcl"
    path.write_text(text.replace("path =", f"{more}path ="))
    return path


def requests(varnish, word, count):
    """Each has finished, its record in the ring, when this returns."""
    with socket.create_connection(("127.0.0.1", varnish.port), 30) as connection:
        buffer = b""
        for n in range(count):
            connection.sendall(f"GET /{word}{n} HTTP/1.1\r\nHost: edge\r\n\r\n".encode())
            _, buffer = traffic.Client.read(connection, buffer)
        traffic.Client.end(connection, buffer)


def check(what, holds):
    say(f"  {what}: {'yes' if holds else 'NO'}")
    return [] if holds else [what]


def prove(place, options):
    place.s3.start()
    key = place.directory / "key"
    quiet = {"check": True, "stderr": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
    subprocess.run(["age-keygen", "-o", key], **quiet)
    public = subprocess.run(["age-keygen", "-y", key], **quiet).stdout.strip()
    given = f'encrypt_to = "{public}",\n        '
    varnish = place.start_varnish(vcl(place, "secret", "1h", given))
    requests(varnish, "secret", SECRET)
    child = varnish.child_pid()
    os.kill(varnish.process.pid, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    varnish.process.child.wait()
    rig.wait_for("the child to end", lambda: not os.path.exists(f"/proc/{child}"))

    varnish.vcl = vcl(place, "clear", "300ms")
    varnish.start()
    requests(varnish, "clear", CLEAR)
    rig.wait_for("the clear lines", lambda: varnish.counters()["access.uploaded_records"] >= CLEAR)
    counters = varnish.counters()
    log = varnish.process.log.read_text()
    found = place.s3.keys("varnish/")
    say(f"guard: killed with {SECRET} lines open, back without the key")
    wrong = check("nothing encrypted and nothing secret is in the bucket", all(
        not name.endswith(".age") for name in found
    ) and len(place.cat("access", *PATH)) == CLEAR)
    wrong += check(f"{SECRET} records wait", counters["access.held_records"] == SECRET)
    wrong += check("it is said once", log.count("that wait for a key") == 1)

    varnish.cli("vcl.load", "keys", vcl(place, "keys", "300ms", given))
    varnish.cli("vcl.use", "keys")
    rig.wait_for("what waited", lambda: varnish.counters()["access.held_records"] == 0)
    rig.wait_for("the upload", lambda: varnish.counters()["access.spooled_records"] == 0)
    lines = place.cat("access", *PATH, "--identity", key)
    say("guard: after a reload with the key")
    count = [sum(b" /" + word in line for line in lines) for word in (b"secret", b"clear")]
    wrong += check(f"each line is there once: {count}", count == [SECRET, CLEAR])
    found = [name for name in place.s3.keys("varnish/") if name.endswith(".age")]
    wrong += check("encrypted", len(found) >= 1)
    return wrong
