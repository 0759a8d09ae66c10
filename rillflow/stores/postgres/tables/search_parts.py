"""The SQL of searches on PostgreSQL, which reads all parts of an index in one join.

The parts of a search have the same conditions, and differ in the status and the flow that they
name. Those values are arrays, and each statement joins a row for each part with what is read of it.
A UNION ALL of as many reads takes longer to plan than to run: 100 to 270 ms for the 180 parts of a
workspace with 60 flows.

Limits are numbers in the text: of a limit that it does not know, the planner expects a tenth of all
rows.

Used by `stores/postgres/tables/searching.py`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from rillflow.ports.storage.execution_search import Place
from rillflow.stores.sql.searching import COLUMNS, Part, numbered

Statement: TypeAlias = tuple[str, list[object]]
StatusPart: TypeAlias = tuple[str, Part]
"""A part, and the status of its executions."""

FEW_PARTS: Final = 8
"""So many parts are counted span by span, which is faster for many rows."""
_NEWEST_FIRST: Final = "ORDER BY submitted_at_ms DESC, key DESC"


class _Read(NamedTuple):
    """Parts as a table of rows ``parts``, and where the executions of any of them are.

    ``given`` are the values of the placeholders in ``rows``, ``values`` those in ``source``.
    """

    rows: str
    given: list[object]
    source: str
    values: list[object]


def _read(parts: Sequence[StatusPart], before: Place | None = None) -> _Read:
    """Return some parts, at least one, as one read that begins after a place.

    What the parts differ in are texts; all other values are the same.
    """
    table, conditions = parts[0][1].table, parts[0][1].conditions
    names = ["status"]
    given: list[object] = [[status for status, _ in parts]]
    values: list[object] = []
    where, *texts = " AND ".join(conditions).split("?")
    columns = zip(*(part.values for _, part in parts), strict=True)
    for number, (column, text) in enumerate(zip(columns, texts, strict=True)):
        if all(value == column[0] for value in column):
            values.append(column[0])
            where += f"?{text}"
        else:
            names.append(f"value{number}")
            given.append(list(column))
            where += f"parts.value{number}{text}"
    if before is not None:
        where += " AND (submitted_at_ms, key) < (?, ?)"
        values += before
    arrays = ", ".join("?::text[]" for _ in names)
    rows = f"unnest({arrays}) AS parts ({', '.join(names)})"
    return _Read(rows, given, f"FROM {table} WHERE {where}", values)


def page_of(parts: Sequence[StatusPart], before: Place | None, limit: int) -> Statement:
    """Return the statement for a page, newest submit time first, and its values.

    Of each part as many rows are read as a page has, in an index only.
    """
    read = _read(parts, before)
    one = f"SELECT submitted_at_ms, key {read.source} {_NEWEST_FIRST} LIMIT {limit:d}"
    merged = (
        f"SELECT part.key FROM {read.rows} CROSS JOIN LATERAL ({one}) AS part"  # noqa: S608 - columns are our own, values are bound
        f" ORDER BY part.submitted_at_ms DESC, part.key DESC LIMIT {limit:d}"
    )
    text = f"SELECT {COLUMNS} FROM executions WHERE key IN ({merged}) {_NEWEST_FIRST}"  # noqa: S608 - see above
    return numbered(text), [*read.given, *read.values]


def window_of(parts: Sequence[StatusPart], before: Place | None, most: int) -> Statement:
    """Return the statement for the submit time since which no part has more than ``most``.

    It is the newest of those times, NULL where no part has more; only indexes are read.
    """
    read = _read(parts, before)
    one = f"SELECT submitted_at_ms {read.source} {_NEWEST_FIRST} LIMIT 1 OFFSET {most:d}"
    text = (
        f"SELECT max(part.submitted_at_ms) FROM {read.rows}"  # noqa: S608 - columns are our own, values are bound
        f" CROSS JOIN LATERAL ({one}) AS part"
    )
    return numbered(text), [*read.given, *read.values]


def newest_of(parts: Sequence[StatusPart], most: int) -> Statement:
    """Return the statement for the newest of each part, up to ``most``, and its values.

    A row has the status of a part, their number, and the submit time of the oldest, NULL for none.
    """
    read = _read(parts)
    newest = f"SELECT submitted_at_ms {read.source} {_NEWEST_FIRST} LIMIT {most:d}"
    one = f"SELECT count(*) AS found, min(submitted_at_ms) AS oldest FROM ({newest}) AS newest"  # noqa: S608 - columns are our own, values are bound
    text = (
        f"SELECT parts.status, part.found, part.oldest FROM {read.rows}"  # noqa: S608 - see above
        f" CROSS JOIN LATERAL ({one}) AS part"
    )
    return numbered(text), [*read.given, *read.values]


def spans_of(parts: Sequence[StatusPart], edges_ms: Sequence[int]) -> Statement:
    """Return the statement that counts executions in each span between two edges, and its values.

    A row has a status, the number of a span, from 1 on, and a count that is not 0.
    """
    return (_each_span if len(parts) <= FEW_PARTS else _grouped)(_read(parts), edges_ms)


def _each_span(read: _Read, edges_ms: Sequence[int]) -> Statement:
    """Return the statement that counts each span of each part by itself."""
    within = "submitted_at_ms >= spans.begins AND submitted_at_ms < spans.ends"
    text = (
        f"SELECT parts.status, spans.number, part.found FROM {read.rows}"  # noqa: S608 - columns are our own, values are bound
        " CROSS JOIN unnest(?::bigint[], ?::bigint[])"
        " WITH ORDINALITY AS spans (begins, ends, number)"
        f" CROSS JOIN LATERAL (SELECT count(*) AS found {read.source} AND {within}) AS part"
        " WHERE part.found > 0"
    )
    spans = (list(edges_ms[:-1]), list(edges_ms[1:]))
    return numbered(text), [*read.given, *spans, *read.values]


def _grouped(read: _Read, edges_ms: Sequence[int]) -> Statement:
    """Return the statement that reads each part once, and groups what it finds."""
    within = "submitted_at_ms >= ? AND submitted_at_ms < ?"
    one = (
        "SELECT width_bucket(submitted_at_ms, ?::bigint[]) AS number, count(*) AS found"
        f" {read.source} AND {within} GROUP BY 1"
    )
    text = (
        "SELECT parts.status, part.number, sum(part.found)::bigint"  # noqa: S608 - columns are our own, values are bound
        f" FROM {read.rows} CROSS JOIN LATERAL ({one}) AS part GROUP BY 1, 2"
    )
    values = [list(edges_ms), *read.values, edges_ms[0], edges_ms[-1]]
    return numbered(text), [*read.given, *values]
