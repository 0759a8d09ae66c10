"""Marks: small files of the store of artifacts whose names say who uses what.

``keys/<execution>/<key id>`` below the root says that an execution was started with a key that has
a quota of artifact bytes, and holds the quota. A sub-flow gets the mark of the execution that
began its family when it stores its first artifact.

``used/<key id>/<execution>-<sha256>-<bytes>`` says the same of an artifact of such an execution. So
what a key uses is found in one folder, whatever else is in the store.

Used by `artifacts/store.py` and `runtime/artifacts.py`.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple

LEAST_BYTES: Final = 4_096
"""What a file takes on a disk at least: smaller artifacts count as much, or many cost nothing."""
_LARGEST: Final = 4_096
_COMPLETE: Final = "used-is-complete"


class KeyMark(NamedTuple):
    """A key with a quota of artifact bytes."""

    key_id: str
    name: str
    most_bytes: int


class KeyMarks:
    """Which executions were started with which key; what executions are called is in the store.

    All methods block, and raise ``OSError`` if the store fails.
    """

    def __init__(self, file_system: Callable[[], tuple[Any, str]]) -> None:
        """Keep them below the root of a file system."""
        self._file_system = file_system
        self._is_complete = False

    def are_there(self) -> bool:
        """Tell whether there is any."""
        fs, root = self._file_system()
        return bool(listed(fs, f"{root}/keys"))

    def keep(self, execution: str, key: KeyMark) -> None:
        """Note with which key an execution was started, and count what the execution has."""
        fs, root = self._file_system()
        text = json.dumps({"name": key.name, "most_bytes": key.most_bytes}).encode()
        write_mark(fs, f"{root}/keys/{execution}/{key.key_id}", text)
        for path in listed(fs, f"{root}/executions/{execution}"):
            write_mark(fs, _use(root, key.key_id, execution, path), b"")

    def count(self, execution: str, noted: str) -> None:
        """Count an artifact that has just got a mark of an execution: ``<sha256>-<bytes>``."""
        fs, root = self._file_system()
        for key_id in self.ids_of(execution):
            write_mark(fs, _use(root, key_id, execution, noted), b"")

    def uncount(self, key_ids: Iterable[str], execution: str, noted: str) -> None:
        """Do not count an artifact any more, whose mark of an execution is about to go."""
        fs, root = self._file_system()
        for key_id in key_ids:
            with suppress(FileNotFoundError):
                fs.rm_file(_use(root, key_id, execution, noted))

    def ids_of(self, execution: str) -> list[str]:
        """Return the ids of the keys with which an execution was started: one at most."""
        fs, root = self._file_system()
        return [path.rpartition("/")[2] for path in listed(fs, f"{root}/keys/{execution}")]

    def find(self, executions: Iterable[str]) -> tuple[str, KeyMark] | None:
        """Return the first of some executions that was started with a key, and the key."""
        fs, root = self._file_system()
        for execution in executions:
            for path in listed(fs, f"{root}/keys/{execution}"):
                with suppress(FileNotFoundError, ValueError, LookupError):
                    said = json.loads(fs.cat_file(path, end=_LARGEST))
                    key_id, most_bytes = path.rpartition("/")[2], int(said["most_bytes"])
                    return execution, KeyMark(key_id, str(said["name"]), most_bytes)
        return None

    def executions(self) -> set[str]:
        """Return the names of the executions that have a mark."""
        fs, root = self._file_system()
        return {path.rstrip("/").rpartition("/")[2] for path in listed(fs, f"{root}/keys")}

    def total_of(self, key_id: str) -> int:
        """Return the bytes that the artifacts of executions started with a key count for.

        What several of them use counts for each, and a small one as ``charged``.
        """
        fs, root = self._file_system()
        if not self._is_complete:
            self._complete(fs, root)
        return sum(charged(size_in(path)) for path in listed(fs, f"{root}/used/{key_id}"))

    def _complete(self, fs: Any, root: str) -> None:
        """Count, once for each store, what earlier releases have stored without counting it."""
        if not fs.exists(f"{root}/{_COMPLETE}"):
            for path in fs.find(f"{root}/keys"):
                execution, key_id = path.split("/")[-2:]
                for used in listed(fs, f"{root}/executions/{execution}"):
                    write_mark(fs, _use(root, key_id, execution, used), b"")
            write_mark(fs, f"{root}/{_COMPLETE}", b"")
        self._is_complete = True

    def drop(self, execution: str) -> None:
        """Forget with which key an execution was started."""
        fs, root = self._file_system()
        folder = f"{root}/keys/{execution}"
        for path in listed(fs, folder):
            with suppress(FileNotFoundError):
                fs.rm_file(path)
            with suppress(OSError):  # where there are folders, unless others use it
                fs.rmdir(f"{root}/used/{path.rpartition('/')[2]}")
        with suppress(OSError):
            fs.rmdir(folder)


def _use(root: str, key_id: str, execution: str, path: str) -> str:
    return f"{root}/used/{key_id}/{execution}-{path.rpartition('/')[2]}"


def write_mark(fs: Any, path: str, text: bytes) -> None:
    """Write a mark; its folder may be removed by another process just now."""
    try:
        fs.pipe_file(path, text)
    except FileNotFoundError:
        fs.pipe_file(path, text)


def listed(fs: Any, folder: str) -> list[str]:
    """Return the paths in a folder; those of marks and contents only."""
    try:
        return [
            path
            for path in fs.ls(folder, detail=False, refresh=True)
            if not path.rpartition("/")[2].startswith(".") and path.rstrip("/") != folder
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def first_in(fs: Any, folder: str, prefix: str = "") -> str | None:
    """Return the path of something in a folder whose name begins so; None if there is nothing.

    A local folder is read until something is found. Other stores are asked for names page by page.
    """
    if not is_local(fs):
        paths = listed(fs, folder)
        return next((each for each in paths if each.rpartition("/")[2].startswith(prefix)), None)
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and not entry.name.startswith("."):
                return f"{folder}/{entry.name}"
    return None


def is_local(fs: Any) -> bool:
    """Tell whether a file system is that of this machine."""
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def size_in(path: str) -> int:
    """Return the bytes that the name of an execution's mark tells."""
    text = path.rpartition("-")[2]
    return int(text) if text.isdecimal() else 0


def charged(size_bytes: int) -> int:
    """Return for how many bytes an artifact counts, in each execution that uses it."""
    return max(size_bytes, LEAST_BYTES)
