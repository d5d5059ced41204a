"""The recipes of docs/reading.md, run as the page has them, against real traffic.

A real Varnish writes the page's four streams into a real bucket. Each block of shell marked
`<!-- recipe: NAME -->` is taken out of the page and run with bash; what it prints is compared with
what the client of this script sent and got. A recipe without a check, or a check without a recipe,
is a failure. Where the page must be changed to be run here, `CHANGED` says how: a cluster of
ClickHouse is not at hand, so s3Cluster() is parsed as it stands and run as s3().
"""

import collections
import csv
import http.client
import io
import json
import re
import subprocess
import time

from e2e import rig
from e2e.rig import say
from benches.e2e import throughput

PAGE = rig.ROOT / "docs/reading.md"
VENV = rig.DEPS / "recipes"
PERIOD = 1
# A block is stored a moment after its period; `tail -f` looks once a second.
TAIL_SECONDS = PERIOD + 2

VCL = """vcl 4.1;
import s3log;
backend default {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_init {{
    new access = s3log.stream(config = "{config}", format = {{"{combined}"}});
    new api = s3log.stream(config = "{config}", format = \"\"\"{as_json}\"\"\");
    new events = s3log.stream(config = "{config}", format = \"\"\"{as_json}\"\"\");
    new sealed = s3log.stream(config = "{config}", format = {{"{combined}"}});
}}
sub log {{ access.log(); api.log(); events.log(); sealed.log(); }}
sub vcl_deliver {{ call log; }}
sub vcl_synth {{ call log; }}
"""
AS_JSON = '{"time":%{sec}t,"method":"%m","url":"%U","status":%>s,"bytes":%B,"agent":"%{User-Agent}i"}'
STREAMS = {
    "access": ("varnish/%Y/%m/%d/", "gzip"),
    "api": ("api/%Y/%m/%d/%H/", "gzip"),
    "events": ("events/dt=%Y-%m-%d/", "zstd"),
    "sealed": ("sealed/%Y/%m/%d/", "gzip"),
}
AGENTS = ["Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0", 'odd "quoted" agent\\', "curl/8.14"]


def recipes():
    """The page's recipes by name."""
    pattern = r"<!-- recipe: (\S+) -->\n+```sh\n(.*?)```"
    return dict(re.findall(pattern, PAGE.read_text(), re.DOTALL))


class Recipes:
    def __init__(self, place, requests):
        self.place, self.requests = place, requests
        # status: [requests, bytes]; what every reader must come to.
        self.sent = collections.defaultdict(lambda: [0, 0])
        self.work = place.directory / "work"
        self.work.mkdir()
        self.key = self.work / "logs.key"
        self.failures, self.out = [], {}

    # --- what is logged ---------------------------------------------------------------------

    def settings(self):
        """The settings file of the page's four streams, and a key for the sealed one."""
        env, place = self.place.env, self.place
        subprocess.run(["age-keygen", "-o", self.key], env=env, check=True, capture_output=True)
        public = subprocess.run(
            ["age-keygen", "-y", self.key], env=env, check=True, capture_output=True, text=True
        ).stdout.strip()
        text = ""
        for name, (path, compression) in STREAMS.items():
            values = dict(endpoint=place.s3.endpoint, bucket=rig.BUCKET, path=path)
            values |= dict(credentials=str(place.s3.credentials), spool=str(place.spool))
            values |= dict(compression=compression, period=f"{PERIOD}s")
            values |= dict(encrypt_to=public) if name == "sealed" else {}
            text += f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())
        config = place.directory / "s3log.toml"
        config.write_text(text)
        return config

    def environment(self, config):
        """What the page tells the reader to set, and where the programs are."""
        env = self.place.env | self.place.s3.variables()
        env |= dict(
            S3LOG_CONFIG=str(config),
            AWS_EC2_METADATA_DISABLED="true",
            HOME=str(self.place.directory),
            LC_ALL="C.UTF-8",
        )
        env["PATH"] = f"{self.place.module_dir}:{VENV}/bin:{env['PATH']}"
        return env

    def request(self, connection, number):
        method, path = "GET", f"/page/{number % 50}"
        if number % 7 == 3:
            path = f"/missing/{number % 5}"
        elif number % 11 == 5:
            method, path = "POST", "/form"
        headers = {"User-Agent": AGENTS[number % 3], "Referer": f"https://example.org/{number % 4}"}
        connection.request(method, path, b"a=1" if method == "POST" else None, headers)
        answer = connection.getresponse()
        count = self.sent[answer.status]
        count[0] += 1
        count[1] += len(answer.read())

    def traffic(self, env):
        connection = http.client.HTTPConnection("127.0.0.1", self.place.varnish.port)
        for number in range(self.requests):
            self.request(connection, number)
            if number % (self.requests // 3) == 0:
                time.sleep(PERIOD)  # Several blocks, not one.
        connection.close()
        command = ["s3log", "cat", "--identity", str(self.key)]
        def complete():
            done = subprocess.run(command, env=env, capture_output=True, check=True)
            return done.stdout.count(b"\n") >= self.requests * len(STREAMS)
        rig.wait_for("every line to be in the bucket", complete, step=0.3)

    # --- the recipes ------------------------------------------------------------------------

    def run(self, name, text, env):
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.work, env=env, capture_output=True
        )
        self.out[name] = done.stdout
        problem = None
        if done.returncode:
            problem = f"exit code {done.returncode}: {done.stderr.decode()[-2000:]}"
        else:
            try:
                getattr(self, "check_" + name.replace("-", "_"))(done.stdout.decode())
            except (AssertionError, KeyError, ValueError, OSError) as error:
                problem = f"{error!r}\nit printed: {done.stdout.decode()[:2000]}"
        say(f"recipes: {name:18} {'FAILED' if problem else 'ok'}  {time.monotonic() - began:.1f} s")
        if problem:
            self.failures.append(f"{name}: {problem}")

    def equal(self, found, wanted):
        if found != wanted:
            raise ValueError(f"found {found}, sent {wanted}")

    def by_status(self):
        return {status: count for status, (count, _) in self.sent.items()}

    def csv_by_status(self, text):
        rows = list(csv.reader(io.StringIO(text)))
        rows = [row for row in rows if row and row[0].isdigit()]
        found = {int(status): [int(count), int(size)] for status, count, size in rows}
        self.equal(found, dict(self.sent))

    def uniq(self, text):
        found = {int(status): int(count) for count, status in map(str.split, text.splitlines())}
        self.equal(found, self.by_status())

    def check_goaccess(self, _):
        report = json.loads((self.work / "report.json").read_text())
        general = report["general"]
        self.equal((general["valid_requests"], general["failed_requests"]), (self.requests, 0))
        self.equal(general["bandwidth"], sum(size for _, size in self.sent.values()))
        codes = [item for group in report["status_codes"]["data"] for item in group["items"]]
        found = {int(item["data"][:3]): item["hits"]["count"] for item in codes}
        self.equal(found, self.by_status())
        if "GoAccess" not in (self.work / "report.html").read_text():
            raise ValueError("report.html is no page of GoAccess's")

    def check_zcat(self, text):
        self.uniq(text)

    def check_same(self, text):
        self.equal(text, "same\n")

    def check_zstdcat(self, text):
        self.equal(int(text), self.by_status()[404])

    def check_duckdb_csv(self, text):
        self.csv_by_status(text)

    def check_duckdb_json(self, text):
        today = {time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago)) for ago in (0, 600)}
        rows = [row for row in csv.reader(io.StringIO(text)) if row[1:2] and row[1].isdigit()]
        self.equal({row[0] for row in rows} - today, set())
        self.csv_by_status("\n".join(",".join(row[1:]) for row in rows))

    def check_clickhouse(self, text):
        self.csv_by_status(text)

    def check_clickhouse_hive(self, text):
        self.csv_by_status(text)

    def check_clickhouse_cluster(self, text):
        self.csv_by_status(text)

    def check_age(self, text):
        cat = self.place.cat("sealed", "--path", STREAMS["sealed"][0], "--identity", str(self.key))
        self.equal(text.encode().splitlines(), cat)
        self.equal(len(cat), self.requests)

    def check_cat_age(self, text):
        self.uniq(text)

    # --- tail -f ----------------------------------------------------------------------------

    def tail(self, env):
        """Seconds from a request to its line, as one who follows sees it."""
        follow = subprocess.Popen(
            ["s3log", "tail", "-f", "-n", "1", "access"], env=env, stdout=subprocess.PIPE
        )
        try:
            follow.stdout.readline()
            seconds = []
            for number in range(5):
                connection = http.client.HTTPConnection("127.0.0.1", self.place.varnish.port)
                began = time.monotonic()
                connection.request("GET", f"/now/{number}")
                connection.getresponse().read()
                line = follow.stdout.readline()
                seconds.append(time.monotonic() - began)
                connection.close()
                if f"/now/{number} ".encode() not in line:
                    raise ValueError(f"tail -f gave {line!r} for request /now/{number}")
                time.sleep(0.37)
        finally:
            follow.kill()
            follow.wait()
        seconds.sort()
        shown = ", ".join(f"{s:.1f}" for s in seconds)
        say(f"recipes: tail -f shows a request after {shown} s (period = {PERIOD} s)")
        if seconds[len(seconds) // 2] > TAIL_SECONDS:
            self.failures.append(f"tail -f: more than period + 2 s: {shown}")


def cluster(text):
    """A recipe that needs a cluster: parsed as it stands, then run without one."""
    parsed = text.replace("SELECT", "EXPLAIN AST SELECT", 1)
    alone = re.sub(r"s3Cluster\('\w+',\s*", "s3(", text)
    if parsed == text or alone == text:
        raise ValueError("no query on s3Cluster('NAME', ...) in the recipe")
    return f"({parsed}) >parsed\n{alone}"


CHANGED = {"clickhouse-cluster": cluster}


def arguments(parser):
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument(
        "--throughput", type=int, default=256, metavar="MIB",
        help="of lines that cat reads beside zcat; 0 for none",
    )  # fmt: skip
    parser.add_argument("--only", help="names of recipes, separated by commas")


def prove(place, options):
    found = recipes()
    only = set(options.only.split(",") if options.only else found)
    if unknown := only - set(found):
        return [f"no recipe is called {' or '.join(sorted(unknown))}: {', '.join(found)}"]
    place.s3.start()
    run = Recipes(place, options.requests)
    config = run.settings()
    env = run.environment(config)
    vcl = place.directory / "recipes.vcl"
    vcl.write_text(
        VCL.format(
            origin=place.origin.port, config=config, combined=rig.COMBINED, as_json=AS_JSON
        )
    )
    place.start_varnish(vcl)
    run.traffic(env)
    say(f"recipes: sent {run.requests} requests: {run.by_status()}; all are in the bucket")
    checks = {n[6:].replace("_", "-") for n in dir(run) if n.startswith("check_")}
    if checks != set(found):
        run.failures.append(f"recipes and checks differ: {sorted(checks ^ set(found))}")
    for name, text in found.items():
        if name in only:
            run.run(name, CHANGED.get(name, str)(text), env)
    run.tail(env)
    if options.throughput:
        say(throughput.measure(place, env, options.throughput))
    say(f"recipes: {len(found)} recipes of docs/reading.md")
    return run.failures
