"""The format of log events in all processes of a stack: one line each, for people or as JSON.

Used by `actors`, `serve` and `serve/stack`.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

TraceOf: TypeAlias = Callable[[str], str | None]
_FORM: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_OWN: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
LONGEST_FACT: Final = 1_000
LONGEST_TRACEBACK: Final = 20_000
JSON: Final = "json"
"""The setting ``log_format`` for objects; any other is for lines."""
_TAKEN: Final = frozenset({"time", "level", "logger", "process", "event", "traceback"})


class LineFormatter(logging.Formatter):
    """Writes time, level, logger and event, then each field as ``name=value`` in JSON.

    A traceback follows on lines of its own; a field has no line breaks.
    """

    def __init__(self) -> None:
        super().__init__(_FORM)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record, without its traceback."""
        facts = [f"{name}={_shown(record, name)}" for name in vars(record) if name not in _OWN]
        return " ".join([super().formatMessage(record), *facts])


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object on one line.

    ``time`` (UTC), ``level``, ``logger``, ``process``, ``event`` and, after an exception,
    ``traceback`` come first; the fields of the event follow. A field with one of these names gets a
    ``_`` at its end. An event about a traced execution has its ``trace_id`` besides, as far as
    ``trace_of`` knows it.
    """

    def __init__(self, process: str, trace_of: TraceOf | None = None) -> None:
        super().__init__()
        self._process = process
        self._trace_of = trace_of

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        at = datetime.fromtimestamp(record.created, UTC)
        shown: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "process": self._process,
            "event": record.getMessage(),
        }
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)[:LONGEST_TRACEBACK]
        for name, value in vars(record).items():
            if name not in _OWN:
                shown[f"{name}_" if name in _TAKEN else name] = _bounded(value)
        if self._trace_of is not None and isinstance(shown.get("execution_id"), str):
            trace_id = self._trace_of(shown["execution_id"])
            if trace_id is not None:
                shown.setdefault("trace_id", trace_id)
        return json.dumps(shown, default=str)


def _bounded(value: object) -> object:
    """Return a value as it is if its JSON is short, else the begin of its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if len(text) > LONGEST_FACT:
        return f"{text[:LONGEST_FACT]}..."
    return value if isinstance(value, str | list | tuple | dict) else str(value)


def _shown(record: logging.LogRecord, name: str) -> str:
    text = json.dumps(getattr(record, name), default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST_FACT else f"{text[:LONGEST_FACT]}..."


def write_lines(log_format: str, process: str, trace_of: TraceOf | None = None) -> None:
    """Have this process log in a format of the settings, unless logging is set up already.

    Args:
        log_format: The setting of that name.
        process: The name of the process, as the metrics have it.
        trace_of: Tells the id of an execution's trace, None if it is not known.
    """
    if logging.lastResort is not None:
        is_json = log_format == JSON
        logging.lastResort.setFormatter(
            JsonFormatter(process, trace_of) if is_json else LineFormatter()
        )
