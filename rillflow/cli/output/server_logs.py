"""The log events of the processes of a stack that runs on this machine, as they come.

The actors and replicas write them where Ray keeps logs, among lines of Ray's own. The note in the
data folder tells the folder.

Used by `cli/commands/flows.py`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rillflow.cli.visible import say
from rillflow.errors import StackError
from rillflow.local_keys import read_stack_note
from rillflow.settings import Settings

FILES: Final = "worker-*.err"
SHOWN_BYTES: Final = 64 * 1024
"""What is read of the end of each file at first."""
AT_ONCE_BYTES: Final = 1 << 20
"""What is read of a file at each look after that."""
_EVENT: Final = re.compile(
    r'\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d,\d{3}) [A-Z]+ rillflow[. ]|\{"time": "([^"]{10,40})", '
    r'"level": "[A-Z]+", "logger": "rillflow'
)
_BELOW: Final = re.compile(r"\s|Traceback |[\w.]+(Error|Exception|Exit|Interrupt)\b|$")
"""Begins the lines of a traceback."""


def logs_folder() -> Path:
    """Return where the stack that runs on the data folder of the settings writes its log.

    Raises:
        StackError: None runs there.
    """
    folder = Settings().data_dir
    told = read_stack_note(folder).get("logs_dir")
    if not isinstance(told, str) or not Path(told).is_dir():
        error = StackError(f"no server of this machine has its data in {folder}")
        error.with_hint(
            "name an execution, or run this where the server was started; of a cluster, the events"
            " are in Ray's log folder of each machine"
        )
        raise error
    return Path(told)


class ServerLog:
    """The events in the files of a folder, each told once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, _LogFile] = {}

    def added(self) -> list[str]:
        """Return the lines of events that have come; the first time the last ones, by time."""
        found: list[tuple[str, str]] = []
        for path in sorted(self._folder.glob(FILES)):
            found += self._files.setdefault(path, _LogFile(path)).added()
        return [line for _, line in sorted(found, key=lambda each: each[0])]


class _LogFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: int | None = None
        self._time = ""
        """Of the last event; empty after a line of somebody else."""

    def added(self) -> Iterator[tuple[str, str]]:
        """Yield the lines of events, and of tracebacks below them, with the time of the event."""
        for line in self._lines():
            event = _EVENT.match(line)
            if event is not None:
                self._time = event[1] or event[2]
            elif not _BELOW.match(line):
                self._time = ""
            if self._time:
                yield self._time, line

    def _lines(self) -> Sequence[str]:
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if self._offset is None or self._offset > size:
                    self._offset = max(size - SHOWN_BYTES, 0)
                file.seek(self._offset)
                read = file.read(AT_ONCE_BYTES)
        except OSError:
            return ()
        if not read:
            return ()
        end = read.rfind(b"\n") + 1 or (len(read) if len(read) == AT_ONCE_BYTES else 0)
        self._offset += end
        if not end:
            return ()
        # A line ends there only: a field may hold other characters that separate lines.
        return read[:end].decode(errors="replace").removesuffix("\n").split("\n")


def print_server_log(folder: Path, pause: Callable[[], object] | None) -> None:
    """Print the last events; with a ``pause`` between two looks also those that come, for ever."""
    log = ServerLog(folder)
    while True:
        for line in log.added():
            say(line)
        if pause is None:
            return
        pause()
