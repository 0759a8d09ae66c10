"""The triggers that a definition declares are added, changed and removed with its alias.

Used by `runtime/definitions/catalogue.py` and `serve/routes/console/definitions.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from rillflow.definition.checks.declared_triggers import fields_of
from rillflow.definition.model import DeclaredTrigger
from rillflow.errors import CronError, DefinitionError, RequestError
from rillflow.jsontypes import encode_json
from rillflow.ports.triggers import TriggerRow, Triggers
from rillflow.triggers.spec import encode_spec
from rillflow.triggers.trigger_types import Check, read_trigger

CONFLICT: Final = 409


async def declare_triggers(
    store: Triggers, owner: str, rows: Sequence[tuple[TriggerRow, str]], *, at_ms: int
) -> None:
    """Make these, with their contexts, the triggers of an alias: ``business:feature:alias``.

    Raises:
        RequestError: The id of one belongs to a trigger that was added by itself (409).
    """
    if not rows and not await store.list_triggers(owner=owner, limit=1):
        return
    taken = await store.sync_triggers(owner, rows, at_ms=at_ms)
    if taken:
        message = (
            f"the definition was added, and its triggers were not: there is {taken[0]} already"
        )
        raise RequestError(message, http_status=CONFLICT)


async def remove_declared(
    store: Triggers, business: str, feature: str | None, alias: str | None, *, at_ms: int
) -> None:
    """Remove the triggers of an alias that is unlisted, or of all aliases in what is unlisted."""
    if feature is None:
        await store.remove_declared_triggers(business, at_ms=at_ms)
    elif alias is None:
        await store.remove_declared_triggers(business, feature, at_ms=at_ms)
    else:
        await store.sync_triggers(f"{business}:{feature}:{alias}", [], at_ms=at_ms)


def row_of(
    owner: str, trigger: DeclaredTrigger, at_ms: int, checks: Mapping[str, Check]
) -> tuple[TriggerRow, str]:
    """Return a trigger that an alias declares, as it is stored, and its context.

    Raises:
        DefinitionError: It is of a type that no installed package adds, or its package refuses it.
    """
    try:
        kind, spec = read_trigger(fields_of(trigger), checks)
    except CronError as error:
        raise DefinitionError(30410, f"triggers: {trigger.name}: {error}") from error
    context = "" if trigger.context is None else encode_json(trigger.context).decode()
    row = TriggerRow(
        id=f"{owner}/{trigger.name}",
        type=kind,
        descriptor_id=owner,
        owner=owner,
        spec=encode_spec(spec),
        created_at_ms=at_ms,
        position_ms=at_ms,
    )
    return row, context
