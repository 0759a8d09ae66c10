"""The log of a task: what its function has printed in a Ray worker, and where that is.

Used by `actors/task_logs.py`, `ray_tasks/worker_log.py` and `runtime/stack.py`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from rillflow.ports.log_ends import noted_end, opened

MOST_BYTES: Final = 256 * 1024
"""Limit of what is read of one file: the end of it."""
NAME: Final = re.compile(
    r"worker-[0-9a-f]{1,64}-[0-9a-f]{1,16}-\d{1,10}\.(out|err)"
    r"|job-driver-rillflow-[0-9a-f]{32}-\d{1,3}\.log"
)
"""The names that Ray gives to the files of a worker, or of a job; no other file is read."""


class LogPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """What lies in a file from ``begin`` to ``end``, in bytes; None while the function runs.

    Without an end, ``call`` is the number of the call in its worker, which notes the end
    (`ports/log_ends.py`). A job has files of its own, and no number.
    """

    name: str
    begin: int
    end: int | None = None
    call: int | None = None


class LogPlace(msgspec.Struct, frozen=True):
    """The node of a worker, and the parts of its files, standard output first."""

    node: str
    parts: list[LogPart]


class LogText(msgspec.Struct, frozen=True):
    """What a function has printed into one of its two streams, ``out`` or ``err``.

    ``is_cut`` tells that only the end of it was read.
    """

    stream: str
    text: str
    is_cut: bool = False


class LogEnd(msgspec.Struct, frozen=True):
    """The end of a log that a function has posted; loggers write to standard error."""

    text: str
    is_cut: bool = False

    def shown(self) -> LogText:
        """Return it as the log of a function of Ray is returned."""
        return LogText("err", self.text, self.is_cut)


class TaskLogs(Protocol):
    """Reads logs on the nodes where they are."""

    async def read(self, place: LogPlace) -> list[LogText]:
        """Return what is there; a file that is gone is left out.

        Raises:
            UnavailableError: The node cannot be reached.
        """
        ...


def read_parts(folder: str, parts: Sequence[LogPart]) -> list[LogText]:
    """Read parts of files of workers as ``read_part`` does; those that are gone are left out."""
    found = (read_part(folder, part) for part in parts)
    return [text for text in found if text is not None]


class NoTaskLogs:
    """Reads nothing: there is no Ray."""

    async def read(self, place: LogPlace) -> list[LogText]:
        """Return nothing."""
        del place
        return []


def read_part(folder: str, part: LogPart) -> LogText | None:
    """Read a part of a file of a worker, in a folder that only Ray writes to.

    Of a part without an end nothing is read that later calls of the worker have printed.

    Returns:
        None if the file is gone, or is none of a worker.
    """
    match = NAME.fullmatch(part.name)
    if match is None or part.begin < 0:
        return None
    try:
        with opened(Path(folder) / part.name) as file:
            end = _end(folder, part, file.seek(0, 2))
            begin = max(part.begin, end - MOST_BYTES)
            file.seek(begin)
            data = file.read(max(end - begin, 0))
    except OSError:
        return None
    # Where a stack has given the beginning of a long file back, there are zeros.
    is_gone = data.startswith(b"\0")
    text = data.lstrip(b"\0").decode(errors="replace")
    if any(mark in text for mark in _MARKS):
        lines = text.splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith(_MARKS))
    return LogText(match[1] or "out", text, is_cut=is_gone or begin > part.begin)


def _end(folder: str, part: LogPart, size: int) -> int:
    """Return where a part ends in its file, which had this size before the end is looked up."""
    if part.end is not None:
        return min(part.end, size)
    if part.name.startswith(_JOB):
        return size
    if part.call is None:  # told by a release that noted no ends
        return part.begin
    return noted_end(folder, part.name, part.call, part.begin, size)


_JOB: Final = "job-driver-"
_MARKS: Final = (":job_id:", ":actor_name:", ":task_name:")
"""Lines by which Ray tells whose output follows."""
