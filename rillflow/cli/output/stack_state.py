"""The whole stack at a glance: whether all is well, executions, hosts, actors.

Used by `cli/commands/status.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rillflow.cli.visible import visible_line

Row = tuple[str, ...]

BARS: Final = "▁▂▃▄▅▆▇█"
MOST_HOSTS: Final = 20
MOST_PROBLEMS: Final = 20
SHOWN_ID: Final = 8
COLOURS: Final = {
    "open": "red",
    "half_open": "yellow",
    "starts": "yellow",
    "not as wanted": "yellow",
}
HOSTS: Final = ("host", "circuit", "under way", "waiting", "held", "calls/s at most")
ACTORS: Final = (
    *("actor", "node", "state", "partitions", "in memory", "stored", "calls", "queue", "append ms"),
    *("restarts", "fencings"),
)


def summary(state: Mapping[str, Any]) -> str:
    """Say in a word whether the stack takes requests and runs as wanted."""
    if not state["readiness"]["ready"]:
        return "not ready"
    return "ready" if state["cluster"]["converged"] else "ready, not as wanted"


def is_well(state: Mapping[str, Any]) -> bool:
    """Tell whether the stack takes requests and runs as wanted."""
    return bool(state["readiness"]["ready"] and state["cluster"]["converged"])


def facts(state: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what is said in a line each: its name, and the rest."""
    wanted = state["cluster"].get("wanted") or {}
    yield (
        "code",
        f"{wanted.get('code_version', 'unknown')}, settings {wanted.get('settings_version', '?')}",
    )
    counts = state["last_hour"]["counts"]
    told = ", ".join(
        f"{counts.get(name, 0):,} {name}" for name in ("unfinished", "succeeded", "failed")
    )
    yield "last hour", told


def problems(state: Mapping[str, Any]) -> list[str]:
    """Return what is not well, each in one sentence."""
    said = [_problem(each) for each in state["problems"]]
    said += [f"{name} does not answer" for name in state["cluster"]["silent"]]
    controller = state["cluster"].get("controller") or {}
    said += [each["message"] for each in controller.get("reasons", [])]
    said += [str(each) for each in controller.get("causes", [])]
    return list(dict.fromkeys(visible_line(each) for each in said))


def hosts(state: Mapping[str, Any]) -> list[Row]:
    """Return a row for each host of gateways, the busiest first."""
    found = sorted(state["hosts"], key=lambda each: -each["under_way"] - each["waiting"])
    return [
        (
            *(visible_line(each["name"]), visible_line(each["state"])),
            *(f"{each[name]:,}" for name in ("under_way", "waiting", "held")),
            "" if each.get("rate_per_s") is None else f"{each['rate_per_s']:g}",
        )
        for each in found[:MOST_HOSTS]
    ]


def actors(state: Mapping[str, Any]) -> list[Row]:
    """Return a row for each actor."""
    return [
        (
            *(visible_line(each["name"]), visible_line(each["node"][:SHOWN_ID]), _state(each)),
            *(
                _number(each.get(name))
                for name in ("partitions", "hot", "stored", "calls", "queue")
            ),
            _number(each.get("append_ms"), digits=1) if each["partitions"] else "",
            *(_number(each.get(name)) for name in ("restarts", "fencings")),
        )
        for each in state["cluster"]["actors"]
    ]


def lines(state: Mapping[str, Any], url: str) -> Iterator[str]:
    """Yield lines for programs."""
    yield f"{summary(state):<11}  {url}"
    for name, told in facts(state):
        yield f"{name:<11}  {told}"
    for kind, head, rows in (("host", HOSTS, hosts(state)), ("actor", ACTORS, actors(state))):
        for row in rows:
            named = zip(head[1:], row[1:], strict=True)
            yield f"{kind:<11}  {row[0]}  {', '.join(f'{n} {v}' for n, v in named if v)}"
    for each in problems(state):
        yield f"{'problem':<11}  {each}"


def shown(state: Mapping[str, Any], url: str, at: str) -> RenderableType:
    """Return what a terminal shows."""
    colour = "green" if is_well(state) else "red" if not state["readiness"]["ready"] else "yellow"
    title = Text.assemble(("● ", colour), (summary(state), f"bold {colour}"), f"  {url}")
    title.append(f"  {at}", "dim")
    parts: list[RenderableType] = [title]
    for name, told in facts(state):
        parts.append(Text(f"  {name:<11}", "dim").append(told, "not dim"))
        if name == "last hour":
            # On a line of its own, sixty minutes fit into 80 columns.
            parts.append(Text(f"  {'':<11}{_bars(state)}", "cyan", no_wrap=True, overflow="crop"))
    said = problems(state)
    parts += [Text(f"  ✗ {each}", "red") for each in said[:MOST_PROBLEMS]]
    for head, rows in ((HOSTS, hosts(state)), (ACTORS, actors(state))):
        if rows:
            parts += [Text(), _table(head, rows)]
    return Group(*parts)


def _table(head: Row, rows: list[Row]) -> Table:
    """Return a table, without columns in which nothing stands."""
    used = [at for at in range(len(head)) if at == 0 or any(row[at] for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for at in used:
        table.add_column(head[at], justify="left" if at < 3 else "right", overflow="fold")
    for row in rows:
        texts = [_short(text) for text in row]
        table.add_row(*(Text(texts[at], COLOURS.get(texts[at], "")) for at in used))
    return table


def _short(text: str) -> str:
    """Return a name as a column has room for it."""
    return text.removeprefix("rillflow:").removeprefix("http://")


def _bars(state: Mapping[str, Any]) -> str:
    """Return how many executions have ended in each part of the hour, as bars."""
    ended = [
        each.get("succeeded", 0) + each.get("failed", 0) for each in state["last_hour"]["buckets"]
    ]
    most = max(ended, default=0)
    return "".join(BARS[each * (len(BARS) - 1) // most] if each else " " for each in ended)


def _problem(found: Mapping[str, Any]) -> str:
    detail = found["detail"]
    told = detail.get("message") or ", ".join(f"{key} {value}" for key, value in detail.items())
    kind = found["kind"].replace("_", " ")
    return str(told) if kind in ("not ready", "warning") else f"{kind}: {found['subject']} ({told})"


def _state(actor: Mapping[str, Any]) -> str:
    if not actor["ready"]:
        return "starts"
    return "runs" if actor["current"] else "not as wanted"


def _number(value: object, *, digits: int = 0) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else ""
