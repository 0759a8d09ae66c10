"""The types of triggers: which fields each has, and how they are checked, stored and shown.

A trigger has one of the keys ``cron``, ``kafka``, ``webhook`` and ``source``, which says what fires
it. The value of ``source`` names a type that an installed package adds, and has its settings.

Used by `definition/checks/declared_triggers.py`, `runtime/definitions/declared_triggers.py` and
`runtime/triggers/registry.py`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from rillflow.errors import CronError
from rillflow.jsontypes import JsonObject, JsonValue, encode_json
from rillflow.triggers.kafka import checked_kafka
from rillflow.triggers.spec import CRON, CRON_FIELDS, TriggerSpec, read_cron, shown
from rillflow.triggers.webhooks import checked_webhook

KAFKA: Final = "kafka"
WEBHOOK: Final = "webhook"
SOURCE: Final = "source"
Check: TypeAlias = Callable[[JsonObject], JsonObject]
"""Returns the settings of a trigger as they are stored; raises ``CronError``."""

CHECKS: Final[Mapping[str, Check]] = {
    KAFKA: checked_kafka,
    WEBHOOK: checked_webhook,
}
"""The types that are built in, besides cron, by the key that has their settings."""
KEYS: Final = (CRON, *CHECKS, SOURCE)
MOST_SETTINGS_BYTES: Final = 16 << 10
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class ReadTrigger(NamedTuple):
    """A trigger as its author wrote it, checked.

    Attributes:
        kind: Its type.
        spec: The rest, without the context.
    """

    kind: str
    spec: TriggerSpec


def read_trigger(
    fields: Mapping[str, JsonValue], plugins: Mapping[str, Check] | None = None
) -> ReadTrigger:
    """Read the fields of a trigger; the context is not among those that are read.

    Args:
        fields: The fields by their names over HTTP.
        plugins: The types that packages add, by name; without them, the settings of a ``source``
            are not checked.

    Raises:
        CronError: A field is missing or malformed; it has the name of the field.
    """
    given = [key for key in KEYS if fields.get(key) is not None]
    if given in ([], [CRON]):
        return ReadTrigger(CRON, read_cron(fields))
    if len(given) > 1:
        raise wrong(given[1], f"a trigger has one of {', '.join(KEYS)}, not {', '.join(given)}")
    [key] = given
    for name in CRON_FIELDS:
        if fields.get(name) is not None:
            raise wrong(name, f"{name} is for triggers that have cron")
    settings = fields[key]
    if not isinstance(settings, dict):
        raise wrong(key, f"{key} must be an object")
    if len(encode_json(settings)) > MOST_SETTINGS_BYTES:
        raise wrong(key, f"{key} has up to {MOST_SETTINGS_BYTES} bytes")
    if key != SOURCE:
        return ReadTrigger(key, TriggerSpec(config=CHECKS[key](settings)))
    return _read_source(settings, plugins)


def shown_trigger(kind: str, spec: TriggerSpec) -> dict[str, Any]:
    """Return the fields of a trigger as its author would write them."""
    if spec.config is None:
        return shown(spec)
    options = {"callback": spec.callback, "resource_check": spec.resource_check, "uid": spec.uid}
    given = {name: value for name, value in options.items() if value is not None}
    if kind in CHECKS:
        return {kind: spec.config, **given}
    return {SOURCE: {"type": kind, **spec.config}, **given}


def wrong(field: str, reason: str) -> CronError:
    """Return the error about a field."""
    error = CronError(reason)
    error.field = field
    return error


def _read_source(settings: JsonObject, plugins: Mapping[str, Check] | None) -> ReadTrigger:
    kind = settings.get("type")
    if not isinstance(kind, str) or not _NAME.fullmatch(kind) or kind in KEYS:
        raise wrong("source.type", "source needs type, the name of an installed type of triggers")
    rest = {name: value for name, value in settings.items() if name != "type"}
    if plugins is None:
        return ReadTrigger(kind, TriggerSpec(config=rest))
    check = plugins.get(kind)
    if check is None:
        known = ", ".join(sorted(plugins)) or "there are none"
        reason = f"no package is installed that adds triggers of type {kind}; installed: {known}"
        raise wrong("source.type", reason)
    try:
        return ReadTrigger(kind, TriggerSpec(config=check(rest)))
    except CronError as error:
        error.field = f"source.{error.field}" if error.field else SOURCE
        raise
