"""The triggers that a definition declares: what is wrong with them, and their fields (ours).

Used by `definition/checks/validation.py` and `runtime/definitions/declared_triggers.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pydantic import BaseModel

from rillflow.definition.model import DeclaredTrigger, KafkaTopic, WebhookRequests
from rillflow.errors import CronError
from rillflow.ids import LONGEST_NAME, is_name, why_no_name
from rillflow.jsontypes import JsonObject, encode_json
from rillflow.triggers.trigger_types import read_trigger

MOST_DECLARED: Final = 100
MOST_CONTEXT_BYTES: Final = 256 << 10
_KEYS: Final = {
    "cron": "cron",
    "time_zone": "timeZone",
    "start": "start",
    "end": "end",
    "jitter_s": "jitterInSeconds",
    "overlap": "overlap",
    "catch_up": "catchUp",
}
"""Fields of a trigger over HTTP, with their names in a definition."""
_SETTINGS: Final[Mapping[str, type[BaseModel]]] = {
    "kafka": KafkaTopic,
    "webhook": WebhookRequests,
}
"""Types of triggers whose settings are an object."""


class WrongTrigger(NamedTuple):
    """What is wrong with a trigger; ``keys`` is empty where it is the trigger itself."""

    number: int
    keys: tuple[str, ...]
    reason: str


def fields_of(trigger: DeclaredTrigger) -> JsonObject:
    """Return the fields of a trigger by their names over HTTP."""
    given: JsonObject = {name: getattr(trigger, name) for name in (*_KEYS, "source")}
    for name in _SETTINGS:
        settings = getattr(trigger, name)
        given[name] = None if settings is None else _present(settings.model_dump())
    return _present(given)


def keys_of(field: str) -> tuple[str, ...]:
    """Return the keys in a definition of a field of a trigger, by its name over HTTP."""
    first, _, second = field.partition(".")
    if first in _SETTINGS:
        info = _SETTINGS[first].model_fields.get(second)
        return (first,) if info is None else (first, info.alias or second)
    if first == "source":
        return (first, second) if second else (first,)
    return (_KEYS[first],) if first in _KEYS else ()


def _present(fields: JsonObject) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def wrong_triggers(triggers: Sequence[DeclaredTrigger]) -> Iterator[WrongTrigger]:
    """Generate what is wrong with the triggers of a definition."""
    if len(triggers) > MOST_DECLARED:
        reason = f"a definition declares up to {MOST_DECLARED} triggers, not {len(triggers)}"
        yield WrongTrigger(MOST_DECLARED, (), reason)
        return
    names: set[str] = set()
    for number, trigger in enumerate(triggers):
        if not is_name(trigger.name) or len(trigger.name or "") > LONGEST_NAME:
            yield WrongTrigger(number, ("name",), why_no_name(trigger.name, LONGEST_NAME))
        elif trigger.name in names:
            yield WrongTrigger(number, ("name",), f"two triggers have the name {trigger.name}")
        names.add(trigger.name or "")
        try:
            read_trigger(fields_of(trigger))
        except CronError as error:
            yield WrongTrigger(number, keys_of(error.field), str(error))
        if len(encode_json(trigger.context or {})) > MOST_CONTEXT_BYTES:
            reason = f"the context of a trigger has up to {MOST_CONTEXT_BYTES} bytes"
            yield WrongTrigger(number, ("context",), reason)
