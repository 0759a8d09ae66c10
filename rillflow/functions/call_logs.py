"""The log of each call: what the function of that call logs, in its context and its threads.

A handler of the root logger keeps the end of it. What Rillflow itself logs is not part of it.

Used by `functions/application.py`, `functions/deliveries.py` and `functions/running.py`.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote

MOST_CHARACTERS: Final = 4_000
"""So many characters of a log are kept, the last ones: as many as the server keeps."""
MOST_HEADER_BYTES: Final = 4_096
"""The end of a log that travels in a header has no more: proxies limit all headers together."""
_OWN: Final = "rillflow"
_FORMAT: Final = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

_present: "ContextVar[CallLog | None]" = ContextVar("call_log", default=None)


class CallLog:
    """The end of what one call has logged; records may come from any thread."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """Call ``tell``, in the thread of the record, when there is something new."""
        self._tell = tell
        self._lock = threading.Lock()
        self._text = ""
        self._is_new = False
        self._has_ended = False

    def add(self, line: str) -> None:
        """Add a line; none is added after the end of the call."""
        with self._lock:
            if self._has_ended:
                return
            self._text = _end_of(f"{self._text}{line}\n", MOST_CHARACTERS)
            self._is_new = True
        self._tell()

    def news(self) -> str:
        """Return the end of the log, if it has not been returned since the last line came."""
        with self._lock:
            is_new, self._is_new = self._is_new, False
            return self._text if is_new else ""

    def end(self) -> str:
        """Return the end of the log as it travels in a header, empty if there is none.

        There are no news of it any more.
        """
        with self._lock:
            self._has_ended, self._is_new = True, False
            text = self._text
        kept: list[str] = []
        left_bytes = MOST_HEADER_BYTES
        for line in reversed(text.splitlines(keepends=True)):
            encoded = quote(line.encode(errors="replace"))
            left_bytes -= len(encoded)
            if left_bytes < 0:
                break
            kept.append(encoded)
        return "".join(reversed(kept))


def _end_of(text: str, most: int) -> str:
    """Return the last whole lines of a text: a part of one may hold a part of a secret."""
    if len(text) <= most:
        return text
    end = text[-most:].partition("\n")[2]
    return end or f"(a line of {len(text.splitlines()[-1]):,} characters)\n"


@contextmanager
def logging_to(log: CallLog) -> Iterator[None]:
    """Keep what is logged in this context, and in copies of it."""
    token = _present.set(log)
    try:
        yield
    finally:
        _present.reset(token)


class _CallRecords(logging.Handler):
    """Gives each record to the call in whose context it was made."""

    def emit(self, record: logging.LogRecord) -> None:
        log = _present.get()
        if log is None or record.name.partition(".")[0] == _OWN:
            return
        try:
            log.add(_FORMAT.format(record))
        except Exception:  # noqa: BLE001 - what a record is made of may raise anything
            self.handleError(record)


_handler: Final = _CallRecords()


def keep_call_logs() -> None:
    """Have the root logger's records kept with the calls that make them."""
    logging.getLogger().addHandler(_handler)  # once, however often this is called
