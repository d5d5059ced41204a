"""The S3 server."""

import json
import signal

from e2e.rig.machine import DEPS, PATIENCE, Process, free_ports, wait_for


ACCESS_KEY = "EDGEKEY"
SECRET_KEY = "edge-secret"
BUCKET = "edge-logs"


def variables(endpoint):
    """The environment of a program that takes bucket and credentials as the aws command does."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    regions = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    return {"AWS_ENDPOINT_URL": endpoint, "BUCKET": BUCKET} | keys | regions


class S3:
    """SeaweedFS on loopback. The data survives kill() and start()."""

    def __init__(self, directory, env):
        self.directory, self.env, self.process = directory / "s3", env, None
        # More arguments for the server, such as those for https.
        self.more = []
        self.directory.mkdir()
        (self.directory / "data").mkdir()
        names = ["s3", "master", "volume", "filer"]
        ports = free_ports(2 * len(names) + 6)
        self.ports = dict(zip(names, ports))
        self.grpc = dict(zip(names, ports[len(names) :]))
        self.other = ports[2 * len(names) :]
        self.endpoint = f"http://127.0.0.1:{self.ports['s3']}"
        identity = {
            "name": "edge",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.credentials = self.directory / "credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        self.credentials.chmod(0o600)

    def words(self, bucket=BUCKET, credentials=None, endpoint=None):
        """The arguments by which the command reads a bucket here; `credentials` where the file has
        another path for the command, `endpoint` where it goes another way."""
        given = ["--endpoint", endpoint or self.endpoint, "--bucket", bucket]
        return [*given, "--credentials", str(credentials or self.credentials)]

    def variables(self):
        """The environment of a program that reads the bucket here as the aws command does."""
        return variables(self.endpoint)

    def start(self):
        command = [DEPS / "venv/bin/weed", "-logtostderr", "mini", "-ip=127.0.0.1"]
        command += ["-ip.bind=127.0.0.1", f"-dir={self.directory}/data", f"-bucket={BUCKET}"]
        command += ["-webdav=false", "-admin.ui=false", "-s3.iam=false"]
        command += ["-s3.autoCreateBucket=false", f"-s3.config={self.directory}/s3.json"]
        for name, port in self.ports.items():
            command += [f"-{name}.port={port}", f"-{name}.port.grpc={self.grpc[name]}"]
        iceberg, lance, admin, admin_grpc, *_ = self.other
        command += [f"-s3.port.iceberg={iceberg}", f"-s3.port.lance={lance}"]
        command += [f"-admin.port={admin}", f"-admin.port.grpc={admin_grpc}", *self.more]
        self.process = Process("s3", command, self.directory, self.env, cwd=self.directory)
        try:
            wait_for("the S3 server", self.writable, step=0.2)
        except TimeoutError:
            raise RuntimeError(f"the S3 server does not start:\n{self.process.tail()}") from None

    def writable(self):
        """Whether a PUT succeeds: the port answers earlier than that."""
        if not self.process.alive():
            raise RuntimeError(f"the S3 server ended:\n{self.process.tail()}")
        try:
            self.client().put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
            self.client().delete_object(Bucket=BUCKET, Key="probe")
            return True
        except Exception:
            return False

    def client(self):
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                connect_timeout=PATIENCE,
                read_timeout=PATIENCE,
                retries={"max_attempts": 1},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
            ),
        )

    def keys(self, prefix=""):
        pages = self.client().get_paginator("list_objects_v2")
        found = []
        for page in pages.paginate(Bucket=BUCKET, Prefix=prefix):
            found += [item["Key"] for item in page.get("Contents", [])]
        return sorted(found)

    def kill(self):
        # SIGTERM drains for ten seconds; the data is on disk either way.
        self.process.stop(signal.SIGKILL)
