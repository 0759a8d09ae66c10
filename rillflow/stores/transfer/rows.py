"""The row of an execution as it is moved.

Used by `stores/transfer` and `transfer`.
"""

from typing import Annotated, Final, TypeAlias

import msgspec

Integer: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What both databases can store."""
LARGEST_COUNTED: Final = 2**53
"""No id that a store has counted is greater, and it can count on from here."""


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The columns of an execution, without its key, which is another one in each database."""

    execution_id: str
    business: str
    feature: str
    partition: Integer
    definition_id: str
    submitted_at_ms: Integer
    dedicated: bool
    parent_id: str | None
    idempotency_key: str | None
    request_digest: str | None
    status: str
    code: str | None
    finished_at_ms: Integer | None
    rests: bool


COLUMNS: Final = ExecutionRow.__struct_fields__
CHANGING: Final = frozenset({"status", "code", "finished_at_ms", "rests"})
"""Columns that change while an execution runs."""


class MovedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution with how much of it there is.

    ``last_seq`` is the number of its last record, ``snapshot_seq`` that of its snapshot, 0 without
    one, and ``descendants`` how many sub-flows are counted for it, None for none. ``search_values``
    are names of search keys with their values.
    """

    row: ExecutionRow
    last_seq: Integer
    snapshot_seq: Integer = 0
    descendants: Integer | None = None
    search_values: Annotated[tuple[tuple[str, str], ...], msgspec.Meta(max_length=100)] = ()
