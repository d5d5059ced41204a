"""A part of a page of the documentation that a proof makes: between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""


def markers(name):
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def part(path, name):
    """What the page has there."""
    begin, end = markers(name)
    return path.read_text().partition(begin)[2].partition(end)[0]


def put(path, name, text):
    """Puts `text`, which ends with a newline, in its place. A page without both markers is an error."""
    begin, end = markers(name)
    before, rest = path.read_text().split(begin)
    _, after = rest.split(end)
    path.write_text(before + begin + text + end + after)
