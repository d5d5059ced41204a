"""Under a flood what is worth least gives way first, and every record that does is counted.

The packer of a real varnishd is held while ten times of what its ring fits is logged: low records,
normal ones, and answers with 503, which are high by default and fewer than the room that is kept for
them. Then none of these is missing, and each class has as many lines in the bucket as were answered,
less what its counter says.
"""

import collections

from e2e import rig
from e2e.rig import hold, say, stream_vcl, traffic

RING = 1 << 20
# What a line is filled up with, so that few requests fill the ring.
FILL = 1500
FITS = RING // (FILL + 64)
COUNTS = {"low": 8 * FITS, "normal": 2 * FITS, "high": FITS // 10}

RECEIVED = """
sub vcl_recv {
    access.log();
    if (req.url ~ "^/low/") { access.log(priority = "low"); }
    if (req.url ~ "^/high/") { return (synth(503)); }
}
"""


def flood():
    """The classes, mixed as they come; the last errors come when the ring is as full as it gets."""
    order = ["low"] * 8 + ["normal"] * 2
    left = collections.Counter(COUNTS)
    for n in range(FITS):
        yield from order
        if n % 20 == 0:
            left["high"] -= 1
            yield "high"
    yield from ["high"] * left["high"]


def prove(place, options):
    place.s3.start()
    path = stream_vcl.write(place, "shed", format="%U " + "x" * FILL, period="200ms", ring='"1MB"')
    path.write_text(path.read_text().replace("sub vcl_recv", RECEIVED + "sub vcl_recv"))
    varnish = place.start_varnish(path)
    traffic.each(varnish.port, ["/first/0"])
    rig.wait_for("the first line", lambda: varnish.counters()["access.uploaded_records"] == 1)
    with hold.held(varnish.child_pid(), "s3log-pack"):
        traffic.each(varnish.port, (f"/{word}/{n}" for n, word in enumerate(flood())))
    everything = 1 + sum(COUNTS.values())

    def counted():
        now = varnish.counters()
        return now["access.uploaded_records"] + now["access.dropped_ring"] == everything

    # Counters are published ten times a second.
    rig.wait_for("every record to be uploaded or counted", counted)
    now = varnish.balanced()
    shed = {name: now[f"access.shed_{name}"] for name in COUNTS}
    stay = {name: COUNTS[name] - shed[name] for name in COUNTS}
    found = collections.Counter(line.split(b"/")[1].decode() for line in place.cat())
    say(f"shed: {sum(COUNTS.values())} requests for a ring of {FITS} lines: {COUNTS}")
    say(f"shed: dropped {shed}, in the bucket {dict(found)}, ring {now['access.ring_high_water']}")
    holds = {
        "no record of an error is lost": shed["high"] == 0,
        "low records were shed": shed["low"] > 6 * FITS,
        "the counters of the classes are those of the ring":
            sum(shed.values()) == now["access.dropped_ring"],
        "each class has the lines that its counter says":
            {name: found[name] for name in COUNTS} == stay,
    }  # fmt: skip
    return [f"not so: {what}" for what, so in holds.items() if not so]
