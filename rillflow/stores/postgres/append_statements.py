"""The statements that write the rows of an append plan, each for all rows of one table.

Used by `stores/postgres/writer.py`.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

from rillflow.stores.append_plan import EXECUTION_COLUMNS, AppendPlan, ExecutionRow

Rows: TypeAlias = Sequence[tuple[object, ...]]


class _Form(NamedTuple):
    """A statement that takes a row of each of these types, as columns ``given``, ``when`` so."""

    text: str
    types: tuple[str, ...]

    def filled(self, first: int, when: str) -> str:
        """Return the statement, with arrays of its columns from parameter ``first`` on."""
        columns = (f"${number}::{kind}[]" for number, kind in enumerate(self.types, first))
        return self.text.format(given=f"unnest({', '.join(columns)})", when=when)


_EXECUTION: Final = (
    *("bigint", "text", "text", "text", "bigint", "text", "bigint", "boolean"),
    *("text", "text", "text", "text", "text", "bigint", "boolean"),
)
_FORMS: Final = {
    "executions": _Form(
        f"INSERT INTO executions ({EXECUTION_COLUMNS})"  # noqa: S608 - names of columns
        " SELECT * FROM {given} WHERE {when}",
        _EXECUTION,
    ),
    "records": _Form(
        "INSERT INTO journal (execution, seq, record) SELECT * FROM {given} WHERE {when}",
        ("bigint", "bigint", "bytea"),
    ),
    "descendants": _Form(
        """
        UPDATE descendants SET started = given.started
        FROM {given} AS given (execution, started)
        WHERE descendants.execution = given.execution AND {when}
        """,
        ("bigint", "bigint"),
    ),
    # One statement for both: a row cannot be updated twice by one statement.
    "changes": _Form(
        """
        UPDATE executions SET status = coalesce(given.status, executions.status),
            code = CASE WHEN given.status IS NULL THEN executions.code ELSE given.code END,
            finished_at_ms = CASE WHEN given.status IS NULL THEN executions.finished_at_ms
                ELSE given.finished_at_ms END,
            rests = coalesce(given.rests, executions.rests)
        FROM {given} AS given (key, status, code, finished_at_ms, rests)
        WHERE executions.key = given.key AND {when}
        """,
        ("bigint", "text", "text", "bigint", "boolean"),
    ),
    "snapshots": _Form(
        """
        INSERT INTO snapshots (execution, seq, snapshot) SELECT * FROM {given} WHERE {when}
        ON CONFLICT (execution) DO UPDATE SET seq = excluded.seq, snapshot = excluded.snapshot
        """,
        ("bigint", "bigint", "bytea"),
    ),
}
# Whoever takes a partition waits for this lock and changes the epoch then, and this waits for a
# take and reads the epoch again.
_FENCE: Final = """
WITH held AS MATERIALIZED (
    SELECT partition FROM owners
    JOIN unnest($1::bigint[], $2::bigint[]) AS own (part, epoch) ON partition = part
    WHERE owners.epoch <= own.epoch ORDER BY partition FOR SHARE OF owners
), fence AS MATERIALIZED (
    SELECT (SELECT count(*) FROM held) = cardinality($1::bigint[])
        AND (SELECT version FROM rillflow_schema) = $3::bigint AS holds
)"""
_HOLDS: Final = "(SELECT holds FROM fence)"
_FENCE_PARAMETERS: Final = 3


def rows_of(plan: AppendPlan) -> dict[str, Rows]:
    """Return the rows of a plan by the name of what they are written with, without its payloads."""
    nothing = (None, None, None)
    changes = [
        (key, *plan.outcomes.get(key, nothing), plan.rests.get(key))
        for key in {**plan.outcomes, **plan.rests}
    ]
    tables: dict[str, Rows] = {
        "executions": _in_order_of_keys(plan.executions),
        "records": plan.records,
        "descendants": [*plan.descendants.items()],
        "changes": changes,
        "snapshots": [(key, *snapshot) for key, snapshot in plan.snapshots.items()],
    }
    return {name: rows for name, rows in tables.items() if rows}


def _in_order_of_keys(new: Sequence[ExecutionRow]) -> Sequence[ExecutionRow]:
    """Return new rows so that two writers with the same idempotency keys do not deadlock."""
    if len(new) < 2 or all(row.idempotency_key is None for row in new):
        return new
    return sorted(new, key=lambda row: (row.business, row.feature, row.idempotency_key or ""))


@cache
def plain_statement(name: str) -> str:
    """Return the statement that writes rows of one name."""
    return _FORMS[name].filled(1, "true")


@cache
def create_statement() -> str:
    """Return the statement that writes new executions, and returns the keys of those it wrote.

    It leaves out those whose id or idempotency key is taken. It waits for other transactions that
    are about to take them.
    """
    return f"{plain_statement('executions')} ON CONFLICT DO NOTHING RETURNING key"


@cache
def fenced_statement(names: tuple[str, ...]) -> str:
    """Return one statement that writes rows of these names, and returns whether it did.

    Nothing is written if a partition has a newer epoch than is given for it, or no row in
    ``owners``, or if the schema has another version. Its first parameters are the partitions, their
    epochs and the version.
    """
    forms = [_FORMS[name] for name in names]
    firsts = accumulate((len(form.types) for form in forms), initial=_FENCE_PARAMETERS + 1)
    parts = [
        f"written_{name} AS ({form.filled(first, _HOLDS)})"
        for name, form, first in zip(names, forms, firsts, strict=False)
    ]
    with_all = ", ".join([_FENCE, *parts])
    return f"{with_all} SELECT holds FROM fence"  # noqa: S608 - our own texts, values are bound


def columns_of(rows: Rows) -> list[list[object]]:
    """Return the columns of some rows."""
    return [list(column) for column in zip(*rows, strict=True)]


def is_of_one_statement(plan: AppendPlan) -> bool:
    """Tell whether no row of a plan is written twice: parts of one statement do not see each other.

    An execution that was created and changed is such a row.
    """
    return _created(plan).isdisjoint(plan.outcomes.keys() | plan.rests.keys())


def _created(plan: AppendPlan) -> set[int]:
    return {row.key for row in plan.executions}


def fenced_arguments(
    epochs: Mapping[int, int], version: int, rows: Mapping[str, Rows]
) -> list[object]:
    """Return the parameters of ``fenced_statement`` for these rows."""
    columns = [column for each in rows.values() for column in columns_of(each)]
    return [list(epochs), list(epochs.values()), version, *columns]
