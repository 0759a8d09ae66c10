"""A trace as a waterfall in a terminal: one line for each span, with a bar where it lasted.

Used by `cli/commands` and `cli/output`.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from rillflow.cli.output.showing import moment, redone, seconds
from rillflow.cli.visible import visible

MOST_ROWS: Final = 300
LEAST_BAR: Final = 16
"""Columns of a bar; a terminal that has no room for them gets names and times only."""
_TIME: Final = 10
_LONGEST_LABEL: Final = 44
_LEAST_LABEL: Final = 12
_LEAST_WIDTH: Final = 24
_STATUSES: Final = {
    "succeeded": "green",
    "failed": "bold red",
    "skipped": "dim",
    "cancelled": "magenta",
    "not_started": "dim",
}
_LASTING: Final = "yellow"
_STEPS: Final = (1, 2, 5)
_MOST_TICKS: Final = 6
_UNICODE: Final = {
    "execution": ("━", "╺", "╸"),
    "task": ("━", "╺", "╸"),
    "attempt": ("─", "╶", "╴"),
    "wait": ("┄", "┄", "┄"),
}
_ASCII: Final = {
    "execution": ("=", "=", "="),
    "task": ("=", "=", "="),
    "attempt": ("-", "-", "-"),
    "wait": (".", ".", "."),
}
_Span = Mapping[str, Any]


class _Row(NamedTuple):
    """A span with the id of the row above it, and the lines of the tree before its name."""

    span: _Span
    above: str
    lead: str
    below: str
    is_leaf: bool = True


class _Room(NamedTuple):
    """Where columns are: of the label, and of the bar, which is 0 where there is no room."""

    label: int
    bar: int


def show_trace(console: Console, trace: Mapping[str, Any]) -> None:
    """Write a trace."""
    spans: list[_Span] = trace["spans"]
    if not spans:
        return
    root = spans[0]
    is_plain = console.options.ascii_only
    rows = list(islice(_rows(spans, is_plain=is_plain), MOST_ROWS))
    from_ms = min(span["from_ms"] for span in spans)
    to_ms = max(_end(span, trace["at_ms"]) for span in spans)
    to_ms = max(to_ms, from_ms + 1)
    width = max(console.width, _LEAST_WIDTH)
    shape, errors = _shape_for(rows, width), _Errors(rows)
    for line in _heading(trace, root):
        _line(console, line)
    if shape.bar:
        _line(console, _ruler(shape, to_ms - from_ms))
    for row in rows:
        bar = _bar(row.span, from_ms, to_ms, trace["at_ms"], shape.bar, is_plain=is_plain)
        _line(console, _label(row, shape, trace["at_ms"]) + bar)
        text = errors.of(row.span)
        if text:
            stem = "" if row.is_leaf else "|  " if is_plain else "│ "
            _line(console, Text().append(row.below + stem, "dim").append(text, "red"))
    _tell_rest(console, trace, len(rows), spans)


def _line(console: Console, line: Text) -> None:
    """Write a line, and of one that is too long as much as the terminal is wide."""
    line.rstrip()
    line.truncate(max(console.width, _LEAST_WIDTH), overflow="ellipsis")
    console.print(line, no_wrap=True, crop=False, soft_wrap=True)


def _heading(trace: Mapping[str, Any], root: _Span) -> Iterator[Text]:
    yield Text(visible(str(trace["execution_id"])), "bold")
    status, is_over = str(root["status"]), root["to_ms"] is not None
    heading = Text().append(visible(status), _STATUSES.get(status, _LASTING))
    lasted = _lasted(_end(root, trace["at_ms"]) - root["from_ms"])
    heading.append(f" {'after' if is_over else 'for'} {lasted}")
    heading.append(f", begun {moment(root['from_ms'])}", "dim")
    if trace["round"] > 1:
        heading.append(redone(trace["round"] - 1), "dim")
    yield heading
    if trace.get("trace_id"):
        yield Text(f"trace {visible(str(trace['trace_id']))}", "dim")
    yield Text()


def _rows(spans: list[_Span], *, is_plain: bool) -> Iterator[_Row]:
    """Yield spans in the order of their starts, each before those inside it."""
    children: dict[str, list[_Span]] = {}
    known = {span["id"] for span in spans}
    for span in spans[1:]:
        above = span["parent"] if span["parent"] in known else spans[0]["id"]
        children.setdefault(above, []).append(span)
    for listed in children.values():
        listed.sort(key=lambda span: span["from_ms"])
    stems = ("|- ", "`- ", "|  ") if is_plain else ("├ ", "└ ", "│ ")
    pending = [_Row(spans[0], "", "", "")]
    seen: set[str] = set()
    while pending:
        row = pending.pop()
        span, below = row.span, row.below
        if span["id"] in seen:  # whoever answers may send a circle
            continue
        seen.add(span["id"])
        inside = _worth_showing(span, children)
        yield row._replace(is_leaf=not inside)
        for number, child in reversed(list(enumerate(inside))):
            is_last = number == len(inside) - 1
            stem = stems[1] if is_last else stems[0]
            rest = " " * len(stem) if is_last else stems[2]
            pending.append(_Row(child, span["id"], below + stem, below + rest))


def _worth_showing(span: _Span, children: Mapping[str, list[_Span]]) -> list[_Span]:
    """Return what is inside a span, without a single attempt that says no more than its task."""
    inside = children.get(span["id"], [])
    if span["kind"] == "task" and len(inside) == 1 and inside[0]["kind"] == "attempt":
        one = inside[0]
        if (one["from_ms"], one["to_ms"]) == (span["from_ms"], span["to_ms"]):
            return children.get(one["id"], [])
    return inside


def _end(span: _Span, at_ms: int) -> int:
    """Return when a span has ended; what still lasts does so until now."""
    return at_ms if span["to_ms"] is None else int(span["to_ms"])


class _Errors:
    """Which lines tell their error: those with none that has failed below them."""

    def __init__(self, rows: list[_Row]) -> None:
        above = {row.span["id"]: row.above for row in rows}
        self._quoting: set[str] = set()
        for row in rows:
            place = row.above if row.span["error"] else ""
            while place and place not in self._quoting:
                self._quoting.add(place)
                place = above.get(place, "")

    def of(self, span: _Span) -> str:
        """Return the text to show below a span, which may be empty."""
        if span["id"] in self._quoting:
            return ""
        return " ".join(visible(span["error"] or "").split())


def _name(span: _Span) -> str:
    """Return the name that a line shows: of an instance in a group with its index."""
    if span["kind"] == "attempt":
        return f"attempt {span['attempt']}"
    route = str(span["task"]).rpartition("-")[0]
    if span["kind"] != "task" or not route:
        return visible(str(span["name"]))
    return visible(f"{span['name']} [{route.rpartition('_')[2]}]")


def _shape_for(rows: list[_Row], width: int) -> _Room:
    longest = max(Text(row.lead + _name(row.span)).cell_len for row in rows)
    label = max(min(longest, _LONGEST_LABEL, width * 2 // 5), _LEAST_LABEL)
    bar = width - label - _TIME - 2
    if bar < LEAST_BAR:
        return _Room(max(min(longest, width - _TIME - 1), _LEAST_LABEL), 0)
    return _Room(label, bar)


def _label(row: _Row, shape: _Room, at_ms: int) -> Text:
    span = row.span
    status = str(span["status"])
    lasted_ms = _end(span, at_ms) - span["from_ms"]
    name = Text().append(row.lead, "dim")
    style = "dim" if span["kind"] == "wait" else _STATUSES.get(status, _LASTING)
    style = "" if status == "succeeded" and span["kind"] != "execution" else style
    name.append(_name(span), "bold" if span["kind"] == "execution" else style)
    name.truncate(shape.label, overflow="ellipsis", pad=True)
    return name.append(f" {_lasted(max(lasted_ms, 0)):>{_TIME - 1}}  ", "dim")


def _lasted(duration_ms: float) -> str:
    return f"{duration_ms:.0f} ms" if duration_ms < 1_000 else seconds(duration_ms)


def _bar(span: _Span, from_ms: int, to_ms: int, at_ms: int, width: int, *, is_plain: bool) -> Text:
    """Draw where a span lies between the ends of the trace, to half a column."""
    if not width:
        return Text()
    whole, right_half, left_half = (_ASCII if is_plain else _UNICODE)[
        span["kind"] if span["kind"] in _UNICODE else "task"
    ]
    halves = 2 * width
    scale = halves / (to_ms - from_ms)
    begin = min(int((span["from_ms"] - from_ms) * scale), halves - 1)
    end = round((_end(span, at_ms) - from_ms) * scale)
    end = min(max(end, begin + 1), halves)
    text = " " * (begin // 2)
    if begin % 2:
        text += right_half
        begin += 1
    text += whole * max((end - begin) // 2, 0)
    if end > begin and end % 2:
        text += left_half
    status = str(span["status"])
    style = "dim" if span["kind"] == "wait" else _STATUSES.get(status, _LASTING)
    return Text(text, style)


def _ruler(shape: _Room, lasted_ms: int) -> Text:
    """Write the times above the bars."""
    step_ms = _step(lasted_ms, min(_MOST_TICKS, max(shape.bar // 12, 1)))
    line = [" "] * shape.bar
    at_ms = 0
    while at_ms <= lasted_ms:
        column = int(at_ms * shape.bar / lasted_ms)
        text = _tick(at_ms)
        if column + len(text) <= shape.bar:
            line[column : column + len(text)] = text
        at_ms += step_ms
    return Text(" " * (shape.label + _TIME + 2) + "".join(line), "dim")


def _tick(at_ms: int) -> str:
    if not at_ms:
        return "0"
    return f"{at_ms / 1_000:g} s" if 1_000 <= at_ms < 100_000 else _lasted(at_ms)


def _step(lasted_ms: int, most_ticks: int) -> int:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, in milliseconds."""
    power = 1
    while True:
        for step in _STEPS:
            if lasted_ms / (step * power) <= most_ticks:
                return step * power
        power *= 10


def _tell_rest(console: Console, trace: Mapping[str, Any], shown: int, spans: list[_Span]) -> None:
    left_out = trace["tasks_left_out"]
    if len(spans) > MOST_ROWS and shown == MOST_ROWS:
        _line(console, Text(f"... more spans: {len(spans) - shown}; all with --json", "dim"))
    if left_out:
        _line(console, Text(f"... {left_out} more tasks have no spans", "dim"))
