"""`make gateways`: the same checks against every S3 server of this machine.

SeaweedFS over http and over https with a certificate authority made for this run, and s3s-fs
inside the test's own process. The driver is tests/s3_gateway.rs, with the client that varnishd
gets; each object that it stored is read back here by boto3, and compared by length, digest and
what it was stored with. Garage is left out: it has to be compiled for half an hour of CPU time.

A server that lacks something is "not supported" only where EXPECTED says so; anything else
that is not ok makes the exit code 1.
"""

import argparse
import collections
import email.header
import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
import time

import rig

DRIVER = "the_gateway_takes_what_the_client_sends"
LOCK_BUCKET = "locked-logs"
DOMAIN = "s3.test"
# The key of the server inside the test (tests/common/s3_server.rs).
INSIDE = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NO_TLS = {"TLS, private CA", "TLS, CA unknown"}
EXPECTED = {
    "SeaweedFS http": {"bad region"} | NO_TLS,
    "SeaweedFS https": {"bad region"},
    "s3s-fs": {"bad region", "missing bucket", "tags and metadata", "object lock"} | NO_TLS,
}


def say(text=""):
    print(text, flush=True)


def openssl(directory, *words):
    subprocess.run(
        ["openssl", *words], cwd=directory, check=True, stdin=subprocess.DEVNULL, capture_output=True
    )


def make_authority(directory):
    """ca.pem, and server.pem with server.key for the names this run uses."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        directory, "req", "-x509", *curve, "-days", "2", "-subj", "/CN=authority of this run",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "ca.key", "-out", "ca.pem",
    )  # fmt: skip
    openssl(
        directory, "req", *curve, "-subj", f"/CN={DOMAIN}", "-keyout", "server.key",
        "-out", "server.csr",
    )  # fmt: skip
    (directory / "extensions").write_text(
        "basicConstraints = CA:FALSE\nkeyUsage = critical,digitalSignature\n"
        "extendedKeyUsage = serverAuth\nauthorityKeyIdentifier = keyid\n"
        f"subjectAltName = IP:127.0.0.1,DNS:{DOMAIN},DNS:*.{DOMAIN}\n"
    )
    openssl(
        directory, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "server.pem",
    )  # fmt: skip


def driver(env):
    """The test's binary, built."""
    command = ["cargo", "test", "--locked", "--test", "s3_gateway", "--no-run"]
    command += ["--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=rig.ROOT, env=env, check=True, stdout=subprocess.PIPE)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "s3_gateway" and message.get("executable"):
            return message["executable"]
    raise RuntimeError("cargo built no s3_gateway")


def boto(endpoint, keys, verify=True):
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        verify=verify,
        config=Config(
            retries={"max_attempts": 4}, s3={"addressing_style": "path"}, read_timeout=60,
        ),
    )  # fmt: skip


def decoded(value):
    """A metadata value as it was before it became a header."""
    return str(email.header.make_header(email.header.decode_header(value)))


def differences(client, stored):
    """What boto3 sees otherwise than the driver stored it."""
    place = {"Bucket": stored["bucket"], "Key": stored["key"]}
    answer = client.get_object(**place)
    digest, length = hashlib.sha256(), 0
    for chunk in answer["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
        length += len(chunk)
    more = stored["more"]
    wanted = {"sha256": stored["sha256"], "records": "3", "host": "käse  box"}
    wanted |= more.get("metadata", {})
    found = {name: decoded(value) for name, value in answer["Metadata"].items()}
    pairs = [
        ("length", length, stored["len"]),
        ("digest", digest.hexdigest(), stored["sha256"]),
        *((f"metadata {name}", found.get(name), value) for name, value in wanted.items()),
    ]
    if "class" in more:
        pairs.append(("class", answer.get("StorageClass"), more["class"]))
    if "type" in more:
        pairs.append(("type", answer["ContentType"], more["type"]))
    if "tags" in more:
        tags = client.get_object_tagging(**place)["TagSet"]
        pairs.append(("tags", {tag["Key"]: tag["Value"] for tag in tags}, more["tags"]))
    if "lock" in more:
        mode = client.get_object_retention(**place)["Retention"]["Mode"]
        pairs.append(("lock", mode, more["lock"]))
    key = stored["key"]
    return [f"{key}: {name} is {is_!r}, not {was!r}" for name, is_, was in pairs if is_ != was]


Row = collections.namedtuple("Row", "result detail")


class Column:
    """One server's run of the driver."""

    def __init__(self, name, command, log):
        self.name, self.command, self.log = name, command, log
        self.rows, self.stored, self.endpoint = {}, [], None

    def run(self, env, act):
        """Runs the driver; act(word) does what it asks for."""
        begin = time.monotonic()
        child = subprocess.Popen(
            [self.command, DRIVER, "--ignored", "--exact", "--nocapture"],
            env=env,
            cwd=rig.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with child, open(self.log, "w") as log:
            for line in child.stdout:
                log.write(line)
                match = re.fullmatch(r"@(\w+) ?(.*)\n", line)
                if match:
                    self.hear(child, act, match[1], match[2])
        say(f"gateways: {self.name}: {len(self.rows)} checks, {time.monotonic() - begin:.0f} s")
        if child.returncode != 0 and not self.failures():
            self.rows["the driver"] = Row("failed", f"ended with {child.returncode}, see its output")

    def hear(self, child, act, word, text):
        if word == "check":
            check = json.loads(text)
            self.rows[check["check"]] = Row(check["result"], check["detail"])
        elif word == "object":
            self.stored.append(json.loads(text))
        elif word == "site":
            self.endpoint = json.loads(text)["endpoint"]
        else:
            act(word)
            child.stdin.write("done\n")
            child.stdin.flush()

    def read_back(self, client):
        """Every object, with a client that was not written here."""
        wrong, size = [], 0
        for stored in self.stored:
            size += stored["len"]
            try:
                wrong += differences(client, stored)
            except Exception as error:
                wrong.append(f"{stored['key']}: {error}")
        detail = "; ".join(wrong) or f"{len(self.stored)} objects, {size:,} bytes"
        if not self.stored:
            wrong = [detail]
        self.rows["boto3 reads it all back"] = Row("failed" if wrong else "ok", detail)

    def failures(self):
        allowed = EXPECTED[self.name]
        return [
            f"{self.name}: {name}: {row.result}: {row.detail}"
            for name, row in self.rows.items()
            if row.result == "failed" or (row.result == "not supported" and name not in allowed)
        ]


def table(columns):
    names = list(dict.fromkeys(name for column in columns for name in column.rows))
    width = 32
    lines = ["check".ljust(25) + "".join(column.name.ljust(width) for column in columns)]
    for name in names:
        cells = []
        for column in columns:
            row = column.rows.get(name, Row("failed", "did not run"))
            text = {"ok": "ok", "not supported": "n/s"}.get(row.result, "FAILED")
            cells.append(textwrap.wrap(f"{text}: {row.detail}", width - 2)[:6] or [text])
        for at in range(max(map(len, cells))):
            parts = [cell[at] if at < len(cell) else "" for cell in cells]
            title = name if at == 0 else ""
            lines.append(title.ljust(25) + "".join(part.ljust(width) for part in parts))
    return "\n".join(line.rstrip() for line in [*lines, "n/s: not supported by that server"])


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--keep", action="store_true", help="leave the driver's outputs")
    options = arguments.parse_args()
    with rig.Rig("gateways", keep=options.keep) as place:
        make_authority(place.directory)
        ca_file = place.directory / "ca.pem"
        https = rig.free_ports(1)[0]
        place.s3.more = [
            f"-s3.port.https={https}", f"-s3.cert.file={place.directory}/server.pem",
            f"-s3.key.file={place.directory}/server.key", f"-s3.domainName={DOMAIN}",
        ]  # fmt: skip
        env = {**os.environ, **place.env}
        binary = driver(env)
        place.s3.start()
        keys = (rig.ACCESS_KEY, rig.SECRET_KEY)
        place.s3.client().create_bucket(Bucket=LOCK_BUCKET, ObjectLockEnabledForBucket=True)
        env |= {"S3LOG_CONTROL": "1", "RUST_BACKTRACE": "0"}
        inside = {**env, "S3LOG_GATEWAY": "s3s-fs"}
        env |= {
            "S3LOG_BUCKET": rig.BUCKET, "S3LOG_LOCK_BUCKET": LOCK_BUCKET, "S3LOG_DOMAIN": DOMAIN,
            "AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1],
        }  # fmt: skip
        plain = {**env, "S3LOG_GATEWAY": place.s3.endpoint}
        secure = {
            **env, "S3LOG_GATEWAY": f"https://127.0.0.1:{https}", "S3LOG_CA_FILE": str(ca_file)
        }  # fmt: skip
        columns = []
        for name, variables, keys, verify in [
            ("SeaweedFS http", plain, keys, True),
            ("SeaweedFS https", secure, keys, str(ca_file)),
            ("s3s-fs", inside, INSIDE, True),
        ]:
            log = place.directory / f"{name.replace(' ', '-')}.log"
            column = Column(name, binary, log)
            columns.append(column)

            def act(word, column=column, keys=keys, verify=verify):
                if word == "read":
                    column.read_back(boto(column.endpoint, keys, verify))
                else:
                    {"kill": place.s3.kill, "start": place.s3.start}[word]()

            column.run(variables, act)
        say()
        say(table(columns))
        failures = [failure for column in columns for failure in column.failures()]
        for failure in failures:
            say(f"gateways: FAILED: {failure}")
        if options.keep:
            say(f"gateways: outputs in {place.directory}")
        if not failures:
            say("gateways: ok")
        return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
