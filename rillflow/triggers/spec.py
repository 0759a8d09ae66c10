"""What the author of a trigger writes: its fields, checked with the reason of a refusal.

The fields are the same in a definition, over HTTP, in Python and on the command line.

Used by `runtime/triggers/registry.py` and `runtime/triggers/runner.py`.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from rillflow.errors import CronError
from rillflow.jsontypes import JsonValue
from rillflow.triggers.cron import Cron, time_zone
from rillflow.triggers.overlap import Overlap
from rillflow.triggers.schedule import (
    LONGEST_JITTER_S,
    MOST_CAUGHT_UP,
    NEVER_MS,
    Schedule,
)

CRON: Final = "cron"
LONGEST_ID: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._:/#-]*")
_ID_OF_DECLARED: Final = re.compile(r"[A-Za-z0-9]+:[A-Za-z0-9]+:[A-Za-z0-9]+/[A-Za-z0-9]+")
_ID_OF_WORKSPACE: Final = re.compile(
    r"[^#:]+#([A-Za-z0-9]+):.*|([A-Za-z0-9]+):[A-Za-z0-9][A-Za-z0-9._-]*"
)
_CATCH_UPS: Final[Mapping[str, int]] = {"none": 0, "last": 1}
CRON_FIELDS: Final = ("time_zone", "start", "end", "jitter_s", "overlap", "catch_up")
"""The fields of a cron trigger that others do not have."""


class TriggerSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trigger as a store keeps it, without its context.

    Attributes:
        cron: The expression; empty for other types.
        time_zone: The zone of the expression, by its name in the IANA database.
        start_ms: It does not fire before.
        end_ms: It does not fire from then on.
        jitter_s: Each firing is delayed by a part of this.
        overlap: What happens while the execution that it started last runs.
        catch_up: How many of the times that were missed in an outage are fired.
        callback: CallbackConfig as JSON text, for the executions that it starts.
        resource_check: Check for busy functions as JSON text, for these executions.
        uid: The caller's, for gray and A/B rules.
        body: The body of a request in Rill Flow's form, without the context.
        config: The settings of a trigger that is no cron trigger; see `triggers/trigger_types.py`.
    """

    cron: str = ""
    time_zone: str = "UTC"
    start_ms: int = 0
    end_ms: int = NEVER_MS
    jitter_s: float = 0.0
    overlap: Overlap = Overlap.ALLOW
    catch_up: int = 1
    callback: str | None = None
    resource_check: str | None = None
    uid: int | None = None
    body: dict[str, Any] | None = None
    config: dict[str, Any] | None = None

    def schedule(self) -> Schedule:
        """Return the times of the trigger.

        Raises:
            CronError: The expression or the zone is not known any more.
        """
        cron = Cron.parse(self.cron, self.time_zone)
        return Schedule(cron, self.start_ms, self.end_ms, self.jitter_s, self.catch_up)


def encode_spec(spec: TriggerSpec) -> str:
    """Encode a trigger for the store."""
    return msgspec.json.encode(spec).decode()


def decode_spec(text: str) -> TriggerSpec:
    """Decode a trigger from the store.

    Raises:
        msgspec.ValidationError: It is none.
    """
    return msgspec.json.decode(text, type=TriggerSpec)


def read_cron(fields: Mapping[str, JsonValue]) -> TriggerSpec:
    """Read the fields of a cron trigger; the context is not among those that are read.

    Raises:
        CronError: A field is missing or malformed.
    """
    cron = fields.get("cron")
    if not isinstance(cron, str) or not cron.strip():
        error = CronError("cron is missing: write an expression, such as 0 30 6 * * *")
        error.field = "cron"
        raise error
    with _named("time_zone"):
        zone = _word(fields, "time_zone", "UTC")
        time_zone(zone)
    with _named("start"):
        start_ms = _time_ms(fields.get("start"), "start", 0)
    with _named("end"):
        end_ms = _time_ms(fields.get("end"), "end", NEVER_MS)
        if start_ms >= end_ms:
            raise CronError("start must be before end")
    with _named("jitter_s"):
        jitter_s = _jitter_s(fields.get("jitter_s"))
    with _named("overlap"):
        overlap = _overlap(_word(fields, "overlap", Overlap.ALLOW))
    with _named("catch_up"):
        catch_up = _catch_up(fields.get("catch_up"))
    with _named("cron"):
        Cron.parse(cron, zone)
    return TriggerSpec(
        cron=cron.strip(),
        time_zone=zone,
        start_ms=start_ms,
        end_ms=end_ms,
        jitter_s=jitter_s,
        overlap=overlap,
        catch_up=catch_up,
    )


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Name the field in an error that is raised about it."""
    try:
        yield
    except CronError as error:
        error.field = field
        raise


def shown(spec: TriggerSpec) -> dict[str, Any]:
    """Return the fields of a trigger as its author would write them."""
    fields: dict[str, Any] = {
        "cron": spec.cron,
        "time_zone": spec.time_zone,
        "start": _shown_ms(spec.start_ms) if spec.start_ms else None,
        "end": _shown_ms(spec.end_ms) if spec.end_ms != NEVER_MS else None,
        "jitter_s": spec.jitter_s or None,
        "overlap": spec.overlap.value,
        "catch_up": {0: "none", 1: "last"}.get(spec.catch_up, spec.catch_up),
        "callback": spec.callback,
        "resource_check": spec.resource_check,
        "uid": spec.uid,
    }
    return {name: value for name, value in fields.items() if value is not None}


def check_id(trigger_id: str) -> str:
    """Return the id of a trigger.

    Raises:
        CronError: It is malformed.
    """
    if len(trigger_id) > LONGEST_ID or not _ID.fullmatch(trigger_id):
        raise CronError(
            f"the id of a trigger has 1 to {LONGEST_ID} letters, digits and . _ : / # -, and begins"
            " with a letter, digit, . or _"
        )
    return trigger_id


def is_id_of_declared(trigger_id: str) -> bool:
    """Tell whether an id is ``business:feature:alias/name``, as declared triggers have them."""
    return _ID_OF_DECLARED.fullmatch(trigger_id) is not None


def workspace_in_id(trigger_id: str) -> str | None:
    """Return the business of an id that only its triggers may have; None if all may have it.

    Such ids are ``topic#business:feature``, as Rill Flow forms them, and ``business:name``.
    """
    found = _ID_OF_WORKSPACE.fullmatch(trigger_id)
    return None if found is None else found[1] or found[2]


def _word(fields: Mapping[str, JsonValue], name: str, default: str) -> str:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise CronError(f"{name} must be text")
    return value.strip()


def _overlap(word: str) -> Overlap:
    try:
        return Overlap(word)
    except ValueError as error:
        raise CronError(f"overlap is one of {', '.join(Overlap)}, not {word[:40]!r}") from error


def _catch_up(value: JsonValue) -> int:
    if value is None:
        return 1
    if isinstance(value, str) and value in _CATCH_UPS:
        return _CATCH_UPS[value]
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:10])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_CAUGHT_UP:
        raise CronError(
            f"catch_up is none, last, or how many missed times are fired, up to {MOST_CAUGHT_UP}"
        )
    return value


def _jitter_s(value: JsonValue) -> float:
    if value is None:
        return 0.0
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits or not 0 <= value <= LONGEST_JITTER_S:  # type: ignore[operator]
        raise CronError(f"jitter_s is a number of seconds from 0 to {LONGEST_JITTER_S:.0f}")
    return float(value)  # type: ignore[arg-type]


def _time_ms(value: JsonValue, name: str, default: int) -> int:
    """Read a time: milliseconds since the epoch, or ISO 8601, in UTC without an offset."""
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= NEVER_MS:
        return value
    if isinstance(value, str):
        return time_ms(value, name)
    raise _no_time(name)


def time_ms(text: str, name: str) -> int:
    """Read a time in ISO 8601, in UTC without an offset, as milliseconds since the epoch.

    Raises:
        CronError: It is none.
    """
    try:
        at = datetime.fromisoformat(text.strip()[:40])
        found = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise _no_time(name) from error
    if not 0 <= found <= NEVER_MS:
        raise _no_time(name)
    return found


def _no_time(name: str) -> CronError:
    return CronError(f"{name} is a time such as 2026-12-01T06:00:00+01:00")


def _shown_ms(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
