"""Checks the rows of triggers of a file: only what a server would have stored is imported.

Whoever runs triggers trusts what is stored: how many times are caught up, how long a jitter is, and
which workspace a trigger is of.

Used by `transfer/moved_rows.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rillflow.errors import RillflowError, StoreError
from rillflow.ids import parse_descriptor_id
from rillflow.jsontypes import decode_json
from rillflow.stores.transfer.tables import TABLES, TRIGGERS
from rillflow.triggers.schedule import NEVER_MS
from rillflow.triggers.spec import check_id, decode_spec
from rillflow.triggers.trigger_types import read_trigger, shown_trigger


def refuse_wrong_trigger(values: Sequence[Any]) -> None:
    """Refuse a row of the table of triggers that no server would store.

    Raises:
        StoreError: It is one.
    """
    row = dict(zip(TABLES[TRIGGERS].names, values, strict=True))
    try:
        _check(row)
    except (RillflowError, msgspec.MsgspecError, ValueError, OSError, OverflowError) as error:
        name = str(row["id"])[:200]
        raise StoreError(f"the trigger {name!r} is none that a server stores: {error}") from error


def _check(row: Mapping[str, Any]) -> None:
    """Read a row as a server does, and its fields as if its author had written them."""
    check_id(row["id"])
    parse_descriptor_id(row["descriptor_id"])
    for name in ("position_ms", "created_at_ms"):
        if not 0 <= row[name] <= NEVER_MS:
            raise ValueError(f"{name} is {row[name]}")
    if row["is_removed"]:
        return  # Nobody reads the rest.
    if row["context"] and not isinstance(decode_json(row["context"].encode()), dict):
        raise ValueError("its context is no object")
    read = read_trigger(shown_trigger(row["type"], decode_spec(row["spec"])))
    if read.kind != row["type"]:
        raise ValueError(f"it is of the type {read.kind}, and says {row['type'][:40]!r}")
