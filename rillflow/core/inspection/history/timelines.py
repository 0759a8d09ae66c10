"""The timeline of one level: what each task did when, from a recording of the journal.

Used by `runtime/histories`.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from rillflow.core.inspection.graphs import level_of
from rillflow.core.inspection.history.recording import Recorder, Segment, Segments
from rillflow.core.inspection.statuses import Statuses
from rillflow.core.plan import LevelPlan
from rillflow.core.state import ExecutionState
from rillflow.jsontypes import JsonObject, JsonValue


def timeline(  # noqa: PLR0913 - the parameters of the route
    recorder: Recorder,
    state: ExecutionState,
    *,
    route: str,
    offset: int,
    limit: int,
    until_ms: int | None,
) -> JsonObject | None:
    """Return the rows of one level in the order of their starts; None for no such level.

    The state is that of the recorder or, with ``until_ms``, an earlier one: the timeline is as it
    was at that time.
    """
    plan = recorder.plan
    level = level_of(plan, state, route)
    if level is None:
        return None
    prefix = f"{route}-" if route else ""
    known = recorder.segments
    begun = _starts(known, [prefix + base for base in level.tasks], until_ms)
    names = sorted(begun, key=begun.__getitem__)  # those of one time stay in the level's order
    critical = _critical(state, level, prefix, known, until_ms)
    statuses = Statuses(plan, state)
    rows: list[JsonValue] = [
        {
            "name": name,
            "base": name.removeprefix(prefix),
            "category": level.tasks[name.removeprefix(prefix)].category,
            "status": statuses.of_task(state.tasks[name]) if name in state.tasks else None,
            "critical": name in critical,
            "left_out": known[name].left_out,
            "segments": list(_shown(known[name], until_ms)),
        }
        for name in names[offset : offset + limit]
    ]
    infos = state.invoke.time_infos
    return {
        "route": route,
        "seq": state.seq,
        "from_ms": min(begun.values(), default=infos[0].start_ms if infos else None),
        "to_ms": recorder.at_ms if until_ms is None else until_ms,
        "total": len(names),
        "next": str(offset + limit) if len(names) > offset + limit else None,
        "rows": rows,
    }


def _starts(
    known: Mapping[str, Segments], names: Iterable[str], until_ms: int | None
) -> dict[str, int]:
    """Return when instances have started, of those that had by then."""
    found = {name: known[name].first[0].from_ms for name in names if name in known}
    if until_ms is None:
        return found
    return {name: at_ms for name, at_ms in found.items() if at_ms <= until_ms}


def _shown(kept: Segments, until_ms: int | None) -> Iterator[JsonValue]:
    for segment, following in pairwise([*kept.all(), None]):
        assert segment is not None  # noqa: S101 - only the last one is None
        if until_ms is not None and segment.from_ms > until_ms:
            return
        to_ms = segment.to_ms
        is_open = until_ms is not None and to_ms is not None and to_ms > until_ms
        if segment.kind == "steps" and following and segment.from_ms == following.from_ms:
            continue  # what led to it took no time
        shown: JsonObject = {
            "kind": segment.kind,
            "attempt": segment.attempt,
            "from_ms": segment.from_ms,
            "to_ms": None if is_open else to_ms,
        }
        if segment.error is not None and not is_open:
            shown["error"] = segment.error
        yield shown


def _critical(
    state: ExecutionState,
    level: LevelPlan,
    prefix: str,
    known: Mapping[str, Segments],
    until_ms: int | None,
) -> set[str]:
    """Return the chain of tasks that determined the time of a level, from its last task back."""
    ends = {
        base: _end_of(known[prefix + base], until_ms)
        for base in level.tasks
        if prefix + base in known and prefix + base in state.tasks
    }
    found: set[str] = set()
    # Of what ended at one time, the last is what began last, or comes later in the definition.
    base = max(
        reversed(ends),
        key=lambda name: (ends[name], known[prefix + name].first[0].from_ms),
        default=None,
    )
    while base is not None and prefix + base not in found:
        found.add(prefix + base)
        before = [name for name in level.tasks[base].dependencies if name in ends]
        base = max(before, key=lambda name: ends[name], default=None)
    return found


def _end_of(kept: Segments, until_ms: int | None) -> float:
    last: Segment = kept.last[-1] if kept.last else kept.first[-1]
    if last.to_ms is None or (until_ms is not None and last.to_ms > until_ms):
        return float("inf")
    return last.to_ms
