"""The format of log events in all processes of a stack: one line with ``name=value`` fields.

Used by `actors`, `serve` and `serve/stack`.
"""

import json
import logging
from typing import Final

_FORM: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_OWN: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
LONGEST_FACT: Final = 1_000


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


def _shown(record: logging.LogRecord, name: str) -> str:
    text = json.dumps(getattr(record, name), default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST_FACT else f"{text[:LONGEST_FACT]}..."


def write_lines() -> None:
    """Have this process log in this format, unless logging is set up already."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())
