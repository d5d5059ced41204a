"""The questions of docs/querying.md, asked of blocks, of compacted lines and of Parquet: answers and cost.

Blocks of a day are made here, from the format alone, and what is right is counted while they are made. Each is
written to SeaweedFS for three streams, two of which `s3log compact` writes into few objects. Each engine is asked
each question as the page has it, through a proxy that counts objects, bytes and requests. The page's recipe registers
the Parquet objects with an Iceberg table, in two steps, and DuckDB is asked of that as well. Objects that
a table cannot take are to be named, and the others registered. `--write` puts what it comes to into the page.
"""

import array
import collections
import concurrent.futures
import gzip
import hashlib
import json
import random
import re
import subprocess
import time

from e2e import rig
from e2e.readers import READERS, HERE, environment
from e2e.rig import counting, page, say
from e2e.rig.s3 import variables
from e2e.verify import Bucket

PAGE = rig.ROOT / "docs/querying.md"
START = 1_795_305_600  # 2026-11-22T00:00:00Z
HOURS = 24
FOLDER = "access/dt=%Y-%m-%d/hour=%H/"
FORMAT = re.search(r"^    (\{\"time\".*\})$", PAGE.read_text(), re.MULTILINE)[1]
# What the page calls it, the folder of its objects, and the end of their keys.
PARQUET = "compacted, Parquet"
FORMS = {
    "gzip blocks": ("blocks/access", ".log.gz"),
    "compacted, zstd": ("zstd/access/compact/access", ".log.zst"),
    PARQUET: ("parquet/access/compact/access", ".parquet"),
}
ENGINES = {
    "DuckDB": ("duckdb", "duckdb-1.5"), "ClickHouse": ("clickhouse", "chdb"), "DataFusion": ("datafusion", "python"),
    "polars": ("polars", "python"), "Spark": ("spark", "spark"),
}  # fmt: skip
ICEBERG = "Iceberg table"
STREAMS = ("blocks", "zstd", "parquet")
CLIENT = "192.0.2.7"


def arguments(parser):
    parser.add_argument("--long", action="store_true", help="10 million lines in blocks of a minute of 5 hosts")
    parser.add_argument("--lines", type=int, default=240_000)
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only", help="one question")
    some.add_argument("--write", action="store_true", help="put the tables into docs/querying.md")


class Right:
    """What is right, counted while the lines are made."""

    def __init__(self):
        self.urls, self.errors, self.customers = (collections.Counter() for _ in range(3))
        self.hits, self.requests = collections.Counter(), collections.Counter()
        self.ttfb, self.client = array.array("d"), []

    def add(self, hour, row):
        self.urls[row["url"]] += 1
        self.hits[hour] += row["cache"] == "hit"
        self.requests[hour] += 1
        self.ttfb.append(row["ttfb"])
        if row["status"] >= 500:
            self.errors[row["backend"]] += 1
        self.customers[row["customer"]] += row["bytes"]
        if hour == HOURS - 1 and row["client"] == CLIENT:
            self.client.append((row["url"], row["status"]))

    def take(self, other):
        """What was counted elsewhere."""
        for name, counted in vars(other).items():
            if isinstance(counted, collections.Counter):
                getattr(self, name).update(counted)
            else:
                getattr(self, name).extend(counted)

    def answers(self):
        top = sorted(self.urls.items(), key=lambda item: (-item[1], item[0]))[:10]
        ttfb = sorted(self.ttfb)
        return {
            "top-urls": top,
            "hit-ratio": [(hour, self.hits[hour] / count) for hour, count in sorted(self.requests.items())],
            "p99": [(ttfb[int(len(ttfb) * 0.99)],)],
            "errors": sorted(self.errors.items()),
            "customers": sorted(self.customers.items()),
            "client": sorted(self.client),
        }


def line(generator, at):
    hit = generator.random() < 0.85
    row = {
        "client": f"192.0.2.{generator.randrange(250)}", "customer": f"customer-{generator.randrange(20)}",
        "url": f"/page/{int(generator.paretovariate(0.6)) % 5000}", "bytes": generator.randrange(100_000),
        "status": generator.choice((200, 200, 200, 200, 304, 404, 503)), "cache": "hit" if hit else "miss",
        "ttfb": round(generator.expovariate(20_000 if hit else 20), 6), "backend": f"origin-{generator.randrange(4)}",
    }  # fmt: skip
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    text = (
        f'{{"time":"{stamp}","client":"{row["client"]}","customer":"{row["customer"]}","method":"GET",'
        f'"url":"{row["url"]}","status":{row["status"]},"bytes":{row["bytes"]},"ttfb":{row["ttfb"]:.6f},'
        f'"cache":"{row["cache"]}","backend":"{row["backend"]}",'
        '"agent":"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"}\n'
    )
    return row, text


def blocks(host, count, lines):
    """A host's blocks of a day: key below the stream's folder, body, metadata; and what is right of them."""
    generator, previous, right, made = random.Random(f"7 {host}"), None, Right(), []
    for number in range(1, count + 1):
        begin, seconds = START + (number - 1) * HOURS * 3600 // count, HOURS * 3600 // count
        texts = []
        for n in range(lines):
            row, text = line(generator, begin + n * seconds // lines)
            right.add((begin - START) // 3600, row)
            texts.append(text)
        raw = "".join(texts).encode()
        body = gzip.compress(raw, compresslevel=3, mtime=0)
        meta = {
            "format": "1", "stream": "access", "host": host, "boot": "6b01a0000001", "number": str(number),
            "records": str(lines), "raw-bytes": str(len(raw)), "bytes": str(len(body)),
            "first": str(begin * 10**9), "last": str((begin + seconds - 1) * 10**9),
            "dropped": "0,0,0,0", "cut": "0", "codec": "gzip", "sha256": hashlib.sha256(body).hexdigest(),
        }  # fmt: skip
        if previous:
            meta["previous"] = previous
        previous = meta["sha256"]
        moment = time.gmtime(begin)
        name = f"{time.strftime('%Y-%m-%dT%H-%M-%SZ', moment)}-{host}-access-6b01a0000001-{number:010}.log.gz"
        made.append((time.strftime(FOLDER, moment) + name, body, meta))
    return made, right


def fill(place, options, right):
    """The blocks of all hosts, for each of the three streams."""
    hosts, count = (5, HOURS * 60) if options.long else (2, HOURS * 6)
    # As many as are asked for, or some more.
    lines = -(-(10_000_000 if options.long else options.lines) // (hosts * count))
    bucket, raw, stored, names = Bucket(place), 0, 0, [f"edge{host}" for host in range(hosts)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool, concurrent.futures.ProcessPoolExecutor(2) as makers:
        for made, of_host in makers.map(blocks, names, [count] * hosts, [lines] * hosts):
            right.take(of_host)
            raw += sum(int(meta["raw-bytes"]) for _, _, meta in made)
            stored += sum(len(body) for _, body, _ in made)
            puts = ((f"{to}/{key}", body, meta) for key, body, meta in made for to in STREAMS)
            for _ in pool.map(bucket.put, puts):
                pass
    return hosts * count * lines, hosts * count, raw, stored


def compact(place, to, format=None):
    form = ["parquet", "--format", format] if format else [to]
    words = ["compact", "access", "--path", f"{to}/{FOLDER}", "--to", *form]
    done = subprocess.run(
        [str(place.command), *words, "--until", "2026-11-23T00:00:00Z", *place.s3.words()],
        env=place.env, text=True, capture_output=True,
    )  # fmt: skip
    say(f"queries: compacted to {to}: {done.stdout.strip().splitlines()[-1:]}{done.stderr.strip()}")
    return [] if done.returncode == 0 else [f"s3log compact --to {to}: exit {done.returncode}"]


class Iceberg:
    """The table that the page's recipe makes of the Parquet objects."""

    def __init__(self, place):
        self.settings, self.where = place.directory / "s3log.toml", None
        values = dict(endpoint=place.s3.endpoint, bucket=rig.BUCKET, path=f"parquet/{FOLDER}")
        values |= dict(credentials=str(place.s3.credentials), spool=str(place.spool))
        self.settings.write_text("[access]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
        self.env = environment() | place.s3.variables()
        self.env |= {"S3LOG_CONFIG": str(self.settings), "ICEBERG_CATALOG": f"sqlite:///{place.directory}/iceberg.db"}
        self.env["PATH"] = f"{place.module_dir}:{READERS}/iceberg/bin:{self.env['PATH']}"

    def run(self, text, rows=None):
        command = ["bash", "-euo", "pipefail", "-c", text]
        return subprocess.run(command, cwd=rig.ROOT, env=self.env, input=rows, text=True, capture_output=True)

    def register(self, text):
        """Runs the recipe: what is wrong."""
        done = self.run(text)
        if done.returncode or not done.stdout.startswith("s3://"):
            return [f"the recipe of Iceberg: exit {done.returncode}: {done.stdout}{done.stderr[-2000:]}"]
        self.where = done.stdout.strip()
        return []

    def register_twice(self, text):
        """The objects of the morning, all, and all once more: what is wrong."""
        morning = text.replace("ls --json", "ls --json --until 2026-11-22T11:59:59Z")
        wrong = [] if morning != text else ["the recipe of Iceberg has no ls --json"]
        wrong += self.register(morning)
        some = self.where
        wrong += self.register(text)
        every = self.where
        wrong += self.register(text)
        say(f"queries: {some}, {every}")
        if some == every or self.where != every:
            wrong.append(f"the Iceberg table is {some}, {every} and {self.where}: all is to be added, and once")
        return wrong

    def register_rest(self, place, recipe, proxy, lines):
        """Objects that a table cannot take, between two that it can, with so many lines: what is wrong."""
        bucket, [first, second, *_] = Bucket(place), [k for k in place.s3.keys(FORMS[PARQUET][0]) if "/part-" in k]
        made, _ = blocks("edge0", 1, 100)
        bucket.fill((f"changed/{key}", body, meta) for key, body, meta in made)
        wrong = compact(place, "changed", FORMAT.replace("%{Varnish:time_firstbyte}x", "%D"))
        [changed] = [key for key in place.s3.keys("changed/access/compact/") if "/part-" in key]
        gone, other = "changed/access/compact/gone.parquet", "changed/access/compact/other.parquet"
        bucket.put((other, b"no Parquet", {}))

        def register(table, *keys):
            rows = "".join(json.dumps({"key": key}) + "\n" for key in keys)
            return self.run(recipe.replace("s3log ls --json access", "cat").replace("logs.access", table), rows)

        def ask_of(done):
            return ask("iceberg", "iceberg", (done.stdout.strip(), ""), "SELECT count(s3log_time) FROM logs", proxy)[0]

        keys = first, changed, gone, other, second
        runs = [register("logs.some", *keys) for _ in range(2)]
        for done in runs:
            named = [key for key in keys if f"/{key} is not registered: " in done.stderr]
            if done.returncode != 1 or named != [changed, gone, other] or len(done.stderr.splitlines()) != 3:
                wrong.append(f"iceberg.py and objects that a table cannot take: exit {done.returncode}: {done.stderr}")
        if runs[0].stdout != runs[1].stdout or ask_of(runs[0]) != [[lines]]:
            wrong.append(f"beside them, {[done.stdout for done in runs]}: {ask_of(runs[0])}, not {lines} lines")
        done = register("logs.changed", changed)
        if done.returncode or ask_of(done) != [[100]]:
            wrong.append(f"a table of its own for the changed format: exit {done.returncode}: {done.stderr}")
        bucket.delete(changed)
        found = ask_of(done)
        say(f"queries: of an object that is gone: {found}")
        if not isinstance(found, str):
            wrong.append(f"a table of which an object is gone answers {found}")
        for words in ("", "access"):
            done = register(words)
            if (done.returncode, done.stderr[:6]) != (2, "usage:"):
                wrong.append(f"iceberg.py {words}: exit {done.returncode}: {done.stderr}")
        return wrong


def ask(name, venv, where, question, proxy):
    """Rows, or an error, and the cost: seconds, objects, bytes, requests."""
    env = environment() | variables(proxy.endpoint) | {"HOME": "/nonexistent"}
    proxy.reset()
    done = subprocess.run(
        [str(READERS / venv / "bin/python"), str(HERE / "query.py"), name, *where],
        input=question, env=env, text=True, capture_output=True, timeout=1_800,
    )  # fmt: skip
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["?"])[-1][:300], None
    seconds, *rows = done.stdout.splitlines()
    return [json.loads(row) for row in rows], (float(seconds), *proxy.counts())


def is_asked(engine, form):
    """Spark is asked of columns only: one question of 7,200 blocks took it more than four minutes."""
    return form in FORMS and (engine != "Spark" or form == PARQUET)


def same(name, found, right):
    """Whether rows are the right ones. DataFusion estimates a percentile."""
    close = 5e-2 if name == "p99" else 1e-9

    def equal(one, other):
        if isinstance(other, str):
            return str(one) == other
        return abs(float(one) - other) <= close * max(1e-9, abs(other))

    return len(found) == len(right) and all(
        len(one) == len(other) and all(map(equal, one, other)) for one, other in zip(found, right)
    )


def table(costs):
    """A row a question and form, and of each engine seconds, objects and megabytes."""
    text = f"| question | | {' | '.join(ENGINES)} |\n|---|---|{'---|' * len(ENGINES)}\n"
    for (name, form), by_engine in costs.items():
        shown = {engine: "error" if is_asked(engine, form) else "" for engine in ENGINES}
        shown |= {
            engine: f"{seconds:.1f} s, {objects:,} objects, {size / 1e6:,.1f} MB"
            for engine, (seconds, objects, size, _) in by_engine.items()
        }
        cells = (shown[engine] for engine in ENGINES)
        text += f"| {name} | {form} | {' | '.join(cells)} |\n"
    return text


def prove(place, options):
    if not READERS.exists():
        raise rig.Skip("the engines are not installed: make e2e T=queries installs them")
    questions = dict(re.findall(r"<!-- query: (\S+) -->\n```sql\n(.*?)\n```", PAGE.read_text(), re.DOTALL))
    engines = dict(ENGINES)
    if not (READERS / "spark-s3a/.complete").exists():
        say("queries: Spark is not asked: what it reads a bucket with is not installed")
        del engines["Spark"]
        if options.write:
            return ["--write needs the answers of every engine"]
    if options.only not in (None, *questions):
        return [f"no question is called {options.only}: {', '.join(questions)}"]
    place.s3.start()
    right = Right()
    count, number, raw, stored = fill(place, options, right)
    about = f"{count:,} lines of a day in {number:,} blocks: {raw / 1e6:,.0f} MB, {stored / 1e6:,.0f} MB stored"
    say(f"queries: {about}")
    wrong = compact(place, "zstd") + compact(place, "parquet", FORMAT)
    [recipe] = re.findall(r"<!-- iceberg -->\n```sh\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    iceberg = Iceberg(place)
    wrong += iceberg.register_twice(recipe)
    answers, costs = right.answers(), {}
    if set(questions) != set(answers):
        wrong.append(f"the page asks {sorted(questions)}, and {sorted(answers)} can be answered")
    proxy = counting.Counting("127.0.0.1", place.s3.ports["s3"])
    place.stack.callback(proxy.close)
    wrong += iceberg.register_rest(place, recipe, proxy, right.requests[0] + right.requests[1])
    for name, question in questions.items():
        if options.only not in (None, name):
            continue
        asked = [
            (form, engine, *how, where) for form, where in FORMS.items() for engine, how in engines.items()
            if is_asked(engine, form)
        ]  # fmt: skip
        if iceberg.where:
            asked.append((ICEBERG, "DuckDB", "iceberg", "iceberg", (iceberg.where, "")))
        for form, engine, *how in asked:
            by_engine = costs.setdefault((name, form), {})
            rows, cost = ask(*how, question, proxy)
            if cost is None or not same(name, rows, answers[name]):
                wrong.append(f"{name}, {form}, {engine}: {str(rows)[:300]}, right is {str(answers[name])[:300]}")
                continue
            by_engine[engine] = cost
            say(f"queries: {name}, {form}, {engine}: {cost[0]:.1f} s, {cost[1:]}")
    print(table(costs))
    if options.write:
        page.put(PAGE, "queries", f"{about}.\n\n{table(costs)}")
    return wrong
