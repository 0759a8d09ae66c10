"""The space that must stay free on the disk of a store in a file, and who is asked for it when.

What is new stops first. Orders that let executions go on, and signals for those that wait, stop
when half of the space is left. Outcomes of functions, and what ends or removes something, never
stop, so that executions end and the operator can make room.

Used by `actors/readiness.py` and `runtime/backpressure`.
"""

import shutil
from contextlib import suppress
from typing import Final

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from rillflow.settings import Settings
from rillflow.stores import sqlite_file

FRESH_S: Final = 1.0
"""For how long a reading of the free space is good."""
UNAVAILABLE: Final = 503
PART_FOR_ORDERS: Final = 2
"""Orders leave this part of the space free that must stay free."""


class StoreRoom:
    """The space that new executions leave free on the disk of a store in a file.

    What runs needs it to end. A disk of another machine is not known.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Look at the disk of the store of these settings."""
        path = sqlite_file(settings.store_url) if settings.store_min_free_bytes else None
        self._folder = None if path is None else path.parent
        self._least_bytes = settings.store_min_free_bytes
        self._clock = clock
        self._free_bytes: int | None = None
        self._until_s = 0.0

    def require(self) -> None:
        """Refuse something new where the disk has too little space.

        Raises:
            OverloadedError: It has (503).
        """
        self._require(self._least_bytes)

    def require_for_order(self) -> None:
        """Refuse an order that lets an execution go on, where the disk has much too little space.

        Raises:
            OverloadedError: It has (503).
        """
        self._require(self._least_bytes // PART_FOR_ORDERS)

    def is_full(self) -> bool:
        """Tell whether the disk has too little space, as it was a second ago."""
        return self._is_below(self._least_bytes)

    def _require(self, least_bytes: int) -> None:
        if self._is_below(least_bytes):
            raise OverloadedError(
                "the disk of the store is full: store_min_free_bytes"
                f" ({self._least_bytes}) must stay free",
                hint="executions that run go on; the operator makes room on the disk, or has ended"
                " executions removed earlier (keep_finished_s)",
                http_status=UNAVAILABLE,
            )

    def _is_below(self, least_bytes: int) -> bool:
        if self._folder is None:
            return False
        now_s = self._clock.monotonic_s()
        if now_s >= self._until_s:
            self._until_s = now_s + FRESH_S
            with suppress(OSError):  # the store says so itself
                self._free_bytes = shutil.disk_usage(self._folder).free
        return self._free_bytes is not None and self._free_bytes < least_bytes
