"""A real varnishd with the module, a real S3 server and an origin, on loopback.

Used by the demo and by the tests that need all three. Everything lives in one directory and on
ports found free; everything started is stopped by its process id. Python's standard library and
boto3 only.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from e2e.rig.machine import (
    DEPS, PATIENCE, ROOT, Process, Skip, environment, fill, free_ports, gone, say, several, tmpfs, wait_for, xfs,
)  # fmt: skip
from e2e.rig.origin import Origin
from e2e.rig.s3 import ACCESS_KEY, BUCKET, S3, SECRET_KEY
from e2e.rig.varnish import (
    GONE_OR_HERE, NONE_SINCE, Varnish, dropped, has_parameter, has_vcl_req_reset, numbers, recommended_mask, version,
)  # fmt: skip

__all__ = [
    "ACCESS_KEY", "BUCKET", "COMBINED", "DEPS", "GONE_OR_HERE", "NONE_SINCE", "PATIENCE", "ROOT", "SECRET_KEY",
    "Origin", "Process", "Rig", "S3", "Skip", "Varnish", "dropped", "environment", "fill",
    "free_ports", "gone", "has_parameter", "has_vcl_req_reset", "numbers", "recommended_mask", "say", "several",
    "tmpfs", "version", "wait_for", "xfs",
]  # fmt: skip

COMBINED = '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'


class Rig:
    """The directory and everything in it; a context manager that leaves nothing behind."""

    def __init__(self, name, profile="release", keep=False):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"s3log-{name}-"))
        self.keep, self.env = keep, environment()
        self.module_dir = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / profile
        self.command = self.module_dir / "s3log"
        self.spool = self.directory / "spool"
        self.spool.mkdir(mode=0o700)
        self.origin = Origin()
        self.s3 = S3(self.directory, self.env)
        self.varnish = None
        # What else has to end, before Varnish does.
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        wrong = error and not isinstance(error, Skip)
        if wrong and self.varnish and self.varnish.process:
            print(f"--- the end of varnishd's output\n{self.varnish.process.tail()}", file=sys.stderr)
        with contextlib.suppress(Exception):
            self.stack.close()
        with contextlib.suppress(Exception):
            if self.varnish:
                self.varnish.stop()
        with contextlib.suppress(Exception):
            if self.s3.process:
                self.s3.kill()
        self.origin.shutdown()
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def example(self, **more):
        """vcl/example.vcl with its site's values replaced by this rig's."""
        values = {
            'endpoint = "https://gateway.storjshare.io"': f'endpoint = "{self.s3.endpoint}"',
            '"/etc/varnish/s3log.credentials"': f'"{self.s3.credentials}"',
            '.port = "8080"': f'.port = "{self.origin.port}"',
            "period = 10s": f'period = {more.get("period", "1s")},\n        spool = "{self.spool}"',
        }
        text = (ROOT / "vcl/example.vcl").read_text()
        for old, new in values.items():
            if text.count(old) != 1:
                raise ValueError(f"vcl/example.vcl should have {old!r} once")
            text = text.replace(old, new)
        path = self.directory / "example.vcl"
        path.write_text(text)
        return path

    def start_varnish(self, vcl, directory=None, **options):
        self.varnish = Varnish(
            directory or self.directory, self.env, vcl, self.module_dir, **options
        )
        return self.varnish.start()

    def left(self):
        """Records in all rings and spools, as the command sees them."""
        done = subprocess.run(
            [str(self.command), "stats", "--json", "--spool", str(self.spool)],
            env=self.env,
            stdout=subprocess.PIPE,
            check=True,
        )
        folders = [json.loads(line) for line in done.stdout.splitlines()]
        records = sum(
            folder["waiting"]["records"] + folder["held"]["records"] + (folder["open"] or {}).get("records", 0)
            for folder in folders
        )
        return records + sum(folder["ring"].get("used", 0) for folder in folders)

    def settle(self):
        """Restarts varnishd and waits until nothing is left in ring and spool, of any route."""
        self.varnish.stop()
        self.varnish.start()
        wait_for("empty rings and spools", lambda: not self.left(), step=0.5)

    def cat(self, stream="access", *more):
        """The stream's lines, read back by the command; none where there is no block yet."""
        done = subprocess.run(
            [str(self.command), "cat", *self.s3.words(), *more, stream],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if done.returncode and b"no blocks found" not in done.stderr:
            sys.stderr.write(done.stderr.decode(errors="replace"))
            done.check_returncode()
        return done.stdout.splitlines()

    def patient_cat(self, stream="access", *more):
        """The same from an S3 server that has just come up: it answers 500 for a while."""
        found = []

        def read():
            with contextlib.suppress(subprocess.CalledProcessError):
                found.append(self.cat(stream, *more))
            return found

        wait_for("the S3 server to give back what it has", read, step=0.5)
        return found[0]
