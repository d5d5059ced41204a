"""How the cost of logging changes with rate, line length, streams and connections; how soon a
record can be read from the bucket; what memory is held.

Each point is measured with and without logging, in turn, against the same varnishd.
"""

import argparse
import csv
import gzip
import http.client
import json
import pathlib
import statistics
import sys
import threading
import time

from benches.e2e import load
from e2e import rig

# Enough for a header of 16 KiB.
PARAMETERS = ["http_req_hdr_len=32k", "http_req_size=64k", "workspace_client=256k"]


class Sweep:
    def __init__(self, place, seconds, repeats):
        self.place, self.seconds, self.repeats = place, seconds, repeats
        self.loaded, self.rows = 0, []
        place.s3.start()
        place.start_varnish(self.vcl("boot", 0), parameters=PARAMETERS)

    def vcl(self, name, streams, format=rig.COMBINED):
        names = [f"{name}_{number}" for number in range(streams)]
        return load.vcl(self.place, name, names, period=1, format=format)

    def point(self, what, value, *, streams=1, format=rig.COMBINED, more="", rate=None, connections=32):
        """Measures one point; a row for each of its repeats."""
        varnish = self.place.varnish
        self.loaded += 1
        name = f"p{self.loaded}"
        varnish.cli("vcl.load", name, self.vcl(name, streams, format))
        per_connection = rate / connections if rate else None
        # Long requests are fewer, for wrk's memory; still more than one chunk holds.
        count = 2_000 if what == "line" and value > 500 else 20_000
        lua = load.script(self.place.directory, name, more, per_connection, count)
        for _ in range(self.repeats):
            none = self.run("boot", 0, lua, connections)
            with_log = self.run(name, streams, lua, connections)
            records = with_log["answered"] * streams
            if with_log["arrived"] + with_log["dropped"] != records:
                raise RuntimeError(f"{what} {value}: {with_log['arrived']} of {records} records")
            self.rows.append(
                {
                    "what": what,
                    "value": value,
                    "rate": round(with_log["rate"]),
                    "none_us": round(none["cpu"], 3),
                    "added_us": round(with_log["cpu"] - none["cpu"], 3),
                    "threads_us_a_record": round(with_log["threads"] / records * 1e6, 3),
                    "line_bytes": round(with_log["bytes"] / records),
                    "dropped": with_log["dropped"],
                    "anonymous_mib": round(with_log["anonymous"] / 2**20, 1),
                }
            )
        varnish.cli("vcl.use", "boot")
        varnish.cli("vcl.discard", name)
        mine = self.rows[-self.repeats :]
        middle = lambda key: statistics.median(row[key] for row in mine)  # noqa: E731
        print(
            f"{what:12} {value:>10}: {middle('rate'):8.0f} requests/s, {middle('line_bytes'):6.0f} "
            f"bytes a line; varnishd {middle('none_us'):7.2f} us a request, logging adds "
            f"{middle('added_us'):7.2f}; threads {middle('threads_us_a_record'):6.2f} us a record; "
            f"{middle('anonymous_mib'):6.1f} MiB anonymous; dropped {sum(row['dropped'] for row in mine)}",
            flush=True,
        )

    def run(self, name, streams, lua, connections):
        varnish = self.place.varnish
        varnish.cli("vcl.use", name)
        time.sleep(0.3)
        before = load.Usage(varnish)
        rate = load.wrk(self.place, lua, self.seconds, connections)
        names = [f"{name}_{number}" for number in range(streams)]
        after = load.Usage(varnish)
        due = (after.requests - before.requests) * streams

        def gained(counter):
            return sum(
                after.counters.get(name, 0) - before.counters.get(name, 0)
                for name in (f"S3LOG.{stream}.{counter}" for stream in names)
            )

        def settled():
            nonlocal after
            after = load.Usage(varnish)
            # Dropped are records that found the ring full: more than the packer could take.
            return gained("uploaded_records") + gained("dropped_ring") >= due

        if streams:
            rig.wait_for("the last block", settled)
        else:
            time.sleep(1.5)
            after = load.Usage(varnish)
        answered = after.requests - before.requests
        cpu, ours = after.since(before)
        return {
            "answered": answered,
            "arrived": gained("uploaded_records"),
            "dropped": gained("dropped_ring"),
            "rate": rate,
            "cpu": cpu / answered * 1e6,
            "threads": sum(ours.values()),
            "bytes": gained("raw_bytes"),
            "anonymous": load.anonymous(varnish.child_pid()),
        }


def latency(place, seconds):
    """From the answer's last byte to when the record could be read from the bucket, seconds."""
    vcl = load.vcl(place, "latency", ["latency"], "gzip", 1, "%q")
    place.varnish.cli("vcl.load", "latency", vcl)
    place.varnish.cli("vcl.use", "latency")
    answered, seen, asking = {}, {}, threading.Event()

    def ask():
        client = http.client.HTTPConnection("127.0.0.1", place.varnish.port)
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            client.request("GET", f"/?{number}")
            client.getresponse().read()
            answered[f"?{number}"] = time.monotonic()
            number += 1
            time.sleep(0.003)
        asking.set()

    asker = threading.Thread(target=ask)
    asker.start()
    client, known = place.s3.client(), set(place.s3.keys())
    end = time.monotonic() + seconds + 30
    while time.monotonic() < end and not (asking.is_set() and len(seen) >= len(answered)):
        for key in set(place.s3.keys()) - known:
            known.add(key)
            body = client.get_object(Bucket=rig.BUCKET, Key=key)["Body"].read()
            now = time.monotonic()
            if "latency" in key:
                seen |= dict.fromkeys(gzip.decompress(body).decode().splitlines(), now)
        time.sleep(0.02)
    asker.join()
    missing = set(answered) - set(seen)
    if missing:
        raise RuntimeError(f"{len(missing)} records did not arrive")
    late = sorted(seen[one] - answered[one] for one in answered)
    at = lambda share: late[min(int(len(late) * share), len(late) - 1)]  # noqa: E731
    found = {
        "requests": len(late),
        "p50": at(0.5),
        "p99": at(0.99),
        "max": late[-1],
        "within_1_5s": sum(1 for one in late if one <= 1.5) / len(late),
    }
    print(
        f"answered to readable, period 1 s: {found['requests']} requests, median "
        f"{found['p50']:.2f} s, 99% {found['p99']:.2f} s, most {found['max']:.2f} s; "
        f"{found['within_1_5s']:.2%} within 1.5 s"
    )
    return {key: round(value, 4) for key, value in found.items()}


def pad(length):
    """A header of that many letters, random enough not to compress away."""
    return (
        f'["X-Pad"] = (function() local from = math.random(65536 - {length}) '
        f"return pool:sub(from, from + {length} - 1) end)(),"
    )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--profile", default="release", choices=["debug", "release"])
    arguments.add_argument("--seconds", type=float, default=4)
    arguments.add_argument("--repeats", type=int, default=3)
    some = arguments.add_mutually_exclusive_group()
    some.add_argument("--only", choices=["rate", "length", "streams", "connections", "latency"])
    some.add_argument("--write", type=pathlib.Path, help="where the figures are kept")
    options = arguments.parse_args()
    wanted = lambda name: options.only in (None, name)  # noqa: E731

    with rig.Rig("sweep", profile=options.profile) as place:
        sweep = Sweep(place, options.seconds, options.repeats)
        if wanted("rate"):
            for rate in (1_000, 2_000, 5_000, 10_000, 20_000, None):
                sweep.point("rate", rate or "most", rate=rate, connections=64)
        if wanted("length"):
            for length in (20, 200, 1_000, 4_000, 16_000):
                sweep.point("line", length, format="%U%q %{X-Pad}i", more=pad(length))
        if wanted("streams"):
            for streams in (1, 2, 4, 8, 16, 32):
                sweep.point("streams", streams, streams=streams)
        if wanted("connections"):
            for connections in (1, 10, 100, 1_000):
                sweep.point("connections", connections, connections=connections)
        late = latency(place, 30) if wanted("latency") else None
        if options.write:
            options.write.mkdir(parents=True, exist_ok=True)
            if sweep.rows:
                with (options.write / "sweep.csv").open("w", newline="") as file:
                    out = csv.DictWriter(file, sweep.rows[0], lineterminator="\n")
                    out.writeheader()
                    out.writerows(sweep.rows)
            if late:
                (options.write / "latency.json").write_text(json.dumps(late, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
