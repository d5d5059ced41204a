"""Three tenants with one stream name in labelled VCLs: no line is in another's path, for another's key or lost.

One tenant's blocks are encrypted, another's are signed. All are asked at once, one is reloaded in
between, and the cache process is killed twice. Then each answered request of a tenant is in its own
path exactly once, and in no other, but for the last of a connection that a kill has cut.
"""

import subprocess
import time

from e2e import rig
from e2e.rig import say, traffic

TENANTS = ("plain", "sealed", "signed")

TENANT = """vcl 4.1;
import s3log;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{
    new access = s3log.stream(endpoint = "{endpoint}", bucket = "{bucket}",
        credentials = "{credentials}", spool = "{spool}", format = "%U %>s", path = "{tenant}/",
        period = {period}{more});
}}
sub vcl_recv {{ return (hash); }}
sub vcl_hash {{ hash_data("{tenant}"); return (lookup); }}
sub vcl_backend_response {{ set beresp.ttl = 1d; }}
sub vcl_deliver {{ access.log(); }}
sub vcl_synth {{ access.log(); }}
"""

FRONT = """vcl 4.1;
backend default none;
sub vcl_recv {
    if (req.url ~ "^/plain/") { return (vcl(plain)); }
    if (req.url ~ "^/sealed/") { return (vcl(sealed)); }
    if (req.url ~ "^/signed/") { return (vcl(signed)); }
    return (synth(204));
}
"""


def arguments(parser):
    parser.add_argument("--requests", type=int, default=10_000, help="of each tenant, at least")


class Site:
    def __init__(self, place):
        self.place = place
        self.age, self.secret, self.public = (
            place.directory / name for name in ("age", "minisign.key", "minisign.pub")
        )
        quiet = {"check": True, "capture_output": True, "text": True}
        subprocess.run(["age-keygen", "-o", self.age], **quiet)
        recipient = subprocess.run(["age-keygen", "-y", self.age], **quiet).stdout.strip()
        subprocess.run(["minisign", "-G", "-W", "-f", "-s", self.secret, "-p", self.public], **quiet)
        self.more = {
            "plain": "",
            "sealed": f', encrypt_to = "{recipient}"',
            "signed": f', sign_key = "{self.secret}"',
        }
        front = place.directory / "front.vcl"
        front.write_text("vcl 4.1;\nbackend default none;\nsub vcl_recv { return (synth(503)); }\n")
        self.deaths = traffic.Deaths()
        self.varnish = place.start_varnish(
            front, parameters=("feature=+no_coredump", "thread_pool_min=20")
        )
        for tenant in TENANTS:
            self.load(tenant, f"{tenant}1", "500ms")
        path = place.directory / "labels.vcl"
        path.write_text(FRONT)
        self.varnish.cli("vcl.load", "labels", path)
        self.varnish.cli("vcl.use", "labels")

    def load(self, tenant, name, period):
        path = self.place.directory / f"{name}.vcl"
        path.write_text(
            TENANT.format(
                origin=self.place.origin.port,
                endpoint=self.place.s3.endpoint,
                bucket=rig.BUCKET,
                credentials=self.place.s3.credentials,
                spool=self.place.spool,
                tenant=tenant,
                period=period,
                more=self.more[tenant],
            )
        )
        self.varnish.cli("vcl.load", name, path)
        self.varnish.cli("vcl.label", tenant, name)

    def kill(self):
        begin, end = self.varnish.end_child()
        # What it had answered may be in a client's socket for a moment.
        self.deaths.add(begin, end + 0.5)
        rig.wait_for("an answer", self.serving, step=0.02)

    def serving(self):
        return traffic.answers(self.varnish.port, "/probe", 204)

    def read(self, tenant):
        more = ["--identity", self.age] if tenant == "sealed" else []
        return self.place.cat("access", "--path", f"{tenant}/", *map(str, more))

    def verified(self):
        """Whether the signed tenant's blocks all carry its signature."""
        done = subprocess.run(
            [str(self.place.command), "verify", *self.place.s3.words(), "--path", "signed/"]
            + ["--public-key", str(self.public), "access"],
            env=self.place.env,
            capture_output=True,
            text=True,
        )
        return done.returncode == 0, done.stdout + done.stderr


def prove(place, options):
    place.s3.start()
    start = time.monotonic()
    site = Site(place)
    loads = {
        tenant: traffic.Traffic(
            site.varnish.port, 2, number + 1, pause=0.002, path=f"/{tenant}/"
        ).start()
        for number, tenant in enumerate(TENANTS)
    }

    def come_to(part):
        wanted = options.requests * part
        least = lambda: min(len(load.answered()) for load in loads.values())
        rig.wait_for(f"{wanted:.0f} requests of each tenant", lambda: least() >= wanted, 600, 0.1)

    try:
        come_to(0.25)
        site.kill()
        come_to(0.5)
        site.load("sealed", "sealed2", "1s")
        site.varnish.cli("vcl.discard", "sealed1")
        come_to(0.75)
        site.kill()
        come_to(1)
    finally:
        answered = {tenant: load.stop() for tenant, load in loads.items()}
    place.settle()
    failures = []
    for tenant in TENANTS:
        found = site.read(tenant)
        foreign = [line for line in found if not line.startswith(f"/{tenant}/".encode())]
        verdict = traffic.Verdict(answered[tenant], traffic.ids_of(found), site.deaths)
        say(f"labels: {tenant}: {verdict}, lines of others {len(foreign)}")
        if foreign:
            failures.append(f"{tenant} has lines of others: {foreign[:3]}")
        if not verdict.ok():
            failures.append(f"{tenant}: {verdict}\n{verdict.details(start, site.deaths)}")
        names = [key for key in place.s3.keys(f"{tenant}/") if ".log" in key]
        sealed = [key for key in names if key.endswith(".age")]
        if len(sealed) != (len(names) if tenant == "sealed" else 0):
            failures.append(f"{tenant}: {len(sealed)} of {len(names)} blocks are encrypted")
    right, said = site.verified()
    if not right:
        failures.append(f"the signed tenant's blocks do not verify: {said}")
    return failures
