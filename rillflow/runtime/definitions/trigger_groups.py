"""A consumer group of Kafka belongs to the triggers of one workspace.

The members of a group share the records of a topic: one of another workspace would take a part of
them, and they would be lost to the workspace whose group it is. Brokers and topics do not count,
since one cluster has many names, and a group is of the whole cluster.

Used by `runtime/definitions/trigger_room.py`.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from rillflow.errors import RequestError
from rillflow.gateways.outbound.threads import in_thread
from rillflow.ids import parse_descriptor_id
from rillflow.ports.triggers import TriggerRow, Triggers
from rillflow.triggers.kafka import DEFAULT_GROUP, default_group
from rillflow.triggers.spec import decode_spec
from rillflow.triggers.trigger_types import KAFKA

PAGE: Final = 100
RESTRICTED: Final = 30110


def groups_named(added: Sequence[TriggerRow]) -> set[str]:
    """Return the consumer groups that triggers name, and that others might have.

    Raises:
        RequestError: One has the form of the default group of another trigger (30110).
    """
    named: set[str] = set()
    for row in added:
        group = _named_group(row)
        if group is None or (row.id and group == default_group(row.id)):
            continue
        if group.startswith(DEFAULT_GROUP):
            raise RequestError(
                f"groups that begin with {DEFAULT_GROUP} are those of triggers that name none",
                wire_code=RESTRICTED,
                hint="choose another group, or none",
            )
        named.add(group)
    return named


async def refuse_groups_of_others(store: Triggers, workspace: str, wanted: Collection[str]) -> None:
    """Refuse consumer groups, at least one, if a trigger of another workspace has one of them.

    Raises:
        RequestError: It has (30110).
    """
    after: str | None = ""
    while after is not None:
        rows = await store.list_triggers(kind=KAFKA, after=after, limit=PAGE)
        taken = await in_thread(partial(_taken, rows, workspace, wanted), workspace=workspace)
        if taken is not None:
            raise RequestError(
                f"a trigger of another workspace reads with the group {taken}",
                wire_code=RESTRICTED,
                hint="choose another group, or none: the members of a group share the records",
            )
        after = rows[-1].id if len(rows) == PAGE else None


def _taken(rows: Sequence[TriggerRow], workspace: str, wanted: Collection[str]) -> str | None:
    """Return a group that a trigger of another workspace has."""
    for row in rows:
        if parse_descriptor_id(row.descriptor_id).business != workspace:
            group = _named_group(row)
            if group in wanted:
                return group
    return None


def _named_group(row: TriggerRow) -> str | None:
    """Return the group that the author of a trigger has named."""
    config = decode_spec(row.spec).config if row.type == KAFKA else None
    return (config or {}).get("group")
