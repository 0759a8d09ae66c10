"""The purge plan: how much of some ended executions one transaction removes.

Pure, and the same for every adapter. An execution is removed whole if its journal is small enough.
A long journal is removed in parts, the oldest records first, and only records that the snapshot
contains: so a partly removed execution still loads as it was. Its large values are removed with the
last part, because the snapshot refers to most of them.

Used by `stores/postgres/purge.py` and `stores/sqlite/purge.py`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rillflow.ids import ExecutionId

IS_FREE: Final = """
coalesce((SELECT parent.finished_at_ms IS NOT NULL FROM executions AS parent
    WHERE parent.execution_id = ended.parent_id), TRUE)
AND (SELECT count(*) FROM executions AS child
    WHERE child.parent_id = ended.execution_id AND child.finished_at_ms IS NULL) = 0
"""
"""SQL of every adapter: neither the parent nor a child of the row ``ended`` is unfinished.

Both are single values, which are looked up by keys: PostgreSQL makes a join of a NOT EXISTS, and
reads all executions for it.
"""


BYTES_PER_RECORD: Final = 4096
"""Removing this many bytes of large values is as much work as removing one record."""


class Purgeable(NamedTuple):
    """One ended execution: the number of its remaining records, and the last in its snapshot.

    ``payload_bytes`` is the length of its large values; in SQLite, of its records as well, since
    that may overwrite with zeros what is removed, which is written like anything else.
    """

    key: int
    execution_id: ExecutionId
    records: int
    first_seq: int
    snapshot_seq: int
    payload_bytes: int = 0


class PurgePlan(NamedTuple):
    """What is removed now: whole executions by key, and records of one up to a number.

    ``left`` are the executions that another transaction has to remove.
    """

    keys: list[int]
    trim: tuple[int, int] | None
    left: list[ExecutionId]


def purge_plan(found: Sequence[Purgeable], most_records: int) -> PurgePlan:
    """Choose the first executions whose records fit, or else a part of the first."""
    taken, budget = 0, most_records
    for each in found:
        work = each.records + each.payload_bytes // BYTES_PER_RECORD
        if work > budget:
            break
        budget -= work
        taken += 1
    left = [each.execution_id for each in found[taken:]]
    if taken or not found:
        return PurgePlan([each.key for each in found[:taken]], None, left)
    first = found[0]
    last_seq = min(first.first_seq + most_records - 1, first.snapshot_seq)
    if first.records <= most_records or last_seq < first.first_seq:
        return PurgePlan([first.key], None, left[1:])
    return PurgePlan([], (first.key, last_seq), left)
