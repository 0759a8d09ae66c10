"""The purge plan: how much of some ended executions one transaction removes.

Pure, and the same for every adapter. An execution is removed whole if it is small. Of a large one
the row and what finds it are removed first: from then on nobody finds it, so no reader sees a part
of it. Its records, its snapshot and its large values remain, marked by its row in ``stored_bytes``,
and are deleted some megabytes at a time; a removal that was interrupted goes on from the mark.

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

REMOVED: Final = ""
"""What ``stored_bytes`` has as the workspace of an execution that is removed, as long as parts of
it remain. No workspace is called so."""
NEXT_REMOVED: Final = f"""
SELECT execution FROM stored_bytes WHERE workspace = '{REMOVED}'
AND NOT EXISTS (SELECT 1 FROM executions WHERE key = execution) LIMIT 1
"""  # noqa: S608 - own text
"""SQL of every adapter: the key of an execution of which parts remain."""
PARTS: Final = tuple(
    (
        f"SELECT {place}, length({value}) FROM {table} WHERE execution = ? ORDER BY 1 LIMIT ?",  # noqa: S608 - own text
        f"DELETE FROM {table} WHERE execution = ? AND {place} <= ?",  # noqa: S608 - own text
    )
    for table, place, value in (
        ("payloads", "sha256", "value"),
        ("journal", "seq", "record"),
        ("snapshots", "seq", "snapshot"),
    )
)
"""SQL of every adapter, by table: lists the first parts of an execution, and deletes them."""
PARTS_AT_ONCE: Final = 500
"""So many rows of an execution are deleted at once, however short they are."""

BYTES_PER_RECORD: Final = 4096
"""Removing this many bytes is as much work as removing one record."""
MOST_WHOLE_BYTES: Final = 2 << 20
"""What one transaction removes of whole executions; one that has more leaves parts behind."""


class Purgeable(NamedTuple):
    """One ended execution: the number of its records, and its bytes, without the first few KiB."""

    key: int
    execution_id: ExecutionId
    records: int
    size_bytes: int = 0


class PurgePlan(NamedTuple):
    """What is removed now, by key: whole executions, or a large one of which parts remain.

    ``left`` are the executions that another transaction has to remove.
    """

    whole: list[int]
    large: list[int]
    left: list[ExecutionId]


def purge_plan(found: Sequence[Purgeable], most_records: int) -> PurgePlan:
    """Choose the first executions whose records and bytes fit, or else the first alone.

    What is removed does not count for its workspace any more, so no two large ones are removed
    before the parts of the first are deleted.
    """
    taken, budget, budget_bytes = 0, most_records, MOST_WHOLE_BYTES
    for each in found:
        size_bytes = max(each.size_bytes, 0)  # it is counted about
        budget -= each.records + size_bytes // BYTES_PER_RECORD
        budget_bytes -= size_bytes
        if min(budget, budget_bytes) < 0:
            break
        taken += 1
    whole = [each.key for each in found[:taken]]
    large = [] if whole else [each.key for each in found[:1]]
    left = [each.execution_id for each in found[len(whole) + len(large) :]]
    return PurgePlan(whole, large, left)


def parts_within(lengths: Sequence[int], most_bytes: int, *, least: int) -> tuple[int, int]:
    """Return how many of the first parts one transaction deletes, and their bytes.

    Args:
        lengths: Their lengths, in bytes.
        most_bytes: What it deletes at most; ``least`` parts may have more.
        least: How many it deletes whatever their lengths.
    """
    number = size_bytes = 0
    for length in lengths:
        if number >= least and size_bytes + length > most_bytes:
            break
        number += 1
        size_bytes += length
    return number, size_bytes
