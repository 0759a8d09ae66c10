"""A type of triggers for Rillflow: each new file in a folder starts an execution.

`{"type": "folder", "path": "/in/orders", "pattern": "*.csv"}` is the `source` of such a trigger.
The folder must lie below one of those that `ROOTS` names, a variable of the server's environment,
so that whoever adds triggers cannot look around on the server. An entry `shop=/in/shop` allows a
folder to one workspace; one without a name allows it to all, but for what other entries in it name.
A file counts when nobody has
written to it for a second; one that is replaced counts again. What was dealt with is noted in a
hidden file of the folder, which must be the server's own, and no link.
"""

import asyncio
import fnmatch
import hashlib
import os
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from rillflow.errors import CronError
from rillflow.ports.triggers import TriggerEvent

ROOTS: Final = "RILLFLOW_FOLDERS"
"""The variable with the folders, with colons between them: `/in`, or `workspace=/in`."""
ALL: Final = "*"
NOT_ALLOWED: Final = f"path must be a folder below one of those that {ROOTS} allows the workspace"
LOOK_S: Final = 1.0
SETTLED_S: Final = 1.0
MOST_FILES: Final = 10_000
AT_ONCE: Final = 100
MOST_NOTES_BYTES: Final = 1 << 26
"""How long the file of what was dealt with may become."""
NO_LINKS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Whoever puts files into the folder may put a link, or a pipe, where the notes are."""


class FolderTriggers:
    """The type `folder`."""

    name = "folder"

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the allowed folders from an environment."""
        self._roots: dict[Path, set[str]] = {}
        """The workspaces of each folder; ALL is every one."""
        for entry in environment.get(ROOTS, "").split(os.pathsep):
            named = entry if "=" in entry and not entry.startswith("/") else f"{ALL}={entry}"
            workspace, _, folder = named.partition("=")
            if workspace and folder:
                self._roots.setdefault(Path(folder).resolve(), set()).add(workspace)

    def check(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a trigger.

        Raises:
            CronError: One is missing, unknown, or names a folder that is not allowed.
        """
        path, pattern = settings.get("path"), settings.get("pattern", "*")
        if not isinstance(path, str) or not self._workspaces_of(path):
            raise _wrong("path", NOT_ALLOWED)
        if not isinstance(pattern, str) or not pattern or "/" in pattern:
            raise _wrong("pattern", "pattern is for the names of files, such as *.csv")
        for name in settings.keys() - {"path", "pattern"}:
            raise _wrong(name, f"a folder has path and pattern, and no {name[:40]!r}")
        return {"path": path, "pattern": pattern}

    def open(self, trigger_id: str, settings: dict[str, Any]) -> "Folder":
        """Return the files of a folder; see `open_for`."""
        return self.open_for("", trigger_id, settings)

    def open_for(self, workspace: str, trigger_id: str, settings: dict[str, Any]) -> "Folder":
        """Return the files of a folder, for a trigger of a workspace.

        Raises:
            CronError: The folder is not allowed to the workspace, or not any more.
        """
        checked = self.check(settings)
        if not self._workspaces_of(checked["path"]) & {workspace, ALL}:
            raise _wrong("path", NOT_ALLOWED)
        return Folder(Path(checked["path"]), checked["pattern"], trigger_id)

    def _workspaces_of(self, path: str) -> AbstractSet[str]:
        """Return which workspaces may watch a folder: those of the innermost root around it."""
        if "\0" in path or not Path(path).is_absolute():
            return frozenset()
        place = Path(path).resolve()
        around = (self._roots[each] for each in (place, *place.parents) if each in self._roots)
        return next(around, frozenset())


class _File(NamedTuple):
    modified_ns: int
    name: str
    size: int

    @property
    def key(self) -> str:
        name = self.name.replace("\n", "\\n")  # each note is one line
        return f"{name}@{self.modified_ns}"


class Folder:
    """The new files of one folder, the oldest first."""

    def __init__(self, folder: Path, pattern: str, trigger_id: str) -> None:
        """Watch a folder for one trigger."""
        self._folder = folder
        self._pattern = pattern
        digest = hashlib.blake2b(trigger_id.encode(), digest_size=8).hexdigest()
        self._notes = folder / f".rillflow-{digest}"
        self._done: set[str] | None = None
        self._given: set[str] = set()
        self.behind: int | None = None

    async def take(self, busy: Collection[str]) -> Sequence[TriggerEvent]:
        """Return the files that have come since."""
        if busy:
            await asyncio.sleep(LOOK_S / 10)
            return []
        found = await asyncio.to_thread(self._new_files)
        if not found:
            await asyncio.sleep(LOOK_S)
        return [self._event(file) for file in found]

    async def acknowledge(self, event: TriggerEvent) -> None:  # noqa: ARG002 - the last one given
        """Note the files that were given up to this one."""
        await asyncio.to_thread(self._note)

    async def refuse(self, event: TriggerEvent, reason: str) -> bool:  # noqa: ARG002 - not needed
        """Leave the file where it is, and have the trigger list it."""
        return False

    async def close(self) -> None:
        """Nothing is open."""

    def _new_files(self) -> list[_File]:
        done = self._read_notes()
        settled_ns = time.time_ns() - int(SETTLED_S * 1e9)
        found = []
        with os.scandir(self._folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_FILES:
                    raise OSError(f"{self._folder} has more than {MOST_FILES} files")
                if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                status = entry.stat(follow_symlinks=False)
                file = _File(status.st_mtime_ns, entry.name, status.st_size)
                is_new = file.key not in done and file.modified_ns <= settled_ns
                if is_new and fnmatch.fnmatchcase(entry.name, self._pattern):
                    found.append(file)
        given = sorted(found)[:AT_ONCE]
        self.behind = len(found) - len(given)
        self._given = {file.key for file in given}
        return given

    def _read_notes(self) -> set[str]:
        if self._done is None:
            try:
                with self._opened(os.O_RDONLY) as notes:
                    self._done = set(notes.read().decode("utf-8", "surrogateescape").split("\n"))
            except FileNotFoundError:
                self._done = set()
        return self._done

    def _note(self) -> None:
        text = "".join(f"{key}\n" for key in sorted(self._given))
        with self._opened(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as notes:
            notes.write(text.encode("utf-8", "surrogateescape"))
            notes.flush()
            os.fsync(notes.fileno())
        self._read_notes().update(self._given)

    def _opened(self, flags: int) -> BinaryIO:
        """Open the notes, if they are a file that this trigger has made.

        Raises:
            OSError: They are a link, of another user, no file, or too long.
        """
        descriptor = os.open(self._notes, flags | NO_LINKS, 0o600)
        status = os.fstat(descriptor)
        is_own = status.st_uid == os.geteuid() and status.st_nlink == 1
        if not stat.S_ISREG(status.st_mode) or not is_own or status.st_size > MOST_NOTES_BYTES:
            os.close(descriptor)
            raise OSError(f"{self._notes} is not the file in which this trigger has noted files")
        return os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "ab")

    def _event(self, file: _File) -> TriggerEvent:
        name = file.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return TriggerEvent(
            key=f"{name}@{file.modified_ns}",
            context={
                "path": f"{self._folder}/{name}",
                "name": name,
                "bytes": file.size,
                "modified_ms": file.modified_ns // 1_000_000,
            },
        )


def _wrong(field: str, reason: str) -> CronError:
    error = CronError(reason)
    error.field = field
    return error
