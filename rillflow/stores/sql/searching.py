"""The SQL of searches among executions, for the SQL adapters.

An index of a flow, of a version or of all executions is in the order of status and submit time, so
rows in the order of submit times come from one part of it for each status. A statement therefore
reads each of these parts as far as the page needs, and merges them. The values of search keys have
a table of their own with such indexes. Placeholders are ``?``, or ``$1`` to ``$n``.

Used by `stores/memory/searching.py`, `stores/postgres/tables/searching.py` and
`stores/sqlite/tables/searching.py`.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from rillflow.ports.storage.execution_search import FoundExecution, Place, Wanted

COLUMNS: Final = ", ".join(FoundExecution.__struct_fields__)
_Conditions: TypeAlias = tuple[tuple[str, object], ...]
MOST_PARTS: Final = 400
"""More parts than this are not merged: a business with more is looked for among all executions."""
_NEWEST_FIRST: Final = "ORDER BY submitted_at_ms DESC, key DESC"
_BY_NO_INDEX: Final = "{} || '' = ?"
"""A condition for which a planner cannot choose an index that has another order."""

_EXECUTIONS: Final = "executions"
_SEARCH_KEYS: Final = "search_keys"
_HAS_VALUE: Final = (
    "(SELECT 1 FROM search_keys AS other"
    " WHERE other.key = {}.key AND other.name = ? AND other.value || '' = ?) = 1"
)
"""A look-up by the primary key for each row.

Of EXISTS, a planner may make a join, and for a value that it does not know yet it prefers an index
of values: both read all executions with that value.
"""
MOST_LOOKED: Final = 5_000
"""Of how many executions with one value a search by several looks for the others at once."""

KEY_COUNT: Final = f"""
SELECT count(*) FROM (
    SELECT 1 FROM search_keys WHERE name = {{0}} AND value = {{1}} LIMIT {MOST_LOOKED}) AS found
"""  # noqa: S608 - own text
"""How many executions have a value of a search key, counted as far as it matters."""

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
    """A part of an index: conditions that select it, their values, and the table."""

    conditions: tuple[str, ...]
    values: tuple[object, ...]
    table: str = _EXECUTIONS


def needs_features(wanted: Wanted) -> bool:
    """Tell whether the features of the business must be known to find the parts."""
    is_of_business = wanted.business is not None and wanted.feature is None
    is_by_version = wanted.definition_id is not None and not wanted.keys
    return is_of_business and not is_by_version and not _is_narrow(wanted)


def is_sifted(wanted: Wanted) -> bool:
    """Tell whether a search looks for values of search keys row by row, among many rows."""
    return len(wanted.keys) > 1 and not _is_narrow(wanted)


def parts_of(
    wanted: Wanted, statuses: Sequence[str], features: Sequence[str] = ()
) -> tuple[tuple[str, Part], ...]:
    """Return the parts of indexes in which a search finds its executions, with their statuses.

    ``statuses`` are those that occur, if the search names none. ``features`` are those of the
    business, if they are needed. Of several search keys the first is looked for in the index.
    """
    chosen = statuses if wanted.statuses is None else tuple(dict.fromkeys(wanted.statuses))
    times = tuple(_times_of(wanted))
    if _is_narrow(wanted):
        narrow = (*_narrow(wanted), *_having(wanted.keys, _EXECUTIONS))
        return tuple(
            (status, _part(*narrow, (_BY_NO_INDEX.format("status"), status), *times))
            for status in chosen
        )
    if wanted.keys:
        return tuple(_keyed(wanted, features, chosen, times))
    if wanted.definition_id is not None:
        version = (("definition_id = ?", wanted.definition_id), *_outside_indexes(wanted))
        return tuple((status, _part(*version, ("status = ?", status), *times)) for status in chosen)
    return tuple(
        (status, _part(*flow, ("status = ?", status), *times))
        for flow in _flows_of(wanted, features, len(chosen))
        for status in chosen
    )


def _keyed(
    wanted: Wanted, features: Sequence[str], statuses: Sequence[str], times: _Conditions
) -> Iterator[tuple[str, Part]]:
    """Yield the parts of a search by the values of search keys."""
    (name, value), *others = wanted.keys
    has_value: _Conditions = (("name = ?", name), ("value = ?", value))
    more: _Conditions = tuple(_having(others, _SEARCH_KEYS))
    if wanted.definition_id is not None:
        more = (*more, ("definition_id = ?", wanted.definition_id))
    for flow in _flows_of(wanted, features, len(statuses)):
        for status in statuses:
            part = _part(*flow, *has_value, ("status = ?", status), *times, *more)
            yield status, part._replace(table=_SEARCH_KEYS)


def _having(keys: Sequence[tuple[str, str]], table: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the conditions that a row of a table has values of search keys."""
    return ((_HAS_VALUE.format(table), key) for key in keys)


def page_statement(
    parts: Sequence[Part], before: Place | None, limit: int
) -> tuple[str, list[object]]:
    """Return the statement for a page, newest submit time first, and its values.

    The parts are merged by what indexes hold, and only the rows of the page itself are read.
    """
    order = _NEWEST_FIRST
    texts: list[str] = []
    values: list[object] = []
    for part in parts:
        conditions, given = _before(part, before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        part_text = f"SELECT submitted_at_ms, key FROM {part.table} {where} {order} LIMIT ?"  # noqa: S608 - columns are our own, values are bound
        texts.append(f"SELECT * FROM ({part_text}) AS part")  # noqa: S608 - see above
        values += (*given, limit)
    merged = f"SELECT key FROM ({' UNION ALL '.join(texts)} {order} LIMIT ?) AS merged"  # noqa: S608 - see above
    page = f"SELECT {COLUMNS} FROM executions WHERE key IN ({merged}) {order}"  # noqa: S608 - see above
    return page, [*values, limit]


def window_statement(
    parts: Sequence[Part], before: Place | None, most: int
) -> tuple[str, list[object]]:
    """Return the statement for the submit time since which no part has more than ``most``.

    It is the newest of those times, NULL where no part has more; only indexes are read.
    """
    texts: list[str] = []
    values: list[object] = []
    for part in parts:
        conditions, given = _before(part, before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        one = f"SELECT submitted_at_ms FROM {part.table} {where} {_NEWEST_FIRST} LIMIT 1 OFFSET ?"  # noqa: S608 - columns are our own, values are bound
        texts.append(f"SELECT ({one}) AS since")
        values += (*given, most)
    return f"SELECT max(since) FROM ({' UNION ALL '.join(texts)}) AS parts", values  # noqa: S608 - see above


def count_statement(part: Part, spans: str) -> str:
    """Return the statement that counts the executions of a part in each span of time.

    ``spans`` is a table with the columns ``number``, ``begins`` and ``ends``; its values follow
    those of the part. A row has the number of a span and the count.
    """
    conditions = ("submitted_at_ms >= begins", "submitted_at_ms < ends", *part.conditions)
    return (
        f"SELECT number, (SELECT count(*) FROM {part.table} WHERE {' AND '.join(conditions)})"  # noqa: S608 - columns are our own, values are bound
        f" FROM {spans}"
    )


def newest_statement(part: Part, most: int) -> tuple[str, list[object]]:
    """Return the statement for the number and the oldest submit time of the newest of a part."""
    newest = f"SELECT submitted_at_ms FROM {part.table} {_where(part)}"  # noqa: S608 - columns are our own, values are bound
    limited = f"{newest} ORDER BY submitted_at_ms DESC LIMIT ?"
    return (
        f"SELECT count(*), min(submitted_at_ms) FROM ({limited}) AS newest",  # noqa: S608 - see above
        [*part.values, most],
    )


def numbered(statement: str) -> str:
    """Replace the placeholders ``?`` by ``$1`` to ``$n``; none of our texts has another one."""
    first, *rest = statement.split("?")
    return first + "".join(f"${number}{text}" for number, text in enumerate(rest, start=1))


def _before(part: Part, before: Place | None) -> tuple[tuple[str, ...], tuple[object, ...]]:
    """Return the conditions of a part with the place after which it begins, and their values."""
    if before is None:
        return part.conditions, part.values
    return (*part.conditions, "(submitted_at_ms, key) < (?, ?)"), (*part.values, *before)


def _is_narrow(wanted: Wanted) -> bool:
    """Tell whether an id selects so few executions that no order of an index is needed."""
    return wanted.execution_id is not None or wanted.parent_id is not None


def _narrow(wanted: Wanted) -> Iterator[tuple[str, object]]:
    given = (
        ("execution_id = ?", wanted.execution_id),
        ("parent_id = ?", wanted.parent_id),
        *_outside_indexes(wanted),
        (_BY_NO_INDEX.format("definition_id"), wanted.definition_id),
    )
    yield from ((condition, value) for condition, value in given if value is not None)


def _outside_indexes(wanted: Wanted) -> Iterator[tuple[str, object]]:
    """Yield the conditions of a business and a feature that choose no index."""
    if wanted.business is not None:
        yield _BY_NO_INDEX.format("business"), wanted.business
        if wanted.feature is not None:
            yield _BY_NO_INDEX.format("feature"), wanted.feature


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
    """Return a part; a condition with several values has them as a tuple."""
    values: list[object] = []
    for _, value in conditions:
        values += value if isinstance(value, tuple) else (value,)
    return Part(tuple(text for text, _ in conditions), tuple(values))


def _where(part: Part) -> str:
    return f"WHERE {' AND '.join(part.conditions)}" if part.conditions else ""
