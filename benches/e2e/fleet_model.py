"""A fleet of caches against one gateway's limit: the arithmetic, and a simulation that checks it.

Each node seals a block a `period` after the block's first record, or at `max_bytes`, and its two
upload threads send it; what the gateway refuses is tried again after a full-jitter backoff of
100 ms, doubling to 30 s, as src/s3/backoff.rs does. The gateway takes `limit` requests a second
(a token bucket that holds one second's worth) and answers 503 to the rest.
"""

import argparse
import heapq
import itertools
import random
import statistics
import sys

BACKOFF_FIRST, BACKOFF_MOST = 0.1, 30.0
THREADS = 2
MIB = 1 << 20
DAY, MONTH = 86_400, 30 * 86_400


class Fleet:
    """Nodes, rate and sizes; everything else follows from these by arithmetic."""

    def __init__(self, nodes, rate, line, ratio, period, max_bytes, limit):
        self.nodes, self.period, self.limit = nodes, period, limit
        self.bytes_per_second = rate * line / ratio
        self.block_seconds = min(period, max_bytes / self.bytes_per_second)
        self.block_bytes = self.bytes_per_second * self.block_seconds
        self.puts = self.nodes / self.block_seconds

    def month(self, price):
        """Dollars for a month's blocks: requests, segments, and the bytes kept for one month."""
        objects = self.puts * MONTH
        stored = self.bytes_per_second * self.nodes * MONTH / 1e9
        segments = objects * max(1, -(-self.block_bytes // (64 * MIB)))
        return {
            "requests": objects / 1000 * price.get("put_1000", 0),
            "segments": segments * price.get("segment_month", 0),
            "storage": stored * price["gb_month"],
        }

    def drain_seconds(self, outage):
        """How long the fleet needs after an outage to be up to date again."""
        spare = self.limit - self.puts
        return self.puts * outage / spare if spare > 0 else float("inf")


class Gateway:
    def __init__(self, limit, down_until):
        self.limit, self.tokens, self.last, self.down_until = limit, limit, 0.0, down_until
        self.taken = self.refused = 0

    def ask(self, now):
        if now < self.down_until:
            return False
        since = now - max(self.last, self.down_until)
        self.tokens = min(self.limit, self.tokens + max(since, 0) * self.limit)
        self.last = now
        if self.tokens < 1:
            self.refused += 1
            return False
        self.tokens -= 1
        self.taken += 1
        return True


def simulate(fleet, seconds, together, outage=0.0, send=0.2, seed=7):
    """Runs the fleet; every node starts within one second of the others if `together`."""
    dice = random.Random(seed)
    gateway = Gateway(fleet.limit, outage)
    order = itertools.count()
    events = []  # when, tiebreak, kind, node
    waiting = [[] for _ in range(fleet.nodes)]  # sealed blocks by time of sealing
    idle = [THREADS] * fleet.nodes
    delays, caught_up = [], None
    for node in range(fleet.nodes):
        start = dice.random() * (1 if together else fleet.block_seconds)
        heapq.heappush(events, (start + fleet.block_seconds, next(order), "seal", node, None))

    def begin(now, node):
        while idle[node] and waiting[node]:
            idle[node] -= 1
            block = heapq.heappop(waiting[node])
            heapq.heappush(events, (now, next(order), "try", node, (block, 0)))

    backlog = 0
    while events:
        now, _, kind, node, what = heapq.heappop(events)
        if now > seconds:
            break
        if kind == "seal":
            heapq.heappush(waiting[node], now)
            backlog += 1
            heapq.heappush(events, (now + fleet.block_seconds, next(order), "seal", node, None))
            begin(now, node)
        elif kind == "try":
            block, attempt = what
            if gateway.ask(now):
                heapq.heappush(events, (now + send, next(order), "done", node, what))
            else:
                most = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(attempt, 20))
                again = now + dice.random() * most
                heapq.heappush(events, (again, next(order), "try", node, (block, attempt + 1)))
        else:
            delays.append(now - what[0])
            backlog -= 1
            idle[node] += 1
            begin(now, node)
            if outage and caught_up is None and now > outage and backlog < fleet.nodes:
                caught_up = now - outage
    delays.sort()
    at = lambda share: delays[int(len(delays) * share)] if delays else float("nan")  # noqa: E731
    return {
        "taken": gateway.taken / max(seconds - outage, 1),
        "refused": gateway.refused / max(gateway.refused + gateway.taken, 1),
        "p50": statistics.median(delays) if delays else float("nan"),
        "p99": at(0.99),
        "backlog": backlog / fleet.nodes,
        "caught_up": caught_up,
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--nodes", type=int, default=1_000)
    arguments.add_argument("--rate", type=float, default=20_000, help="requests/s a node")
    arguments.add_argument("--line", type=float, default=210, help="bytes a line")
    arguments.add_argument("--ratio", type=float, default=7, help="raw bytes / stored bytes")
    arguments.add_argument("--max-bytes", type=float, default=64 * MIB)
    arguments.add_argument("--limit", type=float, default=25, help="PUTs/s the gateway takes")
    arguments.add_argument("--seconds", type=float, default=600)
    options = arguments.parse_args()
    prices = {
        "AWS S3 Standard": {"put_1000": 0.005, "gb_month": 0.021},
        "Storj": {"segment_month": 0.0000088, "gb_month": 0.004},
    }

    def fleet(period):
        return Fleet(
            options.nodes, options.rate, options.line, options.ratio, period,
            options.max_bytes, options.limit,
        )

    one = fleet(60)
    print(
        f"{options.nodes} nodes, {options.rate:.0f} requests/s each, {options.line:.0f} bytes a line, "
        f"compressed {options.ratio:.0f}:1: {one.bytes_per_second / 1e6:.2f} MB/s a node, "
        f"{one.bytes_per_second * one.nodes * DAY / 1e12:.1f} TB a day\n"
    )
    print("period  block    PUT/s   objects/day  AWS requests  AWS storage  Storj segments  Storj storage")
    for period in (1, 5, 10, 20, 30, 60, 120, 300):
        it = fleet(period)
        aws, storj = it.month(prices["AWS S3 Standard"]), it.month(prices["Storj"])
        print(
            f"{period:4} s {it.block_bytes / 1e6:7.1f} MB {it.puts:7.1f} {it.puts * DAY:12,.0f} "
            f"{aws['requests']:10,.0f} $/m {aws['storage']:8,.0f} $/m {storj['segments']:10,.0f} $/m "
            f"{storj['storage']:10,.0f} $/m"
        )
    print(
        f"\nsimulated {options.seconds:.0f} s; refused: share of requests answered 503; delay: from "
        "sealed to stored; waiting: blocks a node at the end"
    )
    print("period  start     PUT/s asked  taken  refused  delay p50   p99    waiting")
    for period in (5, 10, 12, 20, 60):
        for together in (False, True):
            it = fleet(period)
            found = simulate(it, options.seconds, together)
            print(
                f"{period:4} s  {'together' if together else 'spread':8} {it.puts:11.1f} "
                f"{found['taken']:6.1f} {found['refused']:7.1%} {found['p50']:9.2f} s "
                f"{found['p99']:6.1f} s {found['backlog']:8.2f}"
            )
    print("\nafter an outage of ten minutes: seconds until no more than a block a node waits")
    print("period  by arithmetic  simulated")
    for period in (20, 60):
        it = fleet(period)
        if it.drain_seconds(600) == float("inf"):
            print(f"{period:4} s        never: the gateway takes less than the fleet sends")
            continue
        found = simulate(it, 600 + 4 * it.drain_seconds(600) + 300, False, outage=600.0)
        caught = f"{found['caught_up']:.0f}" if found["caught_up"] is not None else "not in time"
        print(f"{period:4} s {it.drain_seconds(600):13.0f} {caught:>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
