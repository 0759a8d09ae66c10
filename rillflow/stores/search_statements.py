"""The SQL of searches among executions, for the SQL adapters.

An index of a flow or of all executions is in the order of status and submit time, so rows in the
order of submit times come from one part of it for each status. A statement therefore reads each of
these parts as far as the page needs, and merges them. Placeholders are ``?``, or ``$1`` to ``$n``.

Used by `stores/postgres/searching.py` and `stores/sqlite/searching.py`.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rillflow.ports.execution_search import FoundExecution, Place, Wanted

COLUMNS: Final = ", ".join(FoundExecution.__struct_fields__)
MOST_PARTS: Final = 100
"""More parts than this are not merged: a business with more is looked for among all executions."""
_BY_NO_INDEX: Final = "{} || '' = ?"
"""A condition for which a planner cannot choose an index that has another order."""

STATUSES: Final = """
WITH RECURSIVE known (status) AS (
    SELECT (SELECT min(status) FROM executions) UNION ALL
    SELECT (SELECT min(status) FROM executions WHERE status > known.status) FROM known
    WHERE known.status IS NOT NULL)
SELECT status FROM known WHERE status IS NOT NULL
"""
"""The statuses that occur, found by as many look-ups in the index."""

FEATURES: Final = """
WITH RECURSIVE known (feature) AS (
    SELECT (SELECT min(feature) FROM executions WHERE business = {0}) UNION ALL
    SELECT (SELECT min(feature) FROM executions WHERE business = {0} AND feature > known.feature)
    FROM known WHERE known.feature IS NOT NULL)
SELECT feature FROM known WHERE feature IS NOT NULL LIMIT {1}
"""
"""The features of a business that occur."""


class Part(NamedTuple):
    """A part of an index: conditions that select it, and their values."""

    conditions: tuple[str, ...]
    values: tuple[object, ...]


def needs_features(wanted: Wanted) -> bool:
    """Tell whether the features of the business must be known to find the parts."""
    is_of_business = wanted.business is not None and wanted.feature is None
    return is_of_business and not _is_narrow(wanted)


def parts_of(
    wanted: Wanted, statuses: Sequence[str], features: Sequence[str] = ()
) -> tuple[tuple[str, Part], ...]:
    """Return the parts of indexes in which a search finds its executions, with their statuses.

    ``statuses`` are those that occur, if the search names none. ``features`` are those of the
    business, if they are needed.
    """
    chosen = statuses if wanted.statuses is None else tuple(dict.fromkeys(wanted.statuses))
    times = tuple(_times_of(wanted))
    if _is_narrow(wanted):
        narrow = tuple(_narrow(wanted))
        return tuple(
            (status, _part(*narrow, (_BY_NO_INDEX.format("status"), status), *times))
            for status in chosen
        )
    version = [("definition_id = ?", wanted.definition_id)] if wanted.definition_id else []
    return tuple(
        (status, _part(*flow, ("status = ?", status), *version, *times))
        for flow in _flows_of(wanted, features, len(chosen))
        for status in chosen
    )


def page_statement(
    parts: Sequence[Part], before: Place | None, limit: int
) -> tuple[str, list[object]]:
    """Return the statement for a page, newest submit time first, and its values.

    The parts are merged by what indexes hold, and only the rows of the page itself are read.
    """
    order = "ORDER BY submitted_at_ms DESC, key DESC"
    texts: list[str] = []
    values: list[object] = []
    for part in parts:
        conditions, given = part
        if before is not None:
            conditions = (*conditions, "(submitted_at_ms, key) < (?, ?)")
            given = (*given, *before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        part_text = f"SELECT submitted_at_ms, key FROM executions {where} {order} LIMIT ?"  # noqa: S608 - columns are our own, values are bound
        texts.append(f"SELECT * FROM ({part_text}) AS part")  # noqa: S608 - see above
        values += (*given, limit)
    merged = f"SELECT key FROM ({' UNION ALL '.join(texts)} {order} LIMIT ?) AS merged"  # noqa: S608 - see above
    page = f"SELECT {COLUMNS} FROM executions WHERE key IN ({merged}) {order}"  # noqa: S608 - see above
    return page, [*values, limit]


def oldest_statement(parts: Sequence[Part]) -> tuple[str, list[object]]:
    """Return the statement for the oldest submit time of some parts, and its values."""
    found = " UNION ALL ".join(
        f"SELECT (SELECT min(submitted_at_ms) FROM executions {_where(part)}) AS oldest"  # noqa: S608 - columns are our own, values are bound
        for part in parts
    )
    values = [value for part in parts for value in part.values]
    return f"SELECT min(oldest) FROM ({found}) AS parts", values  # noqa: S608 - see above


def count_statement(part: Part, spans: str) -> str:
    """Return the statement that counts the executions of a part in each span of time.

    ``spans`` is a table with the columns ``number``, ``begins`` and ``ends``; its values follow
    those of the part. A row has the number of a span and the count.
    """
    conditions = ("submitted_at_ms >= begins", "submitted_at_ms < ends", *part.conditions)
    return (
        f"SELECT number, (SELECT count(*) FROM executions WHERE {' AND '.join(conditions)})"  # noqa: S608 - columns are our own, values are bound
        f" FROM {spans}"
    )


def numbered(statement: str) -> str:
    """Replace the placeholders ``?`` by ``$1`` to ``$n``; none of our texts has another one."""
    first, *rest = statement.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(rest, start=1))


def _is_narrow(wanted: Wanted) -> bool:
    """Tell whether an id selects so few executions that no order of an index is needed."""
    return wanted.execution_id is not None or wanted.parent_id is not None


def _narrow(wanted: Wanted) -> Iterator[tuple[str, object]]:
    given = (
        ("execution_id = ?", wanted.execution_id),
        ("parent_id = ?", wanted.parent_id),
        (_BY_NO_INDEX.format("business"), wanted.business),
        ("feature = ?", wanted.feature if wanted.business is not None else None),
        ("definition_id = ?", wanted.definition_id),
    )
    yield from ((condition, value) for condition, value in given if value is not None)


def _flows_of(
    wanted: Wanted, features: Sequence[str], statuses: int
) -> Iterator[tuple[tuple[str, object], ...]]:
    """Yield conditions for each flow of a search, or once what selects all of its flows."""
    if wanted.business is None:
        yield ()
        return
    named = features if wanted.feature is None else (wanted.feature,)
    if len(named) * statuses > MOST_PARTS:
        yield ((_BY_NO_INDEX.format("business"), wanted.business),)
        return
    for feature in named:
        yield ("business = ?", wanted.business), ("feature = ?", feature)


def _times_of(wanted: Wanted) -> Iterator[tuple[str, object]]:
    if wanted.from_ms is not None:
        yield "submitted_at_ms >= ?", wanted.from_ms
    if wanted.to_ms is not None:
        yield "submitted_at_ms <= ?", wanted.to_ms


def _part(*conditions: tuple[str, object]) -> Part:
    return Part(tuple(text for text, _ in conditions), tuple(value for _, value in conditions))


def _where(part: Part) -> str:
    return f"WHERE {' AND '.join(part.conditions)}" if part.conditions else ""
