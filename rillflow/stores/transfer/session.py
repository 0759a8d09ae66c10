"""A session of a database: statements with ``?`` as placeholders, and transactions.

Used by `stores/transfer` and `transfer`.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Session(Protocol):
    """One connection; every method raises StoreError if the database fails.

    Attributes:
        overrides_ids: What an INSERT says so that ids that are given are kept.
        next_position: The SQL of the position of a new version, after all that there are.
    """

    overrides_ids: str
    next_position: str

    async def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows."""
        ...

    async def run(self, statement: str, *values: object) -> None:
        """Run a statement."""
        ...

    async def run_many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run a statement once for each row of values."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Let reads see one state; what is written is written as a whole, durably."""
        ...

    async def new_key(self) -> int:
        """Return a key for a new execution."""
        ...

    async def count_on_templates(self) -> None:
        """Have new templates get ids above those that there are."""
        ...

    async def close(self) -> None:
        """Release the database."""
        ...
