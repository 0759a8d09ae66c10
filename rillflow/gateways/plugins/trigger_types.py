"""Loading of types of triggers from installed packages.

Used by `runtime/triggers/sources/known_types.py`.
"""

import logging
from collections.abc import Iterator
from typing import Final

from rillflow.gateways.plugins.entry_points import entry_points_of
from rillflow.ports.triggers import TriggerType
from rillflow.triggers.trigger_types import KEYS

ENTRY_POINTS: Final = "rillflow.triggers"

_log = logging.getLogger(__name__)


def installed_trigger_types() -> Iterator[TriggerType]:
    """Load the types of triggers of installed packages, in the order of their names.

    A package that cannot be loaded is logged, and does not keep the server from starting.
    """
    for entry in entry_points_of(ENTRY_POINTS):
        try:
            yield _checked(entry.load())
        except Exception:  # noqa: BLE001 - importing a package may raise anything
            _log.warning("plugin.broken", extra={"plugin": entry.name}, exc_info=True)


def _checked(found: object) -> TriggerType:
    """Return a type of triggers.

    Raises:
        TypeError: It is none, or has the name of one that is built in.
    """
    kind = found() if isinstance(found, type) else found
    if not isinstance(kind, TriggerType) or not isinstance(kind.name, str) or kind.name in KEYS:
        raise TypeError(
            f"{found!r} is no type of triggers, or has the name of one that is built in"
        )
    return kind
