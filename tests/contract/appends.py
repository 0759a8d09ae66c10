"""Short ways to write appends for the store's tests."""

from typing import Any

from rillflow.ids import ExecutionId, new_execution_id
from rillflow.ports.storage.store import Append, Closing, NewExecution

PARTITION = 7


def id_of(number: int, business: str = "shop", feature: str = "order") -> ExecutionId:
    """Return the id of the test's n-th execution."""
    return new_execution_id(business, feature, at_ms=number, entropy=number.to_bytes(10))


def submit(number: int, *records: bytes, epoch: int = 0, **facts: Any) -> Append:
    """Make the n-th execution exist; it is submitted at n milliseconds unless said otherwise.

    ``facts`` go where they belong: to the append or to the new row.
    """
    for_append = {key: facts.pop(key) for key in list(facts) if key in Append.__struct_fields__}
    partition = facts.pop("partition", PARTITION)
    row = {
        "business": "shop",
        "feature": "order",
        "listing_partition": partition,
        "definition_id": "0" * 32,
        "submitted_at_ms": number,
    } | facts
    execution_id = id_of(number, row["business"], row["feature"])
    return Append(
        execution_id=execution_id,
        epoch=epoch,
        first_seq=1,
        fencing_scope=partition,
        records=records or (b"submitted",),
        new=NewExecution(execution_id=execution_id, **row),
        **for_append,
    )


def follow(number: int, first_seq: int, *records: bytes, epoch: int = 0, **facts: Any) -> Append:
    """Append later records to the n-th execution."""
    return Append(
        execution_id=id_of(number),
        fencing_scope=facts.pop("partition", PARTITION),
        epoch=epoch,
        first_seq=first_seq,
        records=records,
        **facts,
    )


def close(number: int, first_seq: int, status: str, code: str | None = None) -> Append:
    """End the n-th execution at ``1000 + n`` milliseconds."""
    closing = Closing(status=status, code=code, finished_at_ms=1_000 + number)
    return follow(number, first_seq, b"ended", closing=closing)
