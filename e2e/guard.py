"""What was logged to be encrypted is never uploaded unencrypted after a kill.

A real Varnish with `encrypt_to` is killed with a block open and comes back with a VCL that has no
key. Then the bucket has every line once: those from before the kill encrypted to the key that they
were logged for, those from after it as they are.
"""

import gzip
import os
import signal
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
    traffic.each(varnish.port, (f"/secret{n}" for n in range(SECRET)))
    child = varnish.child_pid()
    os.kill(varnish.process.pid, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    varnish.process.child.wait()
    rig.wait_for("the child to end", lambda: not os.path.exists(f"/proc/{child}"))

    varnish.vcl = vcl(place, "clear", "300ms")
    varnish.start()
    traffic.each(varnish.port, (f"/clear{n}" for n in range(CLEAR)))
    say(f"guard: killed with {SECRET} lines open, back without the key")

    def counted():
        lines = place.cat("access", *PATH, "--identity", key)
        return [sum(b" /" + word in line for line in lines) for word in (b"secret", b"clear")]

    rig.wait_for("every line", lambda: sum(counted()) >= SECRET + CLEAR, step=0.5)
    varnish.cli("stop")
    count = counted()
    wrong = check(f"each line is there once: {count}", count == [SECRET, CLEAR])
    client, names = place.s3.client(), place.s3.keys("varnish/")

    def content(name):
        return client.get_object(Bucket=rig.BUCKET, Key=name)["Body"].read()

    encrypted = [name for name in names if name.endswith(".age")]
    wrong += check(f"{len(encrypted)} of {len(names)} objects are encrypted", encrypted and all(
        content(name).startswith(b"age-encryption.org/v1") for name in encrypted
    ))
    plain = b"".join(gzip.decompress(content(name)) for name in names if name not in encrypted)
    wrong += check("nothing secret is unencrypted", b"/secret" not in plain and b"/clear0 " in plain)
    log = varnish.process.log.read_text()
    wrong += check("a warning says whose records waited", log.count("a route that no VCL has") == 1)
    return wrong
