"""What Prometheus gave for the dashboard's panels, as a picture: in the dashboard's grid and units.

It is not Grafana's drawing of it; Grafana is not run here. `write` makes an SVG file.
"""

import html
import pathlib
import time

CELL, UNIT, EDGE = 46, 25, 12
COLOURS = ["#3b7a3b", "#c98a1b", "#3a6ea5", "#b5473c", "#7b5ea7", "#4d9a9a", "#8a6d3b", "#777777", "#a5527b", "#5b7f2f", "#2f5f7f", "#9a7b4d"]
LIMITS = {"green": "#3b7a3b", "orange": "#c98a1b", "red": "#b5473c"}
STYLE = """
  text { font-family: system-ui, sans-serif; font-size: 10px; fill: #444; }
  .row { font-size: 13px; font-weight: 600; fill: #222; } .title { font-size: 11px; font-weight: 600; fill: #222; }
  .big { font-size: 26px; font-weight: 600; } .panel { fill: #fff; stroke: #d5d5d5; } .page { fill: #f4f4f4; }
  .out { fill: #b5473c; fill-opacity: 0.07; } .grid { stroke: #e4e4e4; } .limit { stroke: #b5473c; stroke-dasharray: 4 3; }
  .seen { stroke: #777; stroke-dasharray: 1 2; }
  polyline { fill: none; stroke-width: 1.3; }
"""


def scaled(value, step, names):
    for name in names:
        if abs(value) < step or name == names[-1]:
            return f"{value:.0f} {name}" if value >= 100 or value == int(value) else f"{value:.1f} {name}"
        value /= step
    return ""


def shown(value, unit):
    """A value as a person reads it."""
    if unit in ("bytes", "Bps"):
        return scaled(value, 1024, ["B", "KiB", "MiB", "GiB"]) + ("/s" if unit == "Bps" else "")
    if unit == "s":
        return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"
    if unit == "ms":
        return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"
    if unit == "percentunit":
        return f"{100 * value:.2g} %"
    text = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
    return text + {"rps": "/s", "ops": "/s"}.get(unit, "")


class Drawing:
    """The parts of the picture, and the time that all panels share."""

    def __init__(self, moments, seen):
        self.begin, self.down, self.up, self.end = moments
        self.seen = seen
        self.parts = []

    def add(self, tag, text=None, **attributes):
        words = " ".join(f'{name.rstrip("_").replace("_", "-")}="{value}"' for name, value in attributes.items())
        self.parts.append(f"<{tag} {words}/>" if text is None else f"<{tag} {words}>{html.escape(text)}</{tag}>")

    def stat(self, panel, x, y, wide, high, lines):
        defaults = panel["fieldConfig"]["defaults"]
        value = lines[0][1][-1][1] if lines and lines[0][1] else 0.0
        steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
        style = f"fill: {LIMITS[steps[-1]['color']]}"
        self.add("text", shown(value, defaults["unit"]), class_="big", x=x + wide / 2, y=y + high - 24,
                 text_anchor="middle", style=style)  # fmt: skip

    def chart(self, panel, x, y, wide, high, lines):
        defaults = panel["fieldConfig"]["defaults"]
        unit = defaults["unit"]
        left, right, top, bottom = x + 58, x + wide - 8, y + 28, y + high - 44
        most = max((value for _, points in lines for _, value in points), default=0.0) or 1.0
        at = lambda moment: left + (right - left) * (moment - self.begin) / (self.end - self.begin)
        up = lambda value: bottom - (bottom - top) * min(value / most, 1.0)
        self.add("rect", class_="out", x=f"{at(self.down):.1f}", y=top, width=f"{at(self.up) - at(self.down):.1f}",
                 height=bottom - top)  # fmt: skip
        for moment in self.seen:
            self.add("line", class_="seen", x1=f"{at(moment):.1f}", x2=f"{at(moment):.1f}", y1=top, y2=bottom)
        for part in (0, 0.5, 1):
            self.add("line", class_="grid", x1=left, x2=right, y1=up(part * most), y2=up(part * most))
            self.add("text", shown(part * most, unit), x=left - 4, y=up(part * most) + 3, text_anchor="end")
        for moment, anchor in ((self.begin, "start"), (self.end, "end")):
            clock = time.strftime("%H:%M:%S", time.gmtime(moment))
            self.add("text", clock, x=f"{at(moment):.1f}", y=bottom + 12, text_anchor=anchor)
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] < most:
                self.add("line", class_="limit", x1=left, x2=right, y1=up(step["value"]), y2=up(step["value"]))
        place, row = left - 50, 0
        for number, (name, points) in enumerate(lines):
            colour = COLOURS[number % len(COLOURS)]
            path = " ".join(f"{at(moment):.1f},{up(value):.1f}" for moment, value in points)
            self.add("polyline", points=path, stroke=colour)
            width = 24 + 5.6 * len(name)
            if place + width > x + wide and place > left - 50:
                place, row = left - 50, row + 1
            self.add("rect", x=place, y=y + high - 26 + row * 13, width=9, height=3, fill=colour)
            self.add("text", name, x=place + 12, y=y + high - 21 + row * 13)
            place += width


def of_stream(lines, stream):
    """The lines of one stream and those of all, by what they show."""
    mark = f"s3log.{stream}"
    mine = [(name.removeprefix(mark).strip() or stream, points) for name, points in lines if name.split()[0] == mark]
    return mine or lines


def write(path, found, moments, seen, stream):
    """Draws the panels of one stream; `seen` are the moments of other pictures, each a dotted line."""
    drawing = Drawing(moments, seen)
    bottom = 0
    for panel, lines in found:
        place = panel["gridPos"]
        x, y, wide, high = place["x"] * CELL + EDGE, place["y"] * UNIT + EDGE, place["w"] * CELL - 6, place["h"] * UNIT - 6
        bottom = max(bottom, y + high)
        if panel["type"] == "row":
            drawing.add("text", panel["title"], class_="row", x=x, y=y + 14)
            continue
        drawing.add("rect", class_="panel", x=x, y=y, width=wide, height=high, rx=3)
        # Of a bold character at most; a title that is longer than its panel is drawn together.
        room, title = wide - 16, panel["title"]
        fit = {"textLength": room, "lengthAdjust": "spacingAndGlyphs"} if len(title) * 6.6 > room else {}
        drawing.add("text", title, class_="title", x=x + 8, y=y + 17, **fit)
        (drawing.stat if panel["type"] == "stat" else drawing.chart)(panel, x, y, wide, high, of_stream(lines, stream))
    wide, high = 24 * CELL + 2 * EDGE, bottom + EDGE
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img">',
        "<title>The dashboard's panels while the gateway is up, down and up again</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{wide}" height="{high}"/>',
    ]
    pathlib.Path(path).write_text("\n".join([*head, *drawing.parts, "</svg>"]) + "\n")
